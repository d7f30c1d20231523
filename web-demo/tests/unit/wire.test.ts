/**
 * The browser's build reads and writes what peers of any build say: `wire/golden`, byte for byte.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import {
  initSync,
  objectName,
  peerMessageRoundTrip,
  protocol,
} from "../../wasm/pkg/shoal.js";

const ROOT = process.env["SHOAL_ROOT"] ?? ".";

before(() => {
  initSync({ module: readFileSync(join(ROOT, "web-demo/wasm/pkg/shoal_bg.wasm")) });
});

const golden = readFileSync(join(ROOT, "wire/golden/peer_messages.txt"), "utf8")
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"))
  .map((line) => line.split(": ") as [name: string, hex: string]);

test("there is one of each message", () => {
  assert.equal(golden.length, 18);
});

for (const [name, hex] of golden) {
  test(`${name} is read and written again as it was`, () => {
    const bytes = new Uint8Array(Buffer.from(hex.replaceAll(" ", ""), "hex"));
    assert.deepEqual(peerMessageRoundTrip(bytes), bytes);
  });
}

test("what is no message is refused", () => {
  for (const bytes of [[], [0], [15, 1], [16, 1], [200, 1, 2, 3]]) {
    assert.equal(peerMessageRoundTrip(new Uint8Array(bytes)), undefined);
  }
});

test("a cut message is refused", () => {
  const [, hex] = golden.find(([name]) => name === "fetch") ?? ["", ""];
  const bytes = Buffer.from(hex.replaceAll(" ", ""), "hex");
  for (let length = 0; length < bytes.length; length += 1) {
    assert.equal(peerMessageRoundTrip(new Uint8Array(bytes.subarray(0, length))), undefined);
  }
});

test("equal objects have equal names, whatever the URL", () => {
  assert.equal(objectName("/live/cam/1-2-3.ts"), objectName("/live/other/1-2-3.ts?token=x"));
  assert.notEqual(objectName("/live/cam/1-2-3.ts"), undefined);
  assert.equal(objectName("/live/cam/index.m3u8"), undefined);
});

test("the protocol's version is a number", () => {
  assert.ok(protocol() >= 1);
});
