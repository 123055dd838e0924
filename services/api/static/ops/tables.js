/** The tables below the picture: a row for each partition and process, the newest dead letters and stream events. */

import { age, moment } from "/static/format.js";
import { element, mark, resize, write, writeProse } from "/static/ops/elements.js";
import { processes } from "/static/ops/figures.js";
import { SILENT_SECONDS } from "/static/ops/judging.js";
import { named, percent, perSecond, process, seconds, whole } from "/static/ops/words.js";

const PARTITION_CELLS = [
  ["Partition", "number"], ["Fetcher", "text"], ["ticks", "number"], ["ticks filled", "gauge"], ["Analyzer", "text"], ["enriched", "number"],
  ["enriched filled", "gauge"], ["Persister", "text"], ["Trimming held by", "text"], ["Dead letters", "number"],
];
const PROCESS_CELLS = [["Service", "text"], ["Process", "text"], ["Works on", "text"], ["State", "text"]];

/** Somebody always holds a stream for a moment. */
const WORTH_TELLING_SECONDS = 1;

/** Write a row for each partition. */
export function drawPartitions(body, told) {
  resize(body, told.partitions.length, () => row(PARTITION_CELLS));
  told.partitions.forEach((each, number) => drawPartition([...body.children[number].cells], each, told));
}

function row(cells) {
  const made = cells.map(([label, kind], number) => element(number === 0 ? "th" : "td", { class: kind, "data-label": label, ...(number === 0 ? { scope: "row" } : {}) }, ...inside(kind)));
  return element("tr", {}, ...made);
}

function inside(kind) {
  const lines = [element("span"), element("small")];
  return kind === "gauge" ? [element("span", { class: "gauge" }, element("span", { class: "bar-fill" })), ...lines] : lines;
}

function drawPartition(cells, each, told) {
  const { ticks, enriched, holders, deadletters } = each;
  const lag = (stream, name) => stream.groups.find((group) => group.name === name)?.lag ?? null;
  say(cells[0], String(each.partition));
  hold(cells[1], holders.fetcher, told, "");
  say(cells[2], perSecond(ticks.per_second), ago(ticks.age_seconds));
  gauge(cells[3], ticks);
  hold(cells[4], holders.analyzer, told, `lag ${whole(lag(ticks, "analyzer"))}`);
  say(cells[5], perSecond(enriched.per_second), ago(enriched.age_seconds));
  gauge(cells[6], enriched);
  hold(cells[7], holders.persister, told, `lag ${whole(lag(ticks, "persister"))} + ${whole(lag(enriched, "persister"))}`);
  drawHolds(cells[8], each);
  say(cells[9], whole(deadletters.count), deadletters.count ? ago(deadletters.age_seconds) : "");
  mark(cells[9], "data-state", deadletters.count ? "behind" : "ok");
}

function say(cell, text, small = "") {
  const [first, second] = cell.querySelectorAll(":scope > span:not(.gauge), :scope > small");
  write(first, text);
  write(second, small);
}

function ago(age_seconds) {
  return age_seconds === null ? "never" : `${seconds(age_seconds)} ago`;
}

function hold(cell, holder, told, figure) {
  const isStill = holder !== null && holder.still_seconds >= told.lease_seconds;
  const name = holder === null ? "nobody" : process(holder.name);
  say(cell, figure || name, figure ? `${name}${isStill ? `, still for ${seconds(holder.still_seconds)}` : ""}` : isStill ? `still for ${seconds(holder.still_seconds)}` : "");
  mark(cell, "data-state", holder === null ? "nobody" : isStill ? "stuck" : "ok");
  mark(cell, "title", holder?.name ?? "");
}

function gauge(cell, { fill, length }) {
  cell.querySelector(".bar-fill").style.width = `${Math.min(100, fill * 100)}%`;
  say(cell, percent(fill), whole(length));
  mark(cell, "data-state", fill >= 0.95 ? "stuck" : "ok");
}

function drawHolds(cell, { ticks, enriched }) {
  const holds = [["ticks", ticks.held_by], ["enriched", enriched.held_by]].filter(([, hold]) => hold && hold.waiting_seconds >= WORTH_TELLING_SECONDS);
  const [first, second] = holds.map(([name, hold]) => held(name, hold));
  say(cell, first ?? "nobody", second ?? "");
}

function held(stream, hold) {
  return `${hold.group}${hold.is_required ? "" : " (not required)"}: ${stream}, ${whole(hold.entries)}, ${seconds(hold.waiting_seconds)}`;
}

/** Write a row for each process: those that share partitions, then the gateways. */
export function drawProcesses(body, told) {
  const rows = [...processes(told).map((each) => leased(each, told)), ...told.gateways.map(serving)];
  resize(body, rows.length, () => row(PROCESS_CELLS));
  rows.forEach(({ texts, state, title }, number) => {
    const cells = [...body.children[number].cells];
    texts.forEach((text, at) => say(cells[at], text));
    mark(cells[1], "title", title);
    mark(cells[3], "data-state", state);
  });
}

function leased({ service, name, partitions, stillSeconds }, told) {
  const isStill = stillSeconds >= told.lease_seconds;
  const state = isStill ? `still for ${seconds(stillSeconds)}` : partitions.length ? "works" : "stands by";
  return { texts: [service, process(name), partitions.length ? named(partitions) : "–", state], state: isStill ? "stuck" : "ok", title: name };
}

function serving({ name, connections, messages_per_second: rate, lags, is_stale: isStale, silent_seconds: silent }) {
  const lag = Math.max(0, ...lags.map((each) => each ?? 0));
  const work = `${whole(connections)} ${connections === 1 ? "client" : "clients"}, ${perSecond(rate).replace("/s", "")} messages/s, lag ${whole(lag)}`;
  const isSilent = silent > SILENT_SECONDS;
  const state = isSilent ? `silent for ${seconds(silent)}` : isStale ? "cannot read Redis" : lags.length === 0 || lags.includes(null) ? "loading" : "serves";
  return { texts: ["gateway", process(name), work, state], state: isSilent || isStale ? "stuck" : "ok", title: name };
}

/** Write the newest dead letter of each partition that has one; return how many there are in all. */
export function drawDeadletters(list, told) {
  const found = told.partitions.filter(({ deadletters }) => deadletters.count > 0);
  resize(list, found.length, () => element("li"));
  found.forEach(({ partition, deadletters: { count, reason, age_seconds: seconds } }, number) => {
    const many = count === 1 ? "one dead letter" : `${whole(count)} dead letters, the newest`;
    writeProse(list.children[number], `Partition ${partition}: ${many} ${age(seconds * 1000)} ago: ${reason.replaceAll("`", "'")}`);
  });
  return found.reduce((sum, { deadletters }) => sum + deadletters.count, 0);
}

/** Write the newest stream events. */
export function drawEvents(list, events, now) {
  resize(list, events.length, () => element("li"));
  events.forEach((event, number) => writeProse(list.children[number], eventText(event, now)));
}

function eventText({ at, kind, stream, partition, first_seq: first, last_seq: last }, now) {
  const range = first === null ? "" : last === null || last === first ? `, seq ${first}` : `, seq ${first} to ${last}`;
  return `${moment(Date.parse(at), now)}: ${kind} of ${stream}, partition ${partition}${range}`;
}
