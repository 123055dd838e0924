/**
 * Draws points, alerts and gaps with lightweight-charts, in the colours of the style sheet, light or dark.
 *
 * Only what differs from what is drawn is given to the library. Its own logo would bring a style element that the page's policy
 * refuses, so the page shows the same logo itself.
 */

import { GapBands } from "/static/dashboard/chart/bands.js";
import { axisDate, axisMinute, axisMoment, axisTime, barDate, barMoment } from "/static/format.js";

const LIBRARY = "/static/vendor/lightweight-charts/lightweight-charts.standalone.production.mjs";
const LEAST_IN_SIGHT = 40;
const MOST_IN_SIGHT = 120;
/** By so many points sight widens at a time: with each point it would take the library a second frame. */
const WIDER = 20;
/** Of the price axis, wide enough for most prices: it does not grow when the first one comes. */
const AXIS_PX = 72;
const MARGIN_POINTS = 4;
const LEAST_DECIMALS = 2;
/** Points that are updated one by one; more are drawn anew. */
const FEW = 16;
/** Points left of sight at which older ones are wanted. */
const NEAR_THE_EDGE = 20;
const ZOOM = 1.4;
const TRANSPARENT = "transparent";
const DAY_SECONDS = 86_400;

/** The chart in `place`; raise if the library is not there. */
export async function openChart(place) {
  return new Chart(place, await import(LIBRARY));
}

class Chart {
  #chart;
  #line;
  #candles;
  #sma;
  #volume;
  #markers;
  #markersOf = new Map();
  #bands = new GapBands();
  #drawn = [];
  #gapsDrawn = [];
  #marked = [];
  #broken = new Set();
  #markedAs = "";
  #decimals = LEAST_DECIMALS;
  #hasVolume = false;
  /** Seconds of a bar; 0: ticks. */
  #seconds = 0;
  #colours;
  #hears = {};
  /** The reader has moved the view, or it is full: then it is not ours to set. */
  #isViewKept = false;
  /** How many points were last brought into sight. */
  #inSight = 0;
  #isAway = false;
  #isTouch = false;

