/**
 * What is known of the day of each ticker, and what is to be asked of it next: the rows in view with their lines first, then the opens
 * of all others. Pure: the time is an argument, and asking is somebody else's.
 */

import { Spark } from "/static/dashboard/watchlist/spark.js";

const DAY_MS = 86_400_000;
const MOST_TICKERS = 100;
const POINTS = 32;
const AGAIN_MS = 60_000;
/** Of a ticker whose day has just begun nothing may be stored yet. */
const SOON_MS = 5_000;
const AFTER_FAILURE_MS = 15_000;

/** Days by ticker. */
export class Days {
  #days = new Map();
  #notBefore = 0;

  /** The open of the day that a price at `at` is of, as text; null while it is not known. */
  openOf(ticker, at) {
    const day = this.#days.get(ticker);
    return day?.open && at < day.endsAt ? day.open : null;
  }

  /** The line of the day; null while it is not known. */
  sparkOf(ticker) {
    return this.#days.get(ticker)?.spark ?? null;
  }

  /** Continue the line of a ticker, if it has one. */
  add({ ticker, price, at }) {
    const day = this.#days.get(ticker);
    if (day?.spark && at < day.endsAt) day.spark.add(at, Number(price));
  }

  /** What to ask for, `{tickers, points}`, or null. `inView` and `all` are tickers, `atOf(ticker)` is when its newest price was. */
  next(inView, all, atOf, now) {
    if (now < this.#notBefore) return null;
    const seen = inView.filter((ticker) => this.#isDue(ticker, atOf(ticker), now, true));
    if (seen.length) return { tickers: seen.slice(0, MOST_TICKERS), points: POINTS };
    const others = all.filter((ticker) => this.#isDue(ticker, atOf(ticker), now, false));
    return others.length ? { tickers: others.slice(0, MOST_TICKERS), points: 0 } : null;
  }

  /** Take the answer to what was asked at `now`. */
  take({ tickers, points }, answer, now) {
    const found = new Map(answer.map((day) => [day.ticker, day]));
    for (const ticker of tickers) this.#days.set(ticker, dayOf(found.get(ticker), this.#days.get(ticker), points, now));
  }

  /** There was no answer. */
  fail(now) {
    this.#notBefore = now + AFTER_FAILURE_MS;
  }

  /** Lines grow old; an open is asked for again only if it is of another day, or was not there. */
  #isDue(ticker, at, now, isInView) {
    const day = this.#days.get(ticker);
    if (!day) return true;
    const isOfToday = day.open !== null && at < day.endsAt;
    if (!isOfToday) return now >= day.askedAt + SOON_MS;
    return isInView && (!day.spark || now >= day.askedAt + AGAIN_MS);
  }
}

function dayOf(found, before, points, now) {
  if (!found) return { open: null, endsAt: 0, spark: null, askedAt: now };
  const endsAt = Date.parse(found.day) + DAY_MS;
  const stored = found.points.map(({ ts, price }) => ({ at: Date.parse(ts), value: Number(price) }));
  const spark = points ? new Spark(stored, Number(found.open)) : before?.endsAt === endsAt ? before.spark : null;
  return { open: found.open, endsAt, spark, askedAt: now };
}
