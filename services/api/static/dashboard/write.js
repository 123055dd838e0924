/** Writes texts, where they are others: the same one once more would be laid out and painted all the same. */

export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
