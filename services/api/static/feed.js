/**
 * Prices and alerts of a gateway, for any page: `subscribe` connects, comes back after every end that allows it, and resumes.
 *
 * Each alert is given once, and per ticker `seq` never goes back, until `onGap` says that alerts may have been missed. Depends on
 * nothing: load it from `/static/feed.js`, or copy it. How to use it is in docs/browser-client.md, what it speaks in docs/websocket.md.
 *
 * @typedef {{ticker: string, price: string, sma: ?string, alert: ?string, ts: string, seq: number}} Stock
 *   `price` and `sma` are the characters of the message: a float would lose digits.
 * @typedef {{id: string, ticker: string, direction: string, price: string, sma: ?string, ts: string, seq: number}} Alert
 * @typedef {object} Update
 * @property {Stock[]} stocks Each ticker once, its latest price.
 * @property {Alert[]} alerts Every one since the update before.
 * @property {string} timestamp When the gateway sent it.
 * @property {string} cursor What to store, to resume after this update.
 * @property {boolean} isSnapshot Whether these may be prices that have not changed.
 * @property {boolean} isReplaced Whether these stocks are all there is: forget those of updates before.
 * @property {number} skipped How many prices newer ones replaced because this page was slow.
 * @typedef {object} Gap
 * @property {string} reason `resume`: what came after the cursor is not known any more; `rewind`, `reset`: Redis lost entries; `gap`:
 *   entries were deleted unread.
 * @property {string} cursor After which something may be missing.
 * @property {?string} since When the last update before was sent.
 * @property {string} until When the update that follows was sent. `GET /api/alerts?start=&end=` has the alerts between the two.
 * @typedef {object} Status
 * @property {"connecting"|"live"|"waiting"|"ended"} phase `ended`: another try would end the same way.
 * @property {string} reason Why there is no connection; empty before the first try has failed.
 * @property {?number} code Of the close frame that said so.
 * @property {?number} retryAt When the next try begins, in ms.
 * @property {?string} staleSince Since when the gateway hears nothing of its Redis, so that prices stand still.
 * @property {string} complaint What the gateway answered last to something it refused.
 * @typedef {object} Options
 * @property {Iterable<string>} [tickers] Only these; without it all, also those that are not known yet.
 * @property {string} [since] A cursor that was stored, of another day or another page.
 * @property {string|(() => string|Promise<string>)} [token] A function is asked again before `exp`, and when a token was refused.
 * @property {(update: Update) => void} [onUpdate] Without it, iterate: `for await (const update of feed)`.
 * @property {(gap: Gap) => void} [onGap] Called before the update that replaces everything.
 * @property {(status: Status) => void} [onStatus]
 * @property {(market: object) => void} [onMarket] With the `market_status` message.
 */

const EVERY = "*";
export const TICKER = /^[A-Z0-9][A-Z0-9.:-]{0,31}$/;
const NAMES_PER_MESSAGE = 100;
/** The longest make 3.5 KB; the gateway takes 4 KiB. */
const MOST_TICKERS = 1_000;
const LEAST_IDS = 10_000;
/** As many alerts as a gateway keeps for a slow page. */
const LOOK_MS = 1_000;
const OPEN_MS = 10_000;
const QUIET_MS = 20_000;
const ANSWER_MS = 15_000;
const DOUBT_MS = 5_000;
/** For a sign of life after the device slept or changed its network. */
const AHEAD_MS = 90_000;
/** A token is replaced so long before its end: the timers of a hidden page run once a minute. */
const MOST_HINT_SECONDS = 60;
const HINT = /(?:; )?reconnect in (\d{1,6}(?:\.\d{1,3})?) s$/;
const FINAL_CODES = new Set([1002, 1007, 1009, 4400, 4403]);
const UNAUTHORIZED = 4401;
const NO_CLOSE_FRAME = 1006;

/**
 * Follow a gateway until `close`.
 * @param {string|string[]} url `ws:`, `wss:`, `http:` or `https:`, without a path `/ws/stocks/`. Of several, the next one each time.
 * @param {Options} [options]
 */
