/**
 * What hls.js is told of the network where peers brought the bytes.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { AccessRate } from "../../sdk/src/access_rate.ts";
import type { LoaderStats } from "../../sdk/src/hls_types.ts";
import { tellLineTime } from "../../sdk/src/timing.ts";

const NOW_MS = 50_000;

function statsOf(loaded: number): LoaderStats {
  return {
    ...{ aborted: false, loaded, retry: 0, total: loaded, chunkCount: 1, bwEstimate: 0 },
    loading: { start: NOW_MS - 5, first: NOW_MS - 1, end: 0 },
    parsing: { start: 0, end: 0 },
    buffering: { start: 0, first: 0, end: 0 },
  };
}

function lineOf(bps: number, ttfbMs: number): AccessRate {
  const rate = new AccessRate();
  const sampling = rate.begin(ttfbMs, 0);
  sampling.own += bps / 8;
  rate.note(bps / 8, 1_000);
  rate.end(sampling, 1_000);
  return rate;
}

test("bytes that were there already take the time that the line would have taken", () => {
  const stats = statsOf(250_000);
  tellLineTime(stats, lineOf(1_000_000, 30), NOW_MS);
  assert.equal(stats.loading.first, NOW_MS - 2_000);
  assert.equal(stats.loading.start, NOW_MS - 2_030);
});

test("bytes that trickled in for long do not look like a slow line", () => {
  const stats = statsOf(250_000);
  stats.loading.start = NOW_MS - 20_000;
  stats.loading.first = NOW_MS - 19_000;
  tellLineTime(stats, lineOf(10_000_000, 30), NOW_MS);
  assert.equal(stats.loading.first, NOW_MS - 200);
});

test("times stay as they are where nothing was measured or loaded", () => {
  const unknown = statsOf(250_000);
  tellLineTime(unknown, new AccessRate(), NOW_MS);
  assert.deepEqual(unknown, statsOf(250_000));
  const empty = statsOf(0);
  tellLineTime(empty, lineOf(1_000_000, 30), NOW_MS);
  assert.deepEqual(empty, statsOf(0));
});

test("times are after the page's own beginning", () => {
  const stats = statsOf(1_000_000_000);
  tellLineTime(stats, lineOf(1_000_000, 30), NOW_MS);
  assert.ok(stats.loading.start > 0, "hls.js takes 0 for a load that has not begun");
  assert.ok(stats.loading.first >= stats.loading.start);
});
