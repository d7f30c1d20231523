/**
 * The server dies (as by a power cut) and comes back: pages play on from what they have, rejoin and
 * share again. No player waits, and the stream goes on where it was.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { pushPatiently } from "../lib/encoder.mjs";

const DOWN_MS = 3_000;
const RETRY = { maxNumRetry: 20, retryDelayMs: 300, maxRetryDelayMs: 1_000 };
const LOAD = { maxTimeToFirstByteMs: 4_000, maxLoadTimeMs: 8_000 };
/** A player that is to live through it needs a buffer for it, and patience with playlists. */
const CONFIG = {
  liveSyncDurationCount: 6,
  playlistLoadPolicy: { default: { ...LOAD, timeoutRetry: RETRY, errorRetry: RETRY } },
};

export default async function trackerGone(stage) {
  const server = await stage.server();
  pushPatiently(stage, server, { headStartS: 28 });
  await server.lists(12);
  const pages = [];
  for (let i = 0; i < 2; i += 1) {
    pages.push(await (await stage.viewer(server.playlist, { config: CONFIG })).plays());
  }
  const shares = ({ stats }) => stats.totals.fromPeersBytes > 100_000;
  await pages[1].until("it takes bytes from the other page", shares, 30_000);

  await server.kill();
  await Promise.all(
    pages.map((page) => page.until("it sees that the tracker is gone", (s) => !s.stats.connected)),
  );
  await sleep(DOWN_MS);
  await server.start();
  await Promise.all(
    pages.map((page) => page.until("it is back", ({ stats }) => stats.connected, 30_000)),
  );
  const before = (await pages[1].stats()).totals.fromPeersBytes;
  const again = ({ stats }) => stats.totals.fromPeersBytes > before + 100_000;
  await pages[1].until("it takes bytes from the other page again", again, 30_000);
  for (const page of pages) {
    await page.playsOn(4);
    const { waits, errors } = await page.state();
    // That playlists could not be loaded meanwhile is what hls.js has to say, and no more.
    const others = errors.filter((error) => !/^levelLoad(Error|TimeOut): /.test(error));
    if (waits.length > 0 || others.length > 0) {
      throw new Error(`it waited, or there were other errors\n${await page.describe()}`);
    }
    await page.payloadsAreTheOrigins();
  }
}
