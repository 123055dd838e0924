/** What every part of the page makes elements with. Text goes in as text; nothing is written that stands there already. */

/** An element with attributes and children; a child that is text is text. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** A drawing of one path, stretched over whatever room it is given. */
export function drawing(className, width, height, path = "") {
  const svg = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "path");
  for (const [name, value] of Object.entries({ class: className, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" })) svg.setAttribute(name, value);
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/** Write a text where it is another one. */
export function write(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

/** Set an attribute where it is another one. */
export function mark(place, name, value) {
  if (place.getAttribute(name) !== value) place.setAttribute(name, value);
}

/** Write prose, in which `backquotes` mark code, where it is another one. */
export function writeProse(place, text) {
  if (place.dataset.prose === text) return;
  place.dataset.prose = text;
  place.replaceChildren(...text.split("`").map((part, number) => (number % 2 ? element("code", {}, part) : part)));
}

/** Have so many children, made by `make(number)`, taken away at the end. */
export function resize(parent, count, make) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) parent.append(make(parent.children.length));
}
