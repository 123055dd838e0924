/**
 * Where the pipeline is stuck, judged from what GET /api/pipeline told. Pure: no DOM, no clock, no network; times are arguments.
 *
 * What only shows over time (a group that does not move, a partition that nobody takes) is remembered from answer to answer, by the
 * page's own clock. What was not looked at counts for nothing: after a pause everything is watched anew.
 */

/** A partition between two holders, or a gateway that is being replaced, is no news before that. */
export const GRACE_SECONDS = 2;
/** Entries that wait for longer were not read as they came. */
export const BEHIND_SECONDS = 5;
/** A gateway says something every two seconds. */
export const SILENT_SECONDS = 6;
/** With so many entries still to be read, clients see prices of earlier. */
export const GATEWAY_LAG = 1000;
export const NEARLY_FULL = 0.95;
/** The part of STREAM_CAP at which the alarms of deploy/prometheus begin. */
export const HALF_HELD = 0.5;
/** How old the newest tick may be, by its source: a poller asks once a minute unless it is told otherwise. */
const LATE_SECONDS = { simulated: 15 };
const LATE_SECONDS_ELSE = 180;
/** A cycle may be longer than that: three of them without a tick are too many. */
const PAUSES = 3;
/** Answers that are further apart tell nothing of the time between them. */
const LONGEST_STEP_MS = 5_000;

export const SERVICES = ["fetcher", "analyzer", "persister"];
/** In the order in which entries pass through. */
export const STAGES = ["fetcher", "ticks", "analyzer", "enriched", "persister", "postgresql", "gateway", "clients"];

/** From the worst to the best. */
export const STATES = ["away", "nobody", "stuck", "behind", "gone", "unknown", "quiet", "ok"];

/** Causes before what follows from them: a stream is full because its reader stands still. */
const CAUSES = ["away", "unknown", "nobody", "still", "stale", "full", "unmoved", "late", "filling", "loading", "behind", "silent"];

const STATE_OF = {
  away: "away", unknown: "away", nobody: "nobody", still: "stuck", stale: "stuck", full: "stuck", unmoved: "stuck",
  late: "stuck", filling: "behind", loading: "behind", behind: "behind", silent: "gone",
};

/** For how long each of many marks has been the same. */
class Marks {
  #seen = new Map();

  /** Seconds for which the mark of a key is seen to be the same. */
  look(key, mark, now) {
    const seen = this.#seen.get(key);
    if (!seen || seen.mark !== mark) {
      this.#seen.set(key, { mark, since: now });
      return 0;
    }
    return (now - seen.since) / 1000;
  }

  forget() {
    this.#seen.clear();
  }
}

/** Judges one answer after the other. */
export class Judge {
  #marks = new Marks();
  #judgedAt = -Infinity;

