/**
 * The ticks of one ticker, joined from history and live entries without gap, duplicate or reordering. Pure.
 *
 * The rule: what REST answered is complete between its oldest and its newest row and replaces everything known there; live entries
 * count outside of it. Live entries are conflated and history lags a little behind, so history is read again until it reached the
 * first live entry (then they are joined), and every so often after that. A chart has one point a second: the last tick of it.
 */

import { decimals } from "/static/format.js";

const MOST_TICKS = 5000;
const SPARE_TICKS = 1000;
/** Dropped at once: whoever draws has to begin anew each time the oldest goes. */

export class TickSeries {
  /** `{at, price, sma, volume, isStored}` by `at`; `sma` is text, null (not warm) or undefined (not known), `volume` text or null. */
  #ticks = [];
  #firstLive = null;
  #newestStored = null;
  /** Older ones that the reader asked for are not dropped again. */
  #most = MOST_TICKS;
  #points = [];
  #period = null;
  /** The second from which on points are to be made anew. */
  #touched = Infinity;
  #decimals = 0;
  #hasVolume = false;

  get ticks() {
    return this.#ticks;
  }

  /** Time of the newest row that came from REST, in ms, or null. */
  get newestStored() {
    return this.#newestStored;
  }

  /** Time of the oldest tick, in ms, or null. */
  get oldest() {
    return this.#ticks[0]?.at ?? null;
  }

  /** The most decimals that a price had. */
  get decimals() {
    return this.#decimals;
  }

  /** Whether the source tells volumes. */
  get hasVolume() {
    return this.#hasVolume;
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
    this.#touch(-Infinity);
  }

  /** Everything known may be of a lost history. */
  clear() {
    this.#ticks = [];
    this.#firstLive = this.#newestStored = null;
    this.#most = MOST_TICKS;
    this.#decimals = 0;
    this.#hasVolume = false;
    this.#touch(-Infinity);
  }

  /** Take a live entry; of two of one moment the later tells what holds, unless REST told it. `seq` is for the caller to watch. */
  add({ at, price, sma }) {
    this.#firstLive ??= at;
    const place = this.#ticks.findLastIndex((tick) => tick.at <= at) + 1;
    const before = this.#ticks[place - 1];
    if (before?.at !== at) this.#ticks.splice(place, 0, { at, price, sma, volume: null, isStored: false });
    else Object.assign(before, before.isStored ? { sma } : { price, sma });
    this.#note(at, price);
    this.#bound();
  }

  /** Take rows of REST, newest first, complete between the oldest and the newest of them; `isWhole` says that nothing older is missing. */
  settle(rows, isWhole = true) {
    if (rows.length === 0) return;
    const stored = rows.map((row) => ({ at: Date.parse(row.ts), price: row.price, sma: undefined, volume: row.volume ?? null, isStored: true })).reverse();
    const [oldest, newest] = [stored[0].at, stored.at(-1).at];
    const averages = new Map(this.#ticks.map((tick) => [tick.at, tick.sma]));
    // Of several ticks of one moment, an average known for it is that of the last.
    stored.forEach((tick, index) => {
      if (stored[index + 1]?.at !== tick.at) tick.sma = averages.get(tick.at);
    });
    const older = isWhole ? this.#ticks.filter((tick) => tick.at < oldest) : [];
    this.#ticks = [...older, ...stored, ...this.#ticks.filter((tick) => tick.at > newest)];
    this.#newestStored = Math.max(newest, this.#newestStored ?? newest);
    stored.forEach((tick) => this.#note(tick.at, tick.price));
    this.#hasVolume ||= stored.some((tick) => tick.volume !== null);
    if (!isWhole) this.#touch(-Infinity);
    this.#bound();
  }

  /** Take older rows that the reader went back to, newest first, up to the oldest that is known. */
  prepend(rows) {
    this.#most += rows.length;
    this.settle(rows);
  }

  #note(at, price) {
    this.#decimals = Math.max(this.#decimals, decimals(price));
    this.#touch(secondOf(at));
  }

  #touch(second) {
    this.#touched = Math.min(this.#touched, second);
  }

  #bound() {
    if (this.#ticks.length <= this.#most + SPARE_TICKS) return;
    this.#ticks.splice(0, this.#ticks.length - this.#most);
    this.#touch(-Infinity);
  }

  /** The last tick of a second, or undefined. */
  at(second) {
    const tick = this.#ticks[lastBelow(this.#ticks, (second + 1) * 1000)];
    return tick && secondOf(tick.at) === second ? tick : undefined;
  }

  /**
   * One point a second, the last tick of each: `{time, price, sma}`, and `volume` of the second where there is one; ascending.
   * `period` is null where it is not known. Points that stay the same stay the same objects.
   */
  points(period) {
    if (period !== this.#period) this.#touch(-Infinity);
    this.#period = period;
    if (this.#touched === Infinity) return this.#points;
    const from = lastBelow(this.#ticks, this.#touched * 1000) + 1;
    const kept = this.#points.findLastIndex((point) => point.time < this.#touched) + 1;
    this.#points = [...this.#points.slice(0, kept), ...this.#pointsFrom(from)];
    this.#touched = Infinity;
    return this.#points;
  }

  #pointsFrom(from) {
    const points = [];
    let volume;
    for (let index = from; index < this.#ticks.length; index++) {
      const tick = this.#ticks[index];
      if (tick.volume !== null) volume = (volume ?? 0) + Number(tick.volume);
      if (index + 1 < this.#ticks.length && secondOf(this.#ticks[index + 1].at) === secondOf(tick.at)) continue;
      if (tick.sma === undefined && this.#period) tick.sma = meanOf(this.#ticks, index, this.#period);
      points.push(pointOf(tick, volume));
      volume = undefined;
    }
    return points;
  }
}

function pointOf(tick, volume) {
  const point = { time: secondOf(tick.at), price: Number(tick.price), sma: tick.sma == null ? null : Number(tick.sma) };
  return volume === undefined ? point : { ...point, volume };
}

const secondOf = (ms) => Math.floor(ms / 1000);

/** Index of the last tick before `at`, -1 if there is none. */
function lastBelow(ticks, at) {
  let [low, high] = [0, ticks.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ticks[middle].at < at) low = middle + 1;
    else high = middle;
  }
  return low - 1;
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
