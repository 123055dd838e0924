/**
 * A display that stands still while the feed goes on: updates are kept as one, the newest price of each ticker and every alert, and
 * given out together when the reader goes on. Pure.
 */

import { merged } from "/static/feed.js";

/** More than a list shows; who wants more asks REST. */
const MOST_ALERTS = 1_000;

export class Pause {
  /** Since when, in ms; null while nothing is paused. */
  since = null;
  /** How many changes of a price and alerts are kept back. */
  behind = 0;
  #kept = null;

  begin(now) {
    this.since = now;
    this.behind = 0;
  }

  /** Keep an update that came at `now` for later. */
  keep(update, now) {
    this.behind += update.stocks.length + update.alerts.length;
    const all = this.#kept ? merged(this.#kept.update, update) : update;
    this.#kept = { update: { ...all, alerts: all.alerts.slice(-MOST_ALERTS), isSnapshot: true }, at: now };
  }

  /** Go on: `{update, at}` of all that was kept, a snapshot since ticks between are missing, and when the last of it came; null if nothing did. */
  end() {
    const kept = this.#kept;
    this.since = this.#kept = null;
    return kept;
  }
}
