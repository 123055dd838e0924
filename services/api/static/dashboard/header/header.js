/** What stands around the panels: market, connection, pause, title of the tab, keys, and the line at the foot. */

import { showConnection, words } from "/static/dashboard/header/connection.js";
import { Keys } from "/static/dashboard/header/keys.js";
import { showMarket } from "/static/dashboard/header/market.js";
import { Pause } from "/static/dashboard/header/pause.js";
import { RestWatch } from "/static/dashboard/header/rest_watch.js";
import { Silence } from "/static/dashboard/header/silence.js";
import { Title } from "/static/dashboard/header/title.js";
import { Memory } from "/static/dashboard/memory.js";
import { write } from "/static/dashboard/write.js";
import { timeOfDay } from "/static/format.js";

const IDS = ["market", "market-hint", "connection", "connection-hint", "banner", "paused", "rest", "pause", "help", "keys", "keys-on", "skip", "main"];
const NOT_LIVE = ["connecting", "waiting", "ended", "stale", "silent"];

export class Header {
  pause = new Pause();
  /** Of the program, once the REST service told. */
  version = "";
  #board;
  #goOn;
  #parts = Object.fromEntries(IDS.map((id) => [id, document.getElementById(id)]));
  #silence = new Silence();
  #rest;
  #title = new Title();
  #keys;
  #liveSince = null;

  /** `goOn(kept)` is called when a pause ends, `toAlerts()` by its key, `changed()` when there is something else to say. */
  constructor(board, { goOn, toAlerts, changed }) {
    this.#board = board;
    this.#goOn = goOn;
    this.#rest = new RestWatch(changed);
    const toggle = () => this.#togglePause(Date.now());
    this.#keys = new Keys(new Memory(() => localStorage), { p: toggle, " ": toggle, a: toAlerts, "?": () => this.#parts.keys.showModal() });
    this.#listen(toggle);
    this.#rest.start();
  }

  /** Take an update of the feed, drawn or not. */
  hear(update, now) {
    this.#silence.hear(update, update.isSnapshot ? now - ageOf(update) : now, now);
  }

  /** The connection was lost. */
  break() {
    this.#silence.break();
  }

  /** Say how things stand; `stock` is the chosen one. Return whether prices are what they are now. */
  show(status, stock, now) {
    const { market, clockAheadMs } = this.#board;
    const openedAt = market ? Date.parse(market.ts) - clockAheadMs : 0;
    const silentSince = this.#silence.since(market, openedAt || 0, now);
    const said = words(status, now, { rest: this.#rest.trouble, silentSince, source: market?.reason });
    const parts = this.#parts;
    showConnection({ badge: parts.connection, hint: parts["connection-hint"], banner: parts.banner }, said);
    if (market) showMarket(parts.market, parts["market-hint"], market, now + clockAheadMs);
    this.#showFoot(said.phase, now);
    if (this.pause.since === null) this.#title.show(stock, now);
    return !NOT_LIVE.includes(said.phase);
  }

  #showFoot(phase, now) {
    const { paused, rest } = this.#parts;
    if (phase === "live") this.#liveSince ??= now;
    else this.#liveSince = null;
    const version = this.version && `tickstream ${this.version}`;
    write(rest, [this.#liveSince && `live since ${timeOfDay(this.#liveSince)}`, version].filter(Boolean).join(" · "));
    const { since, behind } = this.pause;
    paused.hidden = since === null;
    if (since !== null) write(paused, `Paused at ${timeOfDay(since)}, ${behind} ${behind === 1 ? "change" : "changes"} behind`);
  }

  #listen(toggle) {
    const { pause, help, keys, skip, main } = this.#parts;
    pause.addEventListener("click", toggle);
    help.addEventListener("click", () => keys.showModal());
    keys.addEventListener("keydown", (event) => event.key === "?" && keys.close());
    this.#parts["keys-on"].checked = this.#keys.isOn;
    this.#parts["keys-on"].addEventListener("change", ({ target }) => (this.#keys.isOn = target.checked));
    skip.addEventListener("click", (event) => {
      event.preventDefault(); // the fragment of the address keeps the view
      main.focus();
    });
  }

  #togglePause(now) {
    const isPausing = this.pause.since === null;
    this.#parts.pause.ariaPressed = String(isPausing);
    write(this.#parts.pause.querySelector("span"), isPausing ? "Go on" : "Pause");
    document.body.classList.toggle("paused", isPausing);
    if (isPausing) this.pause.begin(now);
    this.#goOn(isPausing ? null : this.pause.end());
  }
}

/** How old the newest price of an update was when it was sent, in ms. */
function ageOf({ stocks, timestamp }) {
  return Date.parse(timestamp) - Math.max(...stocks.map(({ ts }) => Date.parse(ts)));
}
