/** The list of alerts, newest first; and what a screen reader is told of them, in words and not too often. */

import { SIGNS, average, price, when } from "/static/format.js";

const MOST_SHOWN = 100;
const QUIET_MS = 5_000;

export class AlertList {
  #list;
  #empty;
  #announcement;
  #items = new Map();
  #unsaid = [];
  #timer = null;

  /** `choose(ticker)` is called when an alert is clicked. */
  constructor(list, empty, announcement, choose) {
    this.#list = list;
    this.#empty = empty;
    this.#announcement = announcement;
    list.addEventListener("click", (event) => {
      const ticker = event.target.closest("li")?.dataset.ticker;
      if (ticker) choose(ticker);
    });
  }

  /** Show `alerts`, newest first; items that stay are left alone. */
  show(alerts, now) {
    const shown = alerts.slice(0, MOST_SHOWN);
    const items = new Map(shown.map((alert) => [alert.id, this.#items.get(alert.id) ?? itemOf(alert, now)]));
    for (const [id, item] of this.#items) if (!items.has(id)) item.remove();
    let place = this.#list.firstElementChild;
    for (const item of items.values()) {
      if (item === place) place = place.nextElementSibling;
      else this.#list.insertBefore(item, place);
    }
    this.#items = items;
    this.#empty.hidden = items.size > 0;
  }

  /** Tell of live alerts: at once, then at most every few seconds, the newest by name and the rest by number. */
  announce(alerts) {
    this.#unsaid.push(...alerts);
    if (this.#timer === null) this.#say();
  }

  #say() {
    const newest = this.#unsaid.at(-1);
    this.#timer = newest ? setTimeout(() => this.#say(), QUIET_MS) : null;
    if (!newest) return;
    const others = this.#unsaid.length - 1;
    this.#announcement.textContent = `${newest.ticker} ${newest.direction} at ${newest.price}${others ? `, and ${others} more` : ""}`;
    this.#unsaid = [];
  }
}

function itemOf(alert, now) {
  const item = document.createElement("li");
  item.dataset.ticker = alert.ticker;
  item.dataset.id = alert.id;
  item.append(
    part("time", "time", when(alert.at, now)),
    part("button", "ticker", alert.ticker),
    part("span", "direction", `${SIGNS[alert.direction]} ${alert.direction}`),
    part("span", "number price", price(alert.price)),
    part("span", "number sma", `SMA ${average(alert.sma)}`),
  );
  item.querySelector("time").dateTime = alert.ts;
  item.querySelector("button").type = "button";
  item.querySelector("button").title = alert.ticker;
  item.querySelector(".direction").dataset.direction = alert.direction;
  return item;
}

function part(kind, className, text) {
  const element = document.createElement(kind);
  element.className = className;
  element.textContent = text;
  return element;
}
