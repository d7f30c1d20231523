/**
 * What the fragment loader does with the answers that it gets, and where other loads go.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { loaderClass } from "../../sdk/src/loader.ts";

const URL_OF_SEGMENT = "https://media.example/cam/0-1-7.ts";

/** The player's own loader: says what it was asked for. */
class Plain {
  static asked: string[] = [];
  stats = { loaded: 0, loading: { start: 0 } };
  load({ url }: { url: string }) {
    // As hls.js's own do.
    assert.equal(this.stats.loading.start, 0, "a loader can only be used once");
    assert.equal(this.stats.loaded, 0);
    Plain.asked.push(url);
  }
  abort() {}
  destroy() {}
}

/** A loader with one load under way in a session that gives `answer` to the test. */
function loading(context: object = {}) {
  Plain.asked = [];
  const heard: string[] = [];
  const cancelled: number[] = [];
  let answer: any = null;
  const session = {
    urls: { learn: () => "0-1-7" },
    rate: { bps: 8_000_000 },
    isFromOrigin: () => false,
    playhead: () => undefined,
    request: (_object: string, _range: unknown, _durationS: number, given: unknown) => {
      answer = given;
      return 1;
    },
    cancel: (id: number) => cancelled.push(id),
  };
  const host: any = {
    sessionFor: () => session,
    neededInMs: () => null,
    loading: () => undefined,
    loaded: () => heard.push("over"),
  };
  const loader = new (loaderClass(host))({ loader: Plain } as any);
  const config: any = { loadPolicy: { maxTimeToFirstByteMs: 10_000, maxLoadTimeMs: 20_000 } };
  const callbacks: any = {
    onSuccess: ({ data }: { data: ArrayBuffer }) => heard.push(`success ${data.byteLength}`),
    onError: ({ code }: { code: number }) => heard.push(`error ${code}`),
    onTimeout: () => heard.push("timeout"),
    onAbort: () => heard.push("abort"),
  };
  const frag = { sn: 7, level: 0, start: 14, duration: 2 };
  loader.load({ url: URL_OF_SEGMENT, responseType: "arraybuffer", frag, ...context } as any, config, callbacks);
  return { loader, heard, cancelled, answer: () => answer };
}

test("a load that its session hands back is the plain loader's", () => {
  const { heard, answer } = loading();
  assert.deepEqual(Plain.asked, []);
  answer().data(new Uint8Array(100));
  answer().handedBack();
  assert.deepEqual(Plain.asked, [URL_OF_SEGMENT]);
  assert.deepEqual(heard, ["over"]);
});

test("a load ends once", () => {
  const { heard, answer } = loading();
  answer().data(new Uint8Array(100));
  answer().done(0);
  answer().done(0);
  answer().failed(503);
  assert.deepEqual(heard, ["over", "success 100"]);
});

test("the origin's error is the player's", () => {
  const { heard, answer } = loading();
  answer().failed(404);
  assert.deepEqual(heard, ["over", "error 404"]);
  assert.deepEqual(Plain.asked, []);
});

test("an aborted load is cancelled and told", () => {
  const { loader, heard, cancelled } = loading();
  loader.abort();
  loader.destroy();
  assert.deepEqual(cancelled, [1]);
  assert.deepEqual(heard, ["over", "abort"]);
});

test("init sections and playlists are never carried", () => {
  const init = loading({ frag: { sn: "initSegment" } });
  assert.equal(init.answer(), null);
  const text = loading({ responseType: "text" });
  assert.equal(text.answer(), null);
  assert.deepEqual(Plain.asked, [URL_OF_SEGMENT]);
});
