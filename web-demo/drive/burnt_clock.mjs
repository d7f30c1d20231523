/**
 * A clock that is burnt into the picture before it is encoded, and its reading from what a page
 * shows: how far that is behind, glass to glass.
 *
 * Rule: what is read was encoded, carried and decoded; playlists have no part in it. The row of
 * boxes says the time in Gray code, of which one box changes at a time: boxes that are drawn at
 * either side of a tick are no other time. `xtask/src/demo/encoder.rs` draws the same.
 */

const TICKS_PER_S = 50;
const BITS = 12;
/** Boxes beside each other: those of the bits, then one that is white and one that is black. */
export const BOXES = 16;

/** What ffmpeg's filters draw over a picture. */
export function burntClock() {
  const box = (index, count, colour, enable) =>
    `drawbox=x=iw*${index}/${BOXES}:y=0:w=iw*${count}/${BOXES}:h=ih/12:color=${colour}:t=fill${enable}`;
  const bit = (index) => {
    // The highest bit is its own in Gray code.
    const [add, by] = index === BITS - 1 ? [0, 2 ** index] : [2 ** index, 2 ** (index + 1)];
    const isSet = `mod(floor((time(0)*${TICKS_PER_S}+${add})/${by}),2)`;
    return box(index, 1, "white", `:enable='${isSet}'`);
  };
  const bits = Array.from({ length: BITS }, (_, index) => bit(index));
  return [box(0, BOXES, "black", ""), ...bits, box(BITS, 1, "white", "")].join(",");
}

/** Run in a page: the boxes of the frame that `video` shows, from 0 to 255; null without one. */
export function readBoxes(video, boxes) {
  if (video.readyState < 2) {
    return null;
  }
  const canvas = new OffscreenCanvas(boxes, 1);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const { videoWidth: width, videoHeight: height } = video;
  // The middle of each box: its edges are blurred by the encoder.
  for (let index = 0; index < boxes; index += 1) {
    const from = [((index + 0.25) * width) / boxes, height / 36, width / boxes / 2, height / 36];
    context.drawImage(video, ...from, index, 0, 1, 1);
  }
  const { data } = context.getImageData(0, 0, boxes, 1);
  return Array.from({ length: boxes }, (_, index) => data[index * 4 + 1]);
}

/** Seconds from the time that `boxes` say to `nowMs`, both of this machine; null if they say none. */
export function behindS(boxes, nowMs) {
  if (!boxes || !(boxes[BITS] > 192) || !(boxes[BITS + 1] < 64)) {
    return null;
  }
  let ticks = 0;
  for (let index = BITS - 1; index >= 0; index -= 1) {
    const above = Math.floor(ticks / 2 ** (index + 1)) % 2;
    ticks += ((boxes[index] > 128 ? 1 : 0) ^ above) * 2 ** index;
  }
  const round = 2 ** BITS;
  const now = (nowMs * TICKS_PER_S) / 1_000;
  return ((((now - ticks) % round) + round) % round) / TICKS_PER_S;
}
