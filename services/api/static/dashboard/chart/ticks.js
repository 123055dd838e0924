/**
 * The ticks of one ticker, joined from history and live entries without gap, duplicate or reordering. Pure.
 *
 * The rule: what REST answered is complete between its oldest and its newest row and replaces everything known there; live entries
 * count outside of it. Live entries are conflated and history lags a little behind, so history is read again until it reached the
 * first live entry (then they are joined), and every so often after that. A chart has one point a second: the last tick of it.
 */

const MOST_TICKS = 5000;
const SPARE_TICKS = 1000;
/** Dropped at once: whoever draws has to begin anew each time the oldest goes. */

export class TickSeries {
  /** `{at, price, sma, isStored}` by `at`; `sma` is text, null (not warm) or undefined (not known). */
  #ticks = [];
  #firstLive = null;
  #newestStored = null;

  get ticks() {
    return this.#ticks;
  }

  /** Time of the newest row that came from REST, in ms, or null. */
  get newestStored() {
    return this.#newestStored;
  }

  /** Whether nothing is missing between history and live entries. */
  get isJoined() {
    return this.#firstLive === null || (this.#newestStored !== null && this.#newestStored >= this.#firstLive);
  }

  /** A connection was lost: whatever comes live next is not joined to what is known. */
  break() {
    this.#firstLive = null;
  }

  /** What came live was replaced; what was stored holds. */
  dropLive() {
    this.#ticks = this.#ticks.filter((tick) => tick.isStored);
    this.#firstLive = null;
  }

  /** Everything known may be of a lost history. */
  clear() {
    this.#ticks = [];
    this.#firstLive = this.#newestStored = null;
  }

  /** Take a live entry; of two of one moment the later tells what holds, unless REST told it. `seq` is for the caller to watch. */
  add({ at, price, sma }) {
    this.#firstLive ??= at;
    const place = this.#ticks.findLastIndex((tick) => tick.at <= at) + 1;
    const before = this.#ticks[place - 1];
    if (before?.at !== at) this.#ticks.splice(place, 0, { at, price, sma, isStored: false });
    else Object.assign(before, before.isStored ? { sma } : { price, sma });
    this.#bound();
  }

  /** Take rows of REST, newest first, complete between the oldest and the newest of them; `isWhole` says that nothing older is missing. */
  settle(rows, isWhole = true) {
    if (rows.length === 0) return;
    const stored = rows.map((row) => ({ at: Date.parse(row.ts), price: row.price, sma: undefined, isStored: true })).reverse();
    const [oldest, newest] = [stored[0].at, stored.at(-1).at];
    const averages = new Map(this.#ticks.map((tick) => [tick.at, tick.sma]));
    // Of several ticks of one moment, an average known for it is that of the last.
    stored.forEach((tick, index) => {
      if (stored[index + 1]?.at !== tick.at) tick.sma = averages.get(tick.at);
    });
    const older = isWhole ? this.#ticks.filter((tick) => tick.at < oldest) : [];
    this.#ticks = [...older, ...stored, ...this.#ticks.filter((tick) => tick.at > newest)];
    this.#newestStored = Math.max(newest, this.#newestStored ?? newest);
    this.#bound();
  }

  #bound() {
    if (this.#ticks.length > MOST_TICKS + SPARE_TICKS) this.#ticks.splice(0, this.#ticks.length - MOST_TICKS);
  }

  /** One point a second, the last tick of each: `{time, price, sma}`, ascending; `period` is null where it is not known. */
  points(period) {
    const points = [];
    this.#ticks.forEach((tick, index) => {
      const time = Math.floor(tick.at / 1000);
      const next = this.#ticks[index + 1];
      if (next && Math.floor(next.at / 1000) === time) return;
      if (tick.sma === undefined && period) tick.sma = meanOf(this.#ticks, index, period);
      points.push({ time, price: Number(tick.price), sma: tick.sma == null ? null : Number(tick.sma) });
    });
    return points;
  }
}

/** The mean of the window that ends at `index`; undefined where a tick of it may be missing. */
function meanOf(ticks, index, period) {
  if (index + 1 < period) return undefined;
  let sum = 0;
  for (let i = index - period + 1; i <= index; i++) {
    if (!ticks[i].isStored) return undefined;
    sum += Number(ticks[i].price);
  }
  return (sum / period).toFixed(6);
}
