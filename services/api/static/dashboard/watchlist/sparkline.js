/**
 * Draws the line of a day in a row: against a base line at the open, in the colour of its direction.
 *
 * As a vector image, not on a canvas: the browser keeps a layer for each canvas, and whenever anything on the page changes it goes
 * through all of them.
 */

import { placed } from "/static/dashboard/watchlist/spark.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 60;
const HEIGHT = 24;
const MARGIN = 2;
const PARTS = ["baseline", "shade", "line"];
const DIRECTIONS = { 1: "up", "-1": "down", 0: "" };
const EMPTY = { baseline: "", shade: "", line: "" };

export class Sparkline {
  /** Screen readers pass over it: change and price say the same. */
  element = document.createElementNS(SVG, "svg");
  #paths = Object.fromEntries(PARTS.map((name) => [name, path(name)]));
  #drawn = EMPTY;

  constructor() {
    this.element.setAttribute("width", WIDTH);
    this.element.setAttribute("height", HEIGHT);
    this.element.setAttribute("aria-hidden", "true");
    this.element.append(...Object.values(this.#paths));
  }

  /** Draw a spark; null, or less than two points: nothing. */
  draw(spark) {
    const isLine = spark !== null && spark.points.length > 1;
    const shapes = isLine ? shapesOf(placed(spark, WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN)) : EMPTY;
    for (const name of PARTS) if (shapes[name] !== this.#drawn[name]) this.#paths[name].setAttribute("d", shapes[name]);
    this.#drawn = shapes;
    const direction = isLine ? DIRECTIONS[spark.direction] : "";
    if (this.element.dataset.direction !== direction) this.element.dataset.direction = direction;
  }
}

/** The paths of each part, as SVG writes them. */
function shapesOf({ line, baseline }) {
  const open = rounded(baseline);
  const way = line.map(([x, y]) => `${rounded(x)} ${rounded(y)}`).join("L");
  return { baseline: `M${MARGIN} ${open}H${WIDTH - MARGIN}`, shade: `M${way}V${open}H${MARGIN}`, line: `M${way}` };
}

/** Within the margin, to a tenth of a pixel. */
function rounded(length) {
  return Math.round((length + MARGIN) * 10) / 10;
}

function path(name) {
  const element = document.createElementNS(SVG, "path");
  element.setAttribute("class", name);
  return element;
}
