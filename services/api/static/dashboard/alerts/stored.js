/**
 * The alerts that REST has told, page behind page, as far as the reader has scrolled. With the live ones they are one list without a
 * hole: nothing older than the last page is listed, for what lies between is not known. Pure.
 */

const MOST_STORED = 2_000;

export class StoredAlerts {
  items = [];
  /** Where the next page begins; null before the first one, and behind the last. */
  cursor = null;
  /** Whether a page has come. */
  isBegun = false;

  /** Whether there is a next page that may be asked for. */
  get hasMore() {
    return this.isBegun && this.cursor !== null && this.items.length < MOST_STORED;
  }

  /** Whether the list ends because it is long, not because there are no older ones. */
  get isCut() {
    return this.cursor !== null && this.items.length >= MOST_STORED;
  }

  /** Take an answer: the first page, or the one behind those that are there. */
  take({ items, next }, isFirst) {
    const known = new Set(isFirst ? [] : this.items.map(({ id }) => id));
    const fresh = items.filter(({ id }) => !known.has(id)).map((alert) => ({ ...alert, at: Date.parse(alert.ts) }));
    this.items = isFirst ? fresh : [...this.items, ...fresh];
    this.cursor = next;
    this.isBegun = true;
  }

  /** With the live ones, newest first and each once; all of `live` while no page is there. */
  listed(live) {
    if (!this.isBegun) return live;
    const known = new Set(this.items.map(({ id }) => id));
    const floor = this.cursor === null ? -Infinity : (this.items.at(-1)?.at ?? -Infinity);
    const others = live.filter(({ id, at }) => !known.has(id) && at >= floor);
    return [...others, ...this.items].sort((a, b) => b.at - a.at || (a.ticker === b.ticker ? b.seq - a.seq : 0));
  }
}
