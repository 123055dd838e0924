/** Texts of prices, times and ages. Pure: the moment is an argument. Prices are text and stay so: a float would lose digits. */

const LEAST_DECIMALS = 2;
const SMALL = 1;
/** Below this an average needs all its places to tell anything. */

/** A price with at least two decimals, and every further one that it has. */
export function price(text) {
  const [whole, decimals = ""] = text.split(".");
  return `${grouped(whole)}.${decimals.padEnd(LEAST_DECIMALS, "0")}`;
}

/** An average to two decimals; a dash before the window is full. */
export function average(text) {
  if (text === null || text === undefined) return "–";
  if (Number(text) < SMALL) return price(text);
  const [whole, decimals] = Number(text).toFixed(LEAST_DECIMALS).split(".");
  return `${grouped(whole)}.${decimals}`;
}

/** How many decimals a number has, written as text. */
export function decimals(text) {
  const point = String(text).indexOf(".");
  return point < 0 ? 0 : String(text).length - point - 1;
}

/** An amount of shares, short: whole, or with the decimals it has. */
export const volume = (amount) => amounts.format(amount);
const amounts = new Intl.NumberFormat("en", { maximumFractionDigits: 2, notation: "compact" });

function grouped(whole) {
  return whole.length <= 3 ? whole : whole.replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** A number of things: `1 000`. */
export const count = (number) => grouped(String(number));

/** How long ago, in the unit a reader needs. */
export function age(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const hours = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });
const dayOfMonth = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const date = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });

/** The time of day to the second, where the reader is. */
export const timeOfDay = (ms) => clock.format(ms);

/** The time, with the day where it is not today. */
export function moment(ms, now) {
  return isSameDay(ms, now) ? hours.format(ms) : `${day.format(ms)}, ${hours.format(ms)}`;
}

/** The time of an alert: to the second today, else the date. */
export function when(ms, now) {
  return isSameDay(ms, now) ? clock.format(ms) : date.format(ms);
}

/** The time as short as a column wants it: to the minute today, else the day. */
export function brief(ms, now) {
  return isSameDay(ms, now) ? hours.format(ms) : dayOfMonth.format(ms);
}

/** A label of the time axis and of the crosshair, of a moment in seconds. */
export const axisTime = (seconds) => clock.format(seconds * 1000);
export const axisMoment = (seconds) => `${date.format(seconds * 1000)}, ${clock.format(seconds * 1000)}`;
export const axisDate = (seconds) => date.format(seconds * 1000);
export const axisMinute = (seconds) => hours.format(seconds * 1000);

const utcDate = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric", timeZone: "UTC" });
const minute = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

/** The same of a bar of minutes or hours, and of a bar that is a day of UTC. */
export const barMoment = (seconds) => minute.format(seconds * 1000);
export const barDate = (seconds) => utcDate.format(seconds * 1000);

function isSameDay(ms, now) {
  return new Date(ms).toDateString() === new Date(now).toDateString();
}

export const SIGNS = { bullish: "▲", bearish: "▼" };
