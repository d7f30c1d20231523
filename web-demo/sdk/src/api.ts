/**
 * What a host page sees of Shoal: options, figures, events.
 *
 * Rule: everything here is plain data. Times end in their unit; bytes are numbers of bytes, rates
 * are bits per second.
 */

/** What the viewer lets Shoal do with its uplink. */
export type ShareMode = "share" | "receive-only" | "off";

/** Why a page that could share does not, or that it does. */
export type ShareReason =
  | "chosen"
  | "no-consent"
  | "metered"
  | "hidden"
  | "switched-off-by-server";

/** What Shoal is started with. Everything has a default. */
export interface Options {
  /** What the viewer allows; `share` if absent. */
  share?: ShareMode;
  /** Cap on upload in bit/s; none if absent or null. */
  uploadCapBps?: number | null;
  /** On a metered connection (`navigator.connection`), only receive. On by default. */
  receiveOnlyOnMetered?: boolean;
  /** While the tab is hidden, only receive. Off by default. */
  receiveOnlyWhenHidden?: boolean;
  /**
   * Asked once before the first byte is uploaded. Until it resolves to true, the page only
   * receives. Without it, whoever opened the page has consented.
   */
  consent?: () => boolean | Promise<boolean>;
  /** Where `shoal_bg.wasm` is; beside the script if absent. */
  wasmUrl?: string | URL;
  /**
   * The tracker's WebSocket URL and the stream's name, where the origin's playlists do not say
   * them in their headers (`shoal-tracker`, `shoal-stream`).
   */
  tracker?: { url: string; stream: string };
  /**
   * The viewer's token, where the operator signs tokens and the playlist's URL does not carry it:
   * the tracker is shown it. A function is asked at each join: a token that has expired by then is
   * worth nothing. Playlists and segments are the player's own requests.
   */
  token?: string | (() => string | Promise<string>);
  /** Extra ICE servers beside those that the tracker names. */
  iceServers?: RTCIceServer[];
}

/** Sums since the stream was joined. */
export interface Totals {
  /** Media bytes handed to the player. */
  deliveredBytes: number;
  /** Media bytes taken from the origin. */
  fromOriginBytes: number;
  /** Media bytes taken from peers, verified and used. */
  fromPeersBytes: number;
  /** Bytes from peers that were of no use. */
  wastedBytes: number;
  /** Bytes sent to peers. */
  toPeersBytes: number;
  /** Chunks whose hash did not match. */
  hashMismatches: number;
  /** Fetches from the origin of what peers should have brought. */
  fallbacks: number;
}

/** An open link. */
export interface NeighbourStats {
  /** Its name: 16 hex digits. */
  peer: string;
  receivedBytes: number;
  sentBytes: number;
  /** Round trip; null until it is known. */
  rttMs: number | null;
}

/** Who feeds one substream. */
export interface SubstreamStats {
  rendition: number;
  substream: number;
  /** A peer's name, `origin`, or null for nobody. */
  parent: string | null;
}

/** A segment that was handed to the player, newest last. */
export interface SegmentStats {
  /** hls.js's level and media sequence number. */
  level: number;
  msn: number;
  /** Its place on the player's timeline, in seconds. */
  startS: number;
  durationS: number;
  originBytes: number;
  peerBytes: number;
  /** From the request to the last byte. */
  waitedMs: number;
}

/** A snapshot for the host page. */
export interface Stats {
  version: string;
  /** Whether peers can be used in this browser; if not, why. */
  supported: boolean;
  unsupportedReason: string | null;
  /** Time that loading and compiling the WASM took, and its size as sent. */
  wasmLoadMs: number;
  wasmBytes: number | null;
  /** The stream's name; null before it is known. */
  stream: string | null;
  /** Whether a session with the tracker stands. */
  connected: boolean;
  /** This page's name in the swarm. */
  peer: string | null;
  /** What is in force now, and why. */
  share: ShareMode;
  shareReason: ShareReason;
  uploadCapBps: number | null;
  /** Usable upload as learned. */
  uploadBps: number;
  /** Rate of this page's access line as measured; null until known. */
  accessBps: number | null;
  totals: Totals;
  neighbours: NeighbourStats[];
  substreams: SubstreamStats[];
  /** The last segments, 30 at most. */
  segments: SegmentStats[];
  /** How often the origin had to step in, by reason (`deadline`, `no-source`, `no-peers`). */
  fallbacks: Record<string, number>;
  lastFallback: { reason: string; agoMs: number } | null;
  cutOff: number;
  storeBytes: number;
}

/** Events for the host page. */
export interface Events {
  /** The tracker's session came or went. */
  connection: { connected: boolean };
  /** What is shared changed, by the viewer, the page's state or the server. */
  share: { share: ShareMode; reason: ShareReason };
  /** A link opened or closed. */
  link: { peer: string; open: boolean };
  /** Peers did not bring something in time. */
  fallback: { msn: number; reason: string };
  /** A neighbour was cut off: `bad-chunk`, `bad-digest` or `bad-message`. */
  "cut-off": { peer: string; offence: string };
  /** A segment was handed to the player. */
  segment: SegmentStats;
}

/** What of hls.js Shoal touches: 1.6 and newer. */
export interface HlsLike {
  readonly media: HTMLMediaElement | null;
  // hls.js types each event apart, and differently from version to version.
  on(event: any, listener: (event: any, data: any) => void): void;
  off(event: any, listener: (event: any, data: any) => void): void;
}
