/**
 * Rates out of counters: bytes at moments become bits per second over a window.
 *
 * Rule: the window is in time, not in samples, and a counter that went back begins anew.
 */

import type { Stats } from "../../sdk/src/api.js";

interface Sample {
  at: number;
  values: number[];
}

/** Rates of several counters that are read together. */
export class Window {
  readonly #ms: number;
  #samples: Sample[] = [];

  constructor(ms: number) {
    this.#ms = ms;
  }

  add(at: number, values: number[]): void {
    const last = this.#samples.at(-1);
    if (last?.values.some((value, i) => (values[i] ?? 0) < value)) {
      this.#samples = [];
    }
    this.#samples.push({ at, values });
    while ((this.#samples[1]?.at ?? at) <= at - this.#ms) {
      this.#samples.shift();
    }
  }

  /** What a counter grew by within the window. */
  grown(index: number): number {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    return (last?.values[index] ?? 0) - (first?.values[index] ?? 0);
  }

  /** Its growth in bytes as bit/s. */
  bps(index: number): number {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    const ms = (last?.at ?? 0) - (first?.at ?? 0);
    return ms > 0 ? (this.grown(index) * 8_000) / ms : 0;
  }
}

/** A link's rates. */
export interface LinkRates {
  inBps: number;
  outBps: number;
}

const WINDOW_MS = 10_000;
const LINK_WINDOW_MS = 4_000;

/** All rates of the page. */
export class Rates {
  readonly #all = new Window(WINDOW_MS);
  readonly #links = new Map<string, Window>();

  add(stats: Stats, at = performance.now()): void {
    const { fromPeersBytes, fromOriginBytes, toPeersBytes } = stats.totals;
    this.#all.add(at, [fromPeersBytes, fromOriginBytes, toPeersBytes]);
    for (const peer of this.#links.keys()) {
      if (!stats.neighbours.some((neighbour) => neighbour.peer === peer)) {
        this.#links.delete(peer);
      }
    }
    for (const { peer, receivedBytes, sentBytes } of stats.neighbours) {
      const link = this.#links.get(peer) ?? new Window(LINK_WINDOW_MS);
      this.#links.set(peer, link);
      link.add(at, [receivedBytes, sentBytes]);
    }
  }

  get peersBps(): number {
    return this.#all.bps(0);
  }

  get originBps(): number {
    return this.#all.bps(1);
  }

  get uploadBps(): number {
    return this.#all.bps(2);
  }

  /** Peers' part of what came within the window; null if nothing did. */
  get peerShare(): number | null {
    const [peers, origin] = [this.#all.grown(0), this.#all.grown(1)];
    return peers + origin > 0 ? peers / (peers + origin) : null;
  }

  link(peer: string): LinkRates {
    const link = this.#links.get(peer);
    return { inBps: link?.bps(0) ?? 0, outBps: link?.bps(1) ?? 0 };
  }
}
