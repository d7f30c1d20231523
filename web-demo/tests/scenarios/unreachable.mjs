/**
 * A line with little room, and a peer that the tracker plans with but no link reaches: the page
 * plays as smoothly as one without Shoal.
 */

import { watchNatively } from "../lib/agent.mjs";
import { push } from "../lib/encoder.mjs";
import { Line } from "../lib/network.mjs";

const NARROW = { downBps: 1_000_000, upBps: 1_000_000 };
const RATE_BPS = 400_000;

export default async function unreachable(stage) {
  const line = new Line(stage, 0, NARROW);
  const server = await stage.server({ host: "0.0.0.0" });
  push(stage, server, { rateBps: RATE_BPS });
  await server.lists(8);
  const { port } = new URL(server.playlist);
  // By this address it is where the page cannot come.
  await watchNatively(stage, server.playlist.replace("0.0.0.0", "127.0.0.1"), "agent");
  const site = `http://${line.host}:${new URL(await stage.site("0.0.0.0")).port}`;
  const browser = await stage.launch({ within: line.name });
  const src = server.playlist.replace("0.0.0.0", line.host);
  const viewer = await stage.viewer(src, { browser, site });
  await viewer.plays();
  await viewer.playsOn(8);
  await viewer.neverStalled();
}