export function subscribe(url, options = {}) {
  return new Feed(url, options);
}

/** Another try would end the same way: what iterating throws then. `code` is that of the close frame, if there was one. */
export class Refused extends Error {
  constructor(code, reason) {
    super(reason);
    this.name = "Refused";
    this.code = code;
  }
}

/** A subscription; made by `subscribe`. */
export class Feed {
  #urls;
  #options;
  #tickers;
  #progress;
  #backoff = new Backoff();
  #tries = 0;
  /** @type {?Connection} */
  #connection = null;
  #timer = null;
  #isHinted = false;
  #token;
  #refusedToken;
  #renewAt = Infinity;
  #looking;
  #listening = new AbortController();
  /** @type {?Update} */
  #waiting = null;
  #rouse = () => {};
  #isClosed = false;
  /** @type {Status} */
  #status = { phase: "connecting", reason: "", code: null, retryAt: null, staleSince: null, complaint: "" };
  #market = null;

  /** @param {string|string[]} url @param {Options} options */
  constructor(url, options) {
    this.#urls = [url].flat().map(addressOf);
    this.#options = options;
    this.#tickers = bounded(checked(options.tickers ?? [EVERY]));
    this.#progress = new Progress(options.since);
    this.#looking = setInterval(() => this.#look(Date.now()), LOOK_MS);
    this.#listen();
    queueMicrotask(() => this.#open()); // whoever subscribes has this object before its functions are called
  }

  /** What to resume from: of an update that was given, or newer; empty before there is one. */
  get cursor() {
    return this.#progress.cursor;
  }

  get status() {
    return this.#status;
  }

  /** The newest `market_status`, or null. */
  get market() {
    return this.#market;
  }

  /** Follow these tickers, too, or `*`: they come as a snapshot. @param {Iterable<string>} tickers */
  add(tickers) {
    const names = checked(tickers).filter((name) => !this.#isWanted(name));
    this.#tickers = bounded([...this.#tickers, ...names]);
    this.#ask("subscribe", names);
  }

  /** Follow these tickers no more. Throws a TypeError if none would be left, or if all are followed. @param {Iterable<string>} tickers */
  remove(tickers) {
    if (this.#tickers.has(EVERY)) throw new TypeError("every ticker is followed: single ones cannot be taken out");
    const names = checked(tickers).filter((name) => this.#tickers.has(name));
    this.#tickers = bounded([...this.#tickers].filter((name) => !names.includes(name)));
    this.#ask("unsubscribe", names);
  }

  /** Disconnect for good. */
  close() {
    this.#isClosed = true;
    this.#stop();
  }

  /**
   * Updates as they come. While one is worked on, those behind it become one: the newest price of each ticker, and every alert.
   * Leaving the loop closes the feed, for nobody would take what comes.
   */
  async *[Symbol.asyncIterator]() {
    try {
      for (;;) {
        while (!this.#waiting) {
          if (this.#isClosed) return;
          if (this.#status.phase === "ended") throw new Refused(this.#status.code, this.#status.reason);
          await new Promise((resolve) => (this.#rouse = () => resolve(null)));
        }
        const update = this.#waiting;
        this.#waiting = null;
        yield update;
      }
    } finally {
      this.close();
    }
  }

  /* Connecting */

  async #open() {
    clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#isClosed) return;
    this.#tell({ phase: "connecting", retryAt: null });
    try {
      this.#token = await this.#askToken();
    } catch (error) {
      this.#end({ reason: `no token could be had: ${error?.message}` });
      return;
    }
    if (!this.#isClosed) this.#connect(this.#urls[this.#tries++ % this.#urls.length]);
  }

  async #askToken() {
    const { token } = this.#options;
    if (typeof token !== "function") return token;
    const found = await Promise.race([token(), failingAfter(ANSWER_MS)]);
    if (typeof found !== "string" || found === "") throw new TypeError("the function returned none");
    if (found === this.#refusedToken) throw new TypeError("none but the one that was refused");
    return found;
  }

  #connect(url) {
    const names = [...this.#tickers];
    this.#progress.onConnect();
    try {
      this.#connection = new Connection(asking(url, names, this.cursor), this.#token, {
        onOpen: () => this.#onOpen(names),
        onText: (text) => this.#onText(text),
        onEnd: (event, wasOpen) => this.#onEnd(event, wasOpen, url),
      });
    } catch (error) {
      // Not in the browser's words: they may quote the token.
      this.#end({ reason: `the browser does not connect to ${url} (${error.name})`, isFinal: true });
    }
  }

  /** Tickers may have come and gone during the handshake. */
  #onOpen(asked) {
    this.#ask("unsubscribe", asked.filter((name) => !this.#isWanted(name)));
    this.#ask("subscribe", [...this.#tickers].filter((name) => !asked.includes(name)));
    this.#expectExpiry();
  }

  #onEnd({ code, reason }, wasOpen, url) {
    const isOnline = globalThis.navigator?.onLine !== false;
    const canRenew = typeof this.#options.token === "function";
    if (code === UNAUTHORIZED) this.#refusedToken = this.#token;
    this.#end(code === NO_CLOSE_FRAME ? judgeLoss(wasOpen, isOnline, url) : judgeClose(code, reason, canRenew));
  }

  /** @param {End} end */
  #end({ reason, code = null, isFinal = false, hintSeconds = null }) {
    this.#drop();
    if (this.#isClosed) return;
    const ended = { reason, code, staleSince: null, complaint: "" };
    if (isFinal) {
      this.#tell({ ...ended, phase: "ended" });
      this.#stop();
      return;
    }
    const waitMs = (hintSeconds ?? this.#backoff.nextSeconds()) * 1000;
    this.#isHinted = hintSeconds !== null;
    this.#timer = setTimeout(() => this.#open(), waitMs);
    this.#tell({ ...ended, phase: "waiting", retryAt: Date.now() + waitMs });
  }

  #drop() {
    this.#connection?.drop();
    this.#connection = null;
    this.#renewAt = Infinity;
  }

  #stop() {
    clearTimeout(this.#timer);
    clearInterval(this.#looking);
    this.#listening.abort();
    this.#drop();
    this.#rouse();
  }

  /* Staying connected */

  #look(now) {
    if (this.#connection?.isDead(now)) this.#end({ reason: "the gateway does not answer" });
    else if (now >= this.#renewAt) this.#renew();
  }

  #listen() {
    const { signal } = this.#listening;
    const page = globalThis.document;
    const wake = () => page?.visibilityState !== "hidden" && this.#wake(Date.now());
    for (const event of ["online", "offline", "pageshow"]) globalThis.addEventListener?.(event, wake, { signal });
    for (const event of ["resume", "visibilitychange"]) page?.addEventListener(event, wake, { signal });
  }

  /** The page slept, or the network changed: waiting has lost its reason, unless the gateway gave one, and the connection may be gone. */
  #wake(now) {
    if (this.#timer === null) this.#connection?.doubt(now);
    else if (!this.#isHinted || now >= this.#status.retryAt) this.#open();
  }

  #expectExpiry() {
    if (typeof this.#options.token === "function") this.#renewAt = renewalOf(this.#token, Date.now());
  }

  async #renew() {
    const connection = this.#connection;
    this.#renewAt = Infinity;
    const token = await this.#askToken().catch(() => null);
    if (!connection || connection !== this.#connection) return;
    if (token === null) {
      this.#renewAt = Date.now() + ANSWER_MS;
      return;
    }
    this.#token = token;
    this.#expectExpiry();
    connection.send({ action: "auth", token });
  }

  #ask(action, names) {
    for (let from = 0; from < names.length; from += NAMES_PER_MESSAGE) {
      this.#connection?.send({ action, tickers: names.slice(from, from + NAMES_PER_MESSAGE) });
    }
  }

  /* Hearing */

  #onText(text) {
    const message = read(text);
    switch (message?.type) {
      case undefined:
        this.#end({ reason: "what answers there is no gateway of tickstream", isFinal: true });
        break;
      case "stock_update":
        this.#onUpdate(message);
        break;
      case "pong":
        this.#progress.cursor = message.cursor;
        break;
      case "status":
        this.#tell({ staleSince: message.stale ? message.since : null });
        break;
      case "market_status":
        this.#market = message;
        this.#call("onMarket", message);
        break;
      case "error":
        this.#onComplaint(message);
        break;
    }
  }

  #onUpdate(message) {
    const taken = this.#progress.take(message, (name) => this.#isWanted(name));
    if (!taken) return;
    const { update, gap } = taken;
    this.#backoff.reset();
    if (this.#status.phase !== "live") this.#tell({ phase: "live", reason: "", code: null });
    if (gap) this.#call("onGap", gap);
    if (this.#options.onUpdate) this.#call("onUpdate", update);
    else this.#waiting = this.#waiting ? merged(this.#waiting, update) : update;
    this.#rouse();
  }

  /** The tenth error ends a connection for good: where no token is needed, none is shown again. */
  #onComplaint({ code, message }) {
    if (code === "not_supported") this.#renewAt = Infinity;
    this.#tell({ complaint: message });
  }

  #isWanted(name) {
    return this.#tickers.has(EVERY) || this.#tickers.has(name);
  }

  #tell(change) {
    this.#status = { ...this.#status, ...change };
    this.#call("onStatus", this.#status);
  }

  /** What a caller's function does wrong is for the console, and not the end of the feed. */
  #call(name, argument) {
    try {
      this.#options[name]?.(argument);
    } catch (error) {
      reportError(error);
    }
  }
}

/** One socket, until it ends or is dropped. Throws what the browser throws for an address that it does not connect to. */
class Connection {
  #socket;
  #liveness = new Liveness(Date.now());