  constructor(place, library) {
    this.#chart = library.createChart(place, this.#options());
    this.#volume = this.#chart.addSeries(library.HistogramSeries, { priceScaleId: "volume", priceFormat: { type: "volume" }, priceLineVisible: false, lastValueVisible: false });
    this.#chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.#candles = this.#chart.addSeries(library.CandlestickSeries, { borderVisible: false });
    this.#sma = this.#chart.addSeries(library.LineSeries, { lineWidth: 2, lineStyle: library.LineStyle.Solid, priceLineVisible: false, lastValueVisible: false, crosshairMarkerVisible: false });
    this.#line = this.#chart.addSeries(library.LineSeries, { lineWidth: 2 });
    for (const series of [this.#line, this.#candles]) this.#markersOf.set(series, library.createSeriesMarkers(sparing(series), []));
    this.#markers = this.#markersOf.get(this.#line);
    this.#chart.panes()[0].attachPrimitive(this.#bands);
    this.#listen(place);
    this.#paint();
  }

  #listen(place) {
    ["wheel", "pointerdown"].forEach((kind) => place.addEventListener(kind, () => (this.#isViewKept = true), { passive: true }));
    place.addEventListener("pointerdown", ({ pointerType }) => (this.#isTouch = pointerType !== "mouse"), { passive: true });
    this.#chart.subscribeCrosshairMove((event) => this.#hears.pointed?.(this.#pointed(event)));
    this.#chart.subscribeClick((event) => this.#hears.clicked?.({ ...this.#pointed(event), isTouch: this.#isTouch }));
    this.#chart.subscribeDblClick(() => this.fit());
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((range) => this.#onRange(range));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#paint());
  }

  /** The data of the series as the library holds them. */
  get data() {
    return { price: this.#price.data(), sma: this.#sma.data(), volume: this.#volume.data(), markers: this.#markers.markers(), gaps: this.#gapsDrawn };
  }

  get #price() {
    return this.#seconds ? this.#candles : this.#line;
  }

  /**
   * Call these: `pointed({time, alert, x, isPlaced})` when the crosshair moves, `time` null when it leaves, `isPlaced` when it was not
   * the pointer that moved it; `clicked` likewise, with `isTouch`; `scrolled(isAway)` when the newest point goes out of sight or comes back;
   * `wantsOlder()` near the oldest.
   */
  on(hears) {
    this.#hears = hears;
  }

  #pointed({ time, point, hoveredObjectId, sourceEvent }) {
    const isPlaced = sourceEvent === undefined;
    if (!point || time === undefined) return { time: null, alert: null, isPlaced };
    return { time, alert: hoveredObjectId ?? null, x: point.x, isPlaced };
  }

  #onRange(range) {
    if (!range || !this.#drawn.length) return;
    const isAway = range.to < this.#drawn.length - 1.5;
    if (isAway !== this.#isAway) this.#hears.scrolled?.((this.#isAway = isAway));
    if (range.from < NEAR_THE_EDGE && this.#isViewKept) this.#hears.wantsOlder?.();
  }

  /** Something else follows, ticks or bars of so many seconds: forget what is drawn, and show the newest. */
  clear(seconds = 0) {
    [this.#line, this.#candles, this.#sma, this.#volume].forEach((series) => series.setData([]));
    this.#markers.setMarkers([]);
    this.#bands.show((this.#gapsDrawn = []));
    this.#seconds = seconds;
    this.#markers = this.#markersOf.get(this.#price);
    [this.#drawn, this.#marked, this.#markedAs] = [[], [], ""];
    this.#broken.clear();
    this.#isViewKept = false;
    this.#inSight = 0;
    if (this.#isAway) this.#hears.scrolled?.((this.#isAway = false));
    this.#chart.priceScale("right").applyOptions({ autoScale: true });
    this.#chart.applyOptions({ timeScale: { secondsVisible: seconds === 0 } });
  }

  /** Draw points, ascending, of a series with `{decimals, hasVolume}`; alerts, `{alert, index}`; and gaps, `{from, to, text}`. */
  show(points, series, alerts, gaps) {
    this.#format(series);
    this.#showGaps(gaps);
    const same = commonLength(this.#drawn, points);
    if (this.#isContinued(points, same)) points.slice(same).forEach((point) => this.#put(point));
    else this.#replace(points);
    const isSameLength = this.#drawn.length === points.length;
    this.#drawn = points;
    this.#mark(points, alerts);
    if (!this.#isViewKept && points.length && !isSameLength) this.#widen(points);
    this.#isViewKept ||= points.length >= MOST_IN_SIGHT;
    // What the library told of the range while it took the points was of the number of points before.
    if (!isSameLength) this.#onRange(this.#chart.timeScale().getVisibleLogicalRange());
  }

  /** Whether only a few drawn points differ, or points follow them: the library takes those without drawing all anew. */
  #isContinued(points, same) {
    const before = this.#drawn;
    if (!before.length || points.length < before.length || points.length - same > FEW) return false;
    return before.slice(same).every((point, index) => point.time === points[same + index].time);
  }

  #put(point) {
    const isOld = this.#drawn.length > 0 && point.time < this.#drawn.at(-1).time;
    this.#price.update(this.#priceOf(point), isOld);
    this.#sma.update(this.#smaOf(point), isOld);
    this.#volume.update(this.#volumeOf(point), isOld);
  }

  #replace(points) {
    this.#price.setData(points.map((point) => this.#priceOf(point)));
    this.#sma.setData(points.map((point) => this.#smaOf(point)));
    this.#volume.setData(points.map((point) => this.#volumeOf(point)));
  }

  /** The colour of a point of a line is that of the way to the next one. */
  #priceOf({ time, price, open, high, low, close }) {
    if (this.#seconds) return { time, open, high, low, close };
    return this.#broken.has(time) ? { time, value: price, color: TRANSPARENT } : { time, value: price };
  }

  #smaOf({ time, sma }) {
    if (sma === null) return { time };
    return this.#broken.has(time) ? { time, value: sma, color: TRANSPARENT } : { time, value: sma };
  }

  #volumeOf({ time, volume }) {
    return volume === undefined ? { time } : { time, value: volume };
  }

  #format({ decimals, hasVolume }) {
    if (hasVolume !== this.#hasVolume) this.#chart.priceScale("right").applyOptions({ scaleMargins: { top: 0.12, bottom: hasVolume ? 0.2 : 0.12 } });
    this.#hasVolume = hasVolume;
    const precision = Math.max(LEAST_DECIMALS, decimals);
    if (precision === this.#decimals) return;
    this.#decimals = precision;
    const priceFormat = { type: "price", precision, minMove: 10 ** -precision };
    [this.#line, this.#candles, this.#sma].forEach((series) => series.applyOptions({ priceFormat }));
  }

  #showGaps(gaps) {
    if (JSON.stringify(gaps) === JSON.stringify(this.#gapsDrawn)) return;
    this.#gapsDrawn = gaps;
    this.#bands.show(gaps);
  }

  /** Break the lines behind the points of these times. */
  breakAfter(times) {
    if (times.length === this.#broken.size && times.every((time) => this.#broken.has(time))) return;
    this.#broken = new Set(times);
    this.#drawn = [];
  }

  /** Bring the newest points into sight, more the more there are; the library goes with the newest by itself. */
  #widen(points) {
    const [last, inSight] = [points.length - 1, clamp(Math.ceil(points.length / WIDER) * WIDER, LEAST_IN_SIGHT, MOST_IN_SIGHT)];
    if (inSight === this.#inSight) return;
    this.#inSight = inSight;
    this.#chart.timeScale().setVisibleLogicalRange({ from: last - inSight, to: last + MARGIN_POINTS });
  }

  /* Alerts, and which point each falls on */

  #mark(points, alerts) {
    const key = `${alerts.map(({ alert }) => alert.id).join()} ${points[0]?.time}`;
    if (key === this.#markedAs) return;
    this.#markedAs = key;
    this.#marked = alerts;
    this.#markers.setMarkers(this.#gathered(alerts).map((marked) => this.#markerOf(marked, points)));
    // The same price again, which has the chart drawn with its markers.
    if (points.length) this.#price.update(this.#priceOf(points.at(-1)));
  }

  /** Of several in one bar and direction one is drawn, with their number; of ticks each. */
  #gathered(alerts) {
    if (!this.#seconds) return alerts.map((marked) => ({ ...marked, count: 1 }));
    const found = new Map();
    for (const marked of alerts) {
      const key = `${marked.index} ${marked.alert.direction}`;
      found.set(key, { ...marked, count: (found.get(key)?.count ?? 0) + 1 });
    }
    return [...found.values()];
  }

  #markerOf({ alert, index, count }, points) {
    const isUp = alert.direction === "bullish";
    return {
      time: points[index].time,
      position: isUp ? "belowBar" : "aboveBar",
      shape: isUp ? "arrowUp" : "arrowDown",
      color: isUp ? this.#colours.up : this.#colours.down,
      size: 0.8,
      id: alert.id,
      ...(count > 1 && { text: String(count) }),
    };
  }

  /* What the reader looks at */

  /** Put the crosshair on a point, and bring it into sight; null takes it away. */
  point(index) {
    const point = this.#drawn[index];
    if (!point) return this.#chart.clearCrosshairPosition();
    this.lookAt(index);
    this.#chart.setCrosshairPosition(point.price ?? point.close, point.time, this.#price);
  }

  /** Bring a point into sight, by the shortest way. */
  lookAt(index) {
    const range = this.#chart.timeScale().getVisibleLogicalRange();
    if (!range || (index >= range.from + 1 && index <= range.to - 1)) return;
    this.#isViewKept = true;
    const by = index < range.from + 1 ? index - range.from - MARGIN_POINTS : index - range.to + MARGIN_POINTS;
    this.#chart.timeScale().setVisibleLogicalRange({ from: range.from + by, to: range.to + by });
  }

  /** Where a point is from the left, in pixels; null if it is not drawn. */
  xOf(index) {
    return this.#drawn[index] ? this.#chart.timeScale().logicalToCoordinate(index) : null;
  }

  /** Show fewer points, or with a negative `step` more; the right end stays. */
  zoom(step) {
    const range = this.#chart.timeScale().getVisibleLogicalRange();
    if (!range) return;
    this.#isViewKept = true;
    const width = Math.max(5, (range.to - range.from) * ZOOM ** -step);
    this.#chart.timeScale().setVisibleLogicalRange({ from: range.to - width, to: range.to });
  }

  /** Show all that is there. */
  fit() {
    this.#isViewKept = true;
    this.#chart.timeScale().fitContent();
  }

  /** Show the newest, and go with it. */
  goLive() {
    // Not scrollToRealTime: its motion ends with the next price.
    this.#chart.timeScale().scrollToPosition(MARGIN_POINTS, false);
  }

  /** The moment of a point, in words. */
  momentOf(seconds) {
    return moment(seconds, this.#seconds);
  }

  #options() {
    const family = getComputedStyle(document.body).fontFamily;
    return {
      autoSize: true,
      layout: { attributionLogo: false, fontFamily: family, fontSize: 12 },
      rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.12, bottom: 0.12 }, minimumWidth: AXIS_PX },
      timeScale: { borderVisible: false, timeVisible: true, secondsVisible: true, rightOffset: MARGIN_POINTS, tickMarkFormatter: (time, kind) => tickMark(time, kind, this.#seconds) },
      localization: { timeFormatter: (time) => moment(time, this.#seconds) },
      handleScroll: { vertTouchDrag: false },
    };
  }

  #paint() {
    const colours = (this.#colours = readColours());
    this.#chart.applyOptions({
      layout: { background: { color: colours.panel }, textColor: colours.quiet },
      grid: { vertLines: { color: colours.grid }, horzLines: { color: colours.grid } },
      crosshair: { vertLine: { color: colours.quiet, labelBackgroundColor: colours.label }, horzLine: { color: colours.quiet, labelBackgroundColor: colours.label } },
    });
    this.#line.applyOptions({ color: colours.price, priceLineColor: colours.price });
    this.#candles.applyOptions({ upColor: colours.up, downColor: colours.down, wickUpColor: colours.up, wickDownColor: colours.down });
    this.#sma.applyOptions({ color: colours.sma });
    this.#volume.applyOptions({ color: colours.volume });
    this.#bands.paint(colours, getComputedStyle(document.body).fontFamily);
    this.#markedAs = "";
    this.#mark(this.#drawn, this.#marked);
  }
}

/**
 * A series for the library's markers. With each price they ask for all of the chart to be measured, which takes a frame more; what a
 * price changes is drawn anyway. Where there are other markers, who sets them gives the series a price.
 */
function sparing(series) {
  const attach = (primitive) => {
    const attached = primitive.attached.bind(primitive);
    primitive.attached = (given) => attached({ ...given, requestUpdate: () => {} });
    series.attachPrimitive(primitive);
  };
  return { attachPrimitive: attach };
}

const DAILY_MARKS = 2;
/** Marks of the library's types year, month and day of month are below the times of a day. */

function tickMark(seconds, kind, length) {
  if (length >= DAY_SECONDS) return barDate(seconds);
  if (kind <= DAILY_MARKS) return axisDate(seconds);
  return length ? axisMinute(seconds) : axisTime(seconds);
}

function moment(seconds, length) {
  if (length >= DAY_SECONDS) return barDate(seconds);
  return length ? barMoment(seconds) : axisMoment(seconds);
}

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["panel", "quiet", "grid", "price", "sma", "up", "down", "volume", "hatch", "label"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

const clamp = (value, least, most) => Math.max(least, Math.min(most, value));

function commonLength(before, after) {
  const most = Math.min(before.length, after.length);
  let length = 0;
  while (length < most && isSame(before[length], after[length])) length++;
  return length;
}

const PARTS = ["time", "price", "open", "high", "low", "close", "sma", "volume"];
const isSame = (a, b) => a === b || PARTS.every((part) => a[part] === b[part]);
