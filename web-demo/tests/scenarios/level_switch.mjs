/**
 * Two pages change to another rendition in mid-play and back: nothing waits, and they share in both
 * renditions' swarms.
 */

import { pushLadder } from "../lib/encoder.mjs";

const RATES_BPS = [600_000, 1_200_000];
const CONFIG = { startLevel: 0, liveSyncDurationCount: 4 };

export default async function levelSwitch(stage) {
  const server = await stage.server();
  pushLadder(stage, server, RATES_BPS);
  await server.lists(8, "v1/index.m3u8");
  const pages = [];
  for (let i = 0; i < 2; i += 1) {
    const page = await stage.viewer(server.playlist, { config: CONFIG });
    await page.run(() => (window.viewer.hls.nextLevel = 0));
    pages.push(await page.plays());
  }
  for (const level of [0, 1]) {
    for (const page of pages) {
      await page.run((wanted) => (window.viewer.hls.nextLevel = wanted), level);
    }
    for (const page of pages) {
      const what = `it plays level ${level}`;
      await page.until(what, (state) => state.level === level, 30_000);
    }
    const last = pages[1];
    const shared = ({ stats }) =>
      stats.segments.some((segment) => segment.level === level && segment.peerBytes > 0);
    await last.until(`it takes level ${level} from the other page`, shared, 30_000);
  }
  for (const page of pages) {
    await page.playsOn(4);
    await page.neverStalled();
    await page.payloadsAreTheOrigins();
  }
}
