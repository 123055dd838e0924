/** What the ops view says: states, the sentence on top, and figures. Pure. Backquotes mark what is to be typed. */

import { age, moment } from "/static/format.js";
import { isOpen, isReplayOver, newestTick } from "/static/ops/judging.js";

export const STATE_WORDS = { ok: "ok", behind: "behind", stuck: "stuck", gone: "gone", nobody: "nobody", away: "away", quiet: "quiet", unknown: "unknown" };
export const STAGE_WORDS = {
  fetcher: "Fetcher", ticks: "ticks", analyzer: "Analyzer", enriched: "enriched", persister: "Persister", postgresql: "PostgreSQL", gateway: "Gateway", clients: "Clients",
};
const SERVERS = { redis: "Redis", postgresql: "PostgreSQL" };

/** A whole number, in groups of three. */
export function whole(number) {
  return number === null || number === undefined ? "–" : String(Math.round(number)).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** A rate: one decimal while that tells anything. */
export function perSecond(number) {
  if (number === null || number === undefined) return "–";
  return `${number < 100 ? number.toFixed(1) : whole(number)}/s`;
}

/** A time in seconds, or a dash. */
export function seconds(number) {
  return number === null || number === undefined ? "–" : age(number * 1000);
}

export function percent(part) {
  return `${part > 0 && part < 0.01 ? "< 1" : Math.round(part * 100)} %`;
}

/** A process without the chance in its name, which only tells two of one number apart. */
export function process(name) {
  return name.replace(/:[0-9a-f]{6}$/, "");
}

/** The sentence on top: `{state, text}`; `told` is judged already. */
export function headline({ findings }, told, now) {
  if (findings.length) return { state: findings[0].state, text: sentence(findings[0], told) };
  if (isReplayOver(told)) return { state: "quiet", text: "The replay has ended, and everything was read." };
  if (!isOpen(told)) return { state: "quiet", text: `The market is closed${opening(told.market, now)}. Everything is ready.` };
  const rate = told.partitions.reduce((sum, { ticks }) => sum + ticks.per_second, 0);
  return { state: "ok", text: `Everything flows: ${perSecond(rate).replace("/s", "")} ticks a second, the newest ${fresh(newestTick(told).ageSeconds)}.` };
}

function fresh(ageSeconds) {
  if (ageSeconds === null) return "is yet to come";
  return ageSeconds < 2 ? "just now" : `${seconds(ageSeconds)} ago`;
}

function opening(market, now) {
  return market.next_open ? ` until ${moment(Date.parse(market.next_open), now)}` : "";
}

/** What is wrong, and what to do. */
export function sentence(finding, told) {
  return SENTENCES[finding.kind](finding, told);
}

const SENTENCES = {
  away: ({ server, seconds: s }) => `${SERVERS[server]} does not answer${since(s)}: ${AWAY[server]}`,
  unknown: ({ partitions, seconds: s }) => `Redis tells nothing of ${named(partitions)}${since(s)}: a node of the cluster is away, or a key has a wrong type.`,
  nobody,
  still: ({ stage, name, partitions, seconds: s, processes }) =>
    `${STAGE_WORDS[stage]}: ${process(name)} holds ${named(partitions)} and stands still for ${seconds(s)}: ${processes ? `another one takes over; if it does not, its log says why.` : `${start(stage)}, which takes over; then look at the log of the first.`}`,
  silent: ({ name, seconds: s }) => `Gateway: ${process(name)} says nothing for ${seconds(s)}: look at its log, or start another one, \`python -m services.gateway\`. Its clients come back by themselves.`,
  stale: ({ name }) => `Gateway: ${process(name)} cannot read Redis, and has told its clients so: look at its log and at the network between.`,
  full: ({ stage, partitions, fill, group, isRequired }) =>
    `${stage} of ${named(partitions)} is ${fill >= 1 ? "full: writers wait, a live source drops ticks" : `${percent(fill)} full`}${group ? `. \`${group}\` holds it: ${mend(group, isRequired)}` : "."}`,
  unmoved: ({ stage, partitions, lag, seconds: s }) =>
    `${STAGE_WORDS[stage]}: nothing moves on ${named(partitions)} for ${seconds(s)} though ${whole(lag)} ${lag === 1 ? "entry waits" : "entries wait"}: its log says what it waits for.`,
  late: ({ seconds: s }, told) => `Fetcher: no tick came for ${seconds(s)}: its log tells what ${newestTick(told).source || "the source"} answers.`,
  filling: ({ stage, partitions, fill, group, isRequired }) => `${stage} of ${named(partitions)} fills up: \`${group}\` holds ${percent(fill)} of what it may have: ${mend(group, isRequired)}`,
  loading: ({ name }) => `Gateway: ${process(name)} is still loading: nothing to do unless it stays so; its log says how far it is.`,
  behind: ({ stage, partitions, lag, seconds: s }) =>
    stage === "gateway"
      ? `Gateway: ${whole(lag)} entries behind: clients see earlier prices. Give it more CPU, or start another one, \`python -m services.gateway\`.`
      : `${STAGE_WORDS[stage]}: ${whole(lag)} entries behind on ${named(partitions)}, the oldest waits for ${seconds(s)}. If that grows, ${start(stage)}.`,
};

const AWAY = {
  redis: "nothing can flow. Every service waits and goes on by itself; start Redis, or mend the network.",
  postgresql: "rows are not stored, the streams keep them until they are full. The persister goes on by itself once it is back.",
};

function nobody({ stage, partitions, seconds: s, processes, name }) {
  if (stage === "gateway") return `Gateway: none runs${since(s)}${name ? `, ${process(name)} fell silent` : ""}, so no client hears anything: start one, \`python -m services.gateway\`.`;
  if (processes === 0) return `${STAGE_WORDS[stage]}: no process runs, nobody holds ${named(partitions)}${since(s)}: start one, \`python -m services.${stage}\`.`;
  return `${STAGE_WORDS[stage]}: nobody holds ${named(partitions)}${since(s)} though ${processes === 1 ? "one process runs" : `${processes} processes run`}: its log says what refuses the lease.`;
}

function start(stage) {
  return `start another ${STAGE_WORDS[stage].toLowerCase()}, \`python -m services.${stage}\``;
}

function mend(group, isRequired) {
  if (isRequired) return `see to the ${group}.`;
  return `it is a group of your own; mend its reader, or \`XGROUP DESTROY\` it. At 95 % it is passed and loses entries.`;
}

function since(s) {
  return s >= 1 ? ` for ${seconds(s)}` : "";
}

/** "partition 2", "partitions 0, 1". */
export function named(partitions) {
  return `${partitions.length === 1 ? "partition" : "partitions"} ${partitions.join(", ")}`;
}
