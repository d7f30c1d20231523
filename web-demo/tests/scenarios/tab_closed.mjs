/**
 * One tab is closed and one crashes while they feed others: the others play on and nothing waits.
 */

import { push } from "../lib/encoder.mjs";

/** Three segments of buffer and the room that a busy machine needs. */
const CONFIG = { liveSyncDurationCount: 4 };

export default async function tabClosed(stage) {
  const server = await stage.server();
  push(stage, server);
  await server.lists(8);
  const pages = [];
  for (let i = 0; i < 4; i += 1) {
    pages.push(await (await stage.viewer(server.playlist, { config: CONFIG })).plays());
  }
  const [closed, crashed, ...stay] = pages;
  for (const [page, leave] of [[closed, "close"], [crashed, "crash"]]) {
    const before = (await page.stats()).totals.toPeersBytes;
    // At this moment it is in the middle of what it sends.
    const sends = ({ stats }) => stats.totals.toPeersBytes > before;
    await page.until("it sends to others", sends, 30_000);
    await page[leave]();
    stage.viewers.splice(stage.viewers.indexOf(page), 1);
    await Promise.all(stay.map((each) => each.playsOn(5)));
  }
  for (const page of stay) {
    await page.neverStalled();
    await page.payloadsAreTheOrigins();
  }
}
