/**
 * The connection to a gateway: comes back after every end that allows it, with the cursor it has, after the wait it was asked for.
 *
 * A gateway that says nothing is pinged, and given up when it does not answer: a cut cable closes no socket.
 */

import { Backoff, isLoss, judgeClose, judgeLoss } from "/static/parting.js";
import { parse } from "/static/state.js";

const OPEN_MS = 10_000;
const QUIET_MS = 20_000;
const DEAD_MS = 35_000;
const CHECK_MS = 2_000;
const PING = '{"action":"ping"}';

export class Feed {
  #url;
  #cursor;
  #hear;
  #tell;
  #backoff = new Backoff();
  #socket = null;
  #timer = null;
  #heardAt = 0;
  #openedAt = 0;
  #isPinged = false;

  /** `cursor()` is what to resume from; `hear(message)` gets each message; `tell({phase, reason, retryAt})` each change of state.
   * Phases: `connecting`, `live`, `waiting` (for the next try, at `retryAt` ms), `ended` (another try would end the same way). */
  constructor(url, cursor, hear, tell) {
    this.#url = url;
    this.#cursor = cursor;
    this.#hear = hear;
    this.#tell = tell;
  }

  /** Connect, and stay connected. */
  start() {
    setInterval(() => this.#check(Date.now()), CHECK_MS);
    addEventListener("online", () => this.#timer !== null && this.#open());
    this.#open();
  }

  #open() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#drop();
    this.#tell({ phase: "connecting" });
    try {
      this.#socket = this.#connect(resuming(this.#url, this.#cursor()));
    } catch (error) {
      this.#end({ reason: `${this.#url}: ${error.message}`, isFinal: true });
    }
  }

  #connect(url) {
    const socket = new WebSocket(url);
    let wasOpen = false;
    this.#openedAt = Date.now();
    this.#heardAt = 0;
    socket.onopen = () => {
      wasOpen = true;
      this.#heardAt = Date.now();
    };
    socket.onmessage = ({ data }) => this.#onMessage(data);
    socket.onclose = ({ code, reason }) => {
      this.#end(isLoss(code) ? judgeLoss(wasOpen, navigator.onLine, this.#url) : judgeClose(code, reason));
    };
    return socket;
  }

  #onMessage(data) {
    this.#heardAt = Date.now();
    this.#isPinged = false;
    this.#backoff.reset();
    this.#hear(parse(data));
  }

  #end({ reason, isFinal, hintSeconds }) {
    this.#drop();
    if (isFinal) {
      this.#tell({ phase: "ended", reason });
      return;
    }
    const waitMs = (hintSeconds ?? this.#backoff.nextSeconds()) * 1000;
    this.#tell({ phase: "waiting", reason, retryAt: Date.now() + waitMs });
    this.#timer = setTimeout(() => this.#open(), waitMs);
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.#isPinged = false;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #check(now) {
    if (!this.#socket) return;
    const quietMs = now - (this.#heardAt || this.#openedAt);
    const limit = this.#heardAt ? DEAD_MS : OPEN_MS;
    if (quietMs > limit) this.#end({ reason: `the gateway said nothing for ${Math.round(quietMs / 1000)} s`, isFinal: false });
    else if (this.#heardAt && quietMs > QUIET_MS && !this.#isPinged) this.#ping();
  }

  #ping() {
    this.#isPinged = true;
    this.#socket.send(PING);
  }
}

function resuming(url, cursor) {
  const full = new URL(url);
  if (cursor) full.searchParams.set("since", cursor);
  return full.href;
}
