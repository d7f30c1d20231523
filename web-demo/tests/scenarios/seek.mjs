/**
 * Seeking in a window of recorded time: twenty seconds back and forward again, while another page
 * stays where it is.
 */

import { push } from "../lib/encoder.mjs";

const WINDOW = 60;

export default async function seek(stage) {
  const flags = ["--keep-segments", "240", "--playlist-segments", String(WINDOW)];
  const server = await stage.server({ flags });
  push(stage, server, { headStartS: 60, window: WINDOW });
  await server.lists(28);
  const [stays, seeks] = [await stage.viewer(server.playlist), await stage.viewer(server.playlist)];
  await Promise.all([stays.plays(), seeks.plays()]);
  await seeks.until("it has a link", ({ stats }) => stats.neighbours.length > 0, 30_000);
  const live = (await seeks.state()).currentTime;
  for (const [what, target] of [["back", live - 20], ["forward", live + 2]]) {
    const before = await seeks.state();
    await seeks.run((to) => (window.viewer.video.currentTime = to), target);
    await seeks.until(
      `it plays after a seek ${what} to ${target.toFixed(1)}`,
      ({ currentTime }) => currentTime > target + 2 && currentTime < target + 30,
      30_000,
    );
    const { errors, currentTime } = await seeks.state();
    if (errors.length > 0 || (what === "back" && currentTime > before.currentTime)) {
      throw new Error(`the seek ${what} went wrong\n${await seeks.describe()}`);
    }
  }
  await seeks.playsOn(3);
  await seeks.payloadsAreTheOrigins();
  await stays.neverStalled();
  await stays.payloadsAreTheOrigins();
}
