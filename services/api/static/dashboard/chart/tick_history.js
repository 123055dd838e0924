/** The ticks of the chosen ticker: history from REST joined with what comes live (the rule is in ticks.js). */

import { iso, readTicks } from "/static/rest.js";
import { SeriesHistory } from "/static/dashboard/chart/series_history.js";
import { TickSeries } from "/static/dashboard/chart/ticks.js";

const PAGE = 1000;
const MOST_PAGES = 3;
const ENOUGH_POINTS = 300;

export class TickHistory extends SeriesHistory {
  /** `changed` and `tell` as those of every history. */
  constructor(changed, tell) {
    super(new TickSeries(), changed, tell);
  }

  /** The second that a moment is drawn in. */
  beginOf(at) {
    return Math.floor(at / 1000);
  }

  async readBefore(oldest, signal) {
    // The rows of the oldest moment again: the page before may have ended between two of them.
    const { items } = await readTicks(this.ticker, { limit: PAGE, end: iso(oldest + 1) }, signal);
    if (signal.aborted) return false;
    this.series.prepend(items);
    return this.series.oldest < oldest;
  }

  /** Rows from the newest stored one on, or enough to draw; whole unless there were more than fit. */
  async readNewest(signal) {
    const since = this.series.newestStored;
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
    return [rows, since === null || !cursor];
  }
}
