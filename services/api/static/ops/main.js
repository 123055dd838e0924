/** Asks GET /api/pipeline once a second while the page is seen, has the answer judged, and draws it. */

import { timeOfDay } from "/static/format.js";
import { RestError, readPipeline } from "/static/rest.js";
import { element, mark, resize, write, writeProse } from "/static/ops/elements.js";
import { figures, StoredRate } from "/static/ops/figures.js";
import { Judge } from "/static/ops/judging.js";
import { Picture } from "/static/ops/picture.js";
import { drawDeadletters, drawEvents, drawPartitions, drawProcesses } from "/static/ops/tables.js";
import { headline, seconds, sentence, STATE_WORDS, whole } from "/static/ops/words.js";

const EVERY_MS = 1_000;
const PATIENCE_MS = 5_000;
/** An answer that is older is not of now any more. */
const OLD_MS = 4_000;

const at = (id) => document.getElementById(id);
const judge = new Judge();
const storedRate = new StoredRate();
const picture = new Picture(at("flow"));

let told = null;
let toldAt = 0;
let verdict = null;
let complaint = "";
let asking = null;

/* Asking */

async function ask() {
  if (asking || document.hidden) return;
  asking = AbortSignal.timeout(PATIENCE_MS);
  const answer = await answered(asking).finally(() => (asking = null));
  if (answer) take(answer, Date.now());
  tick();
}

/** The answer; null, and a complaint, if there is none. What goes wrong in drawing it is for the console, and no complaint. */
async function answered(signal) {
  try {
    const answer = await readPipeline(signal);
    complaint = "";
    return answer;
  } catch (error) {
    if (!(error instanceof RestError) && error.name !== "TimeoutError") throw error;
    complaint = error instanceof RestError ? error.message : "the REST service does not answer";
    return null;
  }
}

function take(answer, now) {
  [told, toldAt] = [answer, now];
  verdict = judge.judge(told, now);
  const all = figures(told, storedRate.take(told));
  picture.note(all, verdict.states, now);
  draw(all, now);
}

/* To the page */

function draw(all, now) {
  picture.draw(all, verdict.states, now);
  drawVerdict(now);
  write(at("cap"), `at most ${whole(told.stream_cap)} entries a stream`);
  drawPartitions(at("partitions"), told);
  at("no-partitions").hidden = told.partitions.length > 0;
  drawProcesses(at("processes"), told);
  at("no-processes").hidden = at("processes").children.length > 0;
  drawLosses(now);
}

function drawVerdict(now) {
  const { state, text } = headline(verdict, told, now);
  const others = verdict.findings.slice(1);
  mark(at("headline"), "data-state", state);
  write(at("headline").querySelector(".state"), STATE_WORDS[state]);
  writeProse(at("headline").querySelector("span"), text);
  resize(at("others"), others.length, () => element("li", {}, element("strong", { class: "state" }), " ", element("span")));
  others.forEach((finding, number) => drawOther(at("others").children[number], finding));
  announce(verdict.findings[0]);
}

function drawOther(item, finding) {
  mark(item, "data-state", finding.state);
  write(item.querySelector(".state"), STATE_WORDS[finding.state]);
  writeProse(item.querySelector("span"), sentence(finding, told));
}

/** Who cannot see is told once of each change, without the seconds that pass. */
function announce(finding) {
  const kind = finding ? `${finding.stage} ${finding.kind}` : "ok";
  if (at("announcement").dataset.kind === kind) return;
  at("announcement").dataset.kind = kind;
  write(at("announcement"), at("headline").textContent);
}

function drawLosses(now) {
  const letters = drawDeadletters(at("deadletters"), told);
  const hint = letters ? "`tickstream deadletters list` shows them, `tickstream deadletters retry` or `drop` ends them." : "No dead letters.";
  writeProse(at("deadletters-hint"), told.down.includes("redis") ? "Redis tells nothing of dead letters." : hint);
  drawEvents(at("events"), told.events ?? [], now);
  write(at("no-events"), told.events ? "No stream events." : "PostgreSQL tells nothing of stream events.");
  at("no-events").hidden = (told.events ?? []).length > 0;
}

/** How old what is shown is, once a second whether or not an answer came. */
function tick() {
  const now = Date.now();
  const isOld = told !== null && now - toldAt >= OLD_MS;
  const phase = complaint ? (told ? "waiting" : "connecting") : isOld ? "stale" : told ? "live" : "connecting";
  mark(at("freshness"), "data-phase", phase);
  write(at("freshness"), { live: "live", stale: "old", waiting: "no answer", connecting: complaint ? "no answer" : "asking" }[phase]);
  document.body.classList.toggle("old", isOld);
  if (isOld) disclaim();
  at("banner").hidden = !complaint;
  if (complaint) write(at("banner"), `No answer: ${complaint}. ${told ? `What you see is of ${timeOfDay(toldAt)}, ${seconds((now - toldAt) / 1000)} ago.` : "Asking again every second."}`);
}

/** What was found then may not hold any more. */
function disclaim() {
  mark(at("headline"), "data-state", "unknown");
  write(at("headline").querySelector(".state"), STATE_WORDS.unknown);
  writeProse(at("headline").querySelector("span"), `What is shown is of ${timeOfDay(toldAt)}. How it is now is not known.`);
}

/* Start */

function look() {
  if (document.hidden) return;
  judge.forget();
  ask();
}

setInterval(() => (ask(), tick()), EVERY_MS);
document.addEventListener("visibilitychange", look);
look();

/** What tests and curious readers may look at; nothing here changes anything. */
window.tickstream = Object.freeze({ told: () => structuredClone(told), verdict: () => structuredClone(verdict) });
