/** Looks things up among the points of a chart, which ascend by time. Pure. */

/** Index of the first point from a time on; their number if there is none. */
export function firstFrom(points, time) {
  let [low, high] = [0, points.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle].time < time) low = middle + 1;
    else high = middle;
  }
  return low;
}
