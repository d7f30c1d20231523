/**
 * How fast this page's access line is, as far as its traffic shows.
 *
 * Rule: the pace of a tree says nothing of the line, so bytes that trickle in from peers can only
 * raise the estimate; what the origin sends as fast as it can says what the line carries, other
 * traffic included.
 */

/** Shorter answers are over before TCP is at speed. */
const SAMPLE_BYTES_MIN = 64 * 1024;
/** Time over which the traffic of all sources is summed. */
const WINDOW_MS = 1_000;
/** Weight of a new sample: a rise is believed sooner than a fall. */
const WEIGHT_UP = 0.5;
const WEIGHT_DOWN = 0.3;

/** A fetch from the origin while it lasts. */
export interface Sampling {
  startedAtMs: number;
  receivedBefore: number;
  own: number;
}

/** An estimate in bit/s. */
export class AccessRate {
  #bps: number | null = null;
  #ttfbMs: number | null = null;
  #received = 0;
  #windowAtMs = 0;
  #windowBytes = 0;

  /** The estimate; null until something was measured. */
  get bps(): number | null {
    return this.#bps;
  }

  /** The origin's usual time to the first byte; null until it answered. */
  get ttfbMs(): number | null {
    return this.#ttfbMs;
  }

  /** Bytes came in, from anywhere. */
  note(bytes: number, nowMs: number): void {
    this.#received += bytes;
    if (nowMs - this.#windowAtMs >= WINDOW_MS) {
      const bps = (this.#windowBytes * 8_000) / WINDOW_MS;
      if (this.#bps !== null && bps > this.#bps) {
        this.#bps = bps;
      }
      this.#windowAtMs = nowMs;
      this.#windowBytes = 0;
    }
    this.#windowBytes += bytes;
  }

  /** An answer of the origin begins, so long after it was asked for. */
  begin(ttfbMs: number, nowMs: number): Sampling {
    this.#ttfbMs = this.#ttfbMs === null ? ttfbMs : this.#ttfbMs * 0.7 + ttfbMs * 0.3;
    return { startedAtMs: nowMs, receivedBefore: this.#received, own: 0 };
  }

  /** It is complete. */
  end(sampling: Sampling, nowMs: number): void {
    if (sampling.own < SAMPLE_BYTES_MIN) {
      return;
    }
    const bits = (this.#received - sampling.receivedBefore) * 8;
    const bps = (bits * 1_000) / Math.max(nowMs - sampling.startedAtMs, 1);
    const weight = this.#bps !== null && bps < this.#bps ? WEIGHT_DOWN : WEIGHT_UP;
    this.#bps = this.#bps === null ? bps : this.#bps * (1 - weight) + bps * weight;
  }
}
