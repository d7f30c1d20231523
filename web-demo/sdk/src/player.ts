/**
 * The player as it is: its playhead, and the streams that its playlists belong to.
 *
 * Rule: it only listens. hls.js and the media element are the page's.
 */

import type { HlsLike, Options } from "./api.js";
import type { StreamAddress } from "./session.js";

/** What the player tells its owner. */
export interface PlayerEvents {
  /** A playlist came with the address of its stream. */
  stream(address: StreamAddress): void;
  /** A playlist names these URLs. */
  urls(urls: string[]): void;
  /** The playhead jumped, paused or went on. */
  moved(): void;
  /** It plays. */
  begun(): void;
  destroyed(): void;
}

interface PlaylistData {
  url?: string;
  networkDetails?: unknown;
  details?: { fragments?: { url?: string }[] };
}

const PLAYLIST_EVENTS = ["hlsManifestLoaded", "hlsLevelLoaded", "hlsAudioTrackLoaded"];
const MEDIA_EVENTS = ["playing", "pause", "seeking", "ratechange", "waiting"];
/** A playhead this close before the buffer is about to be moved into it. */
const GAP_MAX_S = 0.5;
/** What was handed over is not played yet: it is demuxed and appended first, and the last frames of
 * a buffer are not enough to go on with. */
const APPEND_MS = 250;

/** Listens to hls.js and its media element. */
export class Player {
  readonly #hls: HlsLike;
  readonly #events: PlayerEvents;
  #media: HTMLMediaElement | null = null;

  constructor(hls: HlsLike, events: PlayerEvents) {
    this.#hls = hls;
    this.#events = events;
    PLAYLIST_EVENTS.forEach((name) => hls.on(name, this.#playlist));
    hls.on("hlsMediaAttached", this.#attached);
    hls.on("hlsMediaDetaching", this.#detached);
    hls.on("hlsDestroying", this.#destroyed);
    this.#attached();
  }

  /**
   * How long until the player needs what starts at `startS` to be handed over; negative if it is
   * overdue, null if that cannot be told.
   */
  neededInMs(startS: number): number | null {
    const media = this.#media;
    if (!media || media.readyState === 0) {
      return null;
    }
    const { buffered, currentTime } = media;
    for (let i = 0; i < buffered.length; i += 1) {
      if (buffered.start(i) - GAP_MAX_S <= currentTime && currentTime <= buffered.end(i)) {
        const rate = Math.max(Math.abs(media.playbackRate), 0.1);
        return ((startS - currentTime) * 1_000) / rate - APPEND_MS;
      }
    }
    // Nothing is buffered where it stands: it needs everything at once, or has not begun.
    return null;
  }

  close(): void {
    PLAYLIST_EVENTS.forEach((name) => this.#hls.off(name, this.#playlist));
    this.#hls.off("hlsMediaAttached", this.#attached);
    this.#hls.off("hlsMediaDetaching", this.#detached);
    this.#hls.off("hlsDestroying", this.#destroyed);
    this.#detached();
  }

  readonly #playlist = (_event: string, data: PlaylistData): void => {
    const { url, networkDetails, details } = data;
    const address = streamAddress(url ?? "", (name) => header(networkDetails, name));
    if (address) {
      this.#events.stream(address);
    }
    const urls = details?.fragments?.map((fragment) => fragment.url ?? "") ?? [];
    this.#events.urls(urls.filter((each) => each !== ""));
  };

  readonly #attached = (): void => {
    this.#detached();
    this.#media = this.#hls.media;
    MEDIA_EVENTS.forEach((name) => this.#media?.addEventListener(name, this.#moved));
    this.#media?.addEventListener("playing", this.#events.begun);
  };

  readonly #detached = (): void => {
    MEDIA_EVENTS.forEach((name) => this.#media?.removeEventListener(name, this.#moved));
    this.#media?.removeEventListener("playing", this.#events.begun);
    this.#media = null;
  };

  readonly #moved = (): void => this.#events.moved();
  readonly #destroyed = (): void => this.#events.destroyed();
}

/** Where the playlist at `url` says that its stream is. */
export function streamAddress(
  url: string,
  header: (name: string) => string | null,
): StreamAddress | null {
  const [tracker, name] = [header("shoal-tracker"), header("shoal-stream")];
  if (!tracker || !name) {
    return null;
  }
  try {
    return addressOf(new URL(tracker, url), name);
  } catch {
    return null;
  }
}

/** The address of a stream by its tracker's URL, which stands beside its playlists. */
export function addressOf(tracker: URL, name: string): StreamAddress {
  const http = new URL(tracker);
  http.protocol = { "ws:": "http:", "wss:": "https:" }[tracker.protocol] ?? tracker.protocol;
  const socket = new URL(http);
  socket.protocol = http.protocol === "https:" ? "wss:" : "ws:";
  return { name, tracker: socket.href, base: new URL(".", http).href };
}

/**
 * The tracker's URL with the viewer's `token`: one that a function gives is newer than the URL's own,
 * any other is for a URL that has none.
 */
export async function withToken(tracker: string, token: Options["token"]): Promise<string> {
  const url = new URL(tracker);
  const own = typeof token === "function" ? await token() : token;
  if (own !== undefined && (typeof token === "function" || !url.searchParams.has("token"))) {
    url.searchParams.set("token", own);
  }
  return url.href;
}

/** Which of two URLs of a tracker to use next: one without a token replaces none that has one. */
export function newerTracker(known: string, found: string): string {
  const has = (url: string) => new URL(url).searchParams.has("token");
  return has(known) && !has(found) ? known : found;
}

function header(networkDetails: unknown, name: string): string | null {
  if (networkDetails instanceof XMLHttpRequest) {
    // Asking for a header that was not exposed would be logged as an error.
    const all = networkDetails.getAllResponseHeaders().toLowerCase();
    return all.includes(`${name}:`) ? networkDetails.getResponseHeader(name) : null;
  }
  return networkDetails instanceof Response ? networkDetails.headers.get(name) : null;
}
