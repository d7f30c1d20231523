/**
 * A page on a line as of 4G (8 Mbit/s down, 2 up) plays without waiting, and has part of it
 * from a native peer on the other side.
 */

import { watchNatively } from "../lib/agent.mjs";
import { push } from "../lib/encoder.mjs";
import { Line, OPEN_ADDRESSES } from "../lib/network.mjs";

const MOBILE = { downBps: 8_000_000, upBps: 2_000_000 };
const RATE_BPS = 1_500_000;

export default async function mobile(stage) {
  const line = new Line(stage, 0, MOBILE);
  const server = await stage.server({ host: line.host });
  push(stage, server, { rateBps: RATE_BPS });
  await server.lists(8);
  await watchNatively(stage, server.playlist, "agent");
  await stage.site(line.host);
  const browser = await stage.launch({ within: line.name, flags: OPEN_ADDRESSES });
  const viewer = await stage.viewer(server.playlist, { browser });
  await viewer.plays();
  const shares = ({ stats }) => stats.totals.fromPeersBytes > 200_000;
  await viewer.until("it takes bytes from the agent", shares, 40_000);
  await viewer.playsOn(10);
  await viewer.neverStalled();
}
