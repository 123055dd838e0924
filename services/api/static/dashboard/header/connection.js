/** How the feed stands, as the header and the banner say it. `words` is pure. */

import { timeOfDay } from "/static/format.js";

/** `{phase, short, long}` of the feed's status; `long` is empty where all is well. */
export function words({ phase, reason, retryAt, staleSince, complaint }, now) {
  switch (phase) {
    case "live":
      if (staleSince) return { phase: "stale", short: "stale", long: `Redis is away since ${timeOfDay(Date.parse(staleSince))}: prices stand still until it is back.` };
      return { phase, short: "live", long: complaint && `The gateway refused a request: ${complaint}` };
    case "connecting":
      return { phase, short: "connecting", long: reason ? `Disconnected: ${reason}. Connecting again …` : "" };
    case "waiting":
      return { phase, short: "disconnected", long: `Disconnected: ${reason}. Next try in ${Math.max(0, Math.ceil((retryAt - now) / 1000))} s.` };
    default:
      return { phase, short: "disconnected", long: `Disconnected for good: ${reason}. Reload the page to try again.` };
  }
}

/** Write it into the header's badge and the banner. */
export function showConnection(badge, banner, said) {
  badge.dataset.phase = said.phase;
  write(badge, said.short);
  badge.title = said.long;
  if (said.long) write(banner, said.long);
  banner.hidden = !said.long;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
