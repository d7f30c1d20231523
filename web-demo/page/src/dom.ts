/**
 * Elements by their id.
 *
 * Rule: a page and its script belong together; an element that is missing is a mistake at once.
 */

/** The element with this id, which is one of `kind`. */
export function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) {
    throw new Error(`the page has no ${kind.name} #${id}`);
  }
  return found;
}

/** Sets an element's text, and nothing where it is that already: who listens hears changes only. */
export function say(id: string, text: string): void {
  const node = element(id, HTMLElement);
  if (node.textContent !== text) {
    node.textContent = text;
  }
}
