/**
 * hls.js with Shoal under it, or plain. Query: `src`, `live`, `plain`.
 *
 * Whatever hls.js is handed by its loaders, other than playlists, is told to `handed`: segments, init
 * sections, keys and subtitles.
 */

import { watch } from "./watch.js";
import Hls from "./hls.mjs";
import { Shoal } from "./shoal.js";

const query = new URLSearchParams(location.search);
const isLive = query.has("live");
const video = document.querySelector("video");
const shoal = query.has("plain") ? null : await Shoal.load({});

const hex = (buffer) => [...new Uint8Array(buffer)].map((b) => b.toString(16).padStart(2, "0")).join("");

async function tell(context, data) {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : new Uint8Array(data).slice();
  const range = context.rangeEnd ? `bytes=${context.rangeStart}-${context.rangeEnd - 1}` : null;
  const hash = hex(await crypto.subtle.digest("SHA-256", bytes));
  await window.handed({ url: context.url, range, hash, bytes: bytes.length });
}

/** A loader that tells what it hands on. */
const telling = (Loader) =>
  class extends Loader {
    load(context, config, callbacks) {
      const onSuccess = (response, ...rest) => {
        // hls.js gives the buffer to a worker: the copy is made before.
        void tell(context, response.data);
        callbacks.onSuccess(response, ...rest);
      };
      super.load(context, config, { ...callbacks, onSuccess });
    }
  };

/** As short a buffer as a long title has in proportion. */
const own = { maxBufferLength: 4, maxMaxBufferLength: 4, startPosition: isLive ? -1 : 0 };
const config = shoal ? shoal.hlsConfig(own) : own;
const Plain = Hls.DefaultConfig.loader;
const hls = new Hls({ ...config, fLoader: telling(config.fLoader ?? Plain), loader: keysToo(Plain) });

/** The default loader loads playlists, keys and subtitles. */
function keysToo(Loader) {
  const Telling = telling(Loader);
  return class extends Telling {
    load(context, loaderConfig, callbacks) {
      const isPlaylist = new URL(context.url).pathname.endsWith(".m3u8");
      const load = isPlaylist ? Loader.prototype.load : Telling.prototype.load;
      load.call(this, context, loaderConfig, callbacks);
    }
  };
}

const { failed } = watch(video, isLive, () => {
  const totals = shoal?.stats().totals;
  return { fromPeers: totals?.fromPeersBytes ?? 0, fromOrigin: totals?.fromOriginBytes ?? 0 };
});
shoal?.attach(hls);
hls.on(Hls.Events.ERROR, (_, { type, details, fatal, error, url, response }) => {
  if (response?.code >= 400) {
    void window.refused(`${url ?? ""}: ${response.code}`);
  }
  if (fatal) {
    failed(`${type} ${details}: ${error?.message ?? ""}`);
  }
});
hls.loadSource(query.get("src"));
hls.attachMedia(video);
