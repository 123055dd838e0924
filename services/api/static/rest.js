/** Reads the REST service of the page's own host. What goes wrong becomes a `RestError` whose text says why. */

import { parse } from "/static/feed.js";

const PATIENCE_MS = 15_000;

export class RestError extends Error {}

/** The body of an answer, numbers of prices as text. `signal` ends it early with an AbortError. */
export async function read(path, signal) {
  const { response, text } = await request(path, signal);
  if (!response.ok) throw new RestError(problemOf(text, response.status));
  return parse(text);
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

/** A page of ticks, newest first: `{items, next}`. */
export const readTicks = (ticker, parameters, signal) => read(`/api/stocks/${encodeURIComponent(ticker)}/ticks${query(parameters)}`, signal);

/** A page of alerts, newest first: `{items, next}`. */
export const readAlerts = (parameters, signal) => read(`/api/alerts${query(parameters)}`, signal);
