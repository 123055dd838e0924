/** The search box of the watch list: `/` goes there, Escape clears it, Enter takes the first that matches. */

export class Search {
  #box;
  #view;

  /** What is typed is the view's `find`; `enter()` is called when the reader takes what was found. */
  constructor(box, view, enter) {
    this.#box = box;
    this.#view = view;
    box.value = view.get("find");
    box.addEventListener("input", () => view.set({ find: box.value.trim() }));
    box.addEventListener("keydown", (event) => this.#onKey(event, enter));
    document.addEventListener("keydown", (event) => this.#onKeyOfPage(event));
    view.on(["find"], () => this.#take());
  }

  /** Not while somebody types: a blank at the end is cut off in the view, and must stay in the box. */
  #take() {
    const find = this.#view.get("find");
    if (this.#box.value.trim() !== find) this.#box.value = find;
  }

  #onKey(event, enter) {
    if (event.key === "Enter") enter();
    if (event.key !== "Escape") return;
    event.preventDefault();
    if (this.#box.value === "") this.#box.blur();
    this.#box.value = "";
    this.#view.set({ find: "" });
  }

  #onKeyOfPage(event) {
    if (event.key !== "/" || event.ctrlKey || event.altKey || event.metaKey || isTyping(event.target)) return;
    event.preventDefault();
    this.#box.focus();
    this.#box.select();
  }
}

function isTyping(target) {
  return target.isContentEditable || ["input", "select", "textarea"].includes(target.localName);
}
