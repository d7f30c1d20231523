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
  #worker: Worker | null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #atMs = Infinity;

  constructor(ring: () => void) {
    this.#ring = ring;
    this.#worker = makeWorker();
    if (this.#worker) {
      this.#worker.onmessage = () => this.#rings();
      this.#worker.onerror = () => this.#doWithoutWorker();
    }
  }

  /** Rings at `atMs` of `performance.now()`; infinity is never. */
  set(atMs: number): void {
    if (atMs === this.#atMs) {
      return;
    }
    this.#atMs = atMs;
    clearTimeout(this.#timer);
    const inMs = Math.max(Math.ceil(atMs - performance.now()), 1);
    const isHidden = typeof document !== "undefined" && document.hidden;
    if (this.#worker && isHidden) {
      this.#worker.postMessage(atMs === Infinity ? null : inMs);
    } else if (atMs !== Infinity) {
      this.#timer = setTimeout(() => this.#rings(), inMs);
    }
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#worker?.terminate();
    this.#worker = null;
  }

  #rings(): void {
    this.#atMs = Infinity;
    this.#ring();
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
