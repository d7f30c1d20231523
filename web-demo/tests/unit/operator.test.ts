/**
 * What the operator's page makes of the server's counters.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { layout } from "../../admin/src/forest.ts";
import { band, History } from "../../admin/src/model.ts";

const COLUMNS = [
  "unix_ms",
  "viewers",
  "egress_bytes",
  "media_bytes",
  "delivered_bytes",
  "from_origin_bytes",
  "from_peers_bytes",
  "stalled_ms",
  "bound_permille",
];

/** A minute of one row a second; each counter grows by so much in it. */
function history(perSecond: Record<string, number>): History {
  const rows = Array.from({ length: 61 }, (_, s) =>
    COLUMNS.map((name) => {
      const fixed: Record<string, number> = { unix_ms: s * 1000, viewers: 4, bound_permille: 750 };
      return fixed[name] ?? (perSecond[name] ?? 0) * s;
    }),
  );
  const made = new History();
  made.replace({ columns: COLUMNS, rows: { cam: rows } });
  return made;
}

const near = (value: number | null | undefined, to: number) =>
  assert.ok(typeof value === "number" && Math.abs(value - to) < 1e-9, `${value} is not ${to}`);

test("offload is what the origin did not send of what was delivered", () => {
  const series = history({
    egress_bytes: 260,
    media_bytes: 250,
    delivered_bytes: 1000,
    from_origin_bytes: 250,
    from_peers_bytes: 750,
    stalled_ms: 80,
  }).series("cam");
  near(series.offload.at(-1), 0.74);
  near(series.bound.at(-1), 0.75);
  near(series.withoutPeersBps.at(-1), 8000);
  near(series.rebuffering.at(-1), 0.02);
  assert.equal(series.offload[0], null, "one row is no rate");
});

test("players without Shoal are what would be sent anyway", () => {
  const series = history({
    egress_bytes: 1250,
    media_bytes: 1250,
    delivered_bytes: 1000,
    from_origin_bytes: 250,
  }).series("cam");
  near(series.plainBps.at(-1), 8000);
  near(series.offload.at(-1), 1 - 1250 / 2000);
  near(series.bound.at(-1), 0.375);
});

test("what all streams would need is what each would, where that is known", () => {
  const made = history({ media_bytes: 250, delivered_bytes: 1000, from_origin_bytes: 250 });
  near(made.withoutPeersBps(), 8000);
  const row = (s: number) => COLUMNS.map((name) => ({ unix_ms: s * 1000, delivered_bytes: s * 500 })[name] ?? 0);
  made.add("dog", row(1));
  near(made.withoutPeersBps(), 8000);
  made.add("dog", row(2));
  near(made.withoutPeersBps(), 12000);
  assert.equal(new History().withoutPeersBps(), null);
});

test("a server that began anew gives no rate, and old rows are no news", () => {
  const made = history({ delivered_bytes: 1000 });
  const row = made.rows("cam").at(-1) ?? [];
  made.add("cam", row);
  assert.equal(made.rows("cam").length, 61);
  made.add("cam", COLUMNS.map((name) => (name === "unix_ms" ? 61_000 : 0)));
  assert.equal(made.series("cam").withoutPeersBps.at(-1), null);
});

test("rebuffering has three bands", () => {
  assert.deepEqual([0, 0.0099, 0.01, 0.03, 0.0301].map(band), ["good", "good", "fair", "fair", "bad"]);
});

test("a tree is laid out from its leaves", () => {
  assert.deepEqual(layout([-1, 0, 0, 1]), { x: [0.5, 0, 1, 0], depth: [1, 2, 2, 3], depthMax: 3, leaves: 2 });
  assert.deepEqual(layout([-1]), { x: [0.5], depth: [1], depthMax: 1, leaves: 1 });
});
