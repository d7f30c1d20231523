/**
 * Two pages share: bytes come from the other page, and what the players are given is what the
 * origin has, byte for byte.
 */

import { push } from "../lib/encoder.mjs";

const ENOUGH_BYTES = 500_000;

export default async function sharing(stage) {
  const server = await stage.server();
  push(stage, server);
  await server.lists(8);
  const pages = [];
  for (let i = 0; i < 2; i += 1) {
    pages.push(await (await stage.viewer(server.playlist)).plays());
  }
  await pages[1].until(
    "half a megabyte comes from peers",
    ({ stats }) => stats.totals.fromPeersBytes > ENOUGH_BYTES,
    30_000,
  );
  for (const page of pages) {
    await page.playsOn(2);
    const { totals, segments } = await page.stats();
    const parts = segments.map(({ originBytes, peerBytes }) => originBytes + peerBytes);
    const sum = parts.reduce((one, other) => one + other, 0);
    if (segments.length < 30 && Math.abs(totals.deliveredBytes - sum) > 0.5 * sum) {
      throw new Error(`segments say ${sum} bytes, totals ${totals.deliveredBytes}`);
    }
    const checked = await page.payloadsAreTheOrigins();
    if (checked < segments.length) {
      throw new Error(`${checked} of ${segments.length} payloads were compared`);
    }
    await page.neverStalled();
  }
}
