/** Reads further and further back, one answer at a time, until there is nothing older. */

import { RestError } from "/static/rest.js";

export class Older {
  #read;
  #abort = null;
  #hasFailed = false;
  #isAll = false;

  /** `read(signal)` resolves to whether there was anything. */
  constructor(read) {
    this.#read = read;
  }

  /** Whether there is nothing older, as far as is known. */
  get isAll() {
    return this.#isAll;
  }

  /** Begin anew; an answer that is under way is dropped. */
  forget() {
    this.#abort?.abort();
    this.#abort = null;
    this.#isAll = this.#hasFailed = false;
  }

  /** REST answers: what failed may be tried again. */
  allow() {
    this.#hasFailed = false;
  }

  /** Read once; resolve to whether there was anything. */
  async go() {
    if (this.#isAll || this.#hasFailed || this.#abort) return false;
    const { signal } = (this.#abort = new AbortController());
    try {
      const isSome = await this.#read(signal);
      if (signal.aborted) return false;
      this.#isAll = !isSome;
      return isSome;
    } catch (error) {
      if (signal.aborted) return false;
      if (!(error instanceof RestError)) throw error;
      this.#hasFailed = true;
      return false;
    } finally {
      if (!signal.aborted) this.#abort = null;
    }
  }
}
