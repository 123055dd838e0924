/** In place of the page's script: it does nothing with a flush but write three prices in each of as many rows as are seen at a time. */

import { subscribe } from "/static/feed.js";
import { readConfig } from "/static/rest.js";

const ROWS = 20;
const ROW_PX = 34;
const COLUMNS = ["pin", "ticker", "spark", "price number", "change number", "sma number", "alert", "age number"];
const WRITTEN = [3, 4, 5];

const rows = Array.from({ length: ROWS }, makeRow);
let drawn = 0;

function makeRow(_, place) {
  const row = document.createElement("tr");
  row.style.transform = `translateY(${place * ROW_PX}px)`;
  row.append(...COLUMNS.map((name) => Object.assign(document.createElement("td"), { className: name, textContent: "–" })));
  return row;
}

function draw() {
  drawn++;
  rows.forEach((row, place) => WRITTEN.forEach((column) => (row.cells[column].textContent = priceOf(place, column))));
}

/** Another one each time. */
function priceOf(place, column) {
  return `${100 + place}.${10 + ((7 * drawn + column) % 80)}`;
}

const list = document.querySelector("#prices");
list.append(...rows);
list.style.height = `${ROWS * ROW_PX}px`; // without a height of its own nothing of it is seen
const { gateway } = await readConfig();
subscribe(gateway, { onUpdate: () => requestAnimationFrame(draw), onGap() {}, onStatus() {}, onMarket() {} });
