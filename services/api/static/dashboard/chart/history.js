/**
 * The ticks of the chosen ticker: history from REST joined with what comes live (the rule is in ticks.js).
 *
 * Live entries are taken from the moment of the choice, before history is asked for. History is asked again every second until both
 * are joined, then now and then, since live entries are conflated.
 */

import { iso, readTicks } from "/static/rest.js";
import { Older } from "/static/dashboard/chart/older.js";
import { Refill } from "/static/dashboard/chart/refill.js";
import { TickSeries } from "/static/dashboard/chart/ticks.js";

const PAGE = 1000;
const MOST_PAGES = 3;
const ENOUGH_POINTS = 300;
const JOIN_MS = 1_000;
const SETTLE_MS = 5_000;

export class TickHistory {
  series = new TickSeries();
  ticker = null;
  #changed;
  #refill;
  #older = new Older((signal) => this.#readOlder(signal));

  /** `changed()` is called when there is something else to draw; `tell(text)` says what is missing, empty when nothing is. */
  constructor(changed, tell) {
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
    this.#changed();
  }

  /** The connection was lost: ticks may be missing from here on. */
  break() {
    this.series.break();
  }

  /** The connection is back: read what was missed. */
  resume() {
    if (this.ticker) this.#refill.begin();
  }

  /** The second, as a point's time, that a moment is drawn in. */
  beginOf(at) {
    return Math.floor(at / 1000);
  }

  /** Whether there is nothing older than what is known. */
  get isAll() {
    return this.#older.isAll;
  }

  /** Read what lies before the oldest tick; resolve to whether there was any. */
  async readOlder() {
    return this.series.newestStored !== null && this.#older.go();
  }

  async #readOlder(signal) {
    const oldest = this.series.oldest;
    // The rows of the oldest moment again: the page before may have ended between two of them.
    const { items } = await readTicks(this.ticker, { limit: PAGE, end: iso(oldest + 1) }, signal);
    if (signal.aborted) return false;
    this.series.prepend(items);
    this.#changed();
    return this.series.oldest < oldest;
  }

  async #read(signal) {
    const since = this.series.newestStored;
    const { rows, isWhole } = await this.#readTicks(since, signal);
    if (signal.aborted) return SETTLE_MS;
    this.#older.allow();
    this.series.settle(rows, isWhole);
    this.#changed();
    return this.series.isJoined ? SETTLE_MS : JOIN_MS;
  }

  /** Rows from `since` on, or enough to draw; `isWhole` unless there were more than fit. */
  async #readTicks(since, signal) {
    const rows = [];
    const seconds = new Set();
    let cursor = null;
    for (let page = 0; page < MOST_PAGES; page++) {
      const { items, next } = await readTicks(this.ticker, { limit: PAGE, start: iso(since), cursor }, signal);
      rows.push(...items);
      items.forEach((row) => seconds.add(row.ts.slice(0, 19)));
      cursor = next;
      if (!cursor || (since === null && seconds.size >= ENOUGH_POINTS)) break;
    }
    return { rows, isWhole: since === null || !cursor };
  }
}
