/**
 * The fragment loader that hls.js is given.
 *
 * Rule: what Shoal does not carry (playlists, keys, init sections, another origin's fragments, a
 * page without peers) goes to the player's own loader, unseen. An answer comes once: success,
 * error, timeout or abort.
 */

import type { SegmentStats } from "./api.js";
import type {
  HlsConfigLike,
  Loader,
  LoaderCallbacks,
  LoaderClass,
  LoaderConfiguration,
  LoaderContext,
  LoaderStats,
} from "./hls_types.js";
import type { Session } from "./session.js";
import { tellLineTime } from "./timing.js";

/** What loaders ask their owner. */
export interface LoaderHost {
  /** The session that carries this URL; null if none does. */
  sessionFor(url: string): Session | null;
  /** How long until the player needs what starts at `startS`; null if that cannot be told. */
  neededInMs(startS: number): number | null;
  loading(load: Load): void;
  loaded(load: Load, segment: SegmentStats | null): void;
}

/** A load that is under way. */
export interface Load {
  session: Session;
  object: string;
  startS: number;
}

/** While a load waits, its times are told anew this often. */
const RETELL_MS = 200;

/** The loader class for one `Shoal`. */
export function loaderClass(host: LoaderHost): LoaderClass {
  return class extends ShoalLoader {
    constructor(config: HlsConfigLike) {
      super(config, host);
    }
  };
}

class ShoalLoader implements Loader {
  context: LoaderContext | null = null;
  readonly stats: LoaderStats = newStats();
  readonly #config: HlsConfigLike;
  readonly #host: LoaderHost;
  #inner: Loader | null = null;
  #carried: Carried | null = null;

  constructor(config: HlsConfigLike, host: LoaderHost) {
    this.#config = config;
    this.#host = host;
  }

  load(context: LoaderContext, config: LoaderConfiguration, callbacks: LoaderCallbacks): void {
    this.context = context;
    const session = isCarried(context) ? this.#host.sessionFor(context.url) : null;
    const object = session?.urls.learn(context.url) ?? null;
    if (!session || object === null) {
      this.#pass(context, config, callbacks);
      return;
    }
    const startS = context.part?.start ?? context.frag?.start ?? 0;
    const load = { session, object, startS };
    const passOn = () => this.#pass(context, config, callbacks);
    this.#carried = new Carried(load, context, config, callbacks, this.stats, this.#host, passOn);
    this.#carried.begin();
  }

  abort(): void {
    this.#inner?.abort();
    this.#carried?.abort(true);
  }

  destroy(): void {
    this.#inner?.destroy();
    this.#carried?.abort(false);
    this.#inner = this.#carried = this.context = null;
  }

  getCacheAge(): number | null {
    return this.#inner?.getCacheAge?.() ?? null;
  }

  getResponseHeader(name: string): string | null {
    return this.#inner?.getResponseHeader?.(name) ?? null;
  }

  #pass(context: LoaderContext, config: LoaderConfiguration, callbacks: LoaderCallbacks): void {
    this.#carried = null;
    this.#inner = new this.#config.loader(this.#config);
    // The player has these already, and its loaders refuse those of a load that has begun.
    this.#inner.stats = Object.assign(this.stats, newStats());
    this.#inner.load(context, config, callbacks);
  }
}

/** One fragment on its way through the engine. */
class Carried {
  readonly #load: Load;
  readonly #context: LoaderContext;
  readonly #config: LoaderConfiguration;
  readonly #callbacks: LoaderCallbacks;
  readonly #stats: LoaderStats;
  readonly #host: LoaderHost;
  readonly #passOn: () => void;
  readonly #parts: Uint8Array[] = [];
  readonly #startedAtMs = performance.now();
  #id = 0;
  /** The origin was asked before the player was: the line's time is not this load's. */
  #early = false;
  #over = false;
  #timeout: ReturnType<typeof setTimeout> | undefined;
  #retelling: ReturnType<typeof setInterval> | undefined;

  constructor(
    load: Load,
    context: LoaderContext,
    config: LoaderConfiguration,
    callbacks: LoaderCallbacks,
    stats: LoaderStats,
    host: LoaderHost,
    passOn: () => void,
  ) {
    this.#load = load;
    this.#context = context;
    this.#config = config;
    this.#callbacks = callbacks;
    this.#stats = stats;
    this.#host = host;
    this.#passOn = passOn;
  }

