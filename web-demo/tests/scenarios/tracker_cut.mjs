/**
 * The tracker alone cannot be reached for a while, the origin can: nothing waits, links stay, and
 * the page rejoins under its own way back.
 */

import { openProxy } from "../lib/proxy.mjs";

export default async function trackerCut(stage) {
  const server = await stage.server({ demo: true });
  const proxy = await openProxy(stage, server.listen);
  const src = server.playlist.replace(server.listen, proxy.address);
  const pages = [];
  for (let i = 0; i < 2; i += 1) {
    pages.push(await (await stage.viewer(src)).plays());
  }
  const each = (what, look) => Promise.all(pages.map((page) => page.until(what, look, 30_000)));
  await each("it has a link", ({ stats }) => stats.neighbours.length === 1);
  proxy.cut();
  await each("it sees that the tracker is gone", ({ stats }) => !stats.connected);
  await Promise.all(pages.map((page) => page.playsOn(6)));
  await each("the link stays", ({ stats }) => stats.neighbours.length === 1);
  proxy.mend();
  await each("it is back", ({ stats }) => stats.connected);
  const before = (await pages[1].stats()).totals.fromPeersBytes;
  const again = ({ stats }) => stats.totals.fromPeersBytes > before + 100_000;
  await pages[1].until("it takes bytes from the other page again", again, 30_000);
  for (const page of pages) {
    await page.neverStalled();
    await page.payloadsAreTheOrigins();
  }
}
