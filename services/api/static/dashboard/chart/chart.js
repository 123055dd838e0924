/**
 * Draws points and alerts with lightweight-charts, in the colours of the style sheet, light or dark.
 *
 * The library's own logo would bring a style element that the page's policy refuses, so the page shows the same logo itself.
 */

import { axisDate, axisMoment, axisTime } from "/static/format.js";

const LIBRARY = "/static/vendor/lightweight-charts/lightweight-charts.standalone.production.mjs";
const LEAST_IN_SIGHT = 40;
const MOST_IN_SIGHT = 120;
const MARGIN_POINTS = 4;

/** The chart in `place`; raise if the library is not there. */
export async function openChart(place) {
  return new Chart(place, await import(LIBRARY));
}

class Chart {
  #chart;
  #price;
  #sma;
  #markers;
  #drawn = [];
  #alertsDrawn = "";
  #colours;
  /** The reader has moved the view, or it is full: then it is not ours to set. */
  #isViewKept = false;

  constructor(place, library) {
    this.#chart = library.createChart(place, options());
    this.#sma = this.#chart.addSeries(library.LineSeries, { lineWidth: 2, lineStyle: library.LineStyle.Solid, priceLineVisible: false, lastValueVisible: false, crosshairMarkerVisible: false });
    this.#price = this.#chart.addSeries(library.LineSeries, { lineWidth: 2 });
    this.#markers = library.createSeriesMarkers(this.#price, []);
    ["wheel", "pointerdown"].forEach((kind) => place.addEventListener(kind, () => (this.#isViewKept = true), { passive: true }));
    this.#paint();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#paint());
  }

  /** The data of the series as the library holds them. */
  get data() {
    return { price: this.#price.data(), sma: this.#sma.data(), markers: this.#markers.markers() };
  }

  /** Call `hear(point)` with the point under the pointer, or null. */
  onPointed(hear) {
    this.#chart.subscribeCrosshairMove(({ time }) => hear(time === undefined ? null : (this.#drawn.find((point) => point.time === time) ?? null)));
  }

  /** Another ticker follows: forget what is drawn, and show the newest. */
  clear() {
    this.#drawn = [];
    this.#isViewKept = false;
    this.#price.setData([]);
    this.#sma.setData([]);
    this.#chart.priceScale("right").applyOptions({ autoScale: true });
  }

  /** Draw points, ascending, and the alerts that fall on them. */
  show(points, alerts) {
    const same = commonLength(this.#drawn, points);
    if (isContinued(this.#drawn, points, same)) points.slice(same).forEach((point) => this.#append(point));
    else this.#replace(points);
    this.#drawn = points;
    this.#mark(points, alerts);
    if (!this.#isViewKept && points.length) this.#lookAtNewest(points);
    this.#isViewKept ||= points.length >= MOST_IN_SIGHT;
  }

  #append(point) {
    this.#price.update(priceOf(point));
    this.#sma.update(smaOf(point));
  }

  #replace(points) {
    this.#price.setData(points.map(priceOf));
    this.#sma.setData(points.map(smaOf));
  }

  #lookAtNewest(points) {
    const last = points.length - 1;
    this.#chart.timeScale().setVisibleLogicalRange({ from: last - clamp(points.length, LEAST_IN_SIGHT, MOST_IN_SIGHT), to: last + MARGIN_POINTS });
  }

  #mark(points, alerts) {
    const times = new Set(points.map((point) => point.time));
    const shown = [...alerts].filter((alert) => times.has(secondOf(alert))).sort((a, b) => a.at - b.at || a.seq - b.seq);
    const key = shown.map((alert) => alert.id).join();
    if (key === this.#alertsDrawn) return;
    this.#alertsDrawn = key;
    this.#markers.setMarkers(shown.map((alert) => this.#markerOf(alert)));
  }

  #markerOf(alert) {
    const isUp = alert.direction === "bullish";
    return {
      time: secondOf(alert),
      position: isUp ? "belowBar" : "aboveBar",
      shape: isUp ? "arrowUp" : "arrowDown",
      color: isUp ? this.#colours.up : this.#colours.down,
      size: 0.7,
      id: alert.id,
    };
  }

  #paint() {
    const colours = (this.#colours = readColours());
    this.#chart.applyOptions({
      layout: { background: { color: colours.panel }, textColor: colours.quiet },
      grid: { vertLines: { color: colours.grid }, horzLines: { color: colours.grid } },
    });
    this.#price.applyOptions({ color: colours.price, priceLineColor: colours.price });
    this.#sma.applyOptions({ color: colours.sma });
    this.#markers.setMarkers(this.#markers.markers().map((marker) => ({ ...marker, color: marker.shape === "arrowUp" ? colours.up : colours.down })));
  }
}

function options() {
  const family = getComputedStyle(document.body).fontFamily;
  return {
    autoSize: true,
    layout: { attributionLogo: false, fontFamily: family, fontSize: 12 },
    rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.12, bottom: 0.12 } },
    timeScale: { borderVisible: false, timeVisible: true, secondsVisible: true, rightOffset: MARGIN_POINTS, tickMarkFormatter: tickMark },
    localization: { timeFormatter: axisMoment },
    handleScroll: { vertTouchDrag: false },
  };
}

const DAILY_MARKS = 2;
/** Marks of the library's types year, month and day of month are below the times of a day. */

function tickMark(seconds, kind) {
  return kind <= DAILY_MARKS ? axisDate(seconds) : axisTime(seconds);
}

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["panel", "quiet", "grid", "price", "sma", "up", "down"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

const clamp = (value, least, most) => Math.max(least, Math.min(most, value));
const secondOf = (alert) => Math.floor(alert.at / 1000);
const priceOf = ({ time, price }) => ({ time, value: price });
const smaOf = ({ time, sma }) => (sma === null ? { time } : { time, value: sma });

function commonLength(before, after) {
  const most = Math.min(before.length, after.length);
  let length = 0;
  while (length < most && isSame(before[length], after[length])) length++;
  return length;
}

/** Whether only the last drawn point differs, or points follow it: the library takes those without drawing all anew. */
function isContinued(before, after, same) {
  const isShorter = after.length < before.length;
  return before.length > 0 && !isShorter && (same === after.length || after[same].time >= before.at(-1).time);
}

const isSame = (a, b) => a.time === b.time && a.price === b.price && a.sma === b.sma;
