/**
 * A grid of any number of rows, of which only those in view exist.
 *
 * One cell is its tab stop. The row of that cell exists wherever the list is scrolled to, so that the focus is never lost with a row
 * that went out of view. Arrows, PageUp and PageDown move it; Home and End go to the first and the last row, which a reader of a long
 * list wants more often than the ends of a row; Enter chooses.
 */

import { rangeInView, topShowing } from "/static/dashboard/watchlist/range.js";
import { Row } from "/static/dashboard/watchlist/row.js";

export class Grid {
  /** The rows that exist, by ticker. */
  rows = new Map();
  #table;
  #body;
  #scroller;
  #hear;
  #order = [];
  #places = new Map();
  #free = [];
  #top = 0;
  #height = 0;
  #rowHeight = 1;
  #headHeight = 0;
  #active = { ticker: null, column: "ticker" };
  #stop = null;

  /** `hear` has `fill(row)`, called for a row that comes into being, `scrolled()`, `choose(ticker)` and `pin(ticker)`. */
  constructor(table, scroller, hear) {
    this.#table = table;
    this.#body = table.tBodies[0];
    this.#scroller = scroller;
    this.#hear = hear;
    scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    this.#body.addEventListener("click", (event) => this.#onClick(event));
    this.#body.addEventListener("keydown", (event) => this.#onKey(event));
    this.#body.addEventListener("focusin", ({ target }) => this.#activate(target));
    new ResizeObserver(() => this.#measure()).observe(scroller);
    this.#measure();
  }

  /** Whether somebody reads it with the keyboard. Where a mouse has clicked is no such place. */
  get isFocused() {
    return this.#body.querySelector(":focus-visible") !== null;
  }

  /** The tickers of the rows in view, and of those beside them. */
  get inView() {
    return [...this.rows.keys()];
  }

  /** The tickers of the rows that are seen. */
  get inSight() {
    return new Set(this.#order.slice(...rangeInView(this.#view, 0)));
  }

  /** Show these tickers, in this order; the list stays scrolled to where it is. */
  show(order) {
    this.#order = order;
    this.#places = new Map(order.map((ticker, place) => [ticker, place]));
    this.#body.style.height = `${order.length * this.#rowHeight}px`;
    this.#table.setAttribute("aria-rowcount", String(order.length + 1));
    if (!this.#places.has(this.#active.ticker)) this.#active.ticker = order[0] ?? null;
    this.#render();
  }

  /** Scroll so far that the row of a ticker is in view, and make it the tab stop. False if there is no such row. */
  reveal(ticker) {
    const place = this.#places.get(ticker);
    if (place === undefined) return false;
    this.#active.ticker = ticker;
    this.#scrollTo(topShowing(place, this.#view));
    this.#render();
    return true;
  }

  get #view() {
    return { top: this.#top, height: this.#height - this.#headHeight, rowHeight: this.#rowHeight, count: this.#order.length };
  }

  #onScroll() {
    this.#top = this.#scroller.scrollTop;
    this.#render();
    this.#hear.scrolled();
  }

  #scrollTo(top) {
    if (top === this.#top) return;
    this.#top = top;
    this.#scroller.scrollTop = top;
  }

  /** Heights are the style sheet's; the rows of a narrow or a tall page may be others. */
  #measure() {
    const style = getComputedStyle(this.#table);
    this.#rowHeight = parseFloat(style.getPropertyValue("--row-height")) || 1;
    this.#headHeight = parseFloat(style.getPropertyValue("--head-height")) || 0;
    this.#height = this.#scroller.clientHeight;
    this.show(this.#order);
  }

  /** Make the rows that are to exist exist, in the order in which they are read. */
  #render() {
    const focused = this.#body.contains(document.activeElement) ? document.activeElement : null;
    const wanted = this.#wanted();
    for (const [ticker, row] of this.rows) if (!wanted.has(ticker)) this.#release(row);
    const came = [];
    let next = this.#body.firstElementChild;
    for (const ticker of wanted) {
      const row = this.rows.get(ticker) ?? came[came.push(this.#take(ticker)) - 1];
      row.place(this.#places.get(ticker), this.#rowHeight);
      if (row.element === next) next = next.nextElementSibling;
      else this.#body.insertBefore(row.element, next);
    }
    came.forEach((row) => this.#hear.fill(row));
    this.#setStop();
    // An element that is moved within the document loses the focus.
    if (focused && document.activeElement !== focused) this.#stop?.focus({ preventScroll: true });
  }

  #wanted() {
    const [from, to] = rangeInView(this.#view);
    const { ticker } = this.#active;
    const inView = this.#order.slice(from, to);
    const place = this.#places.get(ticker);
    if (place === undefined || (place >= from && place < to)) return new Set(inView);
    return new Set(place < from ? [ticker, ...inView] : [...inView, ticker]);
  }

  #take(ticker) {
    const row = this.#free.pop() ?? new Row();
    row.assign(ticker);
    this.rows.set(ticker, row);
    return row;
  }

  #release(row) {
    this.rows.delete(row.ticker);
    row.element.remove();
    this.#free.push(row);
  }

  /* The focus */

  #activate(target) {
    const cell = target.closest("td, th");
    const row = this.rows.get(target.closest("tr")?.dataset.ticker);
    if (!row || !cell) return;
    this.#active = { ticker: row.ticker, column: cell.classList[0] };
    this.#setStop();
  }

  #setStop() {
    const row = this.rows.get(this.#active.ticker);
    const stop = row?.target(this.#active.column) ?? row?.target("ticker") ?? null;
    if (stop === this.#stop) return;
    if (this.#stop) this.#stop.tabIndex = -1;
    if (stop) stop.tabIndex = 0;
    this.#stop = stop;
  }

  #onClick({ target }) {
    const ticker = target.closest("tr")?.dataset.ticker;
    if (!ticker) return;
    if (target.closest(".pin")) this.#hear.pin(ticker);
    else this.#hear.choose(ticker);
  }

  #onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const isButton = event.target.localName === "button";
    const done = event.key.startsWith("Arrow") || event.key in this.#leaps ? this.#move(event.key) : !isButton && this.#press(event.key);
    if (done) event.preventDefault();
  }

  #press(key) {
    if (key !== "Enter" && key !== " ") return false;
    this.#hear.choose(this.#active.ticker);
    return true;
  }

  get #leaps() {
    const page = Math.max(1, Math.floor(this.#view.height / this.#rowHeight) - 1);
    return { PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
  }

  #move(key) {
    if (key === "ArrowLeft" || key === "ArrowRight") return this.#moveAcross(key === "ArrowRight" ? 1 : -1);
    const by = { ArrowDown: 1, ArrowUp: -1 }[key] ?? this.#leaps[key];
    const last = this.#order.length - 1;
    const place = Math.max(0, Math.min(last, this.#places.get(this.#active.ticker) + by));
    this.reveal(this.#order[place]);
    this.#stop?.focus({ preventScroll: true });
    return true;
  }

  #moveAcross(by) {
    const { columns } = this.rows.get(this.#active.ticker);
    const column = columns[columns.indexOf(this.#active.column) + by];
    if (column) this.rows.get(this.#active.ticker).target(column).focus({ preventScroll: true });
    return true;
  }
}
