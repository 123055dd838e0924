/** How the page is connected, as the header's badge and the line at the foot say it, with the true reason. `words` is pure. */

import { write } from "/static/dashboard/write.js";
import { moment, timeOfDay } from "/static/format.js";

const UNAUTHORIZED = 4401;

/**
 * What to say of the feed's status: `{phase, short, long, soon}`; `long` is empty where all is well, `soon` changes each second.
 * `rest` is why the REST service is of no use, empty if it is; `silentSince` is since when the source is silent; `source` its name.
 */
export function words(status, now, { rest = "", silentSince = null, source = "" } = {}) {
  const said = gatewayWords(status, now) ?? silenceWords(silentSince, source, now) ?? restWords(rest) ?? wellWords(status);
  const isBoth = rest && ["waiting", "ended", "connecting", "stale"].includes(said.phase) && said.long;
  return { soon: "", ...said, long: isBoth ? `${said.long} ${sentence(rest)}` : said.long };
}

function gatewayWords({ phase, reason, code, retryAt, staleSince }, now) {
  const wanted = code === UNAUTHORIZED;
  switch (phase) {
    case "live":
      if (!staleSince) return null;
      return { phase: "stale", short: "stale", long: `Redis is away since ${timeOfDay(Date.parse(staleSince))}: prices stand still until it is back.` };
    case "connecting":
      return { phase, short: "connecting", long: reason ? `Disconnected: ${reason}.` : "", soon: reason ? "Connecting again …" : "" };
    case "waiting":
      return { phase, short: "disconnected", long: `Disconnected: ${reason}.`, soon: `Next try in ${Math.max(0, Math.ceil((retryAt - now) / 1000))} s.` };
    default:
      if (wanted) return { phase: "ended", short: "token wanted", long: `The gateway wants a token: ${reason}.` };
      return { phase: "ended", short: "disconnected", long: `Disconnected for good: ${reason}. Reload the page to try again.` };
  }
}

function silenceWords(since, source, now) {
  if (since === null) return null;
  const why = source === "replay" ? "the replay is over, or stands still" : "the market is open, but the source is silent";
  return { phase: "silent", short: "silent", long: `No price since ${now - since < 86_400_000 ? timeOfDay(since) : moment(since, now)}: ${why}.` };
}

function restWords(rest) {
  if (!rest) return null;
  return { phase: "partial", short: "live, no history", long: `Prices and alerts are live, but ${rest}: no chart of the past and no earlier alerts until it is back.` };
}

function wellWords({ complaint }) {
  return { phase: "live", short: "live", long: complaint ? `The gateway refused a request: ${complaint}` : "" };
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}, too.`;
}

/** Write it into the header's badge, its hint and the banner. */
export function showConnection({ badge, hint, banner }, said) {
  badge.dataset.phase = said.phase;
  write(badge, said.short);
  write(hint, [said.long || "Prices and alerts come as they happen.", said.soon].join(" ").trim());
  if (said.long) showBanner(banner, said);
  banner.dataset.phase = said.phase;
  banner.hidden = !said.long;
}

/** What counts down is no news for a screen reader. Other words are other elements: nothing that is there shifts. */
function showBanner(banner, { long, soon }) {
  if (banner.firstElementChild?.textContent !== long) {
    const [words, count] = [document.createElement("span"), document.createElement("span")];
    count.ariaHidden = "true";
    banner.replaceChildren(words, " ", count);
  }
  write(banner.firstElementChild, long);
  write(banner.lastElementChild, soon);
}
