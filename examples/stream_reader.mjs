// Reads the streams in another language, as an ordinary consumer group, with nothing to install:
//
//     node examples/stream_reader.mjs redis://127.0.0.1:6379 my-group
//
// Prints each entry of `enriched` as a line of JSON. Any number of copies share the entries, each at least once: what a copy had read
// and not acknowledged when it died, another one claims. PARTITIONS is the pipeline's (4), CLAIM_MS how long a silent copy counts as alive.
import net from "node:net";
import os from "node:os";
import tls from "node:tls";

const url = new URL(process.argv[2] ?? process.env.REDIS_URL ?? "redis://127.0.0.1:6379");
const group = process.argv[3] ?? "stream-reader";
const claimMs = Number(process.env.CLAIM_MS ?? 30_000);
const consumer = `${os.hostname()}:${process.pid}`;
let isStopping = false;

/** The value of RESP2 that begins at `at` and the place behind it; null if it is not all there yet. */
function parse(bytes, at) {
  const end = bytes.indexOf("\r\n", at);
  if (end < 0) return null;
  const [kind, text] = [bytes.toString("latin1", at, at + 1), bytes.toString("utf8", at + 1, end)];
  let [length, next] = [Number(text), end + 2];
  if (kind === "-") return [new Error(text), next];
  if (kind === "+") return [text, next];
  if (kind === ":") return [length, next];
  if (length < 0) return [null, next];
  if (kind === "$") return next + length + 2 > bytes.length ? null : [bytes.toString("utf8", next, next + length), next + length + 2];
  const values = [];
  while (values.length < length) {
    const parsed = parse(bytes, next);
    if (parsed === null) return null;
    values.push(parsed[0]);
    next = parsed[1];
  }
  return [values, next];
}

/** A connection; `call(command, …arguments)` gives the answer, one call at a time. */
function connect() {
  const [where, open] = [{ host: url.hostname, port: Number(url.port || 6379) }, url.protocol === "rediss:" ? tls.connect : net.connect];
  const socket = open({ ...where, ...(open === tls.connect && { servername: url.hostname }) });
  let [bytes, waiting] = [Buffer.alloc(0), null];
  const fail = (error) => waiting?.reject(error || new Error("the connection was closed"));
  socket.on("error", fail).on("close", () => fail()).setTimeout(10_000, () => socket.destroy(new Error("no answer for 10 s")));
  socket.on("data", (chunk) => {
    bytes = Buffer.concat([bytes, chunk]);
    const parsed = parse(bytes, 0);
    if (parsed === null) return;
    bytes = bytes.subarray(parsed[1]);
    parsed[0] instanceof Error ? waiting.reject(parsed[0]) : waiting.resolve(parsed[0]);
  });
  const call = (...words) => new Promise((resolve, reject) => {
    waiting = { resolve, reject };
    if (socket.destroyed) fail();
    socket.write([`*${words.length}`, ...words.flatMap((word) => [`$${Buffer.byteLength(`${word}`)}`, word]), ""].join("\r\n"));
  });
  return { call, close: () => socket.destroy() };
}

/** Print entries and acknowledge them, in this order: whoever dies between the two leaves them to be claimed. */
async function finish(redis, stream, entries) {
  for (const [id, words] of entries) {
    const fields = Object.fromEntries(words.flatMap((word, i) => (i % 2 ? [] : [[word, words[i + 1]]])));
    console.log(JSON.stringify({ stream, id, ...fields }));
    await redis.call("XACK", stream, group, id);
  }
}

/** Read a stream until this program is stopped. */
async function read(redis, stream) {
  if (url.password) await redis.call("AUTH", decodeURIComponent(url.username) || "default", decodeURIComponent(url.password));
  if (url.pathname.length > 1) await redis.call("SELECT", url.pathname.slice(1));
  const error = await redis.call("XGROUP", "CREATE", stream, group, "0").catch((reason) => reason);
  if (error instanceof Error && !error.message.startsWith("BUSYGROUP")) throw error;
  while (!isStopping) {
    const [, abandoned] = await redis.call("XAUTOCLAIM", stream, group, consumer, claimMs, "0-0", "COUNT", 100);
    await finish(redis, stream, abandoned);
    const found = await redis.call("XREADGROUP", "GROUP", group, consumer, "COUNT", 100, "BLOCK", 1000, "STREAMS", stream, ">");
    await finish(redis, stream, found?.[0][1] ?? []);
  }
  // A deleted member's pending entries would be lost: those of an answer that never came.
  const pending = await redis.call("XPENDING", stream, group, "-", "+", 1, consumer);
  if (pending.length === 0) await redis.call("XGROUP", "DELCONSUMER", stream, group, consumer);
}

/** Read a partition, over any number of connections: one each, since a read that waits holds it. */
async function follow(partition) {
  for (let told = ""; !isStopping; await new Promise((wake) => setTimeout(wake, 500 + 500 * Math.random()))) {
    const redis = connect();
    const { message } = (await read(redis, `enriched:{${partition}}`).catch((error) => error)) ?? {};
    redis.close();
    if (message && message !== told) console.error(`Partition ${partition} waits for ${url.host}: ${message}. \`make run\` starts a pipeline.`);
    told = message;
  }
}

for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => (isStopping = true));
await Promise.all(Array.from({ length: Number(process.env.PARTITIONS ?? 4) }, (_, partition) => follow(partition)));
