/** The reader's token for a gateway that wants one: kept for this tab alone, never in the address, forgotten when it is refused. */

import { Memory } from "/static/dashboard/memory.js";

const NAME = "token";

export class Token {
  #memory = new Memory(() => sessionStorage);
  #text = this.#memory.get(NAME);
  #dialog;
  #field;
  #opener;
  #give = () => {};

  /** `opener` is the button that brings the form back after it was closed. */
  constructor(dialog, opener) {
    this.#dialog = dialog;
    this.#opener = opener;
    this.#field = dialog.querySelector("input");
    dialog.querySelector("form").addEventListener("submit", (event) => this.#onSubmit(event));
    dialog.querySelector("[value=later]").addEventListener("click", () => dialog.close());
    opener.addEventListener("click", () => dialog.showModal());
  }

  /** The token of this tab, or null. */
  get text() {
    return this.#text;
  }

  /** Forget the one that was refused and ask for another; `reason` is the gateway's. Resolves when the reader has given one. */
  ask(reason) {
    const isRefused = this.#text !== null;
    this.#keep(null);
    this.#dialog.querySelector("#token-why").textContent = isRefused ? `The gateway refused the token: ${reason}.` : "This gateway shows its prices to those who have a token.";
    this.#field.value = "";
    this.#opener.hidden = false;
    if (!this.#dialog.open) this.#dialog.showModal();
    return new Promise((resolve) => (this.#give = resolve));
  }

  #onSubmit(event) {
    event.preventDefault();
    const text = this.#field.value.trim();
    this.#field.value = "";
    if (!text) return;
    this.#keep(text);
    this.#opener.hidden = true;
    this.#dialog.close();
    this.#give(text);
  }

  #keep(text) {
    this.#text = text;
    this.#memory.set(NAME, text);
  }
}
