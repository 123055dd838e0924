/** What the chart shows of one point, in words and figures; each figure has its place and width, so that nothing moves. */

import { write } from "/static/dashboard/write.js";
import { average, price, volume } from "/static/format.js";

const BAR = [["open", "O"], ["high", "H"], ["low", "L"], ["close", "C"]];

/** Parts whose figures are no prices. */
const OWN_WIDTH = new Set(["time", "average", "volume"]);

export class Legend {
  #place;
  #parts = new Map();
  #shape = "";
  #widest = 0;

  constructor(place) {
    this.#place = place;
  }

  /** Begin anew: figures of another ticker may need less room. */
  clear() {
    this.#widest = 0;
    this.#shape = "";
    this.#place.replaceChildren();
  }

  /** Show parts, `[[name, label, text], …]`. */
  show(parts) {
    const shape = parts.map(([name, label]) => `${name} ${label}`).join();
    if (shape !== this.#shape) this.#build(parts, shape);
    for (const [name, , text] of parts) write(this.#parts.get(name), text);
    this.#widen(parts);
  }

  #build(parts, shape) {
    this.#shape = shape;
    this.#parts = new Map();
    this.#place.replaceChildren(...parts.map(([name, label]) => this.#part(name, label)));
  }

  #part(name, label) {
    const [element, value] = [document.createElement("span"), document.createElement("span")];
    element.className = name;
    value.className = OWN_WIDTH.has(name) ? "value" : "value fixed";
    if (label) element.append(Object.assign(document.createElement("span"), { className: "label", textContent: label }), " ");
    element.append(value);
    this.#parts.set(name, value);
    return element;
  }

  #widen(parts) {
    const widest = Math.max(...parts.filter(([name]) => !OWN_WIDTH.has(name)).map(([, , text]) => text.length));
    if (widest <= this.#widest) return;
    this.#widest = widest;
    this.#place.style.setProperty("--figure", `${widest}ch`);
  }
}

/** Parts of a tick, `{price, sma, volume}`. */
export function partsOfTick(tick, moment, missing) {
  return [["price", "", price(tick.price)], ...averagePart(tick.sma, "SMA", missing, "price"), ["time", "", moment], ...volumePart(tick.volume)];
}

/** Parts of a bar. */
export function partsOfBar(bar, moment, period, missing) {
  const prices = BAR.map(([name, label]) => [name, label, price(bar[name])]);
  return [...prices, ...averagePart(bar.sma, `SMA ${period ?? ""} of closes`, missing, "bar"), ["time", "", moment], ...volumePart(bar.volume)];
}

function averagePart(sma, label, missing, unit) {
  if (sma == null && missing > 0) return [["average", "", `SMA after ${missing} more ${unit}${missing === 1 ? "" : "s"}`]];
  return [["sma", label, average(sma)]];
}

/** Undefined: the source has none; null: not told yet. It stands last, for it comes and goes. */
function volumePart(amount) {
  return amount === undefined ? [] : [["volume", "Vol", amount === null ? "–" : volume(amount)]];
}
