/** Whether the exchange trades, in words. `words` is pure. */

import { moment } from "/static/format.js";

const STATUS = { open: "open", pre: "pre-market", post: "after hours", closed: "closed" };
const USUAL = "regular session";
const SOURCES = { simulated: "simulated prices", replay: "a replayed file" };
/** Sources without an exchange: the reason is their name. */

/** `{title, detail}` of a market status at `now` in ms. */
export function words(market, now) {
  const title = `${market.exchange} ${STATUS[market.status] ?? market.status}`;
  if (SOURCES[market.reason]) return { title: "Market open", detail: SOURCES[market.reason] };
  const parts = market.reason && market.reason !== USUAL ? [market.reason] : [];
  const next = market.status === "open" ? ["closes", market.next_close] : ["opens", market.next_open];
  if (next[1]) parts.push(`${next[0]} ${moment(Date.parse(next[1]), now)}`);
  return { title, detail: parts.join(", ") };
}

/** Write it into the header. */
export function showMarket(place, market, now) {
  const { title, detail } = words(market, now);
  place.dataset.status = market.status;
  place.querySelector("strong").textContent = title;
  place.querySelector("span").textContent = detail;
}
