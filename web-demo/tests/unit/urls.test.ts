/**
 * Where objects are.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { ObjectUrls, rendition } from "../../sdk/src/urls.ts";
import { initSync } from "../../wasm/pkg/shoal.js";

const BASE = "http://origin.example/live/cam/";
const ROOT = process.env["SHOAL_ROOT"] ?? ".";

before(() => {
  initSync({ module: readFileSync(join(ROOT, "web-demo/wasm/pkg/shoal_bg.wasm")) });
});

test("a URL is given back as it was seen, token and all", () => {
  const urls = new ObjectUrls();
  const object = urls.learn(`${BASE}0-1-7.ts?token=mine`) ?? "";
  assert.equal(urls.url(object), `${BASE}0-1-7.ts?token=mine`);
  urls.learn(`${BASE}0-1-7.ts?token=new`);
  assert.equal(urls.url(object), `${BASE}0-1-7.ts?token=new`, "the newest counts");
});

test("what is no object of ours is not learnt", () => {
  assert.equal(new ObjectUrls().learn(`${BASE}index.m3u8`), null);
  assert.equal(new ObjectUrls().learn("http://elsewhere.example/seg.ts"), null);
});

test("an unseen object stands beside its neighbours", () => {
  const urls = new ObjectUrls();
  urls.learn(`${BASE}v0/0-1-7.ts`);
  const next = new ObjectUrls().learn(`${BASE}0-1-8.ts`) ?? "";
  assert.equal(urls.url(next), `${BASE}v0/0-1-8.ts`);
});

test("an object of an unknown rendition is nowhere", () => {
  const urls = new ObjectUrls();
  urls.learn(`${BASE}0-1-7.ts`);
  const other = new ObjectUrls().learn(`${BASE}3-1-7.ts`) ?? "";
  assert.equal(urls.url(other), null);
});

test("a digest's URI is relative to the playlist, and yields to what was seen", () => {
  const urls = new ObjectUrls();
  urls.learn(`${BASE}0-1-7.ts`);
  const next = new ObjectUrls().learn(`${BASE}0-1-8.ts`) ?? "";
  urls.learnRelative(next, "0-1-8.ts?v=2");
  assert.equal(urls.url(next), `${BASE}0-1-8.ts?v=2`);
  urls.learn(`${BASE}0-1-8.ts?token=mine`);
  urls.learnRelative(next, "0-1-8.ts?v=3");
  assert.equal(urls.url(next), `${BASE}0-1-8.ts?token=mine`);
});

test("what is remembered has a limit, and the newest stay", () => {
  const urls = new ObjectUrls();
  const names = [];
  for (let msn = 0; msn < 1_100; msn += 1) {
    names.push(urls.learn(`${BASE}0-1-${msn}.ts?token=${msn}`) ?? "");
  }
  assert.equal(urls.url(names.at(-1) ?? ""), `${BASE}0-1-1099.ts?token=1099`);
  // Its token is not known any more; a digest needs none.
  assert.equal(urls.url(names[0] ?? ""), null);
  assert.equal(urls.digest(names[0] ?? ""), `${BASE}0-1-0.ts.digest`);
});

test("a URL that only a playlist can tell is waited for, and not for ever", async () => {
  const urls = new ObjectUrls();
  urls.learn(`${BASE}0-1-7.ts?u=a`);
  const next = new ObjectUrls().learn(`${BASE}0-1-8.ts`) ?? "";
  const found = urls.find(next, 60_000);
  const givenUp = urls.find(next, 1);
  assert.equal(await givenUp, null);
  urls.learn(`${BASE}0-1-8.ts?u=b`);
  assert.equal(await found, `${BASE}0-1-8.ts?u=b`);
  const other = new ObjectUrls().learn(`${BASE}3-1-8.ts`) ?? "";
  assert.equal(await urls.find(other, 60_000), null, "of a rendition that nobody plays");
});

test("an object's rendition is the first part of its name", () => {
  assert.equal(rendition("12-1-7"), "12");
});
