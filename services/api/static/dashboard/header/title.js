/** The title of the tab: the chosen ticker and its price, written seldom enough that it does not flicker among other tabs. */

import { price } from "/static/format.js";

const SEEN_MS = 1_000;
const HIDDEN_MS = 10_000;
const SIGNS = { 1: "▲ ", "-1": "▼ ", 0: "" };

/** `▲ 255.78 AAPL · tickstream`; the bare name before there is a price. Pure. */
export function titleOf(stock) {
  return stock ? `${SIGNS[stock.direction]}${price(stock.price)} ${stock.ticker} · tickstream` : "tickstream";
}

export class Title {
  #writtenAt = -Infinity;
  #ticker = null;

  /** Write the title of this stock, another ticker's at once. */
  show(stock, now) {
    const isOther = stock?.ticker !== this.#ticker;
    if (!isOther && now - this.#writtenAt < (document.hidden ? HIDDEN_MS : SEEN_MS)) return;
    this.#writtenAt = now;
    this.#ticker = stock?.ticker;
    const text = titleOf(stock);
    if (document.title !== text) document.title = text;
  }
}
