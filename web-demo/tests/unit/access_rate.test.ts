/**
 * What traffic says of the access line, and what it does not.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { AccessRate } from "../../sdk/src/access_rate.ts";

const SECOND_BYTES = 125_000; // of 1 Mbit/s

/** An answer of the origin of `bytes` in `ms`, from `atMs` on. */
function fetched(rate: AccessRate, bytes: number, ms: number, atMs: number): void {
  const sampling = rate.begin(20, atMs);
  sampling.own += bytes;
  rate.note(bytes, atMs + ms);
  rate.end(sampling, atMs + ms);
}

test("nothing is known before anything was measured", () => {
  const rate = new AccessRate();
  assert.equal(rate.bps, null);
  assert.equal(rate.ttfbMs, null);
});

test("the first answer is the estimate", () => {
  const rate = new AccessRate();
  fetched(rate, SECOND_BYTES, 1_000, 0);
  assert.equal(rate.bps, 1_000_000);
  assert.equal(rate.ttfbMs, 20);
});

test("short answers say nothing", () => {
  const rate = new AccessRate();
  fetched(rate, 60_000, 1, 0);
  assert.equal(rate.bps, null);
  assert.equal(rate.ttfbMs, 20, "but how long the origin took to answer is known");
});

test("what peers send meanwhile is part of what the line carries", () => {
  const rate = new AccessRate();
  const sampling = rate.begin(20, 0);
  sampling.own += SECOND_BYTES;
  rate.note(SECOND_BYTES, 500);
  rate.note(SECOND_BYTES, 900);
  rate.end(sampling, 1_000);
  assert.equal(rate.bps, 2_000_000);
});

test("a rise is believed sooner than a fall", () => {
  const rise = new AccessRate();
  fetched(rise, SECOND_BYTES, 1_000, 0);
  fetched(rise, 2 * SECOND_BYTES, 1_000, 10_000);
  assert.equal(rise.bps, 1_500_000);
  const fall = new AccessRate();
  fetched(fall, 2 * SECOND_BYTES, 1_000, 0);
  fetched(fall, SECOND_BYTES, 1_000, 10_000);
  assert.equal(fall.bps, 1_700_000);
});

test("a trickle from peers lowers nothing, and a burst raises", () => {
  const rate = new AccessRate();
  fetched(rate, SECOND_BYTES, 1_000, 0);
  for (let atMs = 2_000; atMs < 10_000; atMs += 100) {
    rate.note(1_000, atMs);
  }
  assert.equal(rate.bps, 1_000_000);
  for (let atMs = 10_000; atMs < 12_000; atMs += 100) {
    rate.note(SECOND_BYTES / 2, atMs);
  }
  rate.note(1, 12_000);
  assert.equal(rate.bps, 5_000_000);
});
