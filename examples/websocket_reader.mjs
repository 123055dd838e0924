// Follows a gateway from Node.js with the browser's client, which depends on nothing, reconnects and resumes by itself:
//
//     node examples/websocket_reader.mjs ws://127.0.0.1:8001 AAPL MSFT
//
// Prints every alert as a line of JSON, and every price if PRICES=1. A page loads the same client from /static/feed.js. It needs the
// WebSocket that Node.js has from version 22 on; Node.js 20 has it, too, after `node --experimental-websocket`.
import { subscribe } from "../services/api/static/feed.js";

if (!globalThis.WebSocket) {
  console.error(`Node.js ${process.versions.node} has no WebSocket: take 22 or newer, or \`node --experimental-websocket\` from 20 on.`);
  process.exit(1);
}
const [url = "ws://127.0.0.1:8001", ...tickers] = process.argv.slice(2);
const feed = subscribe(url, {
  tickers: tickers.length > 0 ? tickers : ["*"],
  onGap: ({ reason, until }) => console.error(`Alerts until ${until} may be missing (${reason}): GET /api/alerts has them.`),
  onStatus: ({ phase, reason }) => {
    if (phase === "live") console.error(`Connected to ${url}.`);
    if (phase === "waiting") console.error(`No gateway: ${reason}. Waiting for one; \`make run\` starts it.`);
  },
});
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => feed.close());

try {
  for await (const { alerts, stocks } of feed) {
    for (const told of process.env.PRICES === "1" ? [...stocks, ...alerts] : alerts) console.log(JSON.stringify(told));
  }
} catch (error) {
  console.error(`${url}: ${error.message}`);
  process.exitCode = 1;
}