  constructor(url, token, { onOpen, onText, onEnd }) {
    let wasOpen = false;
    this.#socket = new WebSocket(url, token ? ["bearer", token] : []);
    this.#socket.onopen = () => {
      wasOpen = true;
      this.#liveness.onHeard(Date.now());
      onOpen();
    };
    this.#socket.onmessage = ({ data }) => {
      this.#liveness.onHeard(Date.now());
      onText(data);
    };
    this.#socket.onclose = (event) => onEnd(event, wasOpen);
  }

  send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  /** Look at it now and then: it is pinged when it is quiet. */
  isDead(now) {
    if (this.#liveness.isQuiet(now)) this.#ping(now, ANSWER_MS);
    return this.#liveness.isDead(now);
  }

  /** Give it up unless it shows life soon; at once if the browser closed it without telling, as that of a page it kept in its cache. */
  doubt(now) {
    this.#ping(now, this.#socket.readyState > WebSocket.OPEN ? 0 : DOUBT_MS);
  }

  #ping(now, patienceMs) {
    this.#liveness.onAsked(now, patienceMs);
    this.send({ action: "ping" });
  }

  drop() {
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }
}

/* Pure from here on */

/** What was given so far: the cursor, each ticker's `seq`, and the ids of alerts. */
export class Progress {
  cursor;
  #parts = [];
  #seqs = new Map();
  #ids = new Set();
  /** Ids before those, all forgotten at once: a set is slow at giving up its oldest. */
  #olderIds = new Set();
  #sentAt = null;
  #isFirst = true;

