/** In which order the tickers stand: those that match the search, pinned ones first, then as the reader sorts. Pure. */

/** What can be sorted by, and whether the first click puts the greatest first: of a list of movers one wants the top. */
const FIRST_IS_GREATEST = { ticker: false, price: true, change: true, alert: true, age: false };
const DEFAULT = { key: "ticker", isDescending: false };

/** Read `change` or `-change`; what cannot be sorted by is `ticker`. */
export function parseSort(text) {
  const isDescending = text.startsWith("-");
  const key = isDescending ? text.slice(1) : text;
  return Object.hasOwn(FIRST_IS_GREATEST, key) ? { key, isDescending } : DEFAULT;
}

/** The text of the sort that a click on a column asks for, after `sort`. */
export function clicked(key, sort) {
  const isDescending = key === sort.key ? !sort.isDescending : FIRST_IS_GREATEST[key];
  return isDescending ? `-${key}` : key;
}

/** Rows that change places more often cannot be read. */
const SORT_AGAIN_MS = 3_000;

/**
 * Whether rows may change places because values have changed. Not under a pointer, which is about to click, nor where somebody reads with
 * the keyboard: the order waits until they have left. A sort or a search that the reader asks for is done at once.
 */
export function mayRearrange({ sort, sinceMs, isPointedAt, isFocused }) {
  return sort.key !== "ticker" && sinceMs >= SORT_AGAIN_MS && !isPointedAt && !isFocused;
}

/** Whether a ticker matches what was typed. */
export function matches(ticker, find) {
  return ticker.includes(find.trim().toUpperCase());
}

/**
 * The tickers in order. `valueOf(ticker)` is the number to sort by, null while it is not known: those come last, whichever way the
 * others go. What is equal stands by ticker, so that an order is the same whenever it is made.
 */
export function ordered(tickers, { find, sort, pinned, valueOf }) {
  const way = sort.isDescending ? -1 : 1;
  const compare = sort.key === "ticker" ? (a, b) => way * byTicker(a, b) : (a, b) => byValue(a, b, way);
  return [...tickers]
    .filter((ticker) => matches(ticker, find))
    .map((ticker) => ({ ticker, isPinned: pinned.has(ticker), value: sort.key === "ticker" ? null : valueOf(ticker) }))
    .sort((a, b) => b.isPinned - a.isPinned || compare(a, b))
    .map(({ ticker }) => ticker);
}

function byTicker(a, b) {
  return a.ticker < b.ticker ? -1 : a.ticker > b.ticker ? 1 : 0;
}

function byValue(a, b, way) {
  if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || byTicker(a, b);
  return way * (a.value - b.value) || byTicker(a, b);
}
