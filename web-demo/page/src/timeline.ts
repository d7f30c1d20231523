/**
 * The buffer on the segments' timeline, coloured by where each came from.
 *
 * Rule: a segment's colours are its bytes: the filled part is what peers brought.
 */

import type Hls from "hls.js";
import type { SegmentStats } from "../../sdk/src/api.js";
import { type Palette, Stage } from "./canvas.js";
import { percent } from "./format.js";

const BEHIND_S = 12;
const AHEAD_S_MIN = 12;
const TICK_S = 10;
const FRAME_MS = 200;

/** What is drawn. */
export interface TimelineData {
  video: HTMLVideoElement;
  hls: Hls | null;
  segments: SegmentStats[];
}

/** The buffer bar. */
export class Timeline {
  readonly #stage: Stage;
  readonly #palette: Palette;
  readonly #text: HTMLElement;
  #data: TimelineData | null = null;

  constructor(canvas: HTMLCanvasElement, text: HTMLElement, palette: Palette, quiet: boolean) {
    this.#palette = palette;
    this.#text = text;
    this.#stage = new Stage(canvas, quiet ? Infinity : FRAME_MS, (context, width, height) =>
      this.#draw(context, width, height),
    );
  }

  show(data: TimelineData): void {
    this.#data = data;
    const last = data.segments.at(-1);
    if (last) {
      const all = last.originBytes + last.peerBytes;
      const share = all > 0 ? last.peerBytes / all : 0;
      const from = `${percent(share, 0)} of it from peers`;
      const waited = `there ${Math.round(last.waitedMs)} ms after it was asked for`;
      this.#text.textContent = `Newest segment ${last.msn}: ${from}, ${waited}`;
    }
    this.#stage.refresh();
  }

  #draw(context: CanvasRenderingContext2D, width: number, height: number): void {
    if (!this.#data) {
      return;
    }
    const { video, hls, segments } = this.#data;
    const now = video.currentTime;
    const live = hls?.levels[hls.currentLevel]?.details?.edge ?? now;
    const end = Math.max(now + AHEAD_S_MIN, bufferedEnd(video) + 2, live + 1);
    const start = now - BEHIND_S;
    const x = (s: number) => ((s - start) / (end - start)) * width;
    const bar = { top: 6, height: height - 24 };
    context.fillStyle = this.#palette.of("plain");
    for (let i = 0; i < video.buffered.length; i += 1) {
      const [from, to] = [x(video.buffered.start(i)), x(video.buffered.end(i))];
      context.fillRect(from, bar.top, Math.max(0, to - from), bar.height);
    }
    for (const segment of segments) {
      const [from, to] = [x(segment.startS) + 1, x(segment.startS + segment.durationS) - 1];
      const all = segment.originBytes + segment.peerBytes;
      if (to < 0 || from > width || all === 0) {
        continue;
      }
      const peers = (bar.height * segment.peerBytes) / all;
      context.fillStyle = this.#palette.of("origin");
      context.fillRect(from, bar.top, to - from, bar.height - peers);
      context.fillStyle = this.#palette.of("accent");
      context.fillRect(from, bar.top + bar.height - peers, to - from, peers);
    }
    this.#scale(context, { start, end, now, live }, x, height);
  }

  #scale(
    context: CanvasRenderingContext2D,
    at: { start: number; end: number; now: number; live: number },
    x: (s: number) => number,
    height: number,
  ): void {
    context.fillStyle = this.#palette.of("soft");
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "center";
    for (let s = Math.ceil(at.start / TICK_S) * TICK_S; s < at.end; s += TICK_S) {
      // Ticks are relative to the playhead, so that they do not run under the reader's eye.
      const offset = s - Math.floor(at.now / TICK_S) * TICK_S;
      const place = at.now + offset;
      if (offset !== 0 && place > at.start && place < at.end) {
        context.fillText(`${offset > 0 ? "+" : "−"}${Math.abs(offset)} s`, x(place), height - 3);
      }
    }
    if (at.live > at.now) {
      context.fillRect(x(at.live), 2, 1, height - 18);
    }
    context.fillStyle = this.#palette.of("text");
    context.fillRect(x(at.now) - 1, 0, 2, height - 14);
    context.fillText("now", x(at.now), height - 3);
  }
}

/** End of what is buffered around the playhead. */
export function bufferedEnd(video: HTMLVideoElement): number {
  const { buffered, currentTime } = video;
  for (let i = 0; i < buffered.length; i += 1) {
    if (buffered.start(i) - 0.5 <= currentTime && currentTime <= buffered.end(i)) {
      return buffered.end(i);
    }
  }
  return currentTime;
}
