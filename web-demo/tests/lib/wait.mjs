/**
 * Waiting for what only shows from outside.
 *
 * Rule: no wait is without a limit, and one that ends in vain says what was waited for.
 */

import { setTimeout as sleep } from "node:timers/promises";

const LOOK_MS = 50;

/** Looks until `look` gives something true, and gives that; `describe` tells how things stand. */
export async function until(what, look, limitMs, describe = () => "") {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const found = await look();
    if (found) {
      return found;
    }
    if (performance.now() > deadline) {
      throw new Error(`waited ${limitMs / 1_000} s for this: ${what}\n${await describe()}`);
    }
    await sleep(LOOK_MS);
  }
}

/** What `promise` gives, if it does so in time. */
export async function inTime(what, promise, limitMs) {
  let timer;
  const late = new Promise((_, reject) => {
    const error = new Error(`waited ${limitMs / 1_000} s for this: ${what}`);
    timer = setTimeout(() => reject(error), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
