/**
 * Wires the panels together: what the gateway tells goes to the board, what the reader does to the view, and panels draw what is on
 * the board as the view asks for it, once a frame.
 *
 * A panel has any of: `hear(update, alerts)`, `replace(isLost)`, `break()`, `prepare(isTick)` before a frame, `draw(now)` in it, `tick(now)`
 * once a second, behind a `prepare(true)`.
 */

import { AlertPanel } from "/static/dashboard/alerts/panel.js";
import { Board } from "/static/dashboard/board.js";
import { ChartPanel } from "/static/dashboard/chart/panel.js";
import { Header } from "/static/dashboard/header/header.js";
import { Token } from "/static/dashboard/header/token.js";
import { DEFAULTS, View } from "/static/dashboard/view.js";
import { WatchList } from "/static/dashboard/watchlist/panel.js";
import { subscribe } from "/static/feed.js";
import { readConfig } from "/static/rest.js";

const TRY_AGAIN_MS = 3_000;
/** So long a choice of the reader is drawn while the display is paused: what it asks of REST comes a moment later. */
const CHOICE_MS = 2_000;
const UNAUTHORIZED = 4401;
const TICK_MS = 1_000;
/** So much sooner or later, if there is a frame then. */
const SLACK_MS = 150;

const at = (id) => document.getElementById(id);
const board = new Board();
const view = new View();
const watchList = new WatchList(at("prices-panel"), board, view, redraw);
const chartPanel = new ChartPanel(at("chart-panel"), board, view, redraw);
const alertPanel = new AlertPanel(at("alerts-panel"), board, view, redraw, (alert) => chartPanel.showAlert?.(alert));
const panels = [watchList, chartPanel, alertPanel];
const header = new Header(board, { goOn, toAlerts: () => alertPanel.focus(), changed: () => tick() });
const token = new Token(at("token"), at("token-open"));

let status = { phase: "connecting", reason: "", staleSince: null, complaint: "" };
/** Redis lost entries, which the next update tells in full. */
let isLost = false;
let isDrawing = false;
let chosenAt = -Infinity;
let ticking = null;
let tickedAt = -Infinity;
let gateway = "";
let feed = null;

/* From the gateway */

function onUpdate(update) {
  const now = Date.now();
  header.hear(update, now);
  alertPanel.alarm(update);
  if (header.pause.since === null) take(update, now);
  else header.pause.keep(update, now);
}

/** The display may move again: what came meanwhile is taken as after a break, for ticks between are missing. */
function goOn(kept) {
  if (kept) {
    panels.forEach((panel) => panel.break?.());
    take(kept.update, kept.at);
  }
  tick();
  redraw();
}

function take(update, now) {
  const alerts = board.onUpdate(update, now);
  if (update.isReplaced) {
    panels.forEach((panel) => panel.replace?.(isLost));
    isLost = false;
  }
  chooseFirst();
  panels.forEach((panel) => panel.hear?.(update, alerts));
  redraw();
}

function onGap({ reason }) {
  isLost ||= reason !== "resume";
}

function onMarket(market) {
  board.market = market;
  tick();
  redraw();
}

function onStatus(told) {
  status = told;
  const isAway = status.phase === "waiting" || status.phase === "ended";
  if (isAway) [header, ...panels].forEach((panel) => panel.break?.());
  if (isAway && status.code === UNAUTHORIZED) askToken();
  tick();
}

/** The feed that was refused ends; another one goes on where it stood. */
async function askToken() {
  const { cursor } = feed;
  feed.close();
  status = { ...status, phase: "ended" };
  await token.ask(status.reason);
  follow(cursor);
}

/** Where the address names no ticker, the first one is shown. One that is named has its price yet to come. */
function chooseFirst() {
  if (board.prices.size && !view.get("ticker")) view.set({ ticker: [...board.prices.keys()].sort()[0] });
}

/* To the page */

function redraw() {
  if (isDrawing || isStill()) return;
  isDrawing = true;
  queueMicrotask(ask);
}

/** What the chart library is given now it draws in the same frame, and first: it measures itself, which is dear after other changes. */
function ask() {
  if (!isStill()) prepare(isTickDue(Date.now()));
  requestAnimationFrame(draw);
}

function prepare(isTick) {
  panels.forEach((panel) => panel.prepare?.(isTick));
}

/** A frame that is drawn anyway takes the tick along: there would be others for it alone. */
function isTickDue(now) {
  return now - tickedAt >= TICK_MS - SLACK_MS;
}

/** Whether the display is paused; what the reader chooses is shown all the same. */
function isStill() {
  return header.pause.since !== null && Date.now() - chosenAt > CHOICE_MS;
}

function onChoice() {
  chosenAt = Date.now();
  tickedAt = -Infinity;
  redraw();
}

function draw() {
  isDrawing = false;
  if (isStill()) return; // paused since the frame was asked for
  const now = Date.now();
  prepare(false);
  panels.forEach((panel) => panel.draw?.(now));
  board.changed.clear();
  if (isTickDue(now)) tick(TICK_MS + SLACK_MS);
}

function onQuiet() {
  if (!isStill()) prepare(true);
  tick();
}

/** What moves with the clock, and what is not worth a change with each price; again in `nextMs` at the latest. */
function tick(nextMs = TICK_MS) {
  clearTimeout(ticking);
  ticking = setTimeout(onQuiet, nextMs);
  const now = (tickedAt = Date.now());
  const isCurrent = header.show(status, board.prices.get(view.get("ticker")), now);
  document.body.classList.toggle("stale", !isCurrent);
  document.body.dataset.market = board.market?.status ?? "unknown";
  if (!isStill()) panels.forEach((panel) => panel.tick?.(now));
}

/* Start */

async function start() {
  ticking = setTimeout(onQuiet, TICK_MS);
  view.on(["ticker"], chooseFirst);
  view.on(Object.keys(DEFAULTS), onChoice);
  const config = await configured();
  chartPanel.period = config.sma_period;
  header.version = config.version;
  gateway = config.gateway;
  if (gateway) follow();
  else onStatus({ phase: "ended", reason: "the REST service does not know where the gateway is (GATEWAY_PUBLIC_URL)" });
}

/** Connect, and resume after `since`. */
function follow(since) {
  const options = { since, onUpdate, onGap, onStatus, onMarket };
  feed = subscribe(gateway, token.text === null ? options : { ...options, token: () => token.text });
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
  prices: () => [...board.prices.values()].map((stock) => ({ ...stock, at: stock.at, direction: stock.direction })),
  alerts: () => board.alerts.newest.map((alert) => ({ ...alert })),
  status: () => ({ ...status }),
  listed: () => alertPanel.listed.map(({ id }) => id),
  behind: () => header.pause.behind,
});

start();
