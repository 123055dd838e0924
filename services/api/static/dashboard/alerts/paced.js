/** Says things at once, then at most every so often, what came meanwhile together: nobody is told five times a second. */

export class Paced {
  #ms;
  #say;
  #unsaid = [];
  #timer = null;

  /** `say(items)` gets what was added since the last time, the newest last. */
  constructor(ms, say) {
    this.#ms = ms;
    this.#say = say;
  }

  add(items) {
    this.#unsaid.push(...items);
    if (this.#timer === null) this.#tell();
  }

  #tell() {
    const items = this.#unsaid;
    this.#unsaid = [];
    this.#timer = items.length ? setTimeout(() => this.#tell(), this.#ms) : null;
    if (items.length) this.#say(items);
  }
}
