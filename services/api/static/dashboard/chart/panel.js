/** The panel of the chosen ticker: wires history, marks, the drawing, the legend, the card of a crossover, and the keyboard. */

import { BarHistory } from "/static/dashboard/chart/bar_history.js";
import { openChart } from "/static/dashboard/chart/chart.js";
import { EvidenceCard, told } from "/static/dashboard/chart/evidence.js";
import { placed, words } from "/static/dashboard/chart/gaps.js";
import { TickHistory } from "/static/dashboard/chart/tick_history.js";
import { TICKS, bindIntervals, intervalOf } from "/static/dashboard/chart/intervals.js";
import { bindKeys } from "/static/dashboard/chart/keys.js";
import { Legend, partsOfBar, partsOfTick } from "/static/dashboard/chart/legend.js";
import { Marks } from "/static/dashboard/chart/marks.js";
import { firstFrom } from "/static/dashboard/chart/points.js";
import { write } from "/static/dashboard/write.js";
import { axisMoment } from "/static/format.js";

const PARTS = ["chart", "legend", "chart-title", "chart-note", "intervals", "chart-live", "chart-card", "chart-gaps", "chart-said", "attribution"];

/** Fewer leave the chart bare, and an average without the prices it needs: older ones are read without being asked for. */
const LEAST_POINTS = 60;

export class ChartPanel {
  history;
  marks;
  /** Null until the library is there, and where it is not installed. */
  chart = null;
  #board;
  #view;
  #redraw;
  #parts;
  #legend;
  #card;
  #period = null;
  #interval;
  #points = [];
  /** Alerts by the points that they fall on, oldest first: `{alert, index}`. */
  #placedAlerts = [];
  #placedAs = "";
  #marksDrawn = -1;
  /**
   * Whether a live price waits for the tick, as one was drawn already since the last, or with it: a chart has one point a second, and each
   * time the library paints all of its canvases.
   */
  #isWaiting = false;
  /** Whether there is more to draw than a live price: that does not wait. */
  #isDue = false;
  #gapsListed = null;
  /** Why history is missing. */
  #trouble = "";
  #isLegendDue = false;
  /** Time of the point that the reader points at, or null. */
  #pointed = null;
  #isByKey = false;

