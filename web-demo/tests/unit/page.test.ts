/**
 * Rates and numbers of the viewer's page.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, percent, rate, time } from "../../page/src/format.ts";
import { Window } from "../../page/src/rates.ts";

test("numbers have three digits and a unit", () => {
  const rates = [0, 950, 1500, 99_950, 2_000_000, 12_340_000].map(rate);
  assert.deepEqual(rates, ["0 bit/s", "950 bit/s", "1.50 kbit/s", "100 kbit/s", "2.00 Mbit/s", "12.3 Mbit/s"]);
  assert.deepEqual([bytes(null), bytes(1e9), percent(0.5), percent(null)], ["–", "1.00 GB", "50.0 %", "–"]);
  assert.deepEqual([time(12.4), time(1234), time(61_000)], ["12 ms", "1.2 s", "1 min"]);
});

test("a rate is over the window, and a counter that went back begins anew", () => {
  const window = new Window(10_000);
  for (let s = 0; s <= 30; s += 1) {
    window.add(s * 1000, [s < 20 ? 0 : (s - 20) * 1000]);
  }
  assert.equal(window.bps(0), 8000);
  assert.equal(window.grown(0), 10_000);
  window.add(31_000, [5]);
  assert.equal(window.bps(0), 0);
});
