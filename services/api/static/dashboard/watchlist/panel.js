/** The watch list: every ticker with its newest price, how its day went, its average and last alert; searched, sorted and pinned. */

import { count } from "/static/format.js";
import { Asking } from "/static/dashboard/watchlist/asking.js";
import { relativeChange } from "/static/dashboard/watchlist/change.js";
import { Days } from "/static/dashboard/watchlist/days.js";
import { Grid } from "/static/dashboard/watchlist/grid.js";
import { clicked, mayRearrange, ordered, parseSort } from "/static/dashboard/watchlist/order.js";
import { Pins } from "/static/dashboard/watchlist/pins.js";
import { Search } from "/static/dashboard/watchlist/search.js";

/** Where more rows change at once nobody reads them all: no flash leads the eye, and all but prices and their arrows wait for the tick. */
const MANY_ROWS = 12;

export class WatchList {
  #board;
  #view;
  #redraw;
  #grid;
  #parts;
  #days = new Days();
  #asking = new Asking(this.#days, (tickers) => this.#onDays(tickers));
  #pins = new Pins(() => this.#arrange());
  #order = [];
  #lastPinned;
  #sortedAt = 0;
  /** Whether something has changed since. */
  #isUnsorted = false;
  /** Whether days came that were asked for. */
  #areDaysNew = false;
  /** Rows that have changed and were not written, or not wholly: those beside sight, and of many all but their prices. */
  #late = new Set();
  #revealed = null;
  #prices = null;
  #known = 0;
  #canHover = matchMedia("(hover: hover)");

