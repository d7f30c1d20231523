/**
 * The player: hls.js over the page's video, with Shoal under it where it is wanted.
 *
 * Rule: whatever of Shoal fails, the video plays over plain HTTP. It measures; it shows nothing.
 */

import Hls from "hls.js";
import type { Shoal } from "../../sdk/src/index.js";
import { Measure } from "./measure.js";
import type { Query } from "./query.js";

/** Moments in ms of `performance.now()`; null until they come. */
export interface Marks {
  navigation: number;
  wasmReady: number | null;
  manifest: number | null;
  firstFrame: number | null;
}

/** What tests and people at the console find as `window.shoalPage`. */
export interface Playback {
  hls: Hls | null;
  shoal: Shoal | null;
  video: HTMLVideoElement;
  marks: Marks;
  /** `waiting` events after the first frame. */
  waiting: number;
  /** Time spent in them, the present one included. */
  readonly stalledMs: number;
  /** What the player really showed, with or without Shoal; null before there is one. */
  figures(): ReturnType<Measure["figures"]> | null;
}

interface Source {
  stream: string;
  playlist: string | null;
  title: string;
}

/** What the player has to say. */
export interface Told {
  title(text: string): void;
  state(text: string, kind: "" | "on" | "bad"): void;
  notice(text: string): void;
}

/** How often it is looked whether something is published. */
const SOURCE_RETRY_MS = 2_000;
const FATAL_RETRY_MS = 2_000;
/** A low-latency stream that is further behind than it says is played so much faster. */
const CATCH_UP_RATE = 1.1;

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** Plays for as long as the page is there. */
export async function play(playback: Playback, query: Query, told: Told): Promise<void> {
  const { video } = playback;
  const [loaded, url] = await Promise.all([
    query.peers ? loadShoal(query, playback, told) : null,
    query.src ?? source(told),
  ]);
  const shoal = query.unused ? null : loaded;
  playback.shoal = shoal;
  if (!Hls.isSupported()) {
    told.notice("This browser has no Media Source Extensions: it plays by itself, without peers.");
    video.src = url;
    return;
  }
  const base = { workerPath: new URL("hls.worker.js", import.meta.url).href };
  const hls = new Hls(shoal ? shoal.hlsConfig(base) : base);
  playback.hls = hls;
  const measure = new Measure(hls, video, shoal);
  playback.figures = () => measure.figures();
  shoal?.attach(hls);
  hls.once(Hls.Events.MANIFEST_PARSED, () => {
    playback.marks.manifest = performance.now();
    told.state("buffering", "");
  });
  hls.on(Hls.Events.LEVEL_LOADED, (_, { details }) => {
    if (details.partTarget > 0) {
      hls.config.maxLiveSyncPlaybackRate = CATCH_UP_RATE;
    }
  });
  hls.on(Hls.Events.ERROR, (_, data) => data.fatal && void recover(hls, data.type, url, told));
  hls.loadSource(url);
  hls.attachMedia(video);
}

/** The SDK, or null where the page is better off without. */
async function loadShoal(query: Query, playback: Playback, told: Told): Promise<Shoal | null> {
  const { share, uploadCapBps } = query;
  try {
    const url = new URL("../sdk/shoal.js", import.meta.url).href;
    const sdk = (await import(url)) as typeof import("../../sdk/src/index.js");
    const shoal = await sdk.Shoal.load({ share, uploadCapBps });
    playback.marks.wasmReady = performance.now();
    const { supported, unsupportedReason } = shoal.stats();
    if (!supported) {
      told.notice(`No peers in this browser (${unsupportedReason}). The video plays over HTTP.`);
    }
    return shoal;
  } catch (error) {
    told.notice(`Shoal could not be loaded (${String(error)}). The video plays over HTTP.`);
    return null;
  }
}

/** The URL of what is to be played, as soon as there is any. */
async function source(told: Told): Promise<string> {
  for (;;) {
    try {
      const response = await fetch("source");
      if (response.ok) {
        const source = (await response.json()) as Source;
        told.title(source.title);
        if (source.playlist !== null) {
          return new URL(source.playlist, response.url).href;
        }
        told.state("nothing is published yet", "");
      } else {
        told.state((await response.text()).trim(), "bad");
      }
    } catch {
      told.state("the server cannot be reached", "bad");
    }
    await sleep(SOURCE_RETRY_MS);
  }
}

/** Goes on after an error that stopped hls.js. */
async function recover(hls: Hls, type: string, url: string, told: Told): Promise<void> {
  if (type === Hls.ErrorTypes.MEDIA_ERROR) {
    hls.recoverMediaError();
    return;
  }
  told.state("the stream cannot be reached", "bad");
  await sleep(FATAL_RETRY_MS);
  if (hls.levels.length === 0) {
    hls.loadSource(url);
  } else {
    hls.startLoad();
  }
}

/** A playback that has not begun, and watches the media element. */
export function measured(video: HTMLVideoElement): Playback {
  let ended = 0;
  let since: number | null = null;
  const marks: Marks = { navigation: 0, wasmReady: null, manifest: null, firstFrame: null };
  const playback: Playback = {
    hls: null,
    shoal: null,
    video,
    marks,
    waiting: 0,
    figures: () => null,
    get stalledMs() {
      return ended + (since === null ? 0 : performance.now() - since);
    },
  };
  const goesOn = () => {
    ended += since === null ? 0 : performance.now() - since;
    since = null;
  };
  const first = () => (marks.firstFrame ??= performance.now());
  if ("requestVideoFrameCallback" in video) {
    video.requestVideoFrameCallback(first);
  } else {
    (video as HTMLVideoElement).addEventListener("loadeddata", first, { once: true });
  }
  video.addEventListener("waiting", () => {
    if (marks.firstFrame !== null) {
      playback.waiting += 1;
      since ??= performance.now();
    }
  });
  video.addEventListener("playing", goesOn);
  video.addEventListener("pause", goesOn);
  return playback;
}
