/**
 * Wires the panels together: what the gateway tells goes to the board, what the reader does to the view, and panels draw what is on
 * the board as the view asks for it, once a frame.
 *
 * A panel has any of: `hear(update, alerts)`, `replace(isLost)`, `break()`, `draw(now)` in a frame, `tick(now)` once a second.
 */

import { AlertPanel } from "/static/dashboard/alerts/panel.js";
import { Board } from "/static/dashboard/board.js";
import { ChartPanel } from "/static/dashboard/chart/panel.js";
import { showConnection, words } from "/static/dashboard/header/connection.js";
import { showMarket } from "/static/dashboard/header/market.js";
import { View } from "/static/dashboard/view.js";
import { WatchList } from "/static/dashboard/watchlist/panel.js";
import { subscribe } from "/static/feed.js";
import { readConfig } from "/static/rest.js";

const TRY_AGAIN_MS = 3_000;

const at = (id) => document.getElementById(id);
const board = new Board();
const view = new View();
const watchList = new WatchList(at("prices-panel"), board, view);
const chartPanel = new ChartPanel(at("chart-panel"), board, view, redraw);
const alertPanel = new AlertPanel(at("alerts-panel"), board, view, redraw);
const panels = [watchList, chartPanel, alertPanel];

let status = { phase: "connecting", reason: "", staleSince: null, complaint: "" };
/** Redis lost entries, which the next update tells in full. */
let isLost = false;
let isDrawing = false;

/* From the gateway */

function onUpdate(update) {
  const alerts = board.onUpdate(update, Date.now());
  if (update.isReplaced) {
    panels.forEach((panel) => panel.replace?.(isLost));
    isLost = false;
  }
  chooseFirst();
  panels.forEach((panel) => panel.hear?.(update, alerts));
  redraw();
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
  if (status.phase === "waiting" || status.phase === "ended") panels.forEach((panel) => panel.break?.());
  tick();
}

/** Where the address names no ticker that there is, the first one is shown. */
function chooseFirst() {
  if (board.prices.size && !board.prices.has(view.get("ticker"))) view.set({ ticker: [...board.prices.keys()].sort()[0] });
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
  panels.forEach((panel) => panel.draw?.(now));
  board.changed.clear();
  if (board.market) showMarket(at("market"), board.market, now);
  tick();
}

function tick() {
  const now = Date.now();
  const said = words(status, now);
  showConnection(at("connection"), at("banner"), said);
  document.body.classList.toggle("stale", said.phase !== "live");
  panels.forEach((panel) => panel.tick?.(now));
}

/* Start */

async function start() {
  setInterval(tick, 1000);
  view.on(["ticker"], chooseFirst);
  const config = await configured();
  chartPanel.period = config.sma_period;
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

/** What tests and curious readers may look at; nothing here changes anything. */
window.tickstream = Object.freeze({
  chart: () => chartPanel.chart?.data ?? null,
  ticks: () => (chartPanel.history.series.ticks ?? []).map((tick) => ({ ...tick })),
  points: () => chartPanel.history.series.points(chartPanel.period).map((point) => ({ ...point })),
  isJoined: () => chartPanel.history.series.isJoined && chartPanel.history.series.newestStored !== null,
  prices: () => [...board.prices.values()].map((stock) => ({ ...stock })),
  alerts: () => board.alerts.newest.map((alert) => ({ ...alert })),
  status: () => ({ ...status }),
});

start();
