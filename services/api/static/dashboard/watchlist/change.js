/** How far a price is from the day's open. Pure, and exact: prices are decimals as text, and so is what they differ by. */

import { price as priceText } from "/static/format.js";

const SIGNS = { 1: "+", "-1": "\u2212", 0: "" };

/** `{absolute, percent, direction}`: two texts with their signs, and 1 up, -1 down, 0 neither. */
export function changeOf(price, open) {
  const places = Math.max(placesOf(price), placesOf(open));
  const [now, then] = [scaled(price, places), scaled(open, places)];
  const direction = now > then ? 1 : now < then ? -1 : 0;
  const by = now > then ? now - then : then - now;
  const sign = SIGNS[direction];
  return { absolute: sign + priceText(unscaled(by, places)), percent: `${sign}${percentText(by, then)}%`, direction };
}

/** As a number, to sort by: 0.01 is one percent up. */
export function relativeChange(price, open) {
  return Number(price) / Number(open) - 1;
}

function placesOf(text) {
  return text.includes(".") ? text.length - 1 - text.indexOf(".") : 0;
}

function scaled(text, places) {
  const [whole, decimals = ""] = text.split(".");
  return BigInt(whole + decimals.padEnd(places, "0"));
}

function unscaled(number, places) {
  const digits = String(number).padStart(places + 1, "0");
  const [whole, decimals] = [digits.slice(0, digits.length - places), digits.slice(digits.length - places).replace(/0+$/, "")];
  return decimals ? `${whole}.${decimals}` : whole;
}

/** To two decimals, half away from zero. */
function percentText(by, open) {
  const hundredths = (by * 20_000n + open) / (open * 2n);
  return priceText(unscaled(hundredths, 2));
}
