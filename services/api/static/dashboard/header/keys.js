/** Keys for the whole page: single characters, unless the reader turned them off (WCAG 2.1.4) or is writing something. */

const WRITING = "input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable]";
/** Keys that a panel takes for the whole page: turned off with ours. */
const OF_PANELS = ["/"];
/** What a space has a meaning for already. */
const SPACED = "button, a, summary, input, [tabindex], [role=option]";

export class Keys {
  #memory;
  #actions;

  /** `actions` has a function for each key. */
  constructor(memory, actions) {
    this.#memory = memory;
    this.#actions = actions;
    document.addEventListener("keydown", (event) => this.#onKey(event));
    document.addEventListener("keydown", (event) => this.#keepBack(event), { capture: true });
  }

  get isOn() {
    return this.#memory.get("keys") !== "off";
  }

  set isOn(isOn) {
    this.#memory.set("keys", isOn ? null : "off");
  }

  #keepBack(event) {
    if (!this.isOn && OF_PANELS.includes(event.key) && !event.target.closest?.(WRITING)) event.stopPropagation();
  }

  #onKey(event) {
    const action = this.#actions[event.key];
    if (!action || !this.isOn || event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const { target } = event;
    if (target.closest?.(WRITING) || document.querySelector("dialog[open]")) return;
    if (event.key === " " && target.closest?.(SPACED)) return;
    event.preventDefault();
    action();
  }
}
