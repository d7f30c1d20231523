/**
 * One stream's session: the engine, and the browser's side of everything that it asks for.
 *
 * Rule: it decides nothing that the engine could. The engine is never called from inside one of
 * its own calls: what it asks for that fails at once is answered in a task of its own.
 */

import { AccessRate } from "./access_rate.js";
import { Alarm } from "./alarm.js";
import type { Events, Options, ShareMode, Totals } from "./api.js";
import { Core, type CoreStatus, type Host, version } from "./core.js";
import { digest, Fetches } from "./fetches.js";
import { Links } from "./links.js";
import { findMapping } from "./mapping.js";
import { newerTracker, withToken } from "./player.js";
import { Socket } from "./socket.js";
import { ObjectUrls, rendition } from "./urls.js";

/** Where a stream is, as a playlist's headers say or the host page. */
export interface StreamAddress {
  name: string;
  /** The tracker's WebSocket. */
  tracker: string;
  /** URL under which its playlists and objects are, with a slash at the end. */
  base: string;
}

/** What a session starts with. */
export interface SessionSettings {
  share: ShareMode;
  uploadCapBps: number | null;
  iceServers: RTCIceServer[];
  /** For a tracker's URL that brings none. */
  token: Options["token"];
}

/** What a session tells its owner. */
export interface SessionEvents {
  emit<E extends keyof Events>(event: E, data: Events[E]): void;
  /** The operator's switch. */
  peersEnabled(enabled: boolean): void;
}

/** A request of the player's loader. */
export interface Answer {
  /** The length of the whole object; -1 if unknown. */
  started(totalBytes: number): void;
  /** A view, to be copied. */
  data(bytes: Uint8Array): void;
  done(originBytes: number): void;
  failed(status: number): void;
  /** The session ends before the answer does: somebody else is to load it. */
  handedBack(): void;
}

interface Answering {
  object: string;
  answer: Answer;
}

/** What the origin has sent of an object. */
interface OriginShare {
  bytes: number;
  open: number;
}

const OBJECTS_MAX = 64;
/** A rendition is watched until its requests stop for so long, in target durations. */
const SILENT_TARGETS = 3;
const SILENCE_MIN_MS = 10_000;
const HOUSEKEEPING_MS = 1_000;
/** A playlist names a segment about when its digest comes; the engine waits no longer. */
const URL_PATIENCE_MS = 3_000;

/** A viewer's engine at work. */
export class Session implements Host {
  readonly address: StreamAddress;
  readonly urls = new ObjectUrls();
  readonly rate = new AccessRate();
  readonly #settings: SessionSettings;
  readonly #events: SessionEvents;
  readonly #core: Core;
  readonly #alarm: Alarm;
  readonly #fetches: Fetches;
  readonly #links: Links;
  #socket: Socket | null;
  #tracker: string;
  readonly #requests = new Map<number, Answering>();
  readonly #fetched = new Map<number, string>();
  readonly #fromOrigin = new Map<string, OriginShare>();
  readonly #watched = new Map<string, { object: string; targetMs: number; atMs: number }>();
  readonly #housekeeping: ReturnType<typeof setInterval>;
  #nextRequest = 1;
  #depth = 0;
  connected = false;
  lastFallback: { reason: string; atMs: number } | null = null;

  constructor(address: StreamAddress, settings: SessionSettings, events: SessionEvents) {
    this.address = address;
    this.#tracker = address.tracker;
    this.#settings = settings;
    this.#events = events;
    const [seed = 0n] = crypto.getRandomValues(new BigUint64Array(1));
    this.#core = new Core(address.name, settings.share, settings.uploadCapBps ?? 0, seed, this);
    this.#alarm = new Alarm(() => this.#call((now) => this.#core.tick(now)));
    this.#fetches = new Fetches(this.#fetchEvents(), this.rate);
    this.#links = new Links(this.#linkEvents());
    this.#links.iceServers = settings.iceServers;
    this.#socket = settings.share === "off" ? null : this.#connect();
    if (!this.#socket) {
      this.#call((now) => this.#core.serverLost(now));
    }
    this.#housekeeping = setInterval(() => this.#lookWhoWatches(), HOUSEKEEPING_MS);
  }

