/**
 * The bars of the chosen ticker: history from REST, the current bar live (the rule is in bars.js).
 *
 * The newest two bars are read again every few seconds, and soon after a bar has ended.
 */

import { iso, readBars, readTicks } from "/static/rest.js";
import { BarSeries, LENGTHS_MS } from "/static/dashboard/chart/bars.js";
import { SeriesHistory } from "/static/dashboard/chart/series_history.js";

/** Bars of one answer: fewer where many ticks are in each, so that every answer is quick. */
const PAGE = Object.freeze({ "1m": 500, "5m": 300, "15m": 200, "1h": 120, "1d": 30 });
const ENDED_MS = 1_000;

export class BarHistory extends SeriesHistory {
  #interval;
  #latestAt = null;

  /** `interval` as in REST; `changed` and `tell` as those of every history. */
  constructor(interval, changed, tell) {
    super(new BarSeries(LENGTHS_MS[interval]), changed, tell);
    this.#interval = interval;
  }

  choose(ticker, latest) {
    this.#latestAt = latest?.at ?? null;
    super.choose(ticker, latest);
  }

  /** Take a live entry of the chosen ticker; a bar that ended is settled soon. */
  add(stock) {
    const before = this.series.newest;
    super.add(stock);
    this.#latestAt = stock.at;
    if (before !== null && this.series.newest > before) setTimeout(() => this.resume(), ENDED_MS);
  }

  /** The begin of the bar that a moment falls into. */
  beginOf(at) {
    return this.series.beginOf(at) / 1000;
  }

  async readBefore(oldest, signal) {
    const last = await this.#lastTickBefore(oldest, signal);
    if (last === null) return false;
    const start = this.#pageBack(this.series.beginOf(last));
    const { items } = await readBars(this.ticker, { interval: this.#interval, start: iso(start), end: iso(oldest) }, signal);
    if (!signal.aborted) this.series.settle(items, start);
    return true;
  }

  /** When the market was closed for long, the page before the oldest bar would be empty. */
  async #lastTickBefore(at, signal) {
    const { items } = await readTicks(this.ticker, { limit: 1, end: iso(at) }, signal);
    return items.length ? Date.parse(items[0].ts) : null;
  }

  async readNewest(signal) {
    const start = this.series.unsettledFrom ?? this.#pageBack(this.series.beginOf(this.#latestAt ?? Date.now()));
    const { items } = await readBars(this.ticker, { interval: this.#interval, start: iso(start) }, signal);
    return [items, start];
  }

  #pageBack(lastBegin) {
    return lastBegin - (PAGE[this.#interval] - 1) * this.series.lengthMs;
  }
}
