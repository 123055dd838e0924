/**
 * The bars of the chosen ticker: history from REST, the current bar live (the rule is in bars.js).
 *
 * The newest two bars are read again every few seconds, and soon after a bar has ended, since live entries are conflated.
 */

import { iso, readBars, readTicks } from "/static/rest.js";
import { BarSeries, LENGTHS_MS } from "/static/dashboard/chart/bars.js";
import { Older } from "/static/dashboard/chart/older.js";
import { Refill } from "/static/dashboard/chart/refill.js";

/** Bars of one answer: fewer where many ticks are in each, so that every answer is quick. */
const PAGE = Object.freeze({ "1m": 500, "5m": 300, "15m": 200, "1h": 120, "1d": 30 });
const JOIN_MS = 1_000;
const SETTLE_MS = 5_000;

export class BarHistory {
  series;
  ticker = null;
  #interval;
  #changed;
  #refill;
  #latestAt = null;
  #older = new Older((signal) => this.#readOlder(signal));

  /** `interval` as in REST; `changed` and `tell` as those of the ticks. */
  constructor(interval, changed, tell) {
    this.#interval = interval;
    this.#changed = changed;
    this.series = new BarSeries(LENGTHS_MS[interval]);
    this.#refill = new Refill((signal) => this.#read(signal), (reason) => tell(reason && `No history: ${reason}`));
  }

  /** Follow another ticker; `latest` is its newest entry, if one is known. */
  choose(ticker, latest) {
    this.end();
    this.ticker = ticker;
    this.#latestAt = latest?.at ?? null;
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

  /** Take a live entry of the chosen ticker; a bar that ended is settled soon. */
  add(stock) {
    const before = this.series.newest;
    this.series.add(stock);
    this.#latestAt = stock.at;
    if (before !== null && this.series.newest > before) setTimeout(() => this.resume(), JOIN_MS);
    this.#changed();
  }

  /** The connection was lost: prices may be missing from here on. */
  break() {
    this.series.break();
  }

  /** The connection is back: read what was missed. */
  resume() {
    if (this.ticker) this.#refill.begin();
  }

  /** The begin, as a point's time, of the bar that a moment falls into. */
  beginOf(at) {
    return this.series.beginOf(at) / 1000;
  }

  /** Whether there is nothing older than what is known. */
  get isAll() {
    return this.#older.isAll;
  }

  /** Read what lies before the oldest bar; resolve to whether there was any. */
  async readOlder() {
    return this.series.newestStored !== null && this.#older.go();
  }

  async #readOlder(signal) {
    const oldest = this.series.oldest;
    const last = await this.#lastTickBefore(oldest, signal);
    if (last !== null) await this.#readPage(this.series.beginOf(last), oldest, signal);
    return last !== null;
  }

  /** When the market was closed for long, the page before the oldest bar would be empty. */
  async #lastTickBefore(at, signal) {
    const { items } = await readTicks(this.ticker, { limit: 1, end: iso(at) }, signal);
    return items.length ? Date.parse(items[0].ts) : null;
  }

  async #readPage(lastBegin, end, signal) {
    const start = this.#pageBack(lastBegin);
    const { items } = await readBars(this.ticker, { interval: this.#interval, start: iso(start), end: iso(end) }, signal);
    if (signal.aborted) return;
    this.series.settle(items, start);
    this.#changed();
  }

  #pageBack(lastBegin) {
    return lastBegin - (PAGE[this.#interval] - 1) * this.series.lengthMs;
  }

  async #read(signal) {
    const start = this.series.unsettledFrom ?? this.#pageBack(this.series.beginOf(this.#latestAt ?? Date.now()));
    const { items } = await readBars(this.ticker, { interval: this.#interval, start: iso(start) }, signal);
    if (signal.aborted) return SETTLE_MS;
    this.#older.allow();
    this.series.settle(items, start);
    this.#changed();
    return this.series.isJoined ? SETTLE_MS : JOIN_MS;
  }
}
