/** Reads the REST service of the page's own host. What goes wrong becomes a `RestError` whose text says why. */

const PATIENCE_MS = 15_000;

/** What stays text, as in the feed: a float would lose digits. */
const DECIMALS = new Set(["price", "sma", "previous_price", "previous_sma", "open", "high", "low", "close", "volume"]);

export class RestError extends Error {}

/** The body of an answer, numbers of prices as text. `signal` ends it early with an AbortError. */
export async function read(path, signal) {
  const { response, text } = await request(path, signal);
  if (!response.ok) throw new RestError(problemOf(text, response.status));
  try {
    return parse(text);
  } catch {
    throw new RestError("what answers in place of the REST service sends no JSON"); // a proxy's page, say
  }
}

function parse(text) {
  return JSON.parse(text, function (key, value, context) {
    const isDecimal = typeof value === "number" && (DECIMALS.has(key) || Array.isArray(this));
    return isDecimal ? (context?.source ?? String(value)) : value;
  });
}

async function request(path, signal) {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  try {
    const response = await fetch(path, { signal: signal ? AbortSignal.any([signal, patience]) : patience, headers: { accept: "application/json" } });
    return { response, text: await response.text() }; // a body can fail to come, too
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new RestError(patience.aborted ? "the REST service does not answer" : "the REST service cannot be reached");
  }
}

/** The words of a problem document (RFC 9457), or the bare status. */
function problemOf(text, status) {
  try {
    const problem = JSON.parse(text);
    return problem.detail || problem.title || `HTTP ${status}`;
  } catch {
    return `HTTP ${status}`;
  }
}

function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

/** `{gateway, version, …}`. */
export const readConfig = () => read("/config.json");

/** The whole pipeline as an operator looks at it. */
export const readPipeline = (signal) => read("/api/pipeline", signal);

/** A page of ticks, newest first: `{items, next}`. */
export const readTicks = (ticker, parameters, signal) => read(`/api/stocks/${encodeURIComponent(ticker)}/ticks${query(parameters)}`, signal);

/** A page of alerts, newest first: `{items, next}`. */
export const readAlerts = (parameters, signal) => read(`/api/alerts${query(parameters)}`, signal);

/** Bars, oldest first: `{items}`. */
export const readBars = (ticker, parameters, signal) => read(`/api/stocks/${encodeURIComponent(ticker)}/bars${query(parameters)}`, signal);

/** Where ticks are missing, noticed last first: `{items}`. */
export const readGaps = (ticker, signal) => read(`/api/stocks/${encodeURIComponent(ticker)}/gaps`, signal);

/** The days of up to 100 tickers, with up to 100 points each: `[{ticker, day, open, open_ts, points}]`. */
export const readDays = (parameters, signal) => read(`/api/days${query(parameters)}`, signal);

/** A time as a parameter; null where there is none. */
export function iso(ms) {
  return Number.isFinite(ms) && ms !== null ? new Date(ms).toISOString() : null;
}
