/** Which rows are to exist: those in view and a few beside them, so that a turn of the wheel shows no blank. Pure. */

const BESIDE = 6;

/** `[from, to)` of `count` rows and `beside` on each side, with the list scrolled to `top` and `height` of it in view; all in px of rows `rowHeight` high. */
export function rangeInView({ top, height, rowHeight, count }, beside = BESIDE) {
  const reached = Math.max(0, Math.min(top, count * rowHeight - height));
  const from = Math.floor(reached / rowHeight) - beside;
  const to = Math.ceil((reached + height) / rowHeight) + beside;
  return [Math.max(0, from), Math.min(count, to)];
}

/** Where to scroll to, so that a row is wholly in view; `top` if it is. */
export function topShowing(place, { top, height, rowHeight }) {
  const [begin, end] = [place * rowHeight, (place + 1) * rowHeight];
  return begin < top ? begin : end > top + height ? end - height : top;
}
