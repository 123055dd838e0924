/** Which alerts the reader wants to see and hear: by direction, and of the chosen ticker alone. Kept in the view as `bearish,chosen`. Pure. */

const DIRECTIONS = ["all", "bullish", "bearish"];
const CHOSEN = "chosen";

/** `{direction, isChosenOnly}`; what no page knows counts as not said. */
export function parseFilter(text) {
  const words = text.split(",");
  return { direction: DIRECTIONS.find((direction) => words.includes(direction)) ?? "all", isChosenOnly: words.includes(CHOSEN) };
}

/** The text of a filter. */
export function formatFilter({ direction, isChosenOnly }) {
  return isChosenOnly ? `${direction},${CHOSEN}` : direction;
}

/** Whether an alert is wanted, while `chosen` is the ticker that the chart shows. */
export function passes(alert, { direction, isChosenOnly }, chosen) {
  return (direction === "all" || alert.direction === direction) && (!isChosenOnly || alert.ticker === chosen);
}

/** The same as parameters of `GET /api/alerts`. */
export function asked({ direction, isChosenOnly }, chosen) {
  return { direction: direction === "all" ? null : direction, ticker: (isChosenOnly && chosen) || null };
}

/** Why nothing is listed, in words. */
export function emptyWords({ direction, isChosenOnly }, chosen) {
  const kind = direction === "all" ? "crossover" : `${direction} crossover`;
  return isChosenOnly && chosen ? `No ${kind} of ${chosen} yet.` : `No ${kind} yet.`;
}