  /** `place` is the panel's section; `redraw()` asks for a frame. */
  constructor(place, board, view, redraw) {
    this.#board = board;
    this.#view = view;
    this.#redraw = redraw;
    const part = (selector) => place.querySelector(selector);
    this.#parts = { count: part("#count"), empty: part("#no-prices"), scroller: part(".scroll"), heads: place.querySelectorAll("thead th") };
    this.#grid = new Grid(part("table"), this.#parts.scroller, {
      fill: (row) => this.#fill(row),
      scrolled: () => this.#onScroll(),
      choose: (ticker) => this.#choose(ticker),
      pin: (ticker) => this.#pin(ticker),
    });
    new Search(part("#find"), view, () => this.#order.length && view.set({ ticker: this.#order[0] }));
    part("thead").addEventListener("click", ({ target }) => this.#sortBy(target.closest("th").dataset.sort));
    view.on(["sort", "find"], () => this.#arrange());
    view.on(["find"], () => this.#onFound());
    view.on(["ticker"], () => this.#onChosen());
    this.#showSort(this.#sort);
  }

  /** Write what has changed of the rows in sight; all others cost nothing. */
  draw() {
    const { prices, changed } = this.#board;
    const isOther = prices !== this.#prices || prices.size !== this.#known;
    this.#isUnsorted ||= changed.size > 0;
    if (isOther) this.#arrange();
    const moved = [...this.#grid.rows.values()].filter((row) => changed.has(row.ticker));
    const { inSight } = this.#grid;
    const isBusy = moved.length > MANY_ROWS;
    for (const row of moved) {
      const isSeen = inSight.has(row.ticker);
      if (isSeen) this.#write(row, { isSeen, isBusy });
      if (!isSeen || isBusy) this.#late.add(row);
    }
    if (isOther) this.#onChosen();
    if (isOther || this.#areDaysNew) this.#ask(Date.now()); // an answer may be the first of many
    if (this.#areDaysNew) this.#drawLines();
  }

  /**
   * Ages, the order, what is to be asked of the days, and what is not worth a change with each flush: rows beside those in sight, and
   * the lines, which tell nothing more when they move all the time.
   */
  tick(now) {
    // Not only with a price: the last one for long may have come when rows were not to change places.
    if (this.#isUnsorted && this.#mayRearrange(now)) this.#arrange();
    this.#writeLate();
    this.#board.prices.forEach((stock) => this.#days.add(stock));
    this.#drawLines();
    for (const row of this.#grid.rows.values()) this.#showAge(row, now);
    this.#ask(now);
  }

  #ask(now) {
    this.#asking.look(this.#grid.inView, this.#order, (ticker) => this.#board.prices.get(ticker)?.at ?? 0, now);
  }

  /* Order */

  get #sort() {
    return parseSort(this.#view.get("sort"));
  }

  #mayRearrange(now) {
    const isPointedAt = this.#canHover.matches && this.#parts.scroller.matches(":hover");
    return mayRearrange({ sort: this.#sort, sinceMs: now - this.#sortedAt, isPointedAt, isFocused: this.#grid.isFocused });
  }

  #arrange() {
    const { prices } = this.#board;
    const [find, sort] = [this.#view.get("find"), this.#sort];
    const pinned = this.#pins.names;
    [this.#sortedAt, this.#isUnsorted] = [Date.now(), false];
    [this.#prices, this.#known] = [prices, prices.size];
    this.#order = ordered(prices.keys(), { find, sort, pinned, valueOf: (ticker) => this.#valueOf(ticker, sort.key) });
    this.#lastPinned = this.#order.findLast((ticker) => pinned.has(ticker));
    this.#grid.show(this.#order);
    this.#writeLate(); // they may be in sight now
    this.#mark();
    this.#showSort(sort);
    this.#showCount(find);
  }

  #valueOf(ticker, key) {
    const { price, at } = this.#board.prices.get(ticker);
    if (key === "price") return Number(price);
    if (key === "age") return -at;
    if (key === "alert") return this.#board.alerts.lastOf(ticker)?.at ?? null;
    const open = this.#days.openOf(ticker, at);
    return open === null ? null : relativeChange(price, open);
  }

  #sortBy(key) {
    if (key) this.#view.set({ sort: clicked(key, this.#sort) });
  }

  #showSort({ key, isDescending }) {
    for (const head of this.#parts.heads) {
      if (head.dataset.sort === key) head.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  #showCount(find) {
    const { count: told, empty } = this.#parts;
    const [shown, all] = [this.#order.length, this.#board.prices.size];
    told.textContent = find ? `${count(shown)} of ${count(all)}` : all ? count(all) : "";
    empty.hidden = shown > 0;
    empty.textContent = all ? `No ticker matches “${find}”.` : "Waiting for the first price.";
  }

  #pin(ticker) {
    this.#pins.toggle(ticker);
    this.#arrange();
    if (this.#grid.isFocused) this.#grid.reveal(ticker);
  }

  /* The chosen one */

  #choose(ticker) {
    this.#revealed = ticker; // it is where the reader looks
    this.#view.set({ ticker });
  }

  /** One that was chosen elsewhere comes into view. */
  #onChosen() {
    const ticker = this.#view.get("ticker");
    if (ticker !== this.#revealed && this.#grid.reveal(ticker)) this.#revealed = ticker;
    this.#mark();
  }

  /** Among all tickers again, the reader wants to see where the one is that was found. */
  #onFound() {
    if (this.#view.get("find")) return;
    this.#revealed = null;
    this.#onChosen();
  }

  #mark() {
    this.#grid.rows.forEach((row) => this.#markRow(row));
  }

  #markRow(row) {
    const { ticker } = row;
    const isChosen = ticker === this.#view.get("ticker");
    row.mark({ isChosen, isPinned: this.#pins.names.has(ticker), isLastPinned: ticker === this.#lastPinned });
  }

  /* Rows */

  /** Write everything of a row that came into view. */
  #fill(row) {
    this.#write(row);
    this.#drawLine(row);
    this.#markRow(row);
  }

  #write(row, how = { isSeen: false }) {
    const stock = this.#board.prices.get(row.ticker);
    if (!stock) return; // it is no more, and the next frame takes its row away
    const now = Date.now();
    row.show(stock, this.#days.openOf(row.ticker, stock.at), how);
    if (!how.isBusy) row.showAlert(this.#board.alerts.lastOf(row.ticker), now);
    this.#showAge(row, now);
  }

  #showAge(row, now) {
    row.showAge(now + this.#board.clockAheadMs);
  }

  #onScroll() {
    this.#writeLate();
    this.#ask(Date.now());
  }

  #writeLate() {
    this.#late.forEach((row) => this.#write(row));
    this.#late.clear();
  }

  #drawLines() {
    this.#areDaysNew = false;
    this.#grid.rows.forEach((row) => this.#drawLine(row));
  }

  #drawLine(row) {
    row.showSpark(this.#days.sparkOf(row.ticker));
  }

  /** Not drawn here: the display may stand still. */
  #onDays(tickers) {
    tickers.forEach((ticker) => this.#board.changed.add(ticker));
    this.#areDaysNew = true;
    this.#redraw();
  }
}
