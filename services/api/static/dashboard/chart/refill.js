/** Reads again and again: at once, then each time after the pause that the reading named. A newer beginning ends what is under way. */

import { RestError } from "/static/rest.js";

const RETRY_MS = 5_000;

export class Refill {
  #read;
  #tell;
  #abort = null;
  #timer = null;

  /** `read(signal)` resolves to the pause in ms; `tell(text)` says why nothing could be read, empty when it could. */
  constructor(read, tell = () => {}) {
    this.#read = read;
    this.#tell = tell;
  }

  /** Read now, and go on. */
  begin() {
    this.end();
    this.#go((this.#abort = new AbortController()).signal);
  }

  /** Read no more; an answer that is under way is dropped. */
  end() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
  }

  async #go(signal) {
    let pauseMs = RETRY_MS;
    try {
      pauseMs = await this.#read(signal);
      this.#tell("");
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof RestError)) throw error;
      this.#tell(error.message);
    }
    if (!signal.aborted) this.#timer = setTimeout(() => this.#go(signal), pauseMs);
  }
}
