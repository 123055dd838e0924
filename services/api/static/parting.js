/**
 * What the end of a connection to a gateway means: why it ended, whether to come back, and when. Pure.
 *
 * Source: the table of close codes in docs/websocket.md.
 */

const NEVER = new Set([1002, 1007, 1009, 4400, 4401, 4403]);
/** 4401 asks for a new token, and there is no other to try than the one that was refused. */
const HINT = /(?:; )?reconnect in (\d{1,6}(?:\.\d{1,3})?) s$/;
const NO_CLOSE_FRAME = 1006;
const MOST_HINT_SECONDS = 60;

/** Read a close event's code and reason: `{reason, isFinal, hintSeconds}`; `hintSeconds` is null where nothing was asked. */
export function judgeClose(code, text) {
  const hint = HINT.exec(text);
  const words = text.replace(HINT, "") || "the connection was closed";
  return {
    reason: `${words} (code ${code})`,
    isFinal: NEVER.has(code),
    hintSeconds: hint ? Math.min(Number(hint[1]), MOST_HINT_SECONDS) : null,
  };
}

/** The reason of an end without a close frame, of which a browser tells nothing more. */
export function judgeLoss(wasOpen, isOnline, url) {
  const words = !isOnline ? "this device is offline" : wasOpen ? "the connection to the gateway was lost" : `no gateway answers at ${url}`;
  return { reason: words, isFinal: false, hintSeconds: null };
}

/** Whether a close event carries no code of the gateway's. */
export const isLoss = (code) => code === NO_CLOSE_FRAME;

/** Waits between tries: the span doubles from `first` to `most` seconds, and each wait is drawn from its upper half, so no crowd comes back at once. */
export class Backoff {
  #first;
  #most;
  #random;
  #span;

  constructor(first = 0.5, most = 10, random = Math.random) {
    this.#first = this.#span = first;
    this.#most = most;
    this.#random = random;
  }

  nextSeconds() {
    const span = this.#span;
    this.#span = Math.min(this.#most, span * 2);
    return span * (0.5 + 0.5 * this.#random());
  }

  reset() {
    this.#span = this.#first;
  }
}
