/** Draws the line of a day into the canvas of a row: against a base line at the open, in the colour of its direction. */

import { placed } from "/static/dashboard/watchlist/spark.js";

const WIDTH = 60;
const HEIGHT = 24;
const MARGIN = 2;
const TOKENS = { 1: "--up", "-1": "--down", 0: "--quiet" };
const SHADE = 0.14;

/** A canvas that screen readers pass over: change and price say the same. */
export function makeSparkCanvas() {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("aria-hidden", "true");
  canvas.style.width = `${WIDTH}px`;
  canvas.style.height = `${HEIGHT}px`;
  return canvas;
}

/** The colours of the page as they are now. */
export function readColours() {
  const style = getComputedStyle(document.documentElement);
  const line = Object.fromEntries(Object.entries(TOKENS).map(([direction, token]) => [direction, style.getPropertyValue(token)]));
  return { line, baseline: style.getPropertyValue("--border") };
}

/** Draw a spark, or nothing. */
export function drawSpark(canvas, spark, colours) {
  const pen = cleared(canvas);
  if (!spark || spark.points.length < 2) return;
  const { line, baseline } = placed(spark, WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN);
  pen.translate(MARGIN, MARGIN);
  stroke(pen, [[0, baseline], [WIDTH - 2 * MARGIN, baseline]], colours.baseline, 1);
  pen.fillStyle = colours.line[spark.direction];
  shade(pen, line, baseline);
  stroke(pen, line, colours.line[spark.direction], 1.4);
}

/** As many dots as the screen has: the page may have been zoomed, or moved to another one. */
function cleared(canvas) {
  const ratio = devicePixelRatio;
  const [width, height] = [Math.round(WIDTH * ratio), Math.round(HEIGHT * ratio)];
  const pen = canvas.getContext("2d");
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, WIDTH, HEIGHT);
  return pen;
}

function stroke(pen, line, colour, width) {
  trace(pen, line);
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.lineJoin = "round";
  pen.stroke();
}

function shade(pen, line, baseline) {
  trace(pen, [...line, [line.at(-1)[0], baseline], [line[0][0], baseline]]);
  pen.globalAlpha = SHADE;
  pen.fill();
  pen.globalAlpha = 1;
}

function trace(pen, line) {
  pen.beginPath();
  line.forEach(([x, y], place) => (place ? pen.lineTo(x, y) : pen.moveTo(x, y)));
}
