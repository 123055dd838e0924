/** What is marked on the chart beside prices: the crossovers of the chosen ticker and the gaps of its history, each once. */

import { Refill } from "/static/dashboard/chart/refill.js";
import { RestError, iso, readAlerts, readGaps } from "/static/rest.js";

const PAGE = 1000;
const SETTLE_MS = 5_000;
/** What came late may be older than the newest that is known. */
const OVERLAP_MS = 60_000;

export class Marks {
  /** Id to alert. */
  alerts = new Map();
  /** As REST tells them, newest first. */
  gaps = [];
  /** Rises whenever there is something else to draw. */
  version = 0;
  #ticker = null;
  #changed;
  #refill;
  #newest = null;
  /** Cursor of the next older page; null: there is none. */
  #older = null;

  /** `changed()` is called when REST told something else to draw. */
  constructor(changed) {
    this.#changed = changed;
    this.#refill = new Refill((signal) => this.#read(signal));
  }

  /** Follow another ticker. */
  choose(ticker) {
    this.#ticker = ticker;
    this.forget();
    this.#refill.begin();
  }

  /** Everything known may be of a lost history. */
  forget() {
    this.alerts.clear();
    this.gaps = [];
    this.#newest = this.#older = null;
    this.version++;
  }

  /** Read now what may have been missed. */
  resume() {
    if (this.#ticker) this.#refill.begin();
  }

  /** Take a live alert of the chosen ticker. */
  add(alert) {
    if (!this.alerts.has(alert.id)) this.#note(alert);
  }

  /** The evidence of an alert as REST has it: the alert with `window`, `previous_price` and `previous_sma`; null if it is not stored yet. */
  async evidenceOf(alert, signal) {
    if (this.alerts.get(alert.id)?.window !== undefined) return this.alerts.get(alert.id);
    const { items } = await readAlerts({ ticker: alert.ticker, limit: PAGE, start: iso(alert.at), end: iso(alert.at + 1) }, signal);
    const found = items.find(({ id }) => id === alert.id);
    return found ? { ...found, at: Date.parse(found.ts) } : null;
  }

  /** Read alerts back to a moment in ms, while the reader goes back. What cannot be read now is asked for at the next step back. */
  async reach(at) {
    try {
      while (this.#older && [...this.alerts.values()].every((alert) => alert.at > at)) await this.#readOlder(this.#ticker, this.#older);
    } catch (error) {
      if (!(error instanceof RestError)) throw error;
    }
    this.#changed();
  }

  async #readOlder(ticker, cursor) {
    const { items, next } = await readAlerts({ ticker, limit: PAGE, cursor });
    if (ticker !== this.#ticker || cursor !== this.#older) return;
    this.#older = next;
    items.forEach((alert) => this.#note({ ...alert, at: Date.parse(alert.ts) }));
  }

  async #read(signal) {
    const since = this.#newest === null ? null : this.#newest - OVERLAP_MS;
    const [alerts, gaps] = await Promise.all([readAlerts({ ticker: this.#ticker, limit: PAGE, start: iso(since) }, signal), readGaps(this.#ticker, signal)]);
    if (signal.aborted) return SETTLE_MS;
    const { version } = this;
    if (since === null) this.#older = alerts.next;
    alerts.items.forEach((alert) => this.#note({ ...alert, at: Date.parse(alert.ts) }));
    this.#newest = Math.max(this.#newest ?? 0, ...alerts.items.map((alert) => Date.parse(alert.ts))) || null;
    this.#noteGaps(gaps.items);
    if (this.version !== version) this.#changed();
    return SETTLE_MS;
  }

  #note(alert) {
    if (!this.alerts.has(alert.id)) this.version++;
    this.alerts.set(alert.id, alert);
  }

  #noteGaps(gaps) {
    if (JSON.stringify(gaps) === JSON.stringify(this.gaps)) return;
    this.gaps = gaps;
    this.version++;
  }
}
