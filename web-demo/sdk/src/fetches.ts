/**
 * What the engine fetches from the origin.
 *
 * Rule: it retries nothing and waits for nobody: the engine knows what is urgent.
 */

import type { AccessRate } from "./access_rate.js";

/** What fetches tell their owner. A status of 0 is an origin that cannot be reached. */
export interface FetchEvents {
  started(fetch: number, totalBytes: number, offset: number): void;
  data(fetch: number, bytes: Uint8Array): void;
  done(fetch: number): void;
  failed(fetch: number, status: number): void;
}

/** Silence within an answer, or before it. */
const IDLE_TIMEOUT_MS = 10_000;

/** Fetches that are under way. */
export class Fetches {
  readonly #events: FetchEvents;
  readonly #rate: AccessRate;
  readonly #open = new Map<number, AbortController>();

  constructor(events: FetchEvents, rate: AccessRate) {
    this.#events = events;
    this.#rate = rate;
  }

  /** Begins a fetch; a length of -1 is the whole object. */
  start(fetch: number, url: string, offset: number, length: number): void {
    const abort = new AbortController();
    this.#open.set(fetch, abort);
    void this.#run(fetch, url, offset, length, abort).catch(() => {
      this.#end(fetch, () => this.#events.failed(fetch, 0));
    });
  }

  /** The rest is not needed any more; no event follows. */
  cancel(fetch: number): void {
    this.#open.get(fetch)?.abort();
    this.#open.delete(fetch);
  }

  cancelAll(): void {
    [...this.#open.keys()].forEach((fetch) => this.cancel(fetch));
  }

  async #run(
    id: number,
    url: string,
    offset: number,
    length: number,
    abort: AbortController,
  ): Promise<void> {
    const askedAtMs = performance.now();
    let timer = setTimeout(() => abort.abort(), IDLE_TIMEOUT_MS);
    try {
      const headers: HeadersInit =
        length < 0 ? {} : { Range: `bytes=${offset}-${offset + length - 1}` };
      const answer = await fetch(url, { headers, signal: abort.signal, credentials: "same-origin" });
      if (!answer.ok || !answer.body) {
        this.#end(id, () => this.#events.failed(id, answer.status));
        return;
      }
      const answeredAtMs = performance.now();
      const sampling = this.#rate.begin(answeredAtMs - askedAtMs, answeredAtMs);
      const { total, first } = extent(answer);
      this.#tell(id, () => this.#events.started(id, total, first));
      const reader = answer.body.getReader();
      for (;;) {
        clearTimeout(timer);
        timer = setTimeout(() => abort.abort(), IDLE_TIMEOUT_MS);
        const { done, value } = await reader.read();
        if (done) {
          break;
        }
        sampling.own += value.byteLength;
        this.#rate.note(value.byteLength, performance.now());
        this.#tell(id, () => this.#events.data(id, value));
      }
      this.#rate.end(sampling, performance.now());
      this.#end(id, () => this.#events.done(id));
    } finally {
      clearTimeout(timer);
    }
  }

  #tell(fetch: number, event: () => void): void {
    if (this.#open.has(fetch)) {
      event();
    }
  }

  #end(fetch: number, event: () => void): void {
    if (this.#open.delete(fetch)) {
      event();
    }
  }
}

/** Length of the whole object (-1 if unknown) and where the answer's bytes begin in it. */
function extent(answer: Response): { total: number; first: number } {
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(answer.headers.get("content-range") ?? "");
  if (answer.status === 206 && range) {
    return { total: range[2] === "*" ? -1 : Number(range[2]), first: Number(range[1]) };
  }
  const length = answer.headers.get("content-length");
  const isEncoded = answer.headers.has("content-encoding");
  return { total: length === null || isEncoded ? -1 : Number(length), first: 0 };
}

/** The digest at `url`; else the origin's status, 0 for none. */
export async function digest(url: string): Promise<Uint8Array | number> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(IDLE_TIMEOUT_MS) });
    return answer.ok ? new Uint8Array(await answer.arrayBuffer()) : answer.status;
  } catch {
    return 0;
  }
}
