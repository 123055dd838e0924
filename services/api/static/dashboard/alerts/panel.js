/** The panel of alerts: live ones and those that were stored, as the reader filters them; what they are told of, and how. */

import { Alarms, alarming } from "/static/dashboard/alerts/alarms.js";
import { asked, emptyWords, formatFilter, parseFilter, passes } from "/static/dashboard/alerts/filter.js";
import { AlertList } from "/static/dashboard/alerts/list.js";
import { Reading } from "/static/dashboard/alerts/reading.js";
import { StoredAlerts } from "/static/dashboard/alerts/stored.js";
import { Memory } from "/static/dashboard/memory.js";
import { write } from "/static/dashboard/write.js";
import { RestError, readAlerts } from "/static/rest.js";

const PAGE = 100;
/** Alerts of the last moments before a snapshot may not be stored yet when it comes. */
const FILL_AGAIN_MS = [1_000, 4_000];
const TRY_AGAIN_MS = 3_000;
const ADVICE_MS = 12_000;
/** Where more come at a time nobody reads each, and drawing them with each flush costs more than all prices: they wait for the tick. */
const FEW_ALERTS = 3;

export class AlertPanel {
  #board;
  #view;
  #redraw;
  #parts;
  #list;
  #filter;
  #stored = new StoredAlerts();
  #reading = new Reading();
  #alarms;
  #abort = new AbortController();
  #isReading = false;
  #fillingAgain = null;
  #trouble = "";
  #advice = "";
  #isDue = true;
  /** How many alerts came since it was drawn. */
  #came = 0;

