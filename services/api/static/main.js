/** Wires the subjects together: what the gateway and REST tell goes to the board, and what changed on the board goes to the page, once a frame. */

import { AlertList } from "/static/alerts.js";
import { openChart } from "/static/chart.js";
import { showConnection, words } from "/static/connection.js";
import { subscribe } from "/static/feed.js";
import { average, axisMoment, price } from "/static/format.js";
import { History } from "/static/history.js";
import { showMarket } from "/static/market.js";
import { RestError, readAlerts, readConfig } from "/static/rest.js";
import { Board } from "/static/state.js";
import { Table } from "/static/table.js";

const ALERTS_AT_START = 100;
const FILL_AGAIN_MS = [1_000, 4_000];
/** Alerts of the last moments before a snapshot may not be stored yet when it comes. */
const TRY_AGAIN_MS = 3_000;

const at = (id) => document.getElementById(id);
const board = new Board();
const table = new Table(at("prices"), choose);
const alertList = new AlertList(at("alerts"), at("no-alerts"), at("announcement"), choose);
const history = new History(redraw, (text) => (at("chart-note").textContent = text));

let status = { phase: "connecting", reason: "", staleSince: null, complaint: "" };
let isLost = false;
/** Redis lost entries, which the next update tells in full. */
let chart = null;
let pointed = null;
let isDrawing = false;
let fillingAgain = null;
const changed = new Set();

/* From the gateway */

function onUpdate(update) {
  const alerts = board.onUpdate(update, Date.now());
  if (update.isReplaced) replace();
  else if (update.isSnapshot) history.resume();
  for (const { ticker } of update.stocks) {
    changed.add(ticker);
    if (ticker === history.ticker) history.add(board.prices.get(ticker));
  }
  hearAlerts(alerts);
  if (!history.ticker) chooseFirst();
  redraw();
}

function hearAlerts(alerts) {
  alerts.forEach((alert) => changed.add(alert.ticker));
  alerts.filter((alert) => alert.ticker === history.ticker).forEach((alert) => history.addAlert(alert));
  if (alerts.length) alertList.announce(alerts);
}

/** All state was replaced: rows, chart and alerts of what was missed are read again. */
function replace() {
  history.replace(isLost);
  isLost = false;
  fillAlerts();
  FILL_AGAIN_MS.forEach((ms) => setTimeout(fillAlerts, ms));
}

function onGap({ reason }) {
  isLost = reason !== "resume";
}

function onMarket(market) {
  board.market = market;
  redraw();
}

function onStatus(told) {
  status = told;
  if (status.phase === "waiting" || status.phase === "ended") history.break();
  showStatus();
}

/* From REST */

async function fillAlerts() {
  clearTimeout(fillingAgain);
  try {
    const { items } = await readAlerts({ limit: ALERTS_AT_START });
    board.alerts.add(items.toReversed()).forEach((alert) => changed.add(alert.ticker));
    at("alerts-note").textContent = "";
  } catch (error) {
    if (!(error instanceof RestError)) throw error;
    at("alerts-note").textContent = `No earlier alerts: ${error.message}`;
    fillingAgain = setTimeout(fillAlerts, TRY_AGAIN_MS);
  }
  redraw();
}

/* Choosing */

function choose(ticker) {
  if (ticker === history.ticker) return;
  window.history.replaceState(null, "", `#${encodeURIComponent(ticker)}`);
  table.mark(ticker);
  at("chart-title").textContent = ticker;
  at("chart").setAttribute("aria-label", `Prices of ${ticker} over time`);
  chart?.clear();
  history.choose(ticker, board.prices.get(ticker));
}

/** The ticker that the address names, if any: whatever somebody typed there, prices are shown. */
function named() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

function chooseFirst() {
  const first = board.prices.has(named()) ? named() : [...board.prices.keys()].sort()[0];
  if (first) choose(first);
}

/* To the page */

function redraw() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(draw);
}

function draw() {
  isDrawing = false;
  const now = Date.now();
  table.keep(board.prices);
  const stocks = [...changed].map((ticker) => board.prices.get(ticker)).filter(Boolean);
  table.show(stocks, (ticker) => board.alerts.lastOf(ticker));
  changed.clear();
  alertList.show(board.alerts.newest, now);
  if (board.market) showMarket(at("market"), board.market, now);
  at("no-prices").hidden = board.prices.size > 0;
  at("count").textContent = board.prices.size ? `${board.prices.size}` : "";
  drawChart();
  showStatus();
}

function drawChart() {
  if (!history.ticker) return;
  const points = history.series.points(history.period);
  chart?.show(points, history.alerts.values());
  showLegend(pointed ?? null);
}

/** The point under the pointer, else the newest entry. */
function showLegend(point) {
  const newest = board.prices.get(history.ticker);
  if (!newest) return;
  const shown = point ? { price: String(point.price), sma: point.sma === null ? null : String(point.sma) } : newest;
  at("legend").replaceChildren(
    legendPart("price", price(shown.price)),
    legendPart("sma", `SMA ${average(shown.sma)}`),
    legendPart("time", point ? axisMoment(point.time) : ""),
  );
}

function legendPart(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}

function showStatus() {
  const now = Date.now();
  const said = words(status, now);
  showConnection(at("connection"), at("banner"), said);
  document.body.classList.toggle("stale", said.phase !== "live");
  table.showAges(now + board.clockAheadMs);
}

/* Start */

async function start() {
  setInterval(showStatus, 1000);
  addEventListener("hashchange", chooseFirst);
  openChart(at("chart")).then(onChart, onNoChart);
  fillAlerts();
  const config = await configured();
  history.period = config.sma_period;
  if (config.gateway) subscribe(config.gateway, { onUpdate, onGap, onStatus, onMarket });
  else onStatus({ phase: "ended", reason: "the REST service does not know where the gateway is (GATEWAY_PUBLIC_URL)" });
}

async function configured() {
  for (;;) {
    try {
      return await readConfig();
    } catch (error) {
      onStatus({ phase: "waiting", reason: `where the gateway is cannot be read: ${error.message}`, retryAt: Date.now() + TRY_AGAIN_MS });
      await new Promise((resolve) => setTimeout(resolve, TRY_AGAIN_MS));
    }
  }
}

function onChart(opened) {
  chart = opened;
  at("attribution").hidden = false;
  chart.onPointed((point) => {
    pointed = point;
    showLegend(point);
  });
  redraw();
}

function onNoChart() {
  at("chart").classList.add("empty");
  at("chart").textContent = "The chart library is not installed: `make assets` fetches it. Everything else works.";
}

/** What tests and curious readers may look at; nothing here changes anything. */
window.tickstream = Object.freeze({
  chart: () => chart?.data ?? null,
  ticks: () => history.series.ticks.map((tick) => ({ ...tick })),
  isJoined: () => history.series.isJoined && history.series.newestStored !== null,
  prices: () => [...board.prices.values()].map((stock) => ({ ...stock })),
  alerts: () => board.alerts.newest.map((alert) => ({ ...alert })),
  status: () => ({ ...status }),
});

start();
