/** Losses of the history: where they lie among the points of a chart, and their words. Pure. */

import { firstFrom } from "/static/dashboard/chart/points.js";

/**
 * The gaps that points lie on both sides of: `{id, from, to, text}`, `from` and `to` indices of points, equal where both ends fall into
 * one. `beginOf(ms)` is the time in seconds of the point that a moment falls into.
 */
export function placed(gaps, points, beginOf) {
  return gaps.map((gap) => placeOf(gap, points, beginOf)).filter(Boolean);
}

function placeOf(gap, points, beginOf) {
  if (!gap.before) return null;
  const end = beginOf(Date.parse(gap.before));
  const to = firstFrom(points, end);
  if (to >= points.length) return null;
  const isWithin = gap.after !== null && points[to].time === end && beginOf(Date.parse(gap.after)) === end;
  if (to === 0 && !isWithin) return null;
  return { id: idOf(gap), from: isWithin ? to : to - 1, to, text: words(gap) };
}

const idOf = ({ kind, incarnation, first_seq, last_seq }) => [kind, incarnation, first_seq, last_seq].join();

/** What was lost, in a few words. The ticks are of the ticker's partition, so that any number of them may be another ticker's. */
export function words({ kind, ticks }) {
  if (kind === "reset") return "Redis came back empty (reset)";
  if (kind === "rewind") return `Redis came back without ${counted(ticks, "the newest ticks")} (rewind)`;
  return ticks === null ? "ticks lost (gap)" : `up to ${counted(ticks)} lost (gap)`;
}

function counted(ticks, otherwise) {
  if (ticks === null) return otherwise;
  return ticks === 1 ? "1 tick" : `${ticks} ticks`;
}
