/** Tells the reader of live alerts: to a screen reader in words; as a tone and a notification of the desktop where that is wanted. */

import { Paced } from "/static/dashboard/alerts/paced.js";
import { play } from "/static/dashboard/alerts/sound.js";

const ANNOUNCE_MS = 5_000;
const SOUND_MS = 1_000;
const NOTIFY_MS = 10_000;
const LATE_MS = 60_000;
const TAG = "tickstream-alerts";

/** Those of an update that are worth an alarm: of what came again after a break only the last minute. Pure. */
export function alarming({ alerts, isSnapshot, timestamp }) {
  return isSnapshot ? alerts.filter(({ ts }) => Date.parse(timestamp) - Date.parse(ts) <= LATE_MS) : alerts;
}

/** The newest by name, the rest by number. Pure. */
export function sentence(alerts) {
  const { ticker, direction, price } = alerts.at(-1);
  return `${ticker} ${direction} at ${price}${alerts.length > 1 ? `, and ${alerts.length - 1} more` : ""}`;
}

export class Alarms {
  #memory;
  #announcing;
  #sounding = new Paced(SOUND_MS, (alerts) => play(new Set(alerts.map(({ direction }) => direction))));
  #notifying = new Paced(NOTIFY_MS, (alerts) => document.hidden && show(alerts));
  #isLoud;
  #isNotifying;

  /** `announcement` is the live region. */
  constructor(announcement, memory) {
    this.#memory = memory;
    this.#announcing = new Paced(ANNOUNCE_MS, (alerts) => (announcement.textContent = sentence(alerts)));
    this.#isLoud = memory.get("sound") === "on";
    this.#isNotifying = memory.get("notify") === "on" && permission() === "granted";
  }

  get isLoud() {
    return this.#isLoud;
  }

  get isNotifying() {
    return this.#isNotifying;
  }

  raise(alerts) {
    if (alerts.length === 0) return;
    this.#announcing.add(alerts);
    if (this.#isLoud) this.#sounding.add(alerts);
    if (this.#isNotifying && document.hidden) this.#notifying.add(alerts);
  }

  /** Turn the tone on or off, by a click: browsers allow no sound without one. It is heard at once. */
  toggleSound() {
    this.#isLoud = !this.#isLoud;
    this.#memory.set("sound", this.#isLoud ? "on" : null);
    if (this.#isLoud) play(new Set(["bullish", "bearish"]));
  }

  /** Turn notifications on or off, by a click; return why that cannot be, or nothing. */
  async toggleNotifications() {
    const said = this.#isNotifying ? "" : await allowed();
    this.#isNotifying = !this.#isNotifying && said === "";
    this.#memory.set("notify", this.#isNotifying ? "on" : null);
    return said;
  }
}

function permission() {
  return globalThis.Notification?.permission ?? "missing";
}

async function allowed() {
  if (permission() === "missing") return "This browser shows no notifications here: it wants https, or localhost.";
  const answer = permission() === "default" ? await Notification.requestPermission() : permission();
  if (answer === "granted") return "";
  if (answer === "denied") return "The browser forbids notifications of this page: allow them in its settings for this site.";
  return "The browser was given no answer: notifications stay off.";
}

/** One for all: the tag replaces the one before. */
function show(alerts) {
  try {
    const shown = new Notification("tickstream", { body: sentence(alerts), tag: TAG, icon: "/static/favicon.svg" });
    shown.onclick = () => {
      window.focus();
      shown.close();
    };
  } catch {
    // Android's browsers have the permission, but show only what a service worker shows.
  }
}