  begin(): void {
    const { session, object, startS } = this.#load;
    const { frag, part } = this.#context;
    this.#stats.loading.start = this.#startedAtMs;
    this.#arm(this.#config.loadPolicy.maxTimeToFirstByteMs);
    this.#retelling = setInterval(() => this.#retell(), RETELL_MS);
    this.#host.loading(this.#load);
    const neededInMs = this.#host.neededInMs(startS);
    if (neededInMs !== null) {
      session.playhead(object, neededInMs);
    }
    this.#early = session.isFromOrigin(object);
    const durationS = part?.duration ?? frag?.duration ?? 0;
    this.#id = session.request(object, byteRange(this.#context), durationS, {
      started: (totalBytes) => this.#started(totalBytes),
      data: (bytes) => this.#data(bytes),
      done: (originBytes) => this.#done(originBytes),
      failed: (status) => this.#failed(status),
      handedBack: () => this.#failed(TOO_LONG),
    });
  }

  abort(isTold: boolean): void {
    if (this.#over) {
      return;
    }
    this.#end(null);
    this.#load.session.cancel(this.#id);
    this.#stats.aborted = true;
    if (isTold) {
      this.#callbacks.onAbort?.(this.#stats, this.#context, null);
    }
  }

  #started(totalBytes: number): void {
    const [start, end] = byteRange(this.#context);
    this.#stats.total = Math.max((end < 0 ? totalBytes : end) - start, 0);
  }

  #data(bytes: Uint8Array): void {
    const stats = this.#stats;
    if (stats.loading.first === 0) {
      stats.loading.first = performance.now();
      this.#arm(this.#config.loadPolicy.maxLoadTimeMs);
    }
    this.#parts.push(bytes.slice());
    stats.loaded += bytes.byteLength;
    stats.chunkCount += 1;
  }

  #done(originBytes: number): void {
    if (this.#over) {
      return;
    }
    const data = joined(this.#parts, this.#stats.loaded);
    const segment = this.#segment(Math.min(originBytes, data.byteLength), data.byteLength);
    this.#end(segment);
    const stats = this.#stats;
    const nowMs = performance.now();
    stats.loading.first ||= nowMs;
    if (this.#early || originBytes < data.byteLength) {
      tellLineTime(stats, this.#load.session.rate, nowMs);
    }
    stats.loading.end = nowMs;
    stats.total = stats.loaded;
    stats.bwEstimate = (stats.total * 8_000) / Math.max(nowMs - stats.loading.first, 1);
    this.#callbacks.onProgress?.(stats, this.#context, data, null);
    const response = { url: this.#context.url, data, code: 200 };
    this.#callbacks.onSuccess(response, stats, this.#context, null);
  }

  #failed(status: number): void {
    if (this.#over) {
      return;
    }
    this.#end(null);
    if (status === TOO_LONG) {
      this.#passOn();
      return;
    }
    const text = status === 0 ? "the origin cannot be reached" : `the origin answered ${status}`;
    this.#callbacks.onError({ code: status, text }, this.#context, null, this.#stats);
  }

  #timedOut(): void {
    if (!this.#over) {
      this.#end(null);
      this.#load.session.cancel(this.#id);
      this.#callbacks.onTimeout(this.#stats, this.#context, null);
    }
  }

  /** As long as the origin is not asked, waiting is the swarm's doing and not the line's. */
  #retell(): void {
    const { session, object } = this.#load;
    if (!this.#early && session.isFromOrigin(object)) {
      return;
    }
    const nowMs = performance.now();
    if (this.#stats.loaded > 0) {
      tellLineTime(this.#stats, session.rate, nowMs);
    } else {
      this.#stats.loading.start = nowMs;
    }
  }

  #arm(ms: number): void {
    clearTimeout(this.#timeout);
    if (Number.isFinite(ms) && ms > 0) {
      this.#timeout = setTimeout(() => this.#timedOut(), ms);
    }
  }

  #end(segment: SegmentStats | null): void {
    this.#over = true;
    clearTimeout(this.#timeout);
    clearInterval(this.#retelling);
    this.#host.loaded(this.#load, segment);
  }

  #segment(originBytes: number, bytes: number): SegmentStats | null {
    const { frag, part } = this.#context;
    if (!frag || part || typeof frag.sn !== "number") {
      return null;
    }
    return {
      level: frag.level,
      msn: frag.sn,
      startS: frag.start,
      durationS: frag.duration,
      originBytes,
      peerBytes: bytes - originBytes,
      waitedMs: performance.now() - this.#startedAtMs,
    };
  }
}

/** What the engine says of an object that is longer than peers may share. */
const TOO_LONG = 413;

/** Whether Shoal carries such loads at all. */
function isCarried({ responseType, frag }: LoaderContext): boolean {
  return responseType === "arraybuffer" && frag !== undefined && frag.sn !== "initSegment";
}

/** The bytes that are wanted: hls.js says 0 for an end that is the object's, here it is -1. */
function byteRange({ rangeStart, rangeEnd }: LoaderContext): [number, number] {
  return [rangeStart ?? 0, rangeEnd || -1];
}

function joined(parts: Uint8Array[], bytes: number): ArrayBuffer {
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole.buffer;
}

function newStats(): LoaderStats {
  return {
    aborted: false,
    loaded: 0,
    retry: 0,
    total: 0,
    chunkCount: 0,
    bwEstimate: 0,
    loading: { start: 0, first: 0, end: 0 },
    parsing: { start: 0, end: 0 },
    buffering: { start: 0, first: 0, end: 0 },
  };
}
