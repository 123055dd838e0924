/** What of a growing list is shown: all, or while somebody reads further down what was there, so that nothing moves under the eyes. Pure. */

export class Reading {
  #held = null;

  get isHeld() {
    return this.#held !== null;
  }

  /** From now on keep `items` where they are; older ones still join behind. */
  hold(items) {
    this.#held ??= items;
  }

  release() {
    this.#held = null;
  }

  /** `{shown, unread}` of a list, newest first: what to show, and how many are kept back. */
  show(items) {
    if (!this.#held) return { shown: items, unread: 0 };
    const kept = new Set(this.#held.map(({ id }) => id));
    const last = items.findLastIndex(({ id }) => kept.has(id));
    const behind = items.slice(last + 1);
    if (behind.length && last >= 0) this.#held = [...this.#held, ...behind];
    return { shown: this.#held, unread: items.slice(0, last + 1).filter(({ id }) => !kept.has(id)).length };
  }
}