  /**
   * `{findings, states}` of an answer at `now` in ms. A finding has `stage`, `kind`, `state`, `partitions`, `seconds` and what else its
   * kind needs, causes first, without what another one explains; `states` has the state of each stage, whoever is the cause.
   */
  judge(told, now) {
    if (now - this.#judgedAt > LONGEST_STEP_MS) this.#marks.forget();
    this.#judgedAt = now;
    const look = (key, mark) => this.#marks.look(key, mark, now);
    const found = [...servers(told, look), ...leases(told, look), ...groups(told, look), ...streams(told), ...source(told), ...gateways(told, look)];
    const findings = together(found.filter((finding) => !isExplained(finding, found)));
    findings.sort((a, b) => CAUSES.indexOf(a.kind) - CAUSES.indexOf(b.kind) || STAGES.indexOf(a.stage) - STAGES.indexOf(b.stage));
    return { findings, states: Object.fromEntries(STAGES.map((stage) => [stage, stateOf(stage, found, told)])) };
  }

  /** Start watching anew. */
  forget() {
    this.#marks.forget();
  }
}

/** The processes of a service that live. */
export function living(told, service) {
  return (told.members[service] ?? []).filter((member) => member.still_seconds < told.lease_seconds);
}

/** The gateways that live. */
export function livingGateways(told) {
  return told.gateways.filter((gateway) => gateway.silent_seconds <= SILENT_SECONDS);
}

/** Whether trimming waits for it; a deployment may have no persister. */
export function isPartOf(told, service) {
  if (service !== "persister") return true;
  const isRequired = told.partitions.some(({ ticks }) => ticks.groups.some((group) => group.name === service && group.is_required));
  return isRequired || living(told, service).length > 0;
}

/** Whether the exchange trades; a source without one always does. */
export function isOpen(told) {
  return told.market === null || told.market.status === "open";
}

/** A replay that has ended leaves no fetcher, and that is no fault. */
export function isReplayOver(told) {
  return told.market?.reason === "replay" && living(told, "fetcher").length === 0;
}

function servers(told, look) {
  const down = ["redis", "postgresql"].filter((name) => told.down.includes(name));
  const found = down.map((name) => ({ stage: name === "redis" ? "ticks" : name, server: name, kind: "away", seconds: look(`down/${name}`, true) }));
  if (!told.down.includes("redis")) {
    look("down/redis", false);
    found.push(...told.unknown.map((partition) => ({ stage: "ticks", kind: "unknown", partition, seconds: look(`unknown/${partition}`, true) })));
  }
  if (!told.down.includes("postgresql")) look("down/postgresql", false);
  return found;
}

/** Partitions without a holder, or with one that stands still. */
function leases(told, look) {
  const wanted = SERVICES.filter((service) => isPartOf(told, service) && !(service === "fetcher" && isReplayOver(told)));
  return wanted.flatMap((service) => told.partitions.flatMap(({ partition, holders }) => lease(told, service, partition, holders[service], look)));
}

function lease(told, service, partition, holder, look) {
  const vacantSeconds = look(`vacant/${service}/${partition}`, holder === null);
  const processes = living(told, service).length;
  if (holder === null && vacantSeconds >= GRACE_SECONDS) return [{ stage: service, kind: "nobody", partition, seconds: vacantSeconds, processes }];
  if (holder === null || holder.still_seconds < Math.max(told.lease_seconds, GRACE_SECONDS)) return [];
  return [{ stage: service, kind: "still", partition, seconds: holder.still_seconds, name: holder.name, processes }];
}

/** Groups of ours that do not move though something waits, or are late with it. */
function groups(told, look) {
  return told.partitions.flatMap((each) => [
    ...group(told, each, "ticks", "analyzer", look),
    ...group(told, each, "ticks", "persister", look),
    ...group(told, each, "enriched", "persister", look),
  ]);
}

function group(told, each, stream, name, look) {
  const found = each[stream].groups.find((one) => one.name === name);
  if (!found || !isPartOf(told, name)) return [];
  const unmovedSeconds = look(`group/${each.partition}/${stream}/${name}`, found.waiting_seconds === null ? null : found.last_id);
  if (found.waiting_seconds === null) return [];
  const finding = { stage: name, partition: each.partition, lag: found.lag ?? 0 };
  const seconds = Math.min(unmovedSeconds, found.waiting_seconds);
  if (seconds >= Math.max(told.lease_seconds, BEHIND_SECONDS)) return [{ ...finding, kind: "unmoved", seconds }];
  return found.waiting_seconds >= BEHIND_SECONDS ? [{ ...finding, kind: "behind", seconds: found.waiting_seconds }] : [];
}

/** Streams that are full, or get there because somebody holds them. */
function streams(told) {
  return told.partitions.flatMap((each) => ["ticks", "enriched"].flatMap((stage) => fullness(told, each.partition, stage, each[stage])));
}

function fullness(told, partition, stage, { fill, held_by: hold }) {
  const held = (hold?.entries ?? 0) / told.stream_cap;
  const finding = { stage, partition, fill, seconds: hold?.waiting_seconds ?? 0, group: hold?.group ?? "", isRequired: hold?.is_required ?? false };
  if (fill >= NEARLY_FULL) return [{ ...finding, kind: "full" }];
  return held >= HALF_HELD ? [{ ...finding, kind: "filling", fill: held }] : [];
}

/** Ticks that do not come though they should. A partition may have no ticker: the newest of all is judged. */
function source(told) {
  const { ageSeconds, source: name, pauseSeconds } = newestTick(told);
  if (ageSeconds === null || !isOpen(told) || name === "replay" || told.market?.reason === "replay") return [];
  const most = Math.max(LATE_SECONDS[name] ?? LATE_SECONDS_ELSE, PAUSES * (pauseSeconds ?? 0));
  return ageSeconds > most ? [{ stage: "fetcher", kind: "late", seconds: ageSeconds }] : [];
}

/** The newest tick of all partitions: `{ageSeconds, source, pauseSeconds}`. */
export function newestTick(told) {
  const streams = told.partitions.map(({ ticks }) => ticks).filter((ticks) => ticks.age_seconds !== null);
  const newest = streams.reduce((found, ticks) => (found && found.age_seconds <= ticks.age_seconds ? found : ticks), null);
  return { ageSeconds: newest?.age_seconds ?? null, source: newest?.source ?? "", pauseSeconds: newest?.pause_seconds ?? null };
}

function gateways(told, look) {
  if (told.down.includes("redis")) return [];
  const live = livingGateways(told);
  const silent = told.gateways.filter((gateway) => gateway.silent_seconds > SILENT_SECONDS);
  const vacantSeconds = look("vacant/gateway", live.length === 0);
  const finding = { stage: "gateway", seconds: vacantSeconds, processes: 0 };
  if (live.length === 0) return vacantSeconds >= GRACE_SECONDS ? [{ ...finding, kind: "nobody", name: silent[0]?.name }] : [];
  return [...silent.map(({ name, silent_seconds: seconds }) => ({ stage: "gateway", kind: "silent", seconds, name })), ...live.flatMap(reading)];
}

function reading({ name, is_stale: isStale, lags }) {
  if (isStale) return [{ stage: "gateway", kind: "stale", seconds: 0, name }];
  const isLoading = lags.length === 0 || lags.includes(null);
  if (isLoading) return [{ stage: "gateway", kind: "loading", seconds: 0, name }];
  const lag = Math.max(...lags);
  return lag >= GATEWAY_LAG ? [{ stage: "gateway", kind: "behind", seconds: 0, lag, name }] : [];
}

/** Whether another finding says why: who has no holder, no room or no server does not move, and that needs no line of its own. */
function isExplained({ stage, kind, partition }, found) {
  const isThere = (...kinds) => found.some((other) => kinds.includes(other.kind) && other.stage === stage && other.partition === partition);
  const isFull = (stream) => found.some((other) => other.kind === "full" && other.stage === stream && (partition === undefined || other.partition === partition));
  if (kind === "late") return isFull("ticks") || found.some((other) => other.stage === "fetcher" && ["nobody", "still"].includes(other.kind));
  if (kind !== "unmoved" && kind !== "behind") return false;
  if (isThere("nobody", "still")) return true;
  if (stage === "persister") return found.some(({ server }) => server === "postgresql");
  return stage === "analyzer" && isFull("enriched");
}

/** Findings of one stage and kind are one, of several partitions; the longest time and the sum of what waits count. */
function together(findings) {
  const found = new Map();
  for (const { partition, ...finding } of findings) {
    const key = `${finding.stage}/${finding.kind}/${finding.server ?? finding.name ?? finding.group ?? ""}`;
    const known = found.get(key) ?? { ...finding, state: STATE_OF[finding.kind], partitions: [], seconds: 0, lag: 0, fill: 0 };
    if (partition !== undefined && !known.partitions.includes(partition)) known.partitions.push(partition);
    known.seconds = Math.max(known.seconds, finding.seconds);
    known.lag += finding.lag ?? 0;
    known.fill = Math.max(known.fill, finding.fill ?? 0);
    found.set(key, known);
  }
  return [...found.values()];
}

function stateOf(stage, all, told) {
  if (told.down.includes("redis") && stage !== "postgresql") return stage === "ticks" || stage === "enriched" ? "away" : "unknown";
  const found = all.filter((finding) => finding.stage === stage).map(({ kind }) => STATE_OF[kind]);
  if (found.length) return STATES.find((state) => found.includes(state));
  return !told.down.includes("redis") && isQuiet(stage, told) ? "quiet" : "ok";
}

/** Nothing to do there, and nothing wrong with that. */
function isQuiet(stage, told) {
  if (stage === "fetcher") return !isOpen(told) || isReplayOver(told);
  if (stage === "persister" || stage === "postgresql") return !isPartOf(told, "persister");
  return stage === "clients" && livingGateways(told).every(({ connections }) => connections === 0);
}
