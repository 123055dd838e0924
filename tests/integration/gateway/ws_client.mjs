// A client on the package `ws`, steered by lines of JSON on standard input; what happens to it is told as lines of JSON on standard
// output. Usage: node ws_client.mjs URL true|false (whether to offer permessage-deflate)
import { createInterface } from "node:readline";
import { WebSocket } from "ws";

const tell = (event, more = {}) => console.log(JSON.stringify({ event, ...more }));
const [url, offersDeflate] = process.argv.slice(2);
const socket = new WebSocket(url, { perMessageDeflate: offersDeflate === "true" });

socket.on("open", () => tell("open", { extensions: socket.extensions }));
socket.on("message", (data, isBinary) => tell("message", { text: data.toString(), isBinary }));
socket.on("pong", (data) => tell("pong", { text: data.toString() }));
socket.on("close", (code, reason) => tell("close", { code, reason: reason.toString() }));
socket.on("unexpected-response", (_request, response) => tell("refused", { status: response.statusCode }));
socket.on("error", (error) => tell("error", { text: error.message }));

const steps = {
  send: ({ text }) => socket.send(text),
  binary: ({ text }) => socket.send(Buffer.from(text)),
  ping: ({ text }) => socket.ping(text),
  close: ({ code }) => socket.close(code),
};
createInterface({ input: process.stdin }).on("line", (line) => {
  const step = JSON.parse(line);
  steps[step.step](step);
}).on("close", () => process.exit());
