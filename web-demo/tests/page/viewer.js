/**
 * A host page as small as it can be, and what a scenario asks of it (`window.viewer`).
 *
 * Query: `src`, `hls` (version), `plain` (without Shoal), `options` (Shoal's), `config` (hls.js's),
 * `consent` (`ask`: a callback that waits for `viewer.consent`), `tokens` (one for each time that
 * Shoal asks for one), `capped` (to the lowest rendition).
 */

import { Shoal } from "./shoal.js";

const query = new URLSearchParams(location.search);
const { default: Hls } = await import(`./hls-${query.get("hls") ?? "1.7"}.js`);
const options = JSON.parse(query.get("options") ?? "{}");
const config = JSON.parse(query.get("config") ?? "{}");

let consent = () => {};
if (query.get("consent") === "ask") {
  const asked = new Promise((resolve) => (consent = resolve));
  options.consent = () => asked;
}

if (query.has("tokens")) {
  const tokens = JSON.parse(query.get("tokens"));
  options.token = async () => (tokens.length > 1 ? tokens.shift() : tokens[0]);
}

const video = document.querySelector("video");
const waits = [];
const errors = [];
const cutOffs = [];
const payloads = [];
let playingAtMs = null;
let topAtMs = null;

video.addEventListener("playing", () => {
  playingAtMs ??= performance.now();
  goesOn();
});
// Some waits end without `playing`.
video.addEventListener("timeupdate", goesOn);

function goesOn() {
  const wait = waits.at(-1);
  if (wait?.ms === null && video.currentTime > wait.currentTime) {
    wait.ms = performance.now() - wait.atMs;
  }
}


video.addEventListener("waiting", () => {
  if (playingAtMs !== null) {
    waits.push({ atMs: performance.now(), currentTime: video.currentTime, ms: null });
  }
});

const shoal = query.has("plain") ? null : await Shoal.load(options);
const hls = new Hls(shoal ? shoal.hlsConfig(config) : config);
shoal?.attach(hls);
shoal?.on("cut-off", (event) => cutOffs.push(event));
hls.on(Hls.Events.ERROR, (_, { details, fatal, error }) => {
  // hls.js tells of each load that it aborted itself, with any loader.
  if (details === "aborted" && !fatal) {
    return;
  }
  errors.push(`${details}${fatal ? " (fatal)" : ""}: ${error?.message ?? ""}`);
});
let parts = 0;
hls.on(Hls.Events.FRAG_LOADED, (_, { frag, part, payload }) => {
  parts += part ? 1 : 0;
  const entry = { url: part?.url ?? frag.url, level: frag.level, sn: frag.sn, bytes: payload.byteLength };
  payloads.push(entry);
  if (frag.level === hls.levels.length - 1) {
    topAtMs ??= performance.now();
  }
  // Only pages from this machine may hash.
  void crypto.subtle?.digest("SHA-256", payload.slice(0)).then((hash) => {
    entry.hash = [...new Uint8Array(hash)].map((b) => b.toString(16).padStart(2, "0")).join("");
  });
});
if (query.has("capped")) {
  hls.once(Hls.Events.MANIFEST_PARSED, () => (hls.loadLevel = 0));
}
hls.loadSource(query.get("src"));
hls.attachMedia(video);

function buffered() {
  const { buffered: ranges, currentTime } = video;
  for (let i = 0; i < ranges.length; i += 1) {
    if (ranges.start(i) <= currentTime && currentTime <= ranges.end(i)) {
      return ranges.end(i) - currentTime;
    }
  }
  return 0;
}

window.viewer = {
  hls,
  shoal,
  video,
  payloads,
  consent: () => consent(true),
  state: () => ({
    nowMs: performance.now(),
    currentTime: video.currentTime,
    ...{ playingAtMs, topAtMs },
    bufferedS: buffered(),
    latencyS: hls.latency,
    parts,
    bandwidthBps: hls.bandwidthEstimate,
    level: hls.currentLevel,
    fragments: payloads.length,
    ...{ waits, errors, cutOffs },
    stats: shoal?.stats() ?? null,
  }),
};
