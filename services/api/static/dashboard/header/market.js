/** Whether the exchange trades, in words, with the time that is left until that changes. `words` is pure. */

import { write } from "/static/dashboard/write.js";

const STATUS = { open: "open", pre: "pre-market", post: "after hours", closed: "closed" };
const USUAL = "regular session";
/** Sources without an exchange: the reason is their name. */
const SOURCES = { simulated: "simulated prices", replay: "a replayed file" };
/** What people call an exchange, and where its clock hangs; of others the code is said, and UTC. */
const EXCHANGES = {
  XNYS: ["NYSE", "America/New_York"],
  XNAS: ["Nasdaq", "America/New_York"],
  XTSE: ["Toronto", "America/Toronto"],
  XLON: ["London", "Europe/London"],
  XETR: ["Xetra", "Europe/Berlin"],
  XPAR: ["Paris", "Europe/Paris"],
  XAMS: ["Amsterdam", "Europe/Amsterdam"],
  XSWX: ["Zurich", "Europe/Zurich"],
  XTKS: ["Tokyo", "Asia/Tokyo"],
  XHKG: ["Hong Kong", "Asia/Hong_Kong"],
  XASX: ["Sydney", "Australia/Sydney"],
};

/** `{title, detail, hint}` of a market status at `now` in ms of the gateway's clock; `hint` has the moment by both clocks. */
export function words(market, now) {
  if (SOURCES[market.reason]) return { title: "Market open", detail: SOURCES[market.reason], hint: `No exchange is asked: these are ${SOURCES[market.reason]}.` };
  const [name, zone] = EXCHANGES[market.exchange] ?? [market.exchange, "UTC"];
  const [verb, next] = market.status === "open" ? ["closes", market.next_close] : ["opens", market.next_open];
  const parts = market.reason && market.reason !== USUAL ? [market.reason] : [];
  if (next) parts.push(nextWords(verb, Date.parse(next) - now));
  return { title: `${name} ${STATUS[market.status] ?? market.status}`, detail: parts.join(", "), hint: next ? momentWords(verb, Date.parse(next), zone) : "" };
}

function nextWords(verb, leftMs) {
  return leftMs > 0 ? `${verb} in ${countdown(leftMs)}` : `${verb} now`;
}

/** `2 d 03:12` (hours and minutes), below a day `3 h 12 min`, and each second below an hour: `12 min 04 s`. Pure. */
export function countdown(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const [days, hours, minutes] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days} d ${twoDigits(hours)}:${twoDigits(minutes)}`;
  if (hours) return `${hours} h ${twoDigits(minutes)} min`;
  return minutes ? `${minutes} min ${twoDigits(seconds % 60)} s` : `${seconds} s`;
}

function twoDigits(number) {
  return String(number).padStart(2, "0");
}

/** The moment where the reader is, and where the exchange is. */
function momentWords(verb, ms, zone) {
  const here = new Intl.DateTimeFormat().resolvedOptions().timeZone;
  const capital = verb[0].toUpperCase() + verb.slice(1);
  return zone === here ? `${capital} ${clockIn(ms, zone)}` : `${capital} ${clockIn(ms, here)}; there it is ${clockIn(ms, zone)}`;
}

function clockIn(ms, timeZone) {
  const format = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone };
  return `${new Intl.DateTimeFormat(undefined, format).format(ms)} (${timeZone.replaceAll("_", " ")})`;
}

/** Write it into the header. */
export function showMarket(place, hint, market, now) {
  const said = words(market, now);
  place.dataset.status = market.status;
  if (place.querySelector("strong").textContent !== said.title) {
    place.replaceChildren(part("strong", said.title), " ", part("span", said.detail)); // anew, or the detail would shift
  }
  write(place.querySelector("span"), said.detail);
  write(hint, said.hint);
}

function part(kind, text) {
  const element = document.createElement(kind);
  element.textContent = text;
  return element;
}
