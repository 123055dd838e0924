/** The line of a day in little: stored points, continued by live prices, and where they lie in a box. Pure. */

/** An even number: one more is the odd one that is thinned. */
const MOST_POINTS = 64;

/** The points of a day, oldest first: `{at, value}`, `at` in ms. Bounded, however long it is continued. */
export class Spark {
  points;
  #spacingMs;

  /** `points` are stored ones, `open` the price that the line is measured by. */
  constructor(points, open) {
    this.open = open;
    this.points = points;
    this.#space();
  }

  /**
   * Continue with a live price, which may be the one of before. What comes sooner than points are apart moves the last one; what comes
   * late is left to the next reading.
   */
  add(at, value) {
    const [last, before] = [this.points.at(-1), this.points.at(-2)];
    if (last && at < last.at) return;
    if (last?.at === at) this.points.pop();
    else if (before && at - before.at < this.#spacingMs) this.points.pop();
    this.points.push({ at, value });
    if (this.points.length > MOST_POINTS) this.#thin();
  }

  /** 1 if the last price is above the open, -1 below, 0 neither. */
  get direction() {
    return this.points.length ? Math.sign(this.points.at(-1).value - this.open) : 0;
  }

  /** Of an odd number of points every other one: both ends stay. */
  #thin() {
    this.points = this.points.filter((_, place) => place % 2 === 0);
    this.#space();
  }

  #space() {
    const span = this.points.length > 1 ? this.points.at(-1).at - this.points[0].at : 0;
    this.#spacingMs = (2 * span) / MOST_POINTS;
  }
}

/** Where the points of a spark lie in a box, `[[x, y], …]`, and the height of its open. Time goes to the right, prices upwards. */
export function placed({ points, open }, width, height) {
  const values = points.map(({ value }) => value);
  const [least, most] = [Math.min(open, ...values), Math.max(open, ...values)];
  const [from, span] = [points[0]?.at, points.at(-1)?.at - points[0]?.at];
  const x = (at) => (span ? ((at - from) / span) * width : 0);
  const y = (value) => (most > least ? ((most - value) / (most - least)) * height : height / 2);
  return { line: points.map(({ at, value }) => [x(at), y(value)]), baseline: y(open) };
}
