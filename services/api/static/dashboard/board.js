/** What the page knows: latest prices, alerts and the market. Pure: no DOM, no clock, no network. */

const MOST_ALERTS = 1_000;

/** The alerts of every ticker, from the gateway and from REST, each once, newest first and bounded. */
export class AlertLog {
  #newest = [];
  /** Those that came since that was made, the newest last. */
  #came = [];
  #ids = new Set();
  #lastOf = new Map();

  /** Newest first: by time of the event, and of one moment the later arrived first. */
  get newest() {
    if (this.#came.length) this.#sort();
    return this.#newest;
  }

  /** The newest of a ticker, or undefined. */
  lastOf(ticker) {
    return this.#lastOf.get(ticker);
  }

  /** Take alerts, the newest last; return those that are not listed yet. */
  add(alerts) {
    const fresh = alerts.filter((alert) => !this.#ids.has(alert.id)).map((alert) => ({ ...alert, at: Date.parse(alert.ts) }));
    fresh.forEach((alert) => this.#note(alert));
    this.#came.push(...fresh);
    if (this.#came.length > MOST_ALERTS) this.#sort(); // nobody looks
    return fresh;
  }

  #sort() {
    const all = [...this.#came.toReversed(), ...this.#newest].sort(newestFirst);
    this.#came = [];
    this.#newest = all.slice(0, MOST_ALERTS);
    all.slice(MOST_ALERTS).forEach(({ id }) => this.#ids.delete(id));
  }

  #note(alert) {
    this.#ids.add(alert.id);
    const known = this.#lastOf.get(alert.ticker);
    if (!known || newestFirst(known, alert) >= 0) this.#lastOf.set(alert.ticker, alert);
  }
}

/** Of one ticker `seq` decides where the moment is the same; of two tickers nothing has to. */
function newestFirst(a, b) {
  return b.at - a.at || (a.ticker === b.ticker ? b.seq - a.seq : 0);
}

/** The newest entry of a ticker. Of a thousand twenty are in sight: what takes time is worked out for who asks. */
class Stock {
  constructor({ ticker, price, sma, alert, ts, seq }, before) {
    this.ticker = ticker;
    this.price = price;
    this.sma = sma;
    this.alert = alert;
    this.ts = ts;
    this.seq = seq;
    /** The newest price that was another one, or null. */
    this.otherPrice = before === undefined ? null : before.price === price ? before.otherPrice : before.price;
  }

  /** When it was, in ms. */
  get at() {
    return Date.parse(this.ts);
  }

  /** 1 if the price went up, -1 down, 0 not known. */
  get direction() {
    return this.otherPrice === null ? 0 : Math.sign(Number(this.price) - Number(this.otherPrice));
  }
}

/** State of the pipeline as the feed tells it. */
export class Board {
  /** Ticker to `Stock`. */
  prices = new Map();
  alerts = new AlertLog();
  market = null;
  /** Tickers with another price or a further alert since the page was drawn; who draws clears it. */
  changed = new Set();
  /** How far the gateway's clock is ahead of ours, in ms. */
  clockAheadMs = 0;

  /** Take an update of the feed; return its alerts as they are listed. */
  onUpdate({ stocks, alerts, timestamp, isReplaced }, now) {
    const before = this.prices;
    if (isReplaced) this.prices = new Map();
    this.clockAheadMs = Date.parse(timestamp) - now;
    for (const stock of stocks) {
      this.prices.set(stock.ticker, new Stock(stock, before.get(stock.ticker)));
      this.changed.add(stock.ticker);
    }
    return this.addAlerts(alerts);
  }

  /** Take alerts, the newest last; return those that are not listed yet. */
  addAlerts(alerts) {
    const fresh = this.alerts.add(alerts);
    fresh.forEach((alert) => this.changed.add(alert.ticker));
    return fresh;
  }
}