  /** `place` is the panel's section; `redraw()` asks for a frame, `show(alert)` shows the evidence of one that is chosen. */
  constructor(place, board, view, redraw, show) {
    this.#board = board;
    this.#view = view;
    this.#redraw = redraw;
    const part = (id) => place.querySelector(`#${id}`);
    this.#parts = {
      note: part("alerts-note"), empty: part("no-alerts"), unread: part("alerts-unread"), filter: part("alerts-filter"),
      chosen: part("alerts-chosen"), chosenName: part("alerts-chosen-name"), sound: part("alerts-sound"), notify: part("alerts-notify"),
    };
    this.#alarms = new Alarms(document.getElementById("announcement"), new Memory(() => localStorage));
    this.#list = new AlertList(part("alerts-frame"), part("alerts"), {
      onChoose: (alert) => {
        view.set({ ticker: alert.ticker });
        show(alert);
      },
      onScroll: (isAtTop) => this.#onScroll(isAtTop),
      onNearEnd: () => this.#readOlder(),
    });
    this.#listen();
    this.#filter = parseFilter(view.get("alerts"));
    this.#showControls();
    this.#fill();
  }

  /** Tell the reader of what an update brings, even of one that is not drawn yet. */
  alarm(update) {
    this.#alarms.raise(alarming(update).filter((alert) => this.#isWanted(alert)));
  }

  /** The gateway replaced everything: alerts of what was missed are read. */
  replace() {
    this.#fill();
    FILL_AGAIN_MS.forEach((ms) => setTimeout(() => this.#fill(), ms));
  }

  /** Take alerts that are new to the board. */
  hear(_, alerts) {
    const wanted = alerts.filter((alert) => this.#isWanted(alert));
    this.#came += wanted.length;
    this.#isDue ||= wanted.length > 0;
  }

  draw(now) {
    if (this.#isDue && this.#came <= FEW_ALERTS) this.#show(now);
  }

  #show(now) {
    [this.#isDue, this.#came] = [false, 0];
    const wanted = this.#stored.listed(this.#board.alerts.newest).filter((alert) => this.#isWanted(alert));
    const { shown, unread } = this.#reading.show(wanted);
    this.#list.show(shown, now + this.#board.clockAheadMs);
    this.#parts.unread.hidden = unread === 0;
    write(this.#parts.unread, `↑ ${unread} new`);
    this.#parts.empty.hidden = shown.length > 0;
    write(this.#parts.empty, emptyWords(this.#filter, this.#view.get("ticker")));
    this.#showNote();
  }

  tick(now) {
    if (this.#isDue) this.#show(now);
    this.#list.tick(now + this.#board.clockAheadMs);
  }

  /** What is listed, in sight or not. */
  get listed() {
    return this.#list.shown;
  }

  focus() {
    this.#list.focus();
  }

  #isWanted(alert) {
    return passes(alert, this.#filter, this.#view.get("ticker"));
  }

  #listen() {
    const { filter, chosen, unread, sound, notify } = this.#parts;
    filter.addEventListener("change", ({ target }) => this.#set({ direction: target.value }));
    chosen.addEventListener("change", () => this.#set({ isChosenOnly: chosen.checked }));
    unread.addEventListener("click", () => {
      this.#readNewest();
      this.#list.focus();
    });
    sound.addEventListener("click", () => {
      this.#alarms.toggleSound();
      this.#showControls();
    });
    notify.addEventListener("click", async () => {
      this.#advise(await this.#alarms.toggleNotifications());
      this.#showControls();
    });
    this.#view.on(["alerts"], () => this.#onFilter());
    this.#view.on(["ticker"], () => this.#onTicker());
  }

  #set(change) {
    this.#view.set({ alerts: formatFilter({ ...this.#filter, ...change }) });
  }

  #onFilter() {
    this.#filter = parseFilter(this.#view.get("alerts"));
    this.#showControls();
    this.#begin();
  }

  #onTicker() {
    this.#showControls();
    if (this.#filter.isChosenOnly) this.#begin();
  }

  /** Another list: from its top, with its own pages. */
  #begin() {
    this.#stored = new StoredAlerts();
    this.#readNewest();
    this.#fill();
  }

  #readNewest() {
    this.#reading.release();
    this.#list.scrollToTop();
    this.#show(Date.now());
  }

  #onScroll(isAtTop) {
    const wasHeld = this.#reading.isHeld;
    if (isAtTop) this.#reading.release();
    else this.#reading.hold(this.#list.shown);
    if (wasHeld && isAtTop) this.#show(Date.now());
  }

  /* What REST tells */

  /** The newest ones: of all tickers for the board, and the first page of what the reader wants. */
  async #fill() {
    clearTimeout(this.#fillingAgain);
    this.#abort.abort();
    this.#abort = new AbortController();
    await this.#read(this.#abort.signal, async (signal) => {
      const newest = await readAlerts({ limit: PAGE }, signal);
      this.#board.addAlerts(newest.items.toReversed());
      const isAll = this.#filter.direction === "all" && !this.#filter.isChosenOnly;
      this.#stored.take(isAll ? newest : await readAlerts({ ...this.#asked(), limit: PAGE }, signal), true);
    });
    this.#isDue = true;
    this.#redraw(); // nobody asked for it: not while the display is paused
  }

  async #readOlder() {
    if (!this.#stored.hasMore || this.#isReading) return;
    await this.#read(this.#abort.signal, async (signal) => {
      this.#stored.take(await readAlerts({ ...this.#asked(), limit: PAGE, cursor: this.#stored.cursor }, signal), false);
    });
    // Who scrolled down asked for them, also while the display is paused; a list that is not yet full asked by itself.
    this.#isDue = true;
    if (this.#reading.isHeld) this.#show(Date.now());
    else this.#redraw();
  }

  #asked() {
    return asked(this.#filter, this.#view.get("ticker"));
  }

  async #read(signal, read) {
    this.#isReading = true;
    try {
      await read(signal);
      this.#trouble = "";
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof RestError)) throw error;
      this.#trouble = `No earlier alerts: ${error.message}`;
      this.#fillingAgain = setTimeout(() => this.#fill(), TRY_AGAIN_MS);
    } finally {
      if (!signal.aborted) this.#isReading = false;
    }
  }

  /* Controls */

  #showControls() {
    const { filter, chosen, chosenName, sound, notify } = this.#parts;
    filter.querySelector(`[value=${this.#filter.direction}]`).checked = true;
    chosen.checked = this.#filter.isChosenOnly;
    write(chosenName, `${this.#view.get("ticker") || "chosen"} only`);
    sound.ariaPressed = String(this.#alarms.isLoud);
    notify.ariaPressed = String(this.#alarms.isNotifying);
  }

  #advise(words) {
    this.#advice = words;
    this.#showNote();
    if (words) setTimeout(() => this.#advise(""), ADVICE_MS);
  }

  #showNote() {
    const cut = this.#stored.isCut ? "Older ones: GET /api/alerts" : "";
    write(this.#parts.note, this.#advice || this.#trouble || cut);
  }
}