  constructor(since = "") {
    this.cursor = since;
  }

  /** A connection begins: what an earlier one left unfinished comes again whole. */
  onConnect() {
    this.#parts = [];
    this.#isFirst = true;
  }

  /**
   * Take a `stock_update`: what of it is wanted and news, and the gap before it. Null until the last part of one is there, which
   * has the cursor: so the cursor covers what was given, no less and no more.
   * @param {(ticker: string) => boolean} isWanted
   * @returns {?{update: Update, gap: ?Gap}}
   */
  take(message, isWanted = () => true) {
    this.#parts.push(message);
    if (message.more) return null;
    const parts = this.#parts;
    this.#parts = [];
    const { timestamp, recovered, reason = "resume", snapshot: isSnapshot = false, skipped = 0 } = message;
    // A snapshot that is not the first message has the tickers that were added.
    const isReplaced = recovered === false || (this.#isFirst && !recovered);
    const gap = recovered === false ? { reason, cursor: this.cursor, since: this.#sentAt, until: timestamp } : null;
    if (isReplaced) this.#seqs.clear();
    const stocks = parts.flatMap((part) => part.stocks).filter((stock) => isWanted(stock.ticker) && this.#isNoStepBack(stock));
    const alerts = parts.flatMap((part) => part.alerts).filter((alert) => isWanted(alert.ticker) && this.#isUnseen(alert));
    this.#isFirst = false;
    this.#sentAt = timestamp;
    this.cursor = message.cursor;
    return { update: { stocks, alerts, timestamp, cursor: this.cursor, isSnapshot, isReplaced, skipped }, gap };
  }

  #isNoStepBack({ ticker, seq }) {
    if (seq < (this.#seqs.get(ticker) ?? 0)) return false;
    this.#seqs.set(ticker, seq);
    return true;
  }

  #isUnseen({ id }) {
    if (this.#ids.has(id) || this.#olderIds.has(id)) return false;
    if (this.#ids.size === LEAST_IDS) [this.#olderIds, this.#ids] = [this.#ids, new Set()];
    this.#ids.add(id);
    return true;
  }
}

/** Two updates as one: the newest price of each ticker, and every alert. @param {Update} older @param {Update} newer @returns {Update} */
export function merged(older, newer) {
  const before = newer.isReplaced ? [] : older.stocks;
  const stocks = new Map([...before, ...newer.stocks].map((stock) => [stock.ticker, stock]));
  return {
    ...newer,
    stocks: [...stocks.values()],
    alerts: [...older.alerts, ...newer.alerts],
    isSnapshot: older.isSnapshot || newer.isSnapshot,
    isReplaced: older.isReplaced || newer.isReplaced,
    skipped: older.skipped + newer.skipped + before.length + newer.stocks.length - stocks.size,
  };
}

/** When a peer is to be asked for a sign of life, and when it is taken for dead; made when the connection is begun. Times in ms. */
export class Liveness {
  #heardAt;
  #deadAt;

  constructor(now) {
    this.#heardAt = now;
    this.#deadAt = now + OPEN_MS;
  }

  onHeard(now) {
    this.#heardAt = now;
    this.#deadAt = Infinity;
  }

  onAsked(now, patienceMs) {
    this.#deadAt = Math.min(this.#deadAt, now + patienceMs);
  }

  /** Whether nothing was heard for long, and nothing asked since. */
  isQuiet(now) {
    return this.#deadAt === Infinity && now - this.#heardAt >= QUIET_MS;
  }

  isDead(now) {
    return now >= this.#deadAt;
  }
}

/** Seconds between tries, with full jitter: no crowd comes back at once. Source: M. Brooker, "Exponential Backoff And Jitter", AWS, 2015. */
export class Backoff {
  #first;
  #most;
  #random;
  #failures = 0;

  constructor(first = 1, most = 30, random = Math.random) {
    this.#first = first;
    this.#most = most;
    this.#random = random;
  }

  nextSeconds() {
    return this.#random() * Math.min(this.#most, this.#first * 2 ** this.#failures++);
  }

  reset() {
    this.#failures = 0;
  }
}

/**
 * @typedef {object} End
 * @property {string} reason
 * @property {number} [code]
 * @property {boolean} [isFinal] Another try would end the same way.
 * @property {?number} [hintSeconds] When the gateway asks us to come back.
 */

/** Read a close frame, by the table of docs/websocket.md; `canRenew` where there may be another token. @returns {End} */
export function judgeClose(code, text, canRenew = false) {
  const hint = HINT.exec(text);
  return {
    reason: `${text.replace(HINT, "") || "the connection was closed"} (code ${code})`,
    code,
    isFinal: FINAL_CODES.has(code) || (code === UNAUTHORIZED && !canRenew),
    hintSeconds: hint ? Math.min(Number(hint[1]), MOST_HINT_SECONDS) : null,
  };
}

/** An end without a close frame, of which a browser tells nothing more. @returns {End} */
export function judgeLoss(wasOpen, isOnline, url) {
  if (!isOnline) return { reason: "this device is offline" };
  return { reason: wasOpen ? "the connection to the gateway was lost" : `no gateway answers at ${url}` };
}

function failingAfter(ms) {
  return new Promise((_, reject) => setTimeout(() => reject(new Error(`none came within ${ms / 1000} s`)), ms));
}

/** When to ask for another token, in ms: ahead of this JWT's `exp` (RFC 7519); never if it has none, or has ended by our clock. */
export function renewalOf(token, now) {
  const leftMs = expiryOf(token) - now;
  return leftMs > 0 ? now + leftMs - Math.min(AHEAD_MS, leftMs / 2) : Infinity;
}

function expiryOf(token) {
  try {
    const { exp } = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    return Number.isFinite(exp) ? exp * 1000 : Infinity;
  } catch {
    return Infinity; // no JWT: its issuer knows when it ends
  }
}

/** The names, each once. Throws a TypeError for what is no ticker, which the gateway would refuse. */
function checked(tickers) {
  if (typeof tickers === "string") throw new TypeError(`tickers are a list of names: ["${tickers}"]`);
  const names = [...new Set(tickers)];
  const malformed = names.filter((name) => name !== EVERY && !TICKER.test(name));
  if (malformed.length) throw new TypeError(`not a ticker, such as AAPL or BRK.B: ${malformed.join(", ")}`);
  return names;
}

/** The set of these names. Throws a TypeError for what a connection cannot have. */
function bounded(names) {
  if (names.includes(EVERY)) return new Set([EVERY]);
  if (names.length > MOST_TICKERS) throw new TypeError(`${names.length} tickers; a connection has ${MOST_TICKERS} at most, or all with *`);
  if (names.length === 0) throw new TypeError("no ticker is left: close it instead");
  return new Set(names);
}

/** The address of a gateway: a WebSocket's, with the path if none is given. Throws a TypeError for one that would be refused. */
export function addressOf(url) {
  const address = new URL(url, globalThis.location?.href);
  if (address.searchParams.has("token") || address.searchParams.has("access_token")) {
    throw new TypeError("a token does not belong into a URL, which proxies log: pass it as `token`");
  }
  address.protocol = address.protocol.replace("http", "ws");
  address.hash = "";
  if (address.pathname === "/") address.pathname = "/ws/stocks/";
  return address.href;
}

/** The address that asks for these tickers, and for what came after the cursor. */
export function asking(url, tickers, cursor) {
  const address = new URL(url);
  if (tickers.length && !tickers.includes(EVERY)) address.searchParams.set("tickers", tickers.join());
  if (cursor) address.searchParams.set("since", cursor);
  return address.href;
}

/** A number that is a price, behind its name. No text within a string looks like that: there a quote is escaped. */
const PRICES = /([{,]\s*"(?:price|sma)"\s*:\s*)(-?(?!0\d)\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?=\s*[,}])/g;

/**
 * V8 looks a text below ten characters of a JSON value up in its table of names, and keeps it: with prices, which hardly come twice, that
 * took as long as all else. Longer ones it just copies.
 */
const LONG = " ".repeat(10);

/** Read a message; `price` and `sma` of its entries stay text. A reviver that is told each number's source would take four times as long. */
export function parse(text) {
  const message = JSON.parse(text.replace(PRICES, `$1"${LONG}$2"`));
  for (const entries of [message?.stocks, message?.alerts]) entries?.forEach(trim);
  return message;
}

function trim(entry) {
  entry.price = entry.price?.trim();
  entry.sma = entry.sma?.trim() ?? null;
}

function read(text) {
  try {
    return parse(text);
  } catch {
    return undefined;
  }
}
