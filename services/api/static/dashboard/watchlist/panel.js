/** The watch list: every ticker with its newest price. */

import { Table } from "/static/dashboard/watchlist/rows.js";

export class WatchList {
  #board;
  #view;
  #table;
  #count;
  #empty;

  /** `place` is the panel's section. */
  constructor(place, board, view) {
    this.#board = board;
    this.#view = view;
    this.#count = place.querySelector("#count");
    this.#empty = place.querySelector("#no-prices");
    this.#table = new Table(place.querySelector("#prices"), (ticker) => view.set({ ticker }));
    view.on(["ticker"], () => this.#mark());
  }

  /** Write what has changed. */
  draw() {
    const { prices, alerts, changed } = this.#board;
    this.#table.keep(prices);
    const stocks = [...changed].map((ticker) => prices.get(ticker)).filter(Boolean);
    this.#table.show(stocks, (ticker) => alerts.lastOf(ticker));
    this.#mark();
    this.#empty.hidden = prices.size > 0;
    this.#count.textContent = prices.size ? `${prices.size}` : "";
  }

  #mark() {
    this.#table.mark(this.#view.get("ticker"));
  }

  /** Write the ages, once a second. */
  tick(now) {
    this.#table.showAges(now + this.#board.clockAheadMs);
  }
}