  /** `place` is the panel's section; `redraw()` asks for a frame. */
  constructor(place, board, view, redraw) {
    [this.#board, this.#view, this.#redraw] = [board, view, redraw];
    this.#parts = Object.fromEntries(PARTS.map((id) => [id, place.querySelector(`#${id}`)]));
    this.#legend = new Legend(this.#parts.legend);
    this.marks = new Marks(() => this.#renew());
    this.#card = new EvidenceCard(this.#parts["chart-card"], place, (alert, signal) => this.marks.evidenceOf(alert, signal), () => this.#parts.chart.focus());
    this.#takeInterval();
    bindIntervals(this.#parts.intervals, view);
    bindKeys(this.#parts.chart, this.#keys());
    this.#parts.chart.addEventListener("blur", () => this.#point(null));
    this.#parts["chart-live"].addEventListener("click", () => this.#goLive());
    view.on(["ticker"], () => this.#choose());
    view.on(["interval"], () => this.#switch());
    openChart(this.#parts.chart).then((chart) => this.#onChart(chart), () => this.#onNoChart());
  }

  /** The number of prices in an average, once it is known. */
  set period(period) {
    this.#period = period;
    this.#renew();
  }

  get period() {
    return this.#period;
  }

  /** Take a live update and its alerts, those that are new to the board. */
  hear(update, alerts) {
    this.#choose();
    if (!update.isReplaced && update.isSnapshot) this.#resume();
    const { ticker } = this.history;
    if (update.stocks.some((stock) => stock.ticker === ticker)) {
      this.history.add(this.#board.prices.get(ticker));
      this.#isLegendDue = true;
      this.#showNote();
    }
    alerts.filter((alert) => alert.ticker === ticker).forEach((alert) => this.marks.add(alert));
  }

  /** The gateway replaced everything; with `isLost`, because Redis lost entries. Called before `hear`. */
  replace(isLost) {
    this.history.replace(isLost);
    if (isLost) this.marks.forget();
    this.marks.resume();
  }

  #resume() {
    this.history.resume();
    this.marks.resume();
  }

  /** The connection was lost. */
  break() {
    this.history.break();
  }

  /** Give the library other points and marks; whatever else has changed on the page, nothing is drawn. `isTick`: none wait. */
  prepare(isTick) {
    if (!this.history.ticker) return;
    const points = this.history.series.points(this.#period);
    const isNews = points !== this.#points || this.marks.version !== this.#marksDrawn;
    const waits = this.#isWaiting && !isTick && !this.#isDue;
    this.#isDue = false;
    if (isTick) this.#isWaiting = isNews;
    if (!isNews || waits) return;
    this.#isWaiting = true;
    [this.#points, this.#marksDrawn] = [points, this.marks.version];
    this.#placeAlerts();
    this.#show();
    this.#isLegendDue = true;
    if (points.length < LEAST_POINTS + (this.#period ?? 0)) this.#readOlder();
  }

  draw() {
    if (this.#isLegendDue) this.#showLegend();
  }

  /** What was prepared without a frame to follow. */
  tick() {
    this.draw();
  }

  /** Draw at once: the reader chose something else, or history came. */
  #renew() {
    this.#isDue = true;
    this.#redraw();
  }

  /** Show the card of an alert of any ticker, where the chart has it; the alert list calls this. */
  showAlert(alert) {
    this.#view.set({ ticker: alert.ticker });
    const index = this.#indexOf(alert.at);
    if (index >= 0) this.chart?.lookAt(index);
    this.#card.open(alert, index < 0 ? null : (this.chart?.xOf(index) ?? null), true);
  }

  /* The choice */

  #takeInterval() {
    this.#interval = intervalOf(this.#view);
    const tell = (text) => this.#tell(text);
    const changed = () => this.#renew();
    this.history = this.#isTicks ? new TickHistory(changed, tell) : new BarHistory(this.#interval, changed, tell);
  }

  get #isTicks() {
    return this.#interval === TICKS;
  }

  #tell(trouble) {
    this.#trouble = trouble;
    this.#showNote();
  }

  #showNote() {
    const { ticker } = this.history;
    const isAwaited = ticker !== null && !this.#board.prices.has(ticker);
    write(this.#parts["chart-note"], this.#trouble || (isAwaited ? `No price of ${ticker} yet` : ""));
  }

  #choose() {
    const ticker = this.#view.get("ticker");
    if (ticker === this.history.ticker || !ticker) return;
    this.marks.choose(ticker);
    this.#begin(ticker);
  }

  #switch() {
    const { ticker } = this.history;
    if (intervalOf(this.#view) === this.#interval) return;
    this.history.end();
    this.#takeInterval();
    if (ticker) this.#begin(ticker);
  }

  #begin(ticker) {
    this.#parts["chart-title"].textContent = ticker;
    this.#parts.chart.setAttribute("aria-label", `Chart of ${ticker}, ${this.#isTicks ? "every tick" : `bars of ${this.#interval}`}`);
    this.#card.close();
    [this.#points, this.#pointed, this.#placedAs, this.#placedAlerts] = [[], null, "", []];
    this.#legend.clear();
    this.chart?.clear(this.#seconds);
    this.history.choose(ticker, this.#board.prices.get(ticker));
    this.#tell("");
  }

  /** Seconds of a bar; 0: ticks. */
  get #seconds() {
    return this.#isTicks ? 0 : this.history.series.lengthMs / 1000;
  }

  /* The drawing */

  #onChart(opened) {
    this.chart = opened;
    this.#parts.attribution.hidden = false;
    opened.clear(this.#seconds);
    this.#marksDrawn = -1;
    opened.on({
      pointed: (event) => this.#onPointer(event),
      clicked: (event) => this.#onClick(event),
      scrolled: (isAway) => (this.#parts["chart-live"].hidden = !isAway),
      wantsOlder: () => this.#readOlder(),
    });
    this.#renew();
  }

  #onNoChart() {
    this.#parts.chart.classList.add("empty");
    this.#parts.chart.textContent = "The chart library is not installed: `make assets` fetches it. Everything else works.";
  }

  async #readOlder() {
    if (await this.history.readOlder()) await this.marks.reach(this.history.series.oldest);
  }

  #goLive() {
    this.chart.goLive();
    this.#parts.chart.focus();
  }

  #placeAlerts() {
    const key = [this.marks.version, this.#points.length, this.#points[0]?.time].join();
    if (key === this.#placedAs) return;
    this.#placedAs = key;
    const found = [...this.marks.alerts.values()].map((alert) => ({ alert, index: this.#indexOf(alert.at) }));
    this.#placedAlerts = found.filter(({ index }) => index >= 0).sort((a, b) => a.alert.at - b.alert.at || a.alert.seq - b.alert.seq);
  }

  /** Index of the point that a moment falls into, or -1. */
  #indexOf(at) {
    const time = this.history.ticker ? this.history.beginOf(at) : null;
    const index = firstFrom(this.#points, time);
    return this.#points[index]?.time === time ? index : -1;
  }

  #show() {
    const gaps = placed(this.marks.gaps, this.#points, (ms) => this.history.beginOf(ms));
    this.chart?.breakAfter(gaps.filter(({ from, to }) => from < to).map(({ from }) => this.#points[from].time));
    this.chart?.show(this.#points, this.history.series, this.#placedAlerts, gaps);
    this.#listGaps();
  }

  /** In words, for who cannot see the bands. */
  #listGaps() {
    if (this.#gapsListed === this.marks.gaps) return;
    this.#gapsListed = this.marks.gaps;
    this.#parts["chart-gaps"].replaceChildren(...this.marks.gaps.map((gap) => Object.assign(document.createElement("li"), { textContent: sentenceOf(gap) })));
    this.#parts["chart-gaps"].hidden = this.marks.gaps.length === 0;
  }

  /* The reader */

  #onPointer({ time, alert: id, x, isPlaced }) {
    if (this.#card.isHeld || (isPlaced && this.#isByKey)) return;
    this.#isByKey = false;
    this.#pointed = time;
    this.#showLegend();
    // A new point pushes the markers on under a pointer that stands still: its card stays until the pointer moves.
    if (isPlaced) return;
    const alert = this.marks.alerts.get(id);
    if (alert) this.#card.open(alert, x);
    else this.#card.close();
  }

  /** Hold the card that is shown; a finger, which points at nothing before, needs only to come near a crossover. */
  #onClick({ time, alert: id, x, isTouch }) {
    const shown = this.#card.isHeld ? null : this.#card.alert;
    const near = isTouch ? this.#newestAlertAt(firstFrom(this.#points, time)) : null;
    const alert = this.marks.alerts.get(id) ?? shown ?? near;
    if (alert && time !== null) this.#card.open(alert, x, true);
    else this.#card.close();
  }

  #newestAlertAt(index) {
    return this.#placedAlerts.findLast((placed) => placed.index === index)?.alert;
  }

  #keys() {
    return {
      step: (by) => this.#point(this.#here(by) + by),
      jump: (by) => this.#jump(by),
      end: (side) => this.#point(side < 0 ? 0 : this.#points.length - 1),
      zoom: (by) => this.chart?.zoom(by),
      fit: () => this.chart?.fit(),
      open: () => this.#openHere(),
      leave: () => (this.#card.close(), this.#point(null)),
    };
  }

  /** Index of the point that the crosshair stands on; where it stands nowhere, a step leads to the newest. */
  #here(by = 0) {
    const index = this.#pointed === null ? -1 : firstFrom(this.#points, this.#pointed);
    return index < 0 ? this.#points.length - 1 - by : index;
  }

  #jump(by) {
    const here = this.#pointed === null ? this.#points.length : this.#here();
    const isAhead = ({ index }) => (by > 0 ? index > here : index < here);
    const found = by > 0 ? this.#placedAlerts.find(isAhead) : this.#placedAlerts.findLast(isAhead);
    if (found) this.#point(found.index);
  }

  #openHere() {
    const alert = this.#pointed !== null && this.#newestAlertAt(this.#here());
    if (alert) this.showAlert(alert);
  }

  /** Put the crosshair on a point, and say what is there; null takes it away. */
  #point(index) {
    const point = index === null ? null : this.#points[Math.max(0, Math.min(this.#points.length - 1, index))];
    this.#pointed = point?.time ?? null;
    this.#isByKey = point !== null;
    const here = point ? this.#here() : null;
    this.chart?.point(here);
    this.#showLegend();
    const alert = point && this.#newestAlertAt(here);
    if (alert) this.#card.open(alert, this.chart?.xOf(here) ?? null);
    else if (!this.#card.isHeld) this.#card.close();
    this.#parts["chart-said"].textContent = point ? `${this.#parts.legend.innerText.replace(/\s+/g, " ")}. ${alert ? told(alert) : ""}` : "";
  }

  /** The point under the pointer, else the newest. */
  #showLegend() {
    this.#isLegendDue = false;
    const newest = this.#board.prices.get(this.history.ticker);
    const { series } = this.history;
    const point = this.#points[this.#here(0)];
    const shown = point && series.at(point.time);
    if (!newest || !shown) return;
    const spoken = this.chart?.momentOf(point.time) ?? "";
    const volume = series.hasVolume ? (point.volume ?? null) : undefined;
    if (!this.#isTicks) this.#legend.show(partsOfBar({ ...shown, volume }, spoken, this.#period, this.#missing));
    else if (this.#pointed !== null) this.#legend.show(partsOfTick({ ...shown, volume }, spoken, 0));
    else this.#legend.show(partsOfTick({ price: newest.price, sma: newest.sma, volume }, spoken, this.#missing));
  }

  /** How many more prices, or bars, there have to be before there is an average; 0 where that is not known. */
  get #missing() {
    const { series, isAll } = this.history;
    return isAll && this.#pointed === null && this.#period ? this.#period - (this.#isTicks ? series.ticks.length : series.length) : 0;
  }
}

function sentenceOf(gap) {
  const of = (text) => axisMoment(Date.parse(text) / 1000);
  const where = [gap.after && `after ${of(gap.after)}`, gap.before && `before ${of(gap.before)}`].filter(Boolean).join(" and ");
  return `${words(gap)}${where && `, ${where}`}; noticed ${of(gap.noticed)}`;
}
