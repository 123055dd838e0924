/**
 * The list of alerts on the page. Only the rows in sight are there, moved by `transform`: the work does not grow with the list, and
 * nothing that is laid out shifts when a row comes.
 *
 * For the keyboard and a screen reader it is a list box: one stop of the Tab key, arrows within.
 */

import { write } from "/static/dashboard/write.js";
import { SIGNS, age, average, price, when } from "/static/format.js";

const ROW_PX = 32;
const MORE_ROWS = 6;
/** Rows from the end at which older ones are asked for. */
const NEAR_END = 10;
const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };

export class AlertList {
  #frame;
  #list;
  #hear;
  #rows = new Map();
  #shown = [];
  #active = null;
  #top = 0;
  #height = 0;
  #now = 0;

  /** `list` within `frame`, which scrolls; `hear` has `onChoose(alert)`, `onScroll(isAtTop)` and `onNearEnd()`. */
  constructor(frame, list, hear) {
    this.#frame = frame;
    this.#list = list;
    this.#hear = hear;
    frame.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    list.addEventListener("click", (event) => this.#choose(this.#rows.get(event.target.closest("li")?.dataset.id)?.alert));
    list.addEventListener("keydown", (event) => this.#onKey(event));
    new ResizeObserver(([{ contentRect }]) => this.#onResize(contentRect.height)).observe(frame);
  }

  /** Show these, newest first, at `now` of the gateway's clock. */
  show(alerts, now) {
    this.#shown = alerts;
    this.#now = now;
    this.#list.style.height = `${alerts.length * ROW_PX}px`;
    this.#draw();
    this.tick(now);
  }

  /** What is shown, in sight or not. */
  get shown() {
    return this.#shown;
  }

  /** Write how long ago, of what is in sight. */
  tick(now) {
    this.#now = now;
    for (const row of this.#rows.values()) row.showAge(now);
  }

  scrollToTop() {
    this.#frame.scrollTop = 0;
    this.#top = 0;
  }

  focus() {
    this.#list.focus();
  }

  #draw() {
    const first = Math.max(0, Math.floor(this.#top / ROW_PX) - MORE_ROWS);
    const last = Math.min(this.#shown.length, Math.ceil((this.#top + this.#height) / ROW_PX) + MORE_ROWS);
    const rows = new Map();
    for (let place = first; place < last; place++) {
      const alert = this.#shown[place];
      const row = this.#rows.get(alert.id) ?? new Row(alert, this.#now);
      row.put(place, this.#shown.length, alert.id === this.#active);
      rows.set(alert.id, row);
    }
    for (const [id, row] of this.#rows) if (!rows.has(id)) row.element.remove();
    this.#order(rows);
    this.#rows = rows;
    if (last > this.#shown.length - NEAR_END) this.#hear.onNearEnd();
  }

  /** In the order in which they are read; rows that stay are left alone. */
  #order(rows) {
    let place = this.#list.firstElementChild;
    for (const { element } of rows.values()) {
      if (element === place) place = place.nextElementSibling;
      else this.#list.insertBefore(element, place);
    }
  }

  #onScroll() {
    this.#top = this.#frame.scrollTop;
    this.#hear.onScroll(this.#top <= 0);
    this.#draw();
  }

  #onResize(height) {
    this.#height = height;
    this.#draw();
  }

  #onKey(event) {
    const here = this.#shown.findIndex(({ id }) => id === this.#active);
    if (event.key === "Enter" && here >= 0) this.#choose(this.#shown[here]);
    else if (event.key in STEPS && this.#shown.length) this.#activate(Math.max(0, Math.min(this.#shown.length - 1, here + STEPS[event.key])));
    else return;
    event.preventDefault();
  }

  #activate(place) {
    this.#active = this.#shown[place].id;
    const top = place * ROW_PX;
    const bottom = top + ROW_PX - this.#height;
    if (top < this.#top || bottom > this.#top) this.#frame.scrollTop = this.#top = Math.max(0, top < this.#top ? top : bottom);
    this.#hear.onScroll(this.#top <= 0);
    this.#draw();
    this.#list.setAttribute("aria-activedescendant", this.#rows.get(this.#active)?.element.id ?? "");
  }

  #choose(alert) {
    if (!alert) return;
    this.#active = alert.id;
    this.#list.setAttribute("aria-activedescendant", this.#rows.get(alert.id)?.element.id ?? "");
    this.#draw();
    this.#hear.onChoose(alert);
  }
}

class Row {
  alert;
  element = document.createElement("li");
  #age;
  #place = null;

  constructor(alert, now) {
    this.alert = alert;
    const { id, ticker, direction } = alert;
    Object.assign(this.element.dataset, { id, ticker });
    this.element.id = `alert-${id}`;
    this.element.role = "option";
    const time = part("time", "time", when(alert.at, now));
    time.dateTime = alert.ts;
    const sign = part("span", "direction", `${SIGNS[direction]} ${direction}`);
    sign.dataset.direction = direction;
    const name = part("span", "ticker", ticker);
    name.title = ticker;
    this.#age = part("span", "number age", "");
    const figures = [part("span", "number price", price(alert.price)), part("span", "number sma", `SMA ${average(alert.sma)}`)];
    this.element.append(time, name, sign, ...figures, this.#age);
  }

  put(place, count, isActive) {
    this.element.ariaSelected = String(isActive);
    this.element.ariaSetSize = String(count);
    if (place === this.#place) return;
    this.#place = place;
    this.element.ariaPosInSet = String(place + 1);
    this.element.style.transform = `translateY(${place * ROW_PX}px)`;
  }

  showAge(now) {
    write(this.#age, age(now - this.alert.at));
  }
}

function part(kind, className, text) {
  const element = document.createElement(kind);
  element.className = className;
  element.textContent = text;
  return element;
}
