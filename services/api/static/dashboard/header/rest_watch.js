/** Whether the REST service is of use, told apart from the gateway: asked now and then, and often while it is not. */

import { RestError, read } from "/static/rest.js";

const WELL_MS = 20_000;
const AWAY_MS = 3_000;

export class RestWatch {
  /** Why it is of no use, in words; empty if it is. */
  trouble = "";
  #changed;

  /** `changed()` is called when `trouble` is another. */
  constructor(changed) {
    this.#changed = changed;
  }

  /** Ask from now on, for as long as the page is seen. */
  start() {
    this.#ask();
  }

  async #ask() {
    if (!document.hidden) this.#note(await troubleOf());
    setTimeout(() => this.#ask(), this.trouble ? AWAY_MS : WELL_MS);
  }

  #note(trouble) {
    if (trouble === this.trouble) return;
    this.trouble = trouble;
    this.#changed();
  }
}

async function troubleOf() {
  try {
    await read("/healthz");
    return "";
  } catch (error) {
    if (!(error instanceof RestError)) throw error;
    return away(error.message);
  }
}

/** What the service says of itself names servers, what we say of it names the service. Pure. */
export function away(message) {
  const named = /^does not answer: (.+)$/.exec(message);
  return named ? `the REST service says that ${named[1].replace("postgresql", "PostgreSQL").replace("redis", "Redis")} does not answer it` : message;
}
