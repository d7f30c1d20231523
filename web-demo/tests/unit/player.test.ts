/**
 * Where a playlist says that its stream is.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { addressOf, newerTracker, streamAddress, withToken } from "../../sdk/src/player.ts";

const PLAYLIST = "https://media.example/live/cam/v0/index.m3u8?token=x";

function headers(entries: Record<string, string>): (name: string) => string | null {
  return (name) => entries[name] ?? null;
}

test("the tracker's address is relative to the playlist", () => {
  const address = streamAddress(
    PLAYLIST,
    headers({ "shoal-tracker": "/live/cam/tracker", "shoal-stream": "cam" }),
  );
  assert.deepEqual(address, {
    name: "cam",
    tracker: "wss://media.example/live/cam/tracker",
    base: "https://media.example/live/cam/",
  });
});

test("an address of another host stands as it is", () => {
  const tracker = "wss://tracker.example:8443/live/cam/tracker";
  const all = headers({ "shoal-tracker": tracker, "shoal-stream": "cam" });
  const address = streamAddress(PLAYLIST, all);
  assert.equal(address?.tracker, tracker);
  assert.equal(address?.base, "https://tracker.example:8443/live/cam/");
});

test("a playlist that names no stream has none", () => {
  assert.equal(streamAddress(PLAYLIST, headers({})), null);
  assert.equal(streamAddress(PLAYLIST, headers({ "shoal-stream": "cam" })), null);
  assert.equal(streamAddress(PLAYLIST, headers({ "shoal-tracker": "/t" })), null);
});

test("an address that is none is ignored", () => {
  const all = headers({ "shoal-tracker": "http://[", "shoal-stream": "cam" });
  assert.equal(streamAddress(PLAYLIST, all), null);
});

test("plain HTTP has a plain WebSocket", () => {
  const address = addressOf(new URL("http://127.0.0.1:8080/live/cam/tracker"), "cam");
  assert.equal(address.tracker, "ws://127.0.0.1:8080/live/cam/tracker");
  assert.equal(address.base, "http://127.0.0.1:8080/live/cam/");
});

const TRACKER = "wss://media.example/live/cam/tracker";

test("a token is shown to the tracker, unless its address has one", async () => {
  assert.equal(await withToken(TRACKER, "a.b-c"), `${TRACKER}?token=a.b-c`);
  assert.equal(await withToken(`${TRACKER}?token=x`, "a.b-c"), `${TRACKER}?token=x`);
  assert.equal(await withToken(TRACKER, undefined), TRACKER);
});

test("a page's function is asked for a token each time", async () => {
  let asked = 0;
  const token = async () => `t${(asked += 1)}`;
  assert.equal(await withToken(TRACKER, token), `${TRACKER}?token=t1`);
  assert.equal(await withToken(TRACKER, token), `${TRACKER}?token=t2`);
  assert.equal(await withToken(`${TRACKER}?token=x`, token), `${TRACKER}?token=t3`);
});

test("a playlist without a token takes none away", () => {
  const [one, two] = [`${TRACKER}?token=1`, `${TRACKER}?token=2`];
  assert.equal(newerTracker(TRACKER, one), one);
  assert.equal(newerTracker(one, two), two);
  assert.equal(newerTracker(two, TRACKER), two);
});
