/**
 * Pages play what ffmpeg streams part by part: little behind it, without waiting, and most of the
 * parts from each other.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { pushLowLatency } from "../lib/encoder.mjs";

const PAGES = 3;
/** Who started late catches up: hls.js does so only if it is told how fast it may. */
const CONFIG = { maxLiveSyncPlaybackRate: 1.25 };
const CATCH_UP_S = 10;
const WATCH_S = 15;
const LATENCY_S_MAX = 3;
/** Of three pages one takes each part from the origin. */
const FROM_PEERS_MIN = 0.5;
/** The origin keeps a part for six target durations; so many last two thirds of that. */
const PARTS_KEPT = 16;

export default async function lowLatency(stage) {
  const server = await stage.server();
  pushLowLatency(stage, server);
  await server.lists(4, "media_0.m3u8");
  const src = new URL("media_0.m3u8", server.playlist).href;
  const pages = [];
  for (let i = 0; i < PAGES; i += 1) {
    pages.push(await (await stage.viewer(src, { config: CONFIG })).plays());
    await pages[i].until("it has a session", ({ stats }) => stats.connected);
  }
  await Promise.all(pages.map((page) => page.playsOn(CATCH_UP_S)));
  const before = await Promise.all(pages.map((page) => page.state()));
  const latencies = pages.map(() => []);
  for (let second = 0; second < WATCH_S; second += 1) {
    await sleep(1_000);
    await Promise.all(pages.map(async (page, i) => latencies[i].push(await page.behindS())));
  }
  const after = await Promise.all(pages.map((page) => page.state()));
  const sum = (name) => {
    const of = ({ stats }) => stats.totals[name];
    return after.reduce((total, state, i) => total + of(state) - of(before[i]), 0);
  };
  const fromPeers = sum("fromPeersBytes") / sum("deliveredBytes");
  const parts = after.map((state, i) => state.parts - before[i].parts);
  const said = JSON.stringify({ latencies, fromPeers, parts });
  if (!latencies.flat().every((seconds) => seconds !== null && seconds <= LATENCY_S_MAX)) {
    throw new Error(`not within ${LATENCY_S_MAX} s of the encoder's clock: ${said}`);
  }
  if (parts.some((count) => count < WATCH_S)) {
    throw new Error(`the players do not take parts: ${said}`);
  }
  if (!(fromPeers >= FROM_PEERS_MIN)) {
    throw new Error(`too little comes from peers: ${said}`);
  }
  for (const page of pages) {
    await page.payloadsAreTheOrigins(PARTS_KEPT);
    await page.neverStalled();
  }
}
