/**
 * The bars of one ticker, joined from REST and live prices without gap, duplicate or disorder. Pure.
 *
 * The rule: a bar behind which REST knows a further one has ended and is exact, whatever came live. The newest bar that REST knows may
 * lag behind the live prices, and those are conflated: its open is REST's, its extremes those of both, its close the newest live price.
 * Newer bars are made of live prices alone, until REST is read again. An interval without a tick has no bar.
 */

import { decimals } from "/static/format.js";

const MINUTE_MS = 60_000;

/** Interval to the length of a bar, aligned to UTC as REST aligns them. */
export const LENGTHS_MS = Object.freeze({ "1m": MINUTE_MS, "5m": 5 * MINUTE_MS, "15m": 15 * MINUTE_MS, "1h": 60 * MINUTE_MS, "1d": 1440 * MINUTE_MS });

export class BarSeries {
  #lengthMs;
  /** Begin to `{open, high, low, close, volume}`, texts. */
  #stored = new Map();
  /** The same of live prices, with `newest`, the time of its close, and `isOver`: others may have followed that nobody told us. */
  #live = new Map();
  /** Begins of all bars, ascending. */
  #begins = [];
  #firstLive = null;
  #newestStored = null;
  #points = [];
  #period = null;
  /** The begin from which on points are to be made anew. */
  #touched = Infinity;
  #decimals = 0;
  #hasVolume = false;

  constructor(lengthMs) {
    this.#lengthMs = lengthMs;
  }

  get lengthMs() {
    return this.#lengthMs;
  }

  /** Begin of the newest bar that came from REST, in ms, or null. */
  get newestStored() {
    return this.#newestStored;
  }

  /** Begin of the oldest bar, in ms, or null. */
  get oldest() {
    return this.#begins[0] ?? null;
  }

  /** Begin of the newest bar, in ms, or null. */
  get newest() {
    return this.#begins.at(-1) ?? null;
  }

  /** From where on REST is to be read again: the newest two bars that it knows. Null: from the beginning. */
  get unsettledFrom() {
    return this.#newestStored === null ? null : (this.#begins[this.#begins.indexOf(this.#newestStored) - 1] ?? this.#newestStored);
  }

  /** The most decimals that a price had. */
  get decimals() {
    return this.#decimals;
  }

  /** Whether the source tells volumes. */
  get hasVolume() {
    return this.#hasVolume;
  }

  get length() {
    return this.#begins.length;
  }

  /** Whether no bar is missing between those of REST and the live ones. */
  get isJoined() {
    return this.#firstLive === null || (this.#newestStored !== null && this.#newestStored >= this.#firstLive);
  }

