/**
 * A page plays what ffmpeg pushes: the playhead moves, nothing waits, hls.js has no complaint.
 */

import { push } from "../lib/encoder.mjs";

export default async function playback(stage, { hls = "1.7" } = {}) {
  const server = await stage.server();
  push(stage, server);
  await server.lists(8);
  const viewer = await stage.viewer(server.playlist, { hls });
  await viewer.plays();
  await viewer.until("it has a session", ({ stats }) => stats.connected);
  await viewer.playsOn(12);
  await viewer.neverStalled();
  await viewer.payloadsAreTheOrigins();
}