  /** Asks for an object; returns the request's name. */
  request(object: string, range: [number, number], durationS: number, answer: Answer): number {
    const id = this.#nextRequest++;
    this.#requests.set(id, { object, answer });
    this.#watched.set(rendition(object), {
      object,
      targetMs: durationS * 1_000,
      atMs: performance.now(),
    });
    const [start, end] = range;
    this.#call((now) => this.#core.request(id, object, start, end, durationS, now));
    return id;
  }

  /** The player gave up; its answer hears nothing more. */
  cancel(id: number): void {
    if (this.#requests.delete(id)) {
      this.#call((now) => this.#core.cancel(id, now));
    }
  }

  /** The player shows its first frames: what was put off until then can be done. */
  begun(): void {
    this.#links.release();
  }

  /** The player needs `object` after so long. */
  playhead(object: string, neededInMs: number): void {
    this.#call((now) => this.#core.playhead(object, Math.max(neededInMs, 0), now));
  }

  /** The tracker's URL as the newest playlist has it. */
  foundTracker(url: string): void {
    this.#tracker = newerTracker(this.#tracker, url);
  }

  /** Whether the origin is sending bytes of `object` right now, or did. */
  isFromOrigin(object: string): boolean {
    const share = this.#fromOrigin.get(object);
    return share !== undefined && (share.open > 0 || share.bytes > 0);
  }

  setShare(share: ShareMode, uploadCapBps: number | null): void {
    this.#call((now) => this.#core.setShare(share, uploadCapBps ?? 0, now));
    if (share !== "off") {
      this.#socket ??= this.#connect();
    }
  }

  status(): CoreStatus {
    return JSON.parse(this.#core.status(performance.now())) as CoreStatus;
  }

  /** Says goodbye and hangs up. */
  close(): void {
    clearInterval(this.#housekeeping);
    this.#core.leave(performance.now());
    this.#alarm.close();
    this.#fetches.cancelAll();
    this.#socket?.close();
    // What was said last is still in the channels; they close with the page or now.
    this.#links.closeAll();
    this.#core.free();
    this.#depth = Infinity;
    const left = [...this.#requests.values()];
    this.#requests.clear();
    left.forEach(({ answer }) => answer.handedBack());
  }

  #connect(): Socket {
    const where = () => withToken(this.#tracker, this.#settings.token);
    return new Socket(where, {
      connected: () => {
        this.#call((now) => this.#core.serverConnected(`shoal-web/${version()}`, now));
      },
      message: (frame) => {
        this.#call((now) => {
          const isKnown =
            typeof frame === "string"
              ? this.#core.serverMessage(frame, now)
              : this.#core.serverDigest(frame, now);
          if (!isKnown) {
            console.warn("shoal: the tracker's message is not understood");
          }
        });
      },
      lost: () => this.#disconnected(),
    });
  }

  #disconnected(): void {
    if (this.connected) {
      this.connected = false;
      this.#events.emit("connection", { connected: false });
    }
    this.#call((now) => this.#core.serverLost(now));
    // Signals of these will not come any more.
    for (const peer of this.#links.opening()) {
      this.#links.close(peer);
      this.#call((now) => this.#core.linkDown(peer, now));
    }
  }

  #fetchEvents() {
    return {
      started: (fetch: number, total: number, offset: number) =>
        this.#call((now) => this.#core.originStarted(fetch, total, offset, now)),
      data: (fetch: number, bytes: Uint8Array) => {
        this.#origin(fetch).bytes += bytes.byteLength;
        this.#call((now) => this.#core.originData(fetch, bytes, now));
      },
      done: (fetch: number) => {
        this.#forget(fetch);
        this.#call((now) => this.#core.originDone(fetch, now));
      },
      failed: (fetch: number, status: number) => {
        this.#forget(fetch);
        this.#call((now) => this.#core.originFailed(fetch, status, now));
      },
    };
  }

  #linkEvents() {
    return {
      signal: (peer: string, signal: string) => this.#core.sendSignal(peer, signal),
      up: (peer: string) => {
        this.#call((now) => this.#core.linkUp(peer, now));
        this.#events.emit("link", { peer, open: true });
      },
      down: (peer: string) => {
        this.#call((now) => this.#core.linkDown(peer, now));
        this.#events.emit("link", { peer, open: false });
      },
      message: (peer: string, bytes: Uint8Array) =>
        this.#call((now) => {
          this.rate.note(bytes.byteLength, now);
          this.#core.linkMessage(peer, bytes, now);
        }),
      buffered: (peer: string, bytes: number) =>
        this.#call((now) => this.#core.linkBuffered(peer, bytes, now)),
    };
  }

  /** Calls the engine, then sets its alarm; later, if the engine is being called already. */
  #call(input: (nowMs: number) => void): void {
    if (this.#depth > 0) {
      if (this.#depth !== Infinity) {
        queueMicrotask(() => this.#call(input));
      }
      return;
    }
    this.#depth = 1;
    try {
      input(performance.now());
    } finally {
      this.#depth = 0;
    }
    this.#alarm.set(this.#core.timeout());
  }

  /** Finds out what address translation does here and tells the tracker; nobody waits for it. */
  async #lookAtMapping(servers: RTCIceServer[]): Promise<void> {
    const mapping = await findMapping(servers);
    if (mapping !== "unknown") {
      this.#call(() => this.#core.tellMapping(mapping));
    }
  }

  #lookWhoWatches(): void {
    const now = performance.now();
    const waiting = new Set([...this.#requests.values()].map(({ object }) => rendition(object)));
    for (const [name, { object, targetMs, atMs }] of this.#watched) {
      const patienceMs = Math.max(targetMs * SILENT_TARGETS, SILENCE_MIN_MS);
      if (!waiting.has(name) && now - atMs > patienceMs) {
        this.#watched.delete(name);
        this.#call((at) => this.#core.stopWatching(object, at));
      }
    }
  }

  #origin(fetch: number): OriginShare {
    return this.#originOf(this.#fetched.get(fetch) ?? "");
  }

  #originOf(object: string): OriginShare {
    let share = this.#fromOrigin.get(object);
    if (!share) {
      share = { bytes: 0, open: 0 };
      this.#fromOrigin.set(object, share);
      if (this.#fromOrigin.size > OBJECTS_MAX) {
        const [oldest = ""] = this.#fromOrigin.keys();
        this.#fromOrigin.delete(oldest);
      }
    }
    return share;
  }

  #forget(fetch: number): void {
    this.#origin(fetch).open -= 1;
    this.#fetched.delete(fetch);
  }

  // What the engine asks for.

  started(request: number, totalBytes: number): void {
    this.#requests.get(request)?.answer.started(totalBytes);
  }

  deliver(request: number, bytes: Uint8Array): void {
    this.#requests.get(request)?.answer.data(bytes);
  }

  delivered(request: number): void {
    const answering = this.#requests.get(request);
    this.#requests.delete(request);
    answering?.answer.done(this.#fromOrigin.get(answering.object)?.bytes ?? 0);
  }

  failed(request: number, status: number): void {
    const answering = this.#requests.get(request);
    this.#requests.delete(request);
    answering?.answer.failed(status);
  }

  fetch(fetch: number, object: string, offset: number, length: number): void {
    this.#fetched.set(fetch, object);
    this.#originOf(object).open += 1;
    const url = this.urls.url(object);
    if (url !== null) {
      this.#fetches.start(fetch, url, offset, length);
      return;
    }
    void this.urls.find(object, URL_PATIENCE_MS).then((found) => {
      if (!this.#fetched.has(fetch)) {
        return;
      }
      if (found !== null) {
        this.#fetches.start(fetch, found, offset, length);
        return;
      }
      this.#forget(fetch);
      this.#call((now) => this.#core.originFailed(fetch, 0, now));
    });
  }

  cancelFetch(fetch: number): void {
    this.#fetches.cancel(fetch);
    this.#forget(fetch);
  }

  fetchDigest(object: string): void {
    const url = this.urls.digest(object);
    const fetched = url === null ? Promise.resolve(0) : digest(url);
    void fetched.then((got) => {
      const [bytes, status] = typeof got === "number" ? [undefined, got] : [got, 200];
      this.#call((now) => this.#core.digestFetched(object, bytes, status, now));
    });
  }

  tell(text: string): void {
    this.#socket?.send(text);
  }

  welcome(iceServers: string): void {
    this.iceServers(iceServers);
    void this.#lookAtMapping(this.#links.iceServers);
    this.connected = true;
    this.#events.emit("connection", { connected: true });
  }

  iceServers(iceServers: string): void {
    const servers = JSON.parse(iceServers) as RTCIceServer[];
    this.#links.iceServers = [...servers, ...this.#settings.iceServers];
  }

  dismissed(afterMs: number, why: string): void {
    console.info(`shoal: the tracker ends the session: ${why}`);
    if (afterMs >= 0) {
      this.#socket?.comeBackAfter(afterMs);
    }
  }

  signal(peer: string, signal: string): void {
    this.#links.signal(peer, signal);
  }

  openLink(peer: string, offer: boolean): void {
    this.#links.open(peer, offer);
  }

  closeLink(peer: string): void {
    this.#links.close(peer);
    this.#events.emit("link", { peer, open: false });
  }

  send(peer: string, bytes: Uint8Array): void {
    this.#links.send(peer, bytes);
  }

  published(object: string, uri: string | undefined): void {
    if (uri !== undefined) {
      this.urls.learnRelative(object, uri);
    }
  }

  peers(enabled: boolean): void {
    this.#events.peersEnabled(enabled);
  }

  fellBack(object: string, reason: string): void {
    this.lastFallback = { reason, atMs: performance.now() };
    const msn = Number(object.split("-")[2]);
    this.#events.emit("fallback", { msn, reason });
  }

  cutOff(peer: string, offence: string): void {
    this.#events.emit("cut-off", { peer, offence });
  }
}

/** Totals of a page that has joined no stream. */
export const NO_TOTALS: Totals = {
  deliveredBytes: 0,
  fromOriginBytes: 0,
  fromPeersBytes: 0,
  wastedBytes: 0,
  toPeersBytes: 0,
  hashMismatches: 0,
  fallbacks: 0,
};
