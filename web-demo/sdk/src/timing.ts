/**
 * What a load's timing tells hls.js of the network.
 *
 * Rule: hls.js divides bytes by time to choose a quality. Bytes that were here before they were
 * asked for must not look like an endless line, nor bytes that came at the pace of a tree like a
 * slow one: such loads are given the time that they would have taken on this page's own line.
 * Where the origin itself answered, the true times stand.
 */

import type { AccessRate } from "./access_rate.js";
import type { LoaderStats } from "./hls_types.js";

/** Where nothing was measured yet: a round trip. */
const TTFB_PRIOR_MS = 50;

/** Moves the beginning of a load to where the line alone would have had it. */
export function tellLineTime(stats: LoaderStats, rate: AccessRate, nowMs: number): void {
  if (rate.bps === null || stats.loaded === 0) {
    return;
  }
  const streamingMs = (stats.loaded * 8_000) / rate.bps;
  stats.loading.first = Math.max(nowMs - streamingMs, 1);
  stats.loading.start = Math.max(stats.loading.first - (rate.ttfbMs ?? TTFB_PRIOR_MS), 1);
}
