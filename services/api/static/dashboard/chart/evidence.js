/** The card of a crossover: what it was judged by, as figures, as a picture and in words. `said` is pure. */

import { SIGNS, average, axisMoment, price } from "/static/format.js";
import { RestError } from "/static/rest.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 276;
const HEIGHT = 52;
const MARGIN = 6;
const EDGE = 8;
const ASK_AGAIN_MS = 1_000;

/** What a crossover means, in words. */
export function said({ direction }) {
  return direction === "bullish" ? "The price was below its average, it is above since." : "The price was above its average, it is below since.";
}

/** All of a card in one sentence, for who cannot see it. */
export function told(alert) {
  const before = alert.previous_price == null ? "" : ` Before, the price was ${price(alert.previous_price)} and the average ${average(alert.previous_sma)}.`;
  return `${alert.ticker} crossed ${alert.direction}: price ${price(alert.price)}, average ${average(alert.sma)}. ${said(alert)}${before}`;
}

export class EvidenceCard {
  #card;
  #place;
  #find;
  #onClosed;
  #alert = null;
  #abort = null;
  /** Opened on purpose, not only pointed at: it stays until it is closed. */
  #isHeld = false;

  /** `card` stands in `place`; `find(alert, signal)` resolves to the alert with its evidence, or null. */
  constructor(card, place, find, onClosed) {
    [this.#card, this.#place, this.#find, this.#onClosed] = [card, place, find, onClosed];
    card.querySelector(".close").addEventListener("click", () => this.close());
    card.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
  }

  get isHeld() {
    return this.#isHeld;
  }

  get alert() {
    return this.#alert;
  }

  /** Show an alert at `x` pixels from the left; `isHeld`: until it is closed, with the focus in it. */
  open(alert, x, isHeld = false) {
    const isOther = alert.id !== this.#alert?.id;
    this.#isHeld = isHeld;
    this.#card.classList.toggle("held", isHeld);
    if (isOther) this.#show(alert);
    this.#put(x);
    if (isHeld) this.#card.focus();
  }

  #show(alert) {
    this.#abort?.abort();
    this.#alert = alert;
    this.#card.dataset.id = alert.id;
    this.#write(alert, "Reading the evidence …");
    this.#card.hidden = false;
    if (alert.window === undefined) this.#ask(alert);
    else this.#write(alert, evidenceText(alert));
  }

  /** A live alert is stored a moment later than it comes: ask until it is, as long as the card is open. */
  async #ask(alert) {
    const { signal } = (this.#abort = new AbortController());
    const [found, text] = await this.#answer(alert, signal);
    if (signal.aborted) return;
    this.#write(found ?? alert, text);
    if (!found) setTimeout(() => signal.aborted || this.#ask(alert), ASK_AGAIN_MS);
  }

  async #answer(alert, signal) {
    try {
      const found = await this.#find(alert, signal);
      return found ? [found, evidenceText(found)] : [null, "The evidence is not stored yet."];
    } catch (error) {
      if (!signal.aborted && !(error instanceof RestError)) throw error;
      return [null, `No evidence: ${error.message}`];
    }
  }

  /** Close it; the focus, if it was in it, is `onClosed`'s to place. */
  close() {
    if (this.#card.hidden) return;
    this.#abort?.abort();
    const hadFocus = this.#card.contains(document.activeElement);
    [this.#alert, this.#isHeld] = [null, false];
    this.#card.hidden = true;
    if (hadFocus) this.#onClosed();
  }

  #write(alert, text) {
    const part = (name) => this.#card.querySelector(`.${name}`);
    part("direction").textContent = `${SIGNS[alert.direction]} ${alert.direction}`;
    part("direction").dataset.direction = alert.direction;
    part("moment").textContent = axisMoment(alert.at / 1000);
    part("now-price").textContent = price(alert.price);
    part("now-sma").textContent = average(alert.sma);
    part("then-price").textContent = alert.previous_price == null ? "–" : price(alert.previous_price);
    part("then-sma").textContent = average(alert.previous_sma);
    part("words").textContent = said(alert);
    part("proof").textContent = text;
    part("picture").replaceChildren(...pictureOf(alert));
    part("picture").toggleAttribute("hidden", !alert.window);
    this.#card.setAttribute("aria-label", `Crossover of ${alert.ticker}`);
  }

  #put(x) {
    const [width, room] = [this.#card.offsetWidth, this.#place.clientWidth];
    const wanted = x === null ? (room - width) / 2 : x + width + 2 * EDGE > room ? x - width - 2 * EDGE : x + 2 * EDGE;
    this.#card.style.left = `${Math.max(EDGE, Math.min(room - width - EDGE, wanted))}px`;
  }
}

function evidenceText({ window }) {
  return window ? `The ${window.length} prices of its window:` : "What it was judged by cannot be shown: prices of its window are not stored any more.";
}

/** The window's prices as a line, its last point marked, and their average across. */
function pictureOf({ window, sma, direction }) {
  if (!window) return [];
  const prices = window.map(Number);
  const [low, high] = [Math.min(...prices, Number(sma)), Math.max(...prices, Number(sma))];
  const x = (index) => MARGIN + (index * (WIDTH - 2 * MARGIN)) / Math.max(1, prices.length - 1);
  const y = (value) => HEIGHT - MARGIN - ((value - low) * (HEIGHT - 2 * MARGIN)) / (high - low || 1);
  const path = prices.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  return [
    drawn("line", { class: "mean", x1: MARGIN, x2: WIDTH - MARGIN, y1: y(Number(sma)), y2: y(Number(sma)) }),
    drawn("polyline", { class: "prices", points: path }),
    drawn("circle", { class: direction, cx: x(prices.length - 1), cy: y(prices.at(-1)), r: 3.5 }),
  ];
}

function drawn(kind, attributes) {
  const element = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