  /** Begin of the bar that a moment falls into. */
  beginOf(at) {
    return Math.floor(at / this.#lengthMs) * this.#lengthMs;
  }

  /** A connection was lost: whatever comes live next is not joined to what is known. */
  break() {
    this.#firstLive = null;
    this.#live.forEach((bar) => (bar.isOver = true));
  }

  /** What came live was replaced; what was stored holds. */
  dropLive() {
    this.#live.clear();
    this.#firstLive = null;
    this.#begins = this.#begins.filter((begin) => this.#stored.has(begin));
    this.#touch(-Infinity);
  }

  /** Everything known may be of a lost history. */
  clear() {
    this.#stored.clear();
    this.#live.clear();
    this.#begins = [];
    this.#firstLive = this.#newestStored = null;
    this.#decimals = 0;
    this.#hasVolume = false;
    this.#touch(-Infinity);
  }

  /** Take a live price. One that comes late for a bar that is exact is in it already. */
  add({ at, price }) {
    const begin = this.beginOf(at);
    this.#firstLive ??= begin;
    if (this.#isExact(begin)) return;
    const bar = this.#live.get(begin);
    this.#live.set(begin, bar ? grown(bar, at, price) : { open: price, high: price, low: price, close: price, volume: null, newest: at });
    this.#note(begin, price);
  }

  /** Take bars of REST, oldest first, complete from `from` (ms; null: their first) to the last of them. */
  settle(rows, from = null) {
    if (rows.length === 0) return;
    const bars = rows.map((row) => [Date.parse(row.ts), row]);
    const [oldest, newest] = [from ?? bars[0][0], bars.at(-1)[0]];
    this.#newestStored = Math.max(newest, this.#newestStored ?? newest);
    for (const begin of this.#begins) if (begin >= oldest && begin <= newest) this.#forget(begin);
    this.#begins = this.#begins.filter((begin) => this.#stored.has(begin) || this.#live.has(begin));
    this.#touch(oldest);
    for (const [begin, { open, high, low, close, volume }] of bars) {
      this.#stored.set(begin, { open, high, low, close, volume });
      this.#hasVolume ||= volume !== null;
      [high, low, close].forEach((price) => this.#note(begin, price));
    }
  }

  /** What REST tells anew; of its newest bar live prices may know more. */
  #forget(begin) {
    this.#stored.delete(begin);
    if (this.#isExact(begin)) this.#live.delete(begin);
  }

  #isExact(begin) {
    return this.#newestStored !== null && begin < this.#newestStored;
  }

  #note(begin, price) {
    this.#decimals = Math.max(this.#decimals, decimals(price));
    const place = this.#begins.findLastIndex((known) => known <= begin);
    if (this.#begins[place] !== begin) this.#begins.splice(place + 1, 0, begin);
    this.#touch(begin);
  }

  #touch(begin) {
    this.#touched = Math.min(this.#touched, begin);
  }

  /** The bar of a point of time in seconds, numbers as text, with the average of its point; or undefined. */
  at(second) {
    const begin = second * 1000;
    const bar = this.#barOf(begin);
    return bar && { ...bar, sma: meanOfCloses(this.#begins.indexOf(begin), this.#period, (index) => this.#closeOf(index))?.toFixed(6) ?? null };
  }

  #barOf(begin) {
    const [stored, live] = [this.#stored.get(begin), this.#live.get(begin)];
    return stored && live ? joined(stored, live) : (stored ?? live);
  }

  #closeOf(index) {
    return Number(this.#barOf(this.#begins[index]).close);
  }

  /**
   * `{time, open, high, low, close, sma}`, and `volume` where there is one; ascending. `sma` is the mean of the last `period` closes,
   * null before there are so many. Points that stay the same stay the same objects.
   */
  points(period) {
    if (period !== this.#period) this.#touch(-Infinity);
    this.#period = period;
    if (this.#touched === Infinity) return this.#points;
    const kept = this.#begins.findLastIndex((begin) => begin < this.#touched) + 1;
    const points = this.#points.slice(0, kept);
    const closeOf = (index) => points[index].close;
    for (const begin of this.#begins.slice(kept)) {
      points.push(pointOf(begin, this.#barOf(begin)));
      points.at(-1).sma = meanOfCloses(points.length - 1, period, closeOf);
    }
    this.#touched = Infinity;
    return (this.#points = points);
  }
}

function grown(bar, at, price) {
  const isNewest = at >= bar.newest;
  return {
    ...bar,
    high: higher(bar.high, price),
    low: lower(bar.low, price),
    close: isNewest ? price : bar.close,
    newest: Math.max(at, bar.newest),
    isOver: false,
  };
}

function joined(stored, live) {
  return { ...stored, high: higher(stored.high, live.high), low: lower(stored.low, live.low), close: live.isOver ? stored.close : live.close };
}

const higher = (a, b) => (Number(b) > Number(a) ? b : a);
const lower = (a, b) => (Number(b) < Number(a) ? b : a);

function pointOf(begin, { open, high, low, close, volume }) {
  const point = { time: begin / 1000, open: Number(open), high: Number(high), low: Number(low), close: Number(close), sma: null };
  return volume === null || volume === undefined ? point : { ...point, volume: Number(volume) };
}

/** The mean of the `period` closes that end at `index`; null where there are fewer, or `period` is not known. */
function meanOfCloses(index, period, closeOf) {
  if (!period || index + 1 < period) return null;
  let sum = 0;
  for (let i = index - period + 1; i <= index; i++) sum += closeOf(i);
  return sum / period;
}
