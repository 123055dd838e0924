/** The chart by keyboard, while it has the focus. `actionOf` is pure. */

const ACTIONS = Object.freeze({
  ArrowLeft: ["step", -1], ArrowRight: ["step", 1], Home: ["end", -1], End: ["end", 1],
  "+": ["zoom", 1], "=": ["zoom", 1], "-": ["zoom", -1], 0: ["fit"], Enter: ["open"], " ": ["open"], Escape: ["leave"],
});

/** What a key means: `[name, amount]`, or undefined. With Shift the arrows go from crossover to crossover. */
export function actionOf({ key, shiftKey, ctrlKey, altKey, metaKey }) {
  if (ctrlKey || altKey || metaKey) return undefined;
  const [name, amount] = ACTIONS[key] ?? [];
  return name === "step" && shiftKey ? ["jump", amount] : name && [name, amount];
}

/** Call the method of `does` that a key means. */
export function bindKeys(place, does) {
  place.addEventListener("keydown", (event) => {
    const [name, amount] = actionOf(event) ?? [];
    if (!name || event.target !== place) return;
    event.preventDefault();
    event.stopPropagation();
    does[name](amount);
  });
}
