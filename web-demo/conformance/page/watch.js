/**
 * What both pages say of their player.
 */

/** How much faster than time a recording is played: slow enough for links between viewers to open. */
const RATE = 3;
const LOOK_MS = 50;
/** A longer step is a jump. */
const STEP_S_MAX = 3;

/** Follows `video`; `sources` tells where the bytes came from. */
export function watch(video, isLive, sources = () => ({})) {
  let playedS = 0;
  let last = null;
  let fault = null;
  const look = () => {
    const step = video.currentTime - (last ?? video.currentTime);
    if (step > 0 && step < STEP_S_MAX) {
      playedS += step;
    }
    last = video.currentTime;
    // Players set it back when they load.
    const rate = isLive ? 1 : RATE;
    if (video.playbackRate !== rate && video.readyState > 2) {
      video.playbackRate = rate;
    }
  };
  setInterval(look, LOOK_MS);
  video.addEventListener("ended", look);
  video.addEventListener("error", () => (fault ??= `video: ${video.error?.message}`));
  window.watched = {
    state: () => ({ playedS, ended: video.ended, fault }),
    sources,
  };
  return { failed: (text) => (fault ??= text) };
}
