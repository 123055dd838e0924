/** Draws the flow: a box for each stage with its figures and a curve, and between boxes an edge that moves while something flows. */

import { drawing, element, mark, write } from "/static/ops/elements.js";
import { Curve } from "/static/ops/figures.js";
import { STAGES } from "/static/ops/judging.js";
import { percent, perSecond, seconds, STAGE_WORDS, STATE_WORDS, whole } from "/static/ops/words.js";

const CURVE_WIDTH = 120;
const CURVE_HEIGHT = 24;
/** A reader is a few entries behind whenever somebody looks. */
const LEAST_LAG = 50;

/** What a box shows: label and text of each figure, and what its curve follows, at least how high (none: it has a bar that fills). */
const BOXES = {
  fetcher: { kind: "service", curve: ["ticks a second", ({ rate }) => rate], rows: [["rate", ({ rate }) => perSecond(rate)], ["newest tick", ({ ageSeconds }) => seconds(ageSeconds)], ["processes", ({ processes }) => whole(processes)]] },
  ticks: { kind: "stream", rows: [["added", ({ rate }) => perSecond(rate)], ["entries", ({ length }) => whole(length)], ["fullest", ({ fill }) => percent(fill)]] },
  analyzer: { kind: "service", curve: ["entries behind", ({ lag }) => lag, LEAST_LAG], rows: [["lag", ({ lag }) => whole(lag)], ["oldest waits", ({ waitingSeconds }) => seconds(waitingSeconds)], ["processes", ({ processes }) => whole(processes)]] },
  enriched: { kind: "stream", rows: [["added", ({ rate }) => perSecond(rate)], ["entries", ({ length }) => whole(length)], ["fullest", ({ fill }) => percent(fill)]] },
  persister: { kind: "service", curve: ["entries behind", ({ lag }) => lag, LEAST_LAG], rows: [["lag", ({ lag }) => whole(lag)], ["oldest waits", ({ waitingSeconds }) => seconds(waitingSeconds)], ["processes", ({ processes }) => whole(processes)]] },
  postgresql: { kind: "server", curve: ["rows stored a second", ({ rate }) => rate], rows: [["rows stored", ({ rate }) => perSecond(rate)], ["newest row", ({ ageSeconds }) => seconds(ageSeconds)]] },
  gateway: { kind: "service", curve: ["entries behind", ({ lag }) => lag, LEAST_LAG], rows: [["lag", ({ lag }) => whole(lag)], ["processes", ({ processes }) => whole(processes)]] },
  clients: { kind: "server", curve: ["messages a second", ({ rate }) => rate], rows: [["connected", ({ connections }) => whole(connections)], ["messages", ({ rate }) => perSecond(rate)]] },
};

/** Where each edge comes from, and its path in boxes of 100 by 100: from the left on a wide page, from above on a narrow one. */
const EDGES = {
  ticks: [["main", "M0 50H100", "M50 0V100"]],
  analyzer: [["main", "M0 50H100", "M50 0V100"]],
  enriched: [["main", "M0 50H100", "M50 0V100"]],
  persister: [["over", "M0 100V0H100", ""], ["up", "M0 100H50V0H100", "M100 0V50H0V100"]],
  postgresql: [["main", "M0 50H100", "M50 0V100"]],
  gateway: [["down", "M0 0H50V100H100", "M0 0V50H100V100"]],
  clients: [["main", "M0 50H100", "M50 0V100"]],
};

/** What flows into a stage, by its figures and those of the stream before it. */
const FLOWS = {
  ticks: (all) => all.ticks.rate,
  analyzer: (all) => all.enriched.rate,
  enriched: (all) => all.enriched.rate,
  persister: (all) => all.postgresql.rate,
  postgresql: (all) => all.postgresql.rate,
  gateway: (all, states) => (states.gateway === "ok" ? all.enriched.rate : 0),
  clients: (all) => all.clients.rate,
};

/** The boxes, in the list that the page has for them. */
export class Picture {
  #boxes;

  constructor(list) {
    this.#boxes = new Map(STAGES.map((stage) => [stage, new Box(stage)]));
    list.replaceChildren(...[...this.#boxes.values()].map((box) => box.item));
  }

  /** Remember the figures of an answer; of a stage that nobody knows of there are none. */
  note(figures, states, now) {
    for (const [stage, box] of this.#boxes) box.note(isKnown(states[stage]) ? figures[stage] : null, now);
  }

  /** Draw figures and states as they were told last. */
  draw(figures, states, now) {
    for (const [stage, box] of this.#boxes) {
      box.draw(figures[stage], states[stage], now);
      box.flow((FLOWS[stage]?.(figures, states) ?? 0) > 0);
    }
  }
}

class Box {
  #stage;
  #curve;
  #state = element("strong", { class: "state" });
  #values;
  #line;
  #most = element("small");
  #bar;

  constructor(stage) {
    this.#stage = stage;
    const { kind, rows, curve } = BOXES[stage];
    this.#values = rows.map(() => element("dd"));
    this.#curve = new Curve(curve?.[2]);
    this.#line = drawing("curve", CURVE_WIDTH, CURVE_HEIGHT);
    this.#bar = element("span", { class: "bar-fill" });
    const list = element("dl", {}, ...rows.map(([label], number) => element("div", {}, element("dt", {}, label), this.#values[number])));
    const foot = curve ? [element("div", { class: "curved", title: curve[0] }, this.#line, this.#most)] : [element("div", { class: "gauge" }, this.#bar)];
    const edges = (EDGES[stage] ?? []).flatMap(([name, wide, tall]) => [edge(name, "wide", wide), edge(name, "tall", tall)]);
    const head = element("div", { class: "head" }, element("h3", {}, STAGE_WORDS[stage]), this.#state);
    this.item = element("li", { class: `box ${kind}`, "data-stage": stage, "data-state": "unknown" }, ...edges, head, list, ...foot);
  }

  note(figures, now) {
    const follow = BOXES[this.#stage].curve?.[1];
    if (follow) this.#curve.add(figures && follow(figures), now);
  }

  draw(figures, state, now) {
    mark(this.item, "data-state", state);
    write(this.#state, STATE_WORDS[state]);
    BOXES[this.#stage].rows.forEach(([, text], number) => write(this.#values[number], isKnown(state) ? text(figures) : "–"));
    if (BOXES[this.#stage].curve) this.#drawCurve(now);
    else this.#bar.style.width = `${Math.min(100, figures.fill * 100)}%`;
  }

  #drawCurve(now) {
    this.#line.firstElementChild.setAttribute("d", this.#curve.path(now, CURVE_WIDTH, CURVE_HEIGHT));
    write(this.#most, this.#curve.most ? `max ${short(this.#curve.most)}` : "");
  }

  /** Let the edges into this stage move, or stand. */
  flow(isMoving) {
    this.item.classList.toggle("moving", isMoving);
  }
}

function short(number) {
  return number < 100 && !Number.isInteger(number) ? number.toFixed(1) : whole(number);
}

function isKnown(state) {
  return state !== "unknown" && state !== "away";
}

function edge(name, kind, path) {
  return drawing(`edge ${kind} ${name}`, 100, 100, path);
}
