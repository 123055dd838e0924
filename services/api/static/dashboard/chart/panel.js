/** The panel of the chosen ticker: the chart, its legend, and what is missing of its history. */

import { openChart } from "/static/dashboard/chart/chart.js";
import { History } from "/static/dashboard/chart/history.js";
import { average, axisMoment, price } from "/static/format.js";

export class ChartPanel {
  history;
  /** Null until the library is there, and where it is not installed. */
  chart = null;
  #board;
  #view;
  #parts;
  #pointed = null;

  /** `place` is the panel's section; `redraw()` asks for a frame. */
  constructor(place, board, view, redraw) {
    this.#board = board;
    this.#view = view;
    const part = (id) => place.querySelector(`#${id}`);
    this.#parts = { title: part("chart-title"), canvas: part("chart"), legend: part("legend"), note: part("chart-note"), logo: part("attribution") };
    this.history = new History(redraw, (text) => (this.#parts.note.textContent = text));
    view.on(["ticker"], () => this.#choose());
    openChart(this.#parts.canvas).then((chart) => this.#onChart(chart, redraw), () => this.#onNoChart());
  }

  /** The number of prices in an average, once it is known. */
  set period(period) {
    this.history.period = period;
  }

  /** Take a live update and its alerts, those that are new to the board. */
  hear(update, alerts) {
    this.#choose();
    if (!update.isReplaced && update.isSnapshot) this.history.resume();
    if (update.stocks.some(({ ticker }) => ticker === this.history.ticker)) this.history.add(this.#board.prices.get(this.history.ticker));
    alerts.filter((alert) => alert.ticker === this.history.ticker).forEach((alert) => this.history.addAlert(alert));
  }

  /** The gateway replaced everything; with `isLost`, because Redis lost entries. Called before `hear`. */
  replace(isLost) {
    this.history.replace(isLost);
  }

  /** The connection was lost. */
  break() {
    this.history.break();
  }

  draw() {
    if (!this.history.ticker) return;
    this.chart?.show(this.history.series.points(this.history.period), this.history.alerts.values());
    this.#showLegend();
  }

  #choose() {
    const ticker = this.#view.get("ticker");
    if (ticker === this.history.ticker || !this.#board.prices.has(ticker)) return;
    this.#parts.title.textContent = ticker;
    this.#parts.canvas.setAttribute("aria-label", `Prices of ${ticker} over time`);
    this.chart?.clear();
    this.history.choose(ticker, this.#board.prices.get(ticker));
  }

  #onChart(opened, redraw) {
    this.chart = opened;
    this.#parts.logo.hidden = false;
    opened.onPointed((point) => {
      this.#pointed = point;
      this.#showLegend();
    });
    redraw();
  }

  #onNoChart() {
    this.#parts.canvas.classList.add("empty");
    this.#parts.canvas.textContent = "The chart library is not installed: `make assets` fetches it. Everything else works.";
  }

  /** The point under the pointer, else the newest entry. */
  #showLegend() {
    const newest = this.#board.prices.get(this.history.ticker);
    if (!newest) return;
    const point = this.#pointed;
    const shown = point ? { price: String(point.price), sma: point.sma === null ? null : String(point.sma) } : newest;
    this.#parts.legend.replaceChildren(
      legendPart("price", price(shown.price)),
      legendPart("sma", `SMA ${average(shown.sma)}`),
      legendPart("time", point ? axisMoment(point.time) : ""),
    );
  }
}

function legendPart(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}
