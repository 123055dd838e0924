/**
 * What the reader looks at, kept in the fragment of the address, so that a link or a reload shows the same: `#ticker=TSLA&interval=5m`.
 *
 * A bare name is a ticker, as in `#TSLA`. What stands at its default is left out; what no page knows is ignored.
 */

import { formatFilter, parseFilter } from "/static/dashboard/alerts/filter.js";
import { TICKER } from "/static/feed.js";

/** Each part of the view with its default. */
export const DEFAULTS = Object.freeze({ ticker: "", interval: "ticks", sort: "ticker", find: "", alerts: "all" });

/** How a part is read where not every text has a meaning: what has none falls back. */
const READERS = {
  alerts: (text) => formatFilter(parseFilter(text)),
  ticker: (text) => (TICKER.test(text) ? text : DEFAULTS.ticker),
};

export class View {
  #values = { ...DEFAULTS };
  #hearers = [];

  /** Reads the address, now and whenever the reader edits it. */
  constructor() {
    this.#values = parse(location.hash);
    addEventListener("hashchange", () => this.#take(parse(location.hash)));
  }

  /** The value of a part. */
  get(name) {
    return this.#values[name];
  }

  /** Change parts, and the address with them. No entry of the browser's history is made: going back leaves the page. */
  set(changes) {
    this.#take({ ...this.#values, ...changes });
    window.history.replaceState(null, "", format(this.#values) || location.pathname + location.search);
  }

  /** Call `hear(view)` after any of these parts has changed. */
  on(names, hear) {
    this.#hearers.push([names, hear]);
  }

  #take(values) {
    const before = this.#values;
    this.#values = values;
    for (const [names, hear] of this.#hearers) if (names.some((name) => before[name] !== values[name])) hear(this);
  }
}

/** The parts that a fragment names, the others at their defaults. Pure; somebody may have typed anything. */
export function parse(fragment) {
  const text = fragment.replace(/^#/, "");
  const given = new URLSearchParams(text.includes("=") ? text : `ticker=${text.replaceAll("+", "%2B")}`);
  const known = Object.keys(DEFAULTS).filter((name) => given.has(name));
  return { ...DEFAULTS, ...Object.fromEntries(known.map((name) => [name, (READERS[name] ?? String)(given.get(name))])) };
}

/** The fragment of these parts; empty where all stand at their defaults. Pure. */
export function format(values) {
  const told = Object.entries(values).filter(([name, value]) => value !== DEFAULTS[name]);
  if (told.length === 0) return "";
  if (told.length === 1 && told[0][0] === "ticker") return `#${encodeURIComponent(values.ticker)}`;
  return `#${new URLSearchParams(told)}`;
}
