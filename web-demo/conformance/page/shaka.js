/**
 * Shaka Player. Query: `src`, `live`.
 */

import { watch } from "./watch.js";

const query = new URLSearchParams(location.search);
const isLive = query.has("live");
const video = document.querySelector("video");
const { failed } = watch(video, isLive);
const { shaka } = window;

const name = (group, code) => Object.keys(group).find((key) => group[key] === code) ?? code;
const describe = ({ category, code, data }) =>
  `${name(shaka.util.Error.Category, category)} ${name(shaka.util.Error.Code, code)} ` +
  JSON.stringify(data ?? []).slice(0, 200);

shaka.polyfill.installAll();
const player = new shaka.Player();
player.addEventListener("error", ({ detail }) => {
  if (detail.severity === shaka.util.Error.Severity.CRITICAL) {
    failed(describe(detail));
  }
});
player.configure({ streaming: { bufferingGoal: 4, rebufferingGoal: 0.5 } });
try {
  await player.attach(video);
  await player.load(query.get("src"));
  const text = player.getTextTracks?.()[0];
  if (text) {
    player.selectTextTrack(text);
  }
  await video.play();
} catch (error) {
  failed(error.code ? describe(error) : String(error));
}
