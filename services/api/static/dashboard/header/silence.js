/** Whether the source is silent: the market is open, and no price came for three times as long as is usual. Pure. */

const LATENESS = 3;
const MOST_GAPS = 64;
const FEWEST_GAPS = 3;
const LEAST_MS = 15_000;
/** Of a source whose rhythm is not known yet: three cycles of a polled one. */
const UNKNOWN_MS = 180_000;

export class Silence {
  #gaps = [];
  #heardAt = null;
  /** Whether `#heardAt` is a moment at which a price came, not the time of a price that was there before. */
  #isHeard = false;

  /** Take an update at `now`; `newestAt` is the time of its newest price by our clock. */
  hear({ stocks, isSnapshot }, newestAt, now) {
    if (stocks.length === 0) return;
    if (isSnapshot) {
      this.#heardAt = Math.max(this.#heardAt ?? -Infinity, newestAt);
      return;
    }
    if (this.#isHeard) this.#gaps = [...this.#gaps.slice(1 - MOST_GAPS), now - this.#heardAt];
    this.#isHeard = true;
    this.#heardAt = now;
  }

  /** The connection was lost: what follows tells nothing of the rhythm. */
  break() {
    this.#isHeard = false;
  }

  /** Since when nothing came, in ms, if that is unusual; else null. `openedAt` is when the market was said to be open. */
  since(market, openedAt, now) {
    const isAge = this.#gaps.length > 0 || market?.reason !== "replay"; // a file's times are of any year
    if (market?.status !== "open" || this.#heardAt === null || !isAge) return null;
    return now - Math.max(this.#heardAt, openedAt) > this.#patience() ? this.#heardAt : null;
  }

  #patience() {
    return this.#gaps.length < FEWEST_GAPS ? UNKNOWN_MS : Math.max(LEAST_MS, LATENESS * Math.max(...this.#gaps));
  }
}
