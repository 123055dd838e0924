/** The figures of each stage, added up over the partitions, and their last two minutes. Pure. */

import { living, livingGateways, newestTick, SERVICES } from "/static/ops/judging.js";

/** How much of the past a curve shows. */
export const KEPT_MS = 120_000;
/** Over which a rate is counted, as the API counts those of the streams. */
const RATE_MS = 10_000;
/** Samples that are further apart are not joined: nothing is known between them. */
const JOINED_MS = 5_000;

/** Of one answer, by stage; null is what nobody knows. `storedRate` is what `StoredRate` makes of it. */
export function figures(told, storedRate) {
  const ticks = stream(told, "ticks");
  const enriched = stream(told, "enriched");
  const gateways = livingGateways(told);
  const newest = newestTick(told);
  return {
    fetcher: { rate: ticks.rate, ageSeconds: newest.ageSeconds, source: newest.source, processes: living(told, "fetcher").length },
    ticks,
    analyzer: { ...readers(told, "analyzer"), rate: enriched.rate },
    enriched,
    persister: readers(told, "persister"),
    postgresql: { ageSeconds: newestRowSeconds(told), rate: storedRate },
    gateway: { lag: lagOf(gateways), processes: gateways.length },
    clients: { connections: sum(gateways, (each) => each.connections), rate: sum(gateways, (each) => each.messages_per_second) },
  };
}

function stream(told, name) {
  const streams = told.partitions.map((each) => each[name]);
  const ages = streams.map((each) => each.age_seconds).filter((seconds) => seconds !== null);
  return {
    rate: sum(streams, (each) => each.per_second),
    length: sum(streams, (each) => each.length),
    fill: Math.max(0, ...streams.map((each) => each.fill)),
    ageSeconds: ages.length ? Math.min(...ages) : null,
    shed: sum(streams, (each) => each.shed),
  };
}

function readers(told, name) {
  const groups = told.partitions.flatMap((each) => [...each.ticks.groups, ...each.enriched.groups]).filter((group) => group.name === name);
  return {
    lag: groups.length ? sum(groups, (group) => group.lag ?? 0) : null,
    waitingSeconds: Math.max(0, ...groups.map((group) => group.waiting_seconds ?? 0)),
    processes: living(told, name).length,
  };
}

function lagOf(gateways) {
  const lags = gateways.flatMap((each) => each.lags).filter((lag) => lag !== null);
  return lags.length ? Math.max(...lags) : null;
}

function newestRowSeconds(told) {
  const newest = (told.stored ?? []).map((each) => Date.parse(each.newest_ts)).filter((ms) => ms > 0);
  return newest.length ? Math.max(0, (Date.parse(told.ts) - Math.max(...newest)) / 1000) : null;
}

/** Entries that PostgreSQL stores a second, of both streams: from how far it has come within the last ten seconds. */
export class StoredRate {
  #seen = [];

  /** The rate up to an answer; null while nothing can be said. */
  take(told) {
    if (!told.stored) this.#seen = [];
    else this.#seen.push({ at: Date.parse(told.ts), passed: sum(told.stored, ({ seq }) => seq) });
    const newest = this.#seen.at(-1);
    this.#seen = this.#seen.filter(({ at }) => at > newest.at - RATE_MS);
    const seconds = newest ? (newest.at - this.#seen[0].at) / 1000 : 0;
    return seconds > 0 ? Math.max(0, newest.passed - this.#seen[0].passed) / seconds : null;
  }
}

/** What each process works on: `[{service, name, partitions, stillSeconds}]`, without gateways. */
export function processes(told) {
  return SERVICES.flatMap((service) => (told.members[service] ?? []).map(({ name, still_seconds: stillSeconds }) => ({ service, name, stillSeconds, partitions: heldBy(told, service, name) })));
}

function heldBy(told, service, name) {
  return told.partitions.filter(({ holders }) => holders[service]?.name === name).map(({ partition }) => partition);
}

function sum(list, of) {
  return list.reduce((total, each) => total + of(each), 0);
}

/** A figure over the last two minutes. */
export class Curve {
  #samples = [];
  #least;

  /** `least`: what fills the height at least, so that next to nothing looks like next to nothing. */
  constructor(least = 1) {
    this.#least = least;
  }

  /** Take what was at `now` in ms; null is not known. */
  add(value, now) {
    this.#samples.push({ at: now, value });
    while (this.#samples[0].at < now - KEPT_MS) this.#samples.shift();
  }

  /** The most there was. */
  get most() {
    return Math.max(0, ...this.#samples.map(({ value }) => value ?? 0));
  }

  /** As a path in a box of `width` by `height`, 0 at the bottom, now at the right; empty where nothing is known. */
  path(now, width, height) {
    const top = Math.max(this.most, this.#least);
    let before = null;
    return this.#samples
      .filter(({ value }) => value !== null)
      .map((sample) => {
        const verb = before !== null && sample.at - before <= JOINED_MS ? "L" : "M";
        before = sample.at;
        return `${verb}${(width * (1 - (now - sample.at) / KEPT_MS)).toFixed(1)} ${(height * (1 - sample.value / top)).toFixed(1)}`;
      })
      .join("");
  }
}
