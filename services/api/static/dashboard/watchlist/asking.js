/** Asks the REST service for days as `Days` wants them, one request at a time. While it is away nothing is said: opens and lines stay out. */

import { RestError, readDays } from "/static/rest.js";

export class Asking {
  #days;
  #heard;
  #isUnderWay = false;

  /** `heard(tickers)` is called after each answer. */
  constructor(days, heard) {
    this.#days = days;
    this.#heard = heard;
  }

  /** Look whether something is to be asked; the arguments are those of `Days.next`. */
  async look(inView, all, atOf, now) {
    if (this.#isUnderWay) return;
    const asked = this.#days.next(inView, all, atOf, now);
    if (!asked) return;
    this.#isUnderWay = true;
    try {
      this.#days.take(asked, await readDays({ tickers: asked.tickers.join(), points: asked.points }), now);
      this.#heard(asked.tickers);
    } catch (error) {
      if (!(error instanceof RestError)) throw error;
      this.#days.fail(now);
    } finally {
      this.#isUnderWay = false;
    }
  }
}
