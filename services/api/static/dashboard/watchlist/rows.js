/** The table of all tickers: one row each, sorted by ticker; only what changed is written. */

import { SIGNS, age, average, price } from "/static/format.js";

const FLASH_MS = 900;
const DIRECTIONS = { 1: "up", "-1": "down", 0: "" };

export class Table {
  #body;
  #choose;
  #rows = new Map();
  #chosen = null;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");

  /** `choose(ticker)` is called when a row is clicked, or reached with the arrow keys. */
  constructor(body, choose) {
    this.#body = body;
    this.#choose = choose;
    body.addEventListener("click", (event) => this.#onClick(event));
    body.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** Bring rows up to date: `stocks` are the entries that changed, `lastAlertOf(ticker)` the newest alert. */
  show(stocks, lastAlertOf) {
    for (const stock of stocks) {
      const row = this.#rows.get(stock.ticker) ?? this.#add(stock.ticker);
      row.show(stock, this.#calm.matches);
      row.showAlert(lastAlertOf(stock.ticker));
    }
  }

  /** Remove the rows of tickers that are no more. */
  keep(prices) {
    for (const [ticker, row] of this.#rows) {
      if (prices.has(ticker)) continue;
      row.element.remove();
      this.#rows.delete(ticker);
    }
  }

  /** Write the last alert of a ticker, if it has a row. */
  showAlert(alert) {
    this.#rows.get(alert.ticker)?.showAlert(alert);
  }

  /** Write the ages, at `now` of the gateway's clock. */
  showAges(now) {
    for (const row of this.#rows.values()) row.showAge(now);
  }

  /** Mark the chosen row. */
  mark(ticker) {
    this.#rows.get(this.#chosen)?.mark(false);
    this.#chosen = ticker;
    this.#rows.get(ticker)?.mark(true);
  }

  #add(ticker) {
    const row = new Row(ticker);
    const next = this.#after(ticker);
    this.#rows.set(ticker, row);
    this.#body.insertBefore(row.element, next?.element ?? null);
    if (ticker === this.#chosen) row.mark(true);
    return row;
  }

  #after(ticker) {
    let next = null;
    for (const row of this.#rows.values()) if (row.ticker > ticker && (!next || row.ticker < next.ticker)) next = row;
    return next;
  }

  #onClick(event) {
    const row = event.target.closest("tr");
    if (row) this.#choose(row.dataset.ticker);
  }

  #onKey(event) {
    const rows = [...this.#body.rows];
    const here = rows.indexOf(event.target.closest("tr"));
    const place = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: rows.length - 1 }[event.key];
    const row = rows[place];
    if (here < 0 || !row) return;
    event.preventDefault();
    row.querySelector("button").focus();
    this.#choose(row.dataset.ticker);
  }
}

class Row {
  element = document.createElement("tr");
  #button = document.createElement("button");
  #price;
  #sma;
  #alert;
  #age;
  #at = 0;

  constructor(ticker) {
    this.ticker = ticker;
    this.element.dataset.ticker = ticker;
    const heading = document.createElement("th");
    heading.scope = "row";
    this.#button.type = "button";
    this.#button.textContent = this.#button.title = ticker;
    this.#button.setAttribute("aria-pressed", "false");
    heading.append(this.#button);
    this.element.append(heading);
    this.#price = this.#cell("number price");
    this.#sma = this.#cell("number sma");
    this.#alert = this.#cell("alert");
    this.#age = this.#cell("number age");
    this.showAlert(undefined);
  }

  #cell(kind) {
    const cell = document.createElement("td");
    cell.className = kind;
    this.element.append(cell);
    return cell;
  }

  show(stock, isCalm) {
    const text = price(stock.price);
    if (this.#price.textContent && this.#price.textContent !== text && !isCalm) this.#flash(stock.direction);
    write(this.#price, text);
    this.#price.dataset.direction = DIRECTIONS[stock.direction];
    write(this.#sma, average(stock.sma));
    this.#at = stock.at;
  }

  #flash(direction) {
    const colour = direction < 0 ? "var(--flash-down)" : "var(--flash-up)";
    this.#price.getAnimations().forEach((animation) => animation.cancel());
    this.#price.animate([{ backgroundColor: colour }, { backgroundColor: "transparent" }], { duration: FLASH_MS, easing: "ease-out" });
  }

  showAlert(alert) {
    write(this.#alert, alert ? `${SIGNS[alert.direction]} ${alert.direction}` : "–");
    this.#alert.dataset.direction = alert?.direction ?? "";
  }

  showAge(now) {
    if (this.#at) write(this.#age, age(now - this.#at));
  }

  mark(isChosen) {
    this.#button.setAttribute("aria-pressed", String(isChosen));
    this.element.classList.toggle("chosen", isChosen);
  }
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
