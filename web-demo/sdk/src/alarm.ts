/**
 * One timer for the engine, on time in hidden tabs too.
 *
 * Rule: browsers hold back a hidden page's timers for up to a second, and neighbours wait for what
 * this page passes on. A worker's timers are not held back; where none can be made, the page's own
 * timer does.
 */

const WORKER =
  "let t;onmessage=({data})=>{clearTimeout(t);if(data!==null)t=setTimeout(()=>postMessage(0),data)}";

/** Calls `ring` at the time last set. */
export class Alarm {
  readonly #ring: () => void;
  /** Made when the page is hidden first; null where none can be. */
  #worker: Worker | null | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #atMs = Infinity;
  #closed = false;

  constructor(ring: () => void) {
    this.#ring = ring;
  }

  /** Rings at `atMs` of `performance.now()`; infinity is never. */
  set(atMs: number): void {
    if (atMs === this.#atMs || this.#closed) {
      return;
    }
    this.#atMs = atMs;
    clearTimeout(this.#timer);
    const inMs = Math.max(Math.ceil(atMs - performance.now()), 1);
    const worker = document.hidden ? this.#theWorker() : null;
    if (worker) {
      worker.postMessage(atMs === Infinity ? null : inMs);
    } else if (atMs !== Infinity) {
      this.#timer = setTimeout(() => this.#rings(), inMs);
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#worker?.terminate();
  }

  #rings(): void {
    this.#atMs = Infinity;
    if (!this.#closed) {
      this.#ring();
    }
  }

  #theWorker(): Worker | null {
    if (this.#worker === undefined) {
      this.#worker = makeWorker();
      if (this.#worker) {
        this.#worker.onmessage = () => this.#rings();
        this.#worker.onerror = () => this.#doWithoutWorker();
      }
    }
    return this.#worker;
  }

  #doWithoutWorker(): void {
    this.#worker?.terminate();
    this.#worker = null;
    const atMs = this.#atMs;
    this.#atMs = NaN;
    this.set(atMs);
  }
}

function makeWorker(): Worker | null {
  try {
    const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
    try {
      return new Worker(url);
    } finally {
      URL.revokeObjectURL(url);
    }
  } catch {
    return null;
  }
}
