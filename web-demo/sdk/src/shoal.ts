/**
 * Shoal for a page: what a host page holds.
 *
 * Rule: whatever is missing (WASM, WebRTC, a tracker, peers), the player plays as it would without
 * Shoal.
 */

import type {
  Events,
  HlsLike,
  Options,
  SegmentStats,
  ShareMode,
  Stats,
} from "./api.js";
import { type Loaded, load, version } from "./core.js";
import type { LoaderClass } from "./hls_types.js";
import { type Load, type LoaderHost, loaderClass } from "./loader.js";
import { addressOf, Player } from "./player.js";
import { NO_TOTALS, Session, type StreamAddress } from "./session.js";
import { SharePolicy } from "./sharing.js";

const SEGMENTS_MAX = 30;
/** The playhead is told this often while loads wait for it. */
const PLAYHEAD_MS = 500;

type Listener<E extends keyof Events> = (data: Events[E]) => void;

/** One player's part in its stream's swarm. */
export class Shoal implements LoaderHost {
  readonly #options: Options;
  readonly #loaded: Loaded;
  readonly #policy: SharePolicy;
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();
  readonly #loads = new Set<Load>();
  readonly #heartbeat: ReturnType<typeof setInterval>;
  #segments: SegmentStats[] = [];
  #uploadCapBps: number | null;
  #session: Session | null = null;
  #player: Player | null = null;

  private constructor(options: Options, loaded: Loaded) {
    this.#options = options;
    this.#loaded = loaded;
    this.#uploadCapBps = options.uploadCapBps ?? null;
    this.#policy = new SharePolicy(options, () => this.#applyShare());
    this.#heartbeat = setInterval(() => this.#tellPlayhead(), PLAYHEAD_MS);
    addEventListener("pagehide", this.#leave);
    if (options.tracker && loaded.unsupported === null) {
      this.#join(addressOf(new URL(options.tracker.url, location.href), options.tracker.stream));
    }
  }

  /** Loads the engine. Never fails: without it, playback is plain HTTP (`stats().supported`). */
  static async load(options: Options = {}): Promise<Shoal> {
    const wasmUrl = new URL(options.wasmUrl ?? "shoal_bg.wasm", import.meta.url).href;
    return new Shoal(options, await load(wasmUrl));
  }

  /** `base` with Shoal's fragment loader, for `new Hls(…)`. */
  hlsConfig<T extends object>(base?: T): T & { fLoader: never } {
    const fLoader: LoaderClass = loaderClass(this);
    return { ...base, fLoader } as unknown as T & { fLoader: never };
  }

  /** Follows a player: its playlists name the stream, its media element shows the playhead. */
  attach(hls: HlsLike): void {
    this.#player?.close();
    this.#player = new Player(hls, {
      stream: (address) => this.#join(address),
      urls: (urls) => urls.forEach((url) => this.sessionFor(url)?.urls.learn(url)),
      moved: () => this.#tellPlayhead(),
      begun: () => this.#session?.begun(),
      destroyed: () => this.close(),
    });
  }

  /** Listens; call what it returns to stop. */
  on<E extends keyof Events>(event: E, listener: Listener<E>): () => void {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners);
    listeners.add(listener as Listener<never>);
    return () => void listeners.delete(listener as Listener<never>);
  }

  /** What the viewer allows from now on; a cap of null is none, an absent one stays. */
  setShare(share: ShareMode, uploadCapBps?: number | null): void {
    if (uploadCapBps !== undefined) {
      this.#uploadCapBps = uploadCapBps;
    }
    const before = this.#policy.now;
    this.#policy.want(share);
    if (before === this.#policy.now) {
      this.#applyShare();
    }
  }

  /** Everything at once, for people and tests. */
  stats(): Stats {
    const session = this.#session;
    const status = session?.status();
    const fallback = session?.lastFallback;
    return {
      version: this.#loaded.unsupported === null ? version() : "",
      supported: this.#loaded.unsupported === null,
      unsupportedReason: this.#loaded.unsupported,
      wasmLoadMs: this.#loaded.loadMs,
      wasmBytes: this.#loaded.bytes,
      stream: session?.address.name ?? null,
      connected: session?.connected ?? false,
      peer: status?.peer ?? null,
      share: this.#policy.now.share,
      shareReason: this.#policy.now.reason,
      uploadCapBps: this.#uploadCapBps,
      uploadBps: status?.uploadBps ?? 0,
      accessBps: session?.rate.bps ?? null,
      totals: status?.totals ?? NO_TOTALS,
      neighbours: status?.neighbours ?? [],
      substreams: status?.substreams ?? [],
      segments: [...this.#segments],
      fallbacks: status?.fallbacks ?? {},
      lastFallback: fallback
        ? { reason: fallback.reason, agoMs: performance.now() - fallback.atMs }
        : null,
      cutOff: status?.cutOff ?? 0,
      storeBytes: status?.storeBytes ?? 0,
    };
  }

  /** Leaves the swarm; the player goes on over plain HTTP. */
  close(): void {
    clearInterval(this.#heartbeat);
    removeEventListener("pagehide", this.#leave);
    this.#player?.close();
    this.#player = null;
    this.#policy.close();
    this.#session?.close();
    this.#session = null;
  }

  // What the loaders ask.

  sessionFor(url: string): Session | null {
    const session = this.#session;
    return session && url.startsWith(session.address.base) ? session : null;
  }

  neededInMs(startS: number): number | null {
    return this.#player?.neededInMs(startS) ?? null;
  }

  loading(load: Load): void {
    this.#loads.add(load);
  }

  loaded(load: Load, segment: SegmentStats | null): void {
    this.#loads.delete(load);
    if (segment) {
      this.#segments = [...this.#segments, segment].slice(-SEGMENTS_MAX);
      this.#emit("segment", segment);
    }
  }

  #join(address: StreamAddress): void {
    const current = this.#session?.address;
    if (this.#loaded.unsupported !== null) {
      return;
    }
    if (current?.base === address.base) {
      // A session that has to begin again needs a token that still holds.
      this.#session?.foundTracker(address.tracker);
      return;
    }
    this.#session?.close();
    const settings = {
      share: this.#policy.now.share,
      uploadCapBps: this.#uploadCapBps,
      iceServers: this.#options.iceServers ?? [],
      token: this.#options.token,
    };
    this.#session = new Session(address, settings, {
      emit: (event, data) => this.#emit(event, data),
      peersEnabled: (enabled) => queueMicrotask(() => this.#policy.setPeersEnabled(enabled)),
    });
  }

  #applyShare(): void {
    const { share, reason } = this.#policy.now;
    this.#session?.setShare(share, this.#uploadCapBps);
    this.#emit("share", { share, reason });
  }

  #tellPlayhead(): void {
    for (const { session, object, startS } of this.#loads) {
      const neededInMs = this.neededInMs(startS);
      if (neededInMs !== null) {
        session.playhead(object, neededInMs);
      }
    }
  }

  readonly #leave = (): void => {
    this.#session?.close();
    this.#session = null;
  };

  #emit<E extends keyof Events>(event: E, data: Events[E]): void {
    this.#listeners.get(event)?.forEach((listener) => {
      try {
        (listener as Listener<E>)(data);
      } catch (error) {
        reportError(error);
      }
    });
  }
}
