/**
 * What this page's player really shows, for whoever measures it.
 *
 * Rule: it is the same with and without Shoal, and takes nobody's word: bytes are those that hls.js
 * was handed, start-up and stalls are the media element's events, latency is the wall clock against
 * the stream's own dates.
 */

import Hls from "hls.js";
import type { Shoal } from "../../sdk/src/index.js";

/** Waiting shorter than this is no stall. */
const STALL_MS_MIN = 100;
const ERRORS_MAX = 20;

/** One wait after the first frame. */
export interface Stall {
  atUnixMs: number;
  ms: number;
}

/** Follows one player from its beginning. */
export class Measure {
  readonly #hls: Hls;
  readonly #video: HTMLVideoElement;
  readonly #shoal: Shoal | null;
  readonly #begunAtMs = performance.now();
  readonly #errors: string[] = [];
  readonly stalls: Stall[] = [];
  #deliveredBytes = 0;
  #startupMs: number | null = null;
  #waitingSinceMs: number | null = null;

  constructor(hls: Hls, video: HTMLVideoElement, shoal: Shoal | null) {
    this.#hls = hls;
    this.#video = video;
    this.#shoal = shoal;
    // The payload itself has been given to a worker by now.
    hls.on(Hls.Events.FRAG_LOADED, (_, { frag, part }) => {
      this.#deliveredBytes += (part ?? frag).stats.loaded;
    });
    hls.on(Hls.Events.ERROR, (_, { details }) => {
      this.#errors.push(details);
      this.#errors.splice(0, this.#errors.length - ERRORS_MAX);
    });
    video.addEventListener("playing", () => this.#playing());
    video.addEventListener("waiting", () => {
      if (this.#startupMs !== null && !video.seeking) {
        this.#waitingSinceMs ??= performance.now();
      }
    });
  }

  /** From the player's making to the first frame; null before it. */
  get startupMs(): number | null {
    return this.#startupMs;
  }

  /** Behind the wall clock, by the stream's own dates; null if it has none. */
  get latencyS(): number | null {
    const date = this.#hls.playingDate;
    return date === null || this.#startupMs === null ? null : (Date.now() - date.getTime()) / 1_000;
  }

  /** Media ahead of the playhead. */
  get bufferMs(): number {
    return (this.#hls.mainForwardBufferInfo?.len ?? 0) * 1_000;
  }

  /** Everything at once. */
  figures() {
    const memory = (performance as { memory?: { usedJSHeapSize: number } }).memory;
    return {
      deliveredBytes: this.#deliveredBytes,
      startupMs: this.#startupMs,
      latencyS: this.latencyS,
      bufferMs: Math.round(this.bufferMs),
      stalls: this.stalls,
      positionS: this.#video.currentTime,
      level: this.#hls.currentLevel,
      bandwidthEstimateBps: Math.round(this.#hls.bandwidthEstimate),
      heapBytes: memory?.usedJSHeapSize ?? null,
      errors: this.#errors,
      stats: this.#shoal?.stats() ?? null,
    };
  }

  #playing(): void {
    const nowMs = performance.now();
    this.#startupMs ??= nowMs - this.#begunAtMs;
    if (this.#waitingSinceMs !== null) {
      const ms = nowMs - this.#waitingSinceMs;
      this.#waitingSinceMs = null;
      if (ms >= STALL_MS_MIN) {
        this.stalls.push({ atUnixMs: Date.now(), ms });
      }
    }
  }
}
