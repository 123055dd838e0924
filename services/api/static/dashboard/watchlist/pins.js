/** The tickers that the reader pinned: kept by the browser where it lets us, and the same in all of its tabs. */

const KEY = "tickstream.pinned";

export class Pins {
  /** The names; replaced by each change. */
  names;

  /** `hear()` is called when another tab has changed them. */
  constructor(hear) {
    this.names = stored();
    addEventListener("storage", ({ key }) => {
      if (key !== KEY && key !== null) return;
      this.names = stored();
      hear();
    });
  }

  /** Pin a ticker, or let it go. */
  toggle(ticker) {
    const names = new Set(this.names);
    if (!names.delete(ticker)) names.add(ticker);
    this.names = names;
    keep(names);
  }
}

/** The names within a stored text; none if it is anything else. Pure. */
export function parsePins(text) {
  try {
    const names = JSON.parse(text);
    return new Set(Array.isArray(names) ? names.filter((name) => typeof name === "string") : []);
  } catch {
    return new Set();
  }
}

function stored() {
  try {
    return parsePins(localStorage.getItem(KEY));
  } catch {
    return new Set(); // a browser may forbid the page to store anything
  }
}

function keep(names) {
  try {
    localStorage.setItem(KEY, JSON.stringify([...names]));
  } catch {
    // Forbidden or full: they hold until the page is closed.
  }
}
