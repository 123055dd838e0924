/** What the browser keeps for the page, text by name; where it keeps nothing (private windows, blocked cookies), the page forgets and goes on. */

export class Memory {
  #open;

  /** `open()` gives the browser's storage, or throws: `() => localStorage`. */
  constructor(open) {
    this.#open = open;
  }

  /** The text of that name, or null. */
  get(name) {
    try {
      return this.#open().getItem(`tickstream.${name}`);
    } catch {
      return null;
    }
  }

  /** Keep a text; null forgets it. */
  set(name, text) {
    try {
      if (text === null) this.#open().removeItem(`tickstream.${name}`);
      else this.#open().setItem(`tickstream.${name}`, text);
    } catch {
      // Full or forbidden: the choice holds until the page is closed.
    }
  }
}
