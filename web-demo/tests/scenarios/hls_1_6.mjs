/**
 * hls.js 1.6 plays through the SDK as 1.7 does.
 */

import playback from "./playback.mjs";

export default (stage) => playback(stage, { hls: "1.6" });
