/**
 * A native peer that flips bytes: the page notices, cuts it off, and its player is never given a
 * byte that is not the origin's.
 */

import { watchNatively } from "../lib/agent.mjs";

export default async function corruptPeer(stage) {
  const server = await stage.server({ demo: true });
  await watchNatively(stage, server.playlist, "corrupt", { flags: ["--corrupt-every", "3"] });
  const page = await (await stage.viewer(server.playlist)).plays();
  await page.until(
    "it cuts the peer off for a bad chunk",
    ({ stats, cutOffs }) =>
      stats.totals.hashMismatches > 0 &&
      stats.cutOff > 0 &&
      cutOffs.some(({ offence }) => offence === "bad-chunk"),
    40_000,
  );
  await page.playsOn(6);
  await page.payloadsAreTheOrigins();
  await page.neverStalled();
  const { neighbours } = await page.stats();
  const [{ cutOffs }] = [await page.state()];
  if (neighbours.some(({ peer }) => cutOffs.some((cut) => cut.peer === peer))) {
    throw new Error(`the peer that was cut off is a neighbour\n${await page.describe()}`);
  }
}
