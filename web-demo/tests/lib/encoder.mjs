/**
 * The real ffmpeg, pushing a live stream.
 *
 * Rule: what was before the scenario began is pushed at once, from then on the pace is the clock's.
 */

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { burntClock } from "../../drive/burnt_clock.mjs";

const SEGMENT_S = 2;
const FRAMES_PER_S = 25;
const WINDOW = 15;
const AUDIO = ["-c:a", "aac", "-b:a", "64k"];

/** Picture and sound; `headStartS` seconds of them at once. */
function input(headStartS) {
  const pace = `sendcmd=c='${headStartS} realtime speed 1',realtime=speed=60:limit=10`;
  const video = `testsrc2=size=320x180:rate=${FRAMES_PER_S},noise=alls=20:allf=t,${pace}`;
  return ["-f", "lavfi", "-i", video, "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"];
}

/** One rendition's picture, at a rate that is kept: noise fills it. */
function video(rateBps, index = 0) {
  const option = (name, value) => [`-${name}:v:${index}`, String(value)];
  return [
    ...option("b", rateBps),
    ...option("minrate", rateBps),
    ...option("maxrate", rateBps),
    ...option("bufsize", rateBps / 2),
  ];
}

const ENCODE = [
  ...["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-pix_fmt", "yuv420p"],
  ...["-g", String(SEGMENT_S * FRAMES_PER_S), "-sc_threshold", "0"],
  ...["-x264-params", "nal-hrd=cbr:force-cfr=1"],
];
const QUIET = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "warning"];

function hls(window) {
  const time = ["-hls_time", String(SEGMENT_S), "-hls_list_size", String(window)];
  return ["-f", "hls", ...time, "-hls_flags", "program_date_time"];
}

/** Pushes one rendition. */
export function push(stage, server, { rateBps = 1_000_000, headStartS = 20, window = WINDOW } = {}) {
  const put = ["-method", "PUT", `${server.publish}/index.m3u8`];
  const encode = [...ENCODE, ...video(rateBps), ...AUDIO];
  return stage.start("encoder", [...QUIET, ...input(headStartS), ...encode, ...hls(window), ...put]);
}

/**
 * Streams one rendition's picture, `media_0.m3u8`, while it is made: CMAF in fragments of half a
 * second, with a clock burnt into it.
 */
export function pushLowLatency(stage, server, { rateBps = 1_000_000 } = {}) {
  const source = `testsrc2=size=320x180:rate=${FRAMES_PER_S},noise=alls=20:allf=t,realtime`;
  return stage.start("encoder", [
    ...[...QUIET, "-f", "lavfi", "-i", `${source},${burntClock()}`, ...ENCODE],
    ...["-tune", "zerolatency", ...video(rateBps), "-f", "dash", "-streaming", "1", "-ldash", "1"],
    ...["-hls_playlist", "1", "-seg_duration", String(SEGMENT_S), "-frag_type", "duration"],
    ...["-frag_duration", "0.5", "-window_size", "8", "-http_persistent", "1", "-method", "PUT"],
    `${server.publish}/manifest.mpd`,
  ]);
}

/** Pushes a ladder: renditions `v0`, `v1`, … and the master playlist that names them. */
export function pushLadder(stage, server, ratesBps, { headStartS = 20, window = WINDOW } = {}) {
  const maps = ratesBps.flatMap(() => ["-map", "0:v", "-map", "1:a"]);
  const names = ratesBps.map((_, index) => `v:${index},a:${index}`).join(" ");
  return stage.start("encoder", [
    ...[...QUIET, ...input(headStartS), ...maps],
    ...[...ENCODE, ...ratesBps.flatMap((rateBps, index) => video(rateBps, index)), ...AUDIO],
    ...[...hls(window), "-var_stream_map", names, "-master_pl_name", "index.m3u8"],
    ...["-method", "PUT", `${server.publish}/v%v/index.m3u8`],
  ]);
}

/**
 * Pushes one rendition from files, each until the server has taken it: ffmpeg's own push loses what
 * a server that is killed was about to take.
 */
export function pushPatiently(stage, server, { rateBps = 1_000_000, headStartS = 20 } = {}) {
  const folder = join(stage.folder, "encoder");
  mkdirSync(folder);
  const encode = [...ENCODE, ...video(rateBps), ...AUDIO];
  const program = stage.start("encoder", [
    ...[...QUIET, ...input(headStartS), ...encode, ...hls(WINDOW)],
    ...["-hls_flags", "program_date_time+temp_file", join(folder, "index.m3u8")],
  ]);
  void pushFiles(stage, program, server, folder);
  return program;
}

async function pushFiles(stage, program, server, folder) {
  const taken = new Set();
  while (program.isRunning && !stage.isOver) {
    await sleep(50);
    const path = join(folder, "index.m3u8");
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    const names = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    const fresh = names.filter((name) => !taken.has(name));
    for (const name of fresh) {
      await putUntilTaken(stage, `${server.publish}/${name}`, readFileSync(join(folder, name)));
      taken.add(name);
    }
    if (fresh.length > 0) {
      await putUntilTaken(stage, `${server.publish}/index.m3u8`, text);
    }
  }
}

async function putUntilTaken(stage, url, body) {
  while (!stage.isOver) {
    const options = { method: "PUT", body, signal: AbortSignal.timeout(5_000) };
    const answer = await fetch(url, options).catch(() => null);
    if (answer?.ok) {
      return;
    }
    await sleep(100);
  }
}
