/**
 * What a gateway's client knows: latest prices, alerts, market, and whether Redis is away. Pure: no DOM, no clock, no network.
 *
 * Per ticker `seq` never goes backwards until a message replaces everything. Prices and averages are the characters of the message.
 */

const MOST_ALERTS = 200;
const MOST_IDS = 5000;
/** Far more than one message brings again after a resume. */

/** Read a message or an answer; `price` and `sma` stay text where the browser shows the source, which every current one does. */
export function parse(text) {
  return JSON.parse(text, (key, value, context) =>
    (key === "price" || key === "sma") && typeof value === "number" ? (context?.source ?? String(value)) : value,
  );
}

/** The alerts of every ticker, each once, newest first and bounded. */
export class AlertLog {
  #newest = [];
  #ids = new Set();
  #lastOf = new Map();

  /** Newest first: by time of the event, and of one moment the later arrived first. */
  get newest() {
    return this.#newest;
  }

  /** The newest of a ticker, or undefined. */
  lastOf(ticker) {
    return this.#lastOf.get(ticker);
  }

  /** Take alerts from the gateway or from REST; return those not seen before. */
  add(alerts) {
    const fresh = alerts.filter((alert) => this.#isFresh(alert.id)).map((alert) => ({ ...alert, at: Date.parse(alert.ts) }));
    if (fresh.length === 0) return fresh;
    fresh.forEach((alert) => this.#note(alert));
    this.#newest = [...fresh.toReversed(), ...this.#newest].sort(newestFirst).slice(0, MOST_ALERTS);
    return fresh;
  }

  #isFresh(id) {
    if (this.#ids.has(id)) return false;
    this.#ids.add(id);
    if (this.#ids.size > MOST_IDS) this.#ids.delete(this.#ids.values().next().value);
    return true;
  }

  #note(alert) {
    const known = this.#lastOf.get(alert.ticker);
    if (!known || newestFirst(known, alert) >= 0) this.#lastOf.set(alert.ticker, alert);
  }
}

/** Of one ticker `seq` decides where the moment is the same; of two tickers nothing has to. */
function newestFirst(a, b) {
  return b.at - a.at || (a.ticker === b.ticker ? b.seq - a.seq : 0);
}

/** State of the pipeline as the gateway tells it. */
export class Board {
  /** Ticker to `{ticker, price, sma, alert, at, seq, direction}`; `at` in ms, `direction` 1 up, -1 down, 0 not known. */
  prices = new Map();
  alerts = new AlertLog();
  market = null;
  /** Since when Redis is away, in ms, or null. */
  staleSince = null;
  /** What the gateway refused last. */
  complaint = "";
  /** Up to where all this is complete. */
  cursor = "";
  /** How far the gateway's clock is ahead of ours, in ms. */
  clockAheadMs = 0;
  #isInSnapshot = false;

  /** A connection was opened: what an earlier one left unfinished does not count. */
  onConnect() {
    this.#isInSnapshot = false;
    this.staleSince = null;
    this.complaint = "";
  }

  /** Take a message; return `{stocks, alerts, isReplaced, isLost}`: the entries that were news; whether all before was dropped,
   * and whether because Redis lost entries. */
  onMessage(message, now) {
    const news = { stocks: [], alerts: [], isReplaced: false, isLost: false };
    switch (message.type) {
      case "stock_update":
        this.#onUpdate(message, now, news);
        break;
      case "status":
        this.staleSince = message.stale ? Date.parse(message.since) : null;
        break;
      case "market_status":
        this.market = message;
        break;
      case "error":
        this.complaint = message.message;
        break;
    }
    return news;
  }

  #onUpdate(message, now, news) {
    const isSnapshot = Boolean(message.snapshot);
    news.isReplaced = isSnapshot && !this.#isInSnapshot && message.recovered !== true;
    news.isLost = news.isReplaced && Boolean(message.reason);
    // A snapshot may come in several parts, all but the last marked with `more`.
    this.#isInSnapshot = isSnapshot && Boolean(message.more);
    const before = this.prices;
    if (news.isReplaced) this.prices = new Map();
    this.clockAheadMs = Date.parse(message.timestamp) - now;
    news.stocks = message.stocks.filter((stock) => this.#take(stock, before));
    news.alerts = this.alerts.add(message.alerts);
    if (message.cursor) this.cursor = message.cursor;
  }

  #take(stock, before) {
    const known = this.prices.get(stock.ticker);
    if (known && stock.seq <= known.seq) return false;
    const direction = directionOf(stock, before.get(stock.ticker));
    this.prices.set(stock.ticker, { ...stock, at: Date.parse(stock.ts), direction });
    return true;
  }
}

function directionOf(stock, earlier) {
  if (!earlier) return 0;
  return Math.sign(Number(stock.price) - Number(earlier.price)) || earlier.direction;
}
