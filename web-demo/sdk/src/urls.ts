/**
 * Where each object is at the origin, as far as players and playlists have told.
 *
 * Rule: a URL is remembered as it was seen and never made up, except for an object whose
 * neighbours in the rendition are known and have no query: those differ in their names alone. A
 * query may hold what is this viewer's and one object's; what it is for another, its playlist says.
 */

import { objectName } from "./core.js";

/** Windows of a ladder of six renditions with audio, twice over. */
const URLS_MAX = 1024;

/** URLs of objects. */
export class ObjectUrls {
  readonly #known = new Map<string, string>();
  readonly #newestOf = new Map<string, string>();
  readonly #awaited = new Map<string, ((url: string) => void)[]>();

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
    this.#awaited.get(name)?.forEach((tell) => tell(url));
    this.#awaited.delete(name);
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
    if (known !== undefined || sibling === undefined || new URL(sibling).search !== "") {
      return known ?? null;
    }
    return beside(object, sibling);
  }

  /** The same, as soon as a playlist tells; null if none does within `patienceMs`. */
  async find(object: string, patienceMs: number): Promise<string | null> {
    const known = this.url(object);
    if (known !== null || !this.#newestOf.has(rendition(object))) {
      return known;
    }
    return new Promise((resolve) => {
      const tell = (url: string | null) => {
        clearTimeout(timer);
        resolve(url);
      };
      const timer = setTimeout(() => {
        const others = this.#awaited.get(object)?.filter((other) => other !== tell) ?? [];
        this.#awaited.set(object, others);
        if (others.length === 0) {
          this.#awaited.delete(object);
        }
        tell(null);
      }, patienceMs);
      this.#awaited.set(object, [...(this.#awaited.get(object) ?? []), tell]);
    });
  }

  /** Where the digest of `object` is: beside it, whatever the query of its neighbours. */
  digest(object: string): string | null {
    const sibling = this.#newestOf.get(rendition(object));
    const url = this.url(object) ?? (sibling === undefined ? null : beside(object, sibling));
    if (url === null) {
      return null;
    }
    const digest = new URL(url);
    digest.pathname += ".digest";
    return digest.href;
  }
}

/** The URL of `object` if it differs from its `sibling` in its name alone. */
function beside(object: string, sibling: string): string {
  const name = new URL(sibling).pathname.split("/").at(-1) ?? "";
  return new URL(object + name.slice(name.indexOf(".")), sibling).href;
}

/** An object's rendition: the first part of its name. */
export function rendition(object: string): string {
  return object.slice(0, object.indexOf("-"));
}
