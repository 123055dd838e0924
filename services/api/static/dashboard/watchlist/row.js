/** One row of the watch list: it shows a ticker, and later another one. Only what has changed is written. */

import { SIGNS, age, average, brief, price, timeOfDay } from "/static/format.js";
import { changeOf } from "/static/dashboard/watchlist/change.js";
import { Sparkline } from "/static/dashboard/watchlist/sparkline.js";

/** As long as the style sheet lets it last. */
const FLASH_MS = 900;
const FLASH_AGAIN_MS = 3_000;
const DIRECTIONS = { 1: "up", "-1": "down", 0: "" };
const MOVES = { 1: "up", "-1": "down", 0: "no change known" };
/** Unknown yet. */
const NONE = "–";

export class Row {
  element = document.createElement("tr");
  ticker = "";
  /** The buttons that pin and choose. */
  pinButton = button();
  button = button();
  #cells = {};
  #texts = new Map();
  #sparkline = new Sparkline();
  #movedAt = 0;
  #flashedAt = 0;
  #price;
  /** The arrow beside it: an element of its own, for in a busy list every second one turns with each flush, and what has less style turns sooner. */
  #move;
  #percent;
  #absolute;
  #stock = null;
  #alert = null;
  #y = -1;

  constructor() {
    this.element.setAttribute("role", "row");
    this.#add("pin", "gridcell").append(this.pinButton);
    this.#add("ticker", "rowheader", "th").append(this.button);
    this.#add("spark", "gridcell").append(this.#sparkline.element);
    const priceCell = this.#add("price number", "gridcell");
    this.#price = part("span", priceCell);
    this.#move = part("i", priceCell, "move");
    this.#move.setAttribute("role", "img");
    this.#move.ariaLabel = MOVES[0];
    const change = this.#add("change number", "gridcell");
    this.#percent = part("span", change, "percent");
    this.#absolute = part("span", change, "absolute");
    for (const name of ["sma number", "alert", "age number"]) this.#add(name, "gridcell");
    this.#cells.price.addEventListener("animationend", () => this.#endFlash());
  }

  #add(name, role, kind = "td") {
    const cell = part(kind, this.element, name);
    cell.setAttribute("role", role);
    this.#cells[name.split(" ")[0]] = cell;
    return cell;
  }

  /** Show this ticker from now on, nothing of the one before. */
  assign(ticker) {
    if (this.ticker === ticker) return;
    this.ticker = this.element.dataset.ticker = ticker;
    this.#stock = this.#alert = null;
    [this.#movedAt, this.#flashedAt] = [performance.now(), -FLASH_AGAIN_MS]; // into a list in which much changes it comes without a flash
    this.#endFlash();
    this.#write(this.button, ticker);
    this.button.title = ticker;
    this.pinButton.setAttribute("aria-label", `Pin ${ticker}`);
  }

  /** Stand at a place of the list, of rows of a height in px. */
  place(place, rowHeight) {
    if (this.#y === place * rowHeight) return;
    this.#y = place * rowHeight;
    this.element.style.transform = `translateY(${this.#y}px)`;
    this.element.setAttribute("aria-rowindex", String(place + 2)); // the first is the header
  }

  /** What takes the focus in a column: its button, or the cell. Null if the column is not shown. */
  target(column) {
    const cell = this.#cells[column];
    return cell?.checkVisibility() ? (cell.querySelector("button") ?? cell) : null;
  }

  /** The columns that are shown, in their order. */
  get columns() {
    return Object.keys(this.#cells).filter((column) => this.#cells[column].checkVisibility());
  }

  /**
   * Show the latest price, against the day's open (null: not known); a change flashes if the row is seen. `isBusy`: much of the list
   * changes, and what goes with a price waits.
   */
  show(stock, open, { isSeen, isBusy }) {
    const isNews = this.#stock !== null && this.#stock.price !== stock.price;
    this.#stock = stock;
    this.#write(this.#price, price(stock.price));
    if (this.#direct(this.#move, stock.direction)) this.#move.ariaLabel = MOVES[stock.direction];
    if (isNews) this.#flash(stock.direction, { isSeen, isBusy });
    if (isBusy) return;
    this.#write(this.#cells.sma, average(stock.sma));
    this.#showChange(open);
  }

  #showChange(open) {
    const { absolute, percent, direction } = open === null ? { absolute: "", percent: NONE, direction: 0 } : changeOf(this.#stock.price, open);
    this.#write(this.#percent, percent);
    this.#write(this.#absolute, absolute);
    this.#direct(this.#cells.change, direction);
  }

  /** Show when the last alert was, and its direction. */
  showAlert(alert, now) {
    if (this.#alert === alert) return;
    this.#alert = alert;
    const cell = this.#cells.alert;
    this.#write(cell, alert ? `${SIGNS[alert.direction]} ${brief(alert.at, now)}` : NONE);
    if (cell.dataset.direction !== (alert?.direction ?? "")) cell.dataset.direction = alert?.direction ?? "";
    if (alert) this.#name(cell, `${alert.direction} at ${timeOfDay(alert.at)}`);
    else this.#name(cell, "no alert");
  }

  showAge(now) {
    if (this.#stock) this.#write(this.#cells.age, age(now - this.#stock.at));
  }

  /** Draw the line of the day; null: it is not known. */
  showSpark(spark) {
    this.#sparkline.draw(spark);
  }

  /** Say whether the row is the chosen one, pinned, and the last of those. */
  mark({ isChosen, isPinned, isLastPinned }) {
    this.#set(this.element, "aria-selected", String(isChosen));
    this.#set(this.pinButton, "aria-pressed", String(isPinned));
    this.element.classList.toggle("last-pinned", isLastPinned);
  }

  /**
   * A price that moves all the time flashes now and then, and among many others that do not at all: a page that blinks with each
   * flush tells nothing, and costs the most.
   *
   * The style sheet has each animation by two names, and changing from one to the other begins it again. `animate()` would have
   * the browser lay out the page at once, for each row anew.
   */
  #flash(direction, { isSeen, isBusy }) {
    const now = performance.now();
    const wasQuiet = now - this.#movedAt >= FLASH_MS;
    this.#movedAt = now;
    if (!isSeen || (!wasQuiet && (isBusy || now - this.#flashedAt < FLASH_AGAIN_MS))) return;
    this.#flashedAt = now;
    const { dataset } = this.#cells.price;
    dataset.flash = `${DIRECTIONS[direction]} ${dataset.flash?.endsWith("1") ? 2 : 1}`;
  }

  /** What could flash is there only while it does: the browser keeps an effect of its own for each. */
  #endFlash() {
    delete this.#cells.price.dataset.flash;
  }

  /** Return whether it is another direction. */
  #direct(element, direction) {
    if (element.dataset.direction === DIRECTIONS[direction]) return false;
    element.dataset.direction = DIRECTIONS[direction];
    return true;
  }

  #name(cell, text) {
    if (cell.title === text) return;
    cell.title = text;
    cell.setAttribute("aria-label", text);
  }

  #set(element, attribute, value) {
    if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
  }

  #write(element, text) {
    if (this.#texts.get(element) === text) return;
    this.#texts.set(element, text);
    element.textContent = text; // another node: within the same one a shorter text that stands on the right counts as one that shifted
  }
}

function part(kind, parent, className = "") {
  const element = document.createElement(kind);
  element.className = className;
  if (kind === "td") element.tabIndex = -1;
  parent.append(element);
  return element;
}

function button() {
  const element = document.createElement("button");
  element.type = "button";
  element.tabIndex = -1;
  return element;
}
