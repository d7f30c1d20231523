/**
 * What two STUN servers show of address translation.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Gathered, mappingOf, pair } from "../../sdk/src/mapping.js";

const [ONE, TWO] = ["stun:a.example:3478", "stun:a.example:3479"] as const;

function gathered(mapped: string[], failures: string[] = [], hosts = 1): Gathered {
  const counts = new Map<string, number>();
  failures.forEach((url) => counts.set(url, (counts.get(url) ?? 0) + 1));
  const reflexive = mapped.map((each) => {
    const [base = "", mapped = ""] = each.split(" ");
    return { base, mapped };
  });
  return { reflexive, hosts, failures: counts };
}

for (const [what, found, expected] of [
  ["one address for both servers", gathered(["4 x:1"]), "stable"],
  ["one address for each", gathered(["4 x:1", "4 x:2"]), "symmetric"],
  ["one address for each of two ways out", gathered(["4 x:1", "6 y:2"]), "stable"],
  ["one server fails", gathered(["4 x:1"], [TWO]), "unknown"],
  ["both fail where there is no way to them", gathered(["4 x:1"], [ONE, TWO]), "stable"],
  ["both fail", gathered([], [ONE, TWO]), "unknown"],
  ["nothing is translated", gathered([]), "stable"],
  ["there is no network", gathered([], [], 0), "unknown"],
] as const) {
  test(what, () => {
    assert.equal(mappingOf(found, [ONE, TWO], true), expected);
    const early = expected === "symmetric" ? "symmetric" : "unknown";
    assert.equal(mappingOf(found, [ONE, TWO], false), early, "before all is gathered");
  });
}

test("two ports of one host are asked", () => {
  for (const [urls, expected] of [
    [[ONE, TWO], [ONE, TWO]],
    [["stun:b.example", ONE, "turn:a.example:3480", TWO], [ONE, TWO]],
    [["stun:[2001:db8::1]", "stun:[2001:db8::1]:9"], ["stun:[2001:db8::1]", "stun:[2001:db8::1]:9"]],
    [["stun:a.example", ONE], null],
    [[ONE, "stun:b.example:3479"], null],
    [[], null],
  ] as const) {
    assert.deepEqual(pair([...urls]), expected);
  }
});
