/**
 * What is drawn of the chosen ticker, history from REST joined with what comes live; of what, ticks or bars, is the subclass's.
 *
 * Live entries are taken from the moment of the choice, before history is asked for. History is asked again every second until both
 * are joined, then now and then, since live entries are conflated.
 */

import { Older } from "/static/dashboard/chart/older.js";
import { Refill } from "/static/dashboard/chart/refill.js";

const JOIN_MS = 1_000;
const SETTLE_MS = 5_000;

/**
 * A subclass has `beginOf(at)`, the time, as a point's, of the point that a moment falls into; `readNewest(signal)`, which resolves to
 * the arguments of the series' `settle`; and `readBefore(oldest, signal)`, which takes what is older and resolves to whether there was any.
 */
export class SeriesHistory {
  series;
  ticker = null;
  #changed;
  #refill;
  #older = new Older((signal) => this.#readOlder(signal));

  /**
   * `changed()` is called when there is something else to draw, unless it came live or between what did: a chart is drawn with the tick.
   * `tell(text)` says what is missing, empty when nothing is.
   */
  constructor(series, changed, tell) {
    this.series = series;
    this.#changed = changed;
    this.#refill = new Refill((signal) => this.#read(signal), (reason) => tell(reason && `No history: ${reason}`));
  }

  /** Follow another ticker; `latest` is its newest entry, if one is known. */
  choose(ticker, latest) {
    this.end();
    this.ticker = ticker;
    this.series.clear();
    if (latest) this.series.add(latest);
    this.#changed();
    this.#refill.begin();
  }

  /** Follow nobody. */
  end() {
    this.ticker = null;
    this.#refill.end();
    this.#older.forget();
  }

  /** The gateway replaced everything; with `isLost`, because Redis lost entries. */
  replace(isLost) {
    if (isLost) this.series.clear();
    else this.series.dropLive();
    this.resume();
  }

  /** Take a live entry of the chosen ticker. */
  add(stock) {
    this.series.add(stock);
  }

  /** The connection was lost: entries may be missing from here on. */
  break() {
    this.series.break();
  }

  /** The connection is back: read what was missed. */
  resume() {
    if (this.ticker) this.#refill.begin();
  }

  /** Whether there is nothing older than what is known. */
  get isAll() {
    return this.#older.isAll;
  }

  /** Read what lies before the oldest point; resolve to whether there was any. */
  async readOlder() {
    return this.series.newestStored !== null && this.#older.go();
  }

  async #readOlder(signal) {
    const isSome = await this.readBefore(this.series.oldest, signal);
    if (!signal.aborted) this.#changed();
    return isSome;
  }

  async #read(signal) {
    const told = await this.readNewest(signal);
    if (signal.aborted) return SETTLE_MS;
    this.#older.allow();
    const wasJoined = this.series.isJoined;
    this.series.settle(...told);
    if (!wasJoined) this.#changed();
    return this.series.isJoined ? SETTLE_MS : JOIN_MS;
  }
}
