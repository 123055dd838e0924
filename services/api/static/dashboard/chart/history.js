/**
 * The ticks of the chosen ticker: history from REST joined with what comes live (the rule is in ticks.js), and its alerts.
 *
 * Live entries are taken from the moment of the choice, before history is asked for. History is asked again every second until both
 * are joined, then now and then, since live entries are conflated.
 */

import { RestError, readAlerts, readTicks } from "/static/rest.js";
import { TickSeries } from "/static/dashboard/chart/ticks.js";

const PAGE = 1000;
const MOST_PAGES = 3;
const ENOUGH_POINTS = 300;
const JOIN_MS = 1_000;
const SETTLE_MS = 5_000;
const RETRY_MS = 5_000;

export class History {
  series = new TickSeries();
  /** Id to alert, of the chosen ticker. */
  alerts = new Map();
  ticker = null;
  /** How many prices an average has; null until the REST service told. */
  period = null;
  #changed;
  #tell;
  #abort = null;
  #timer = null;

  /** `changed()` is called when there is something else to draw; `tell(text)` says what is missing, empty when nothing is. */
  constructor(changed, tell) {
    this.#changed = changed;
    this.#tell = tell;
  }

  /** Follow another ticker; `latest` is its newest entry, if one is known. */
  choose(ticker, latest) {
    this.ticker = ticker;
    this.#forget();
    if (latest) this.series.add(latest);
    this.#changed();
    this.#refill();
  }

  #forget() {
    this.series.clear();
    this.alerts.clear();
  }

  /** The gateway replaced everything; with `isLost`, because Redis lost entries. */
  replace(isLost) {
    if (isLost) this.#forget();
    else this.series.dropLive();
    this.resume();
  }

  /** Take a live entry of the chosen ticker. */
  add(stock) {
    this.series.add(stock);
    this.#changed();
  }

  /** Take a live alert of the chosen ticker. */
  addAlert(alert) {
    this.alerts.set(alert.id, alert);
    this.#changed();
  }

  /** The connection was lost: ticks may be missing from here on. */
  break() {
    this.series.break();
  }

  /** The connection is back: read what was missed. */
  resume() {
    if (this.ticker) this.#refill();
  }

  async #refill() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    const abort = (this.#abort = new AbortController());
    let waitMs = RETRY_MS;
    try {
      await this.#read(abort.signal);
      this.#tell("");
      waitMs = this.series.isJoined ? SETTLE_MS : JOIN_MS;
    } catch (error) {
      if (abort.signal.aborted) return;
      if (!(error instanceof RestError)) throw error;
      this.#tell(`No history: ${error.message}`);
    }
    this.#timer = setTimeout(() => this.#refill(), waitMs);
  }

  async #read(signal) {
    const since = this.series.newestStored;
    const { rows, isWhole } = await this.#readTicks(since, signal);
    const { items } = await readAlerts({ ticker: this.ticker, limit: PAGE, start: iso(since ?? Date.parse(rows.at(-1)?.ts ?? "")) }, signal);
    this.series.settle(rows, isWhole);
    items.forEach((alert) => this.#noteAlert(alert));
    this.#changed();
  }

  #noteAlert(alert) {
    this.alerts.set(alert.id, { ...alert, at: Date.parse(alert.ts) });
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

function iso(ms) {
  return Number.isFinite(ms) && ms !== null ? new Date(ms).toISOString() : null;
}
