/**
 * Where each object is at the origin, as far as players and playlists have told.
 *
 * Rule: a URL is remembered as it was seen and never made up, except for an object whose
 * neighbours in the rendition are known: those differ in their names alone.
 */

import { objectName } from "./core.js";

/** Windows of a ladder of six renditions with audio, twice over. */
const URLS_MAX = 1024;

/** URLs of objects. */
export class ObjectUrls {
  readonly #known = new Map<string, string>();
  readonly #newestOf = new Map<string, string>();

  /** Notes a URL; says which object is there, or null if it is none. */
  learn(url: string): string | null {
    const name = objectName(new URL(url).pathname);
    if (name === undefined) {
      return null;
    }
    this.#known.delete(name);
    this.#known.set(name, url);
    this.#newestOf.set(rendition(name), url);
    if (this.#known.size > URLS_MAX) {
      const [oldest] = this.#known.keys();
      this.#known.delete(oldest ?? name);
    }
    return name;
  }

  /** Notes what a digest says of an object: a URI relative to its playlist. */
  learnRelative(object: string, uri: string): void {
    const sibling = this.#newestOf.get(rendition(object));
    if (sibling !== undefined && !this.#known.has(object)) {
      this.learn(new URL(uri, sibling).href);
    }
  }

  /** Where `object` is. */
  url(object: string): string | null {
    const known = this.#known.get(object);
    const sibling = this.#newestOf.get(rendition(object));
    if (known !== undefined || sibling === undefined) {
      return known ?? null;
    }
    const name = new URL(sibling).pathname.split("/").at(-1) ?? "";
    const extension = name.slice(name.indexOf("."));
    return new URL(object + extension, sibling).href;
  }
}

/** An object's rendition: the first part of its name. */
export function rendition(object: string): string {
  return object.slice(0, object.indexOf("-"));
}
