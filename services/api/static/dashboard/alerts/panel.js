/** The panel of alerts: live ones and those that were stored. */

import { AlertList } from "/static/dashboard/alerts/alerts.js";
import { RestError, readAlerts } from "/static/rest.js";

const ALERTS_AT_START = 100;
const FILL_AGAIN_MS = [1_000, 4_000];
/** Alerts of the last moments before a snapshot may not be stored yet when it comes. */
const TRY_AGAIN_MS = 3_000;

export class AlertPanel {
  #board;
  #list;
  #note;
  #redraw;
  #fillingAgain = null;

  /** `place` is the panel's section; `redraw()` asks for a frame. */
  constructor(place, board, view, redraw) {
    this.#board = board;
    this.#redraw = redraw;
    this.#note = place.querySelector("#alerts-note");
    const announcement = document.getElementById("announcement");
    this.#list = new AlertList(place.querySelector("#alerts"), place.querySelector("#no-alerts"), announcement, (ticker) => view.set({ ticker }));
    this.#fill();
  }

  /** Take live alerts, those that are new to the board. */
  hear(update, alerts) {
    if (alerts.length) this.#list.announce(alerts);
  }

  /** The gateway replaced everything: alerts of what was missed are read. */
  replace() {
    this.#fill();
    FILL_AGAIN_MS.forEach((ms) => setTimeout(() => this.#fill(), ms));
  }

  draw(now) {
    this.#list.show(this.#board.alerts.newest, now);
  }

  async #fill() {
    clearTimeout(this.#fillingAgain);
    try {
      const { items } = await readAlerts({ limit: ALERTS_AT_START });
      this.#board.addAlerts(items.toReversed());
      this.#note.textContent = "";
    } catch (error) {
      if (!(error instanceof RestError)) throw error;
      this.#note.textContent = `No earlier alerts: ${error.message}`;
      this.#fillingAgain = setTimeout(() => this.#fill(), TRY_AGAIN_MS);
    }
    this.#redraw();
  }
}
