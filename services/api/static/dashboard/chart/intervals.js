/** The switch between ticks and bars: radio buttons, kept in the view. */

import { LENGTHS_MS } from "/static/dashboard/chart/bars.js";

export const TICKS = "ticks";

/** The interval that a view names; what nobody knows is ticks. */
export function intervalOf(view) {
  const named = view.get("interval");
  return Object.hasOwn(LENGTHS_MS, named) ? named : TICKS;
}

/** Let the radio buttons of `place` and the view say the same. */
export function bindIntervals(place, view) {
  const mark = () => (place.querySelector(`input[value="${intervalOf(view)}"]`).checked = true);
  place.addEventListener("change", (event) => view.set({ interval: event.target.value }));
  view.on(["interval"], mark);
  mark();
}
