/**
 * Pages and native agents in one swarm give to each other.
 */

import { watchNatively } from "../lib/agent.mjs";
import { push } from "../lib/encoder.mjs";
import { until } from "../lib/wait.mjs";

/** A few segments' worth, so that it is no accident. */
const ENOUGH_BYTES = 200_000;

export default async function mixed(stage) {
  const server = await stage.server();
  push(stage, server);
  await server.lists(8);
  const pages = [];
  for (let i = 0; i < 2; i += 1) {
    await watchNatively(stage, server.playlist, `agent-${i}`);
    pages.push(await (await stage.viewer(server.playlist)).plays());
  }
  const exchanged = async () => {
    const all = await Promise.all(pages.map((page) => page.stats()));
    const names = new Set(all.map(({ peer }) => peer));
    const agents = all.flatMap(({ neighbours }) => neighbours.filter((it) => !names.has(it.peer)));
    const sum = (field) => agents.reduce((total, each) => total + each[field], 0);
    return sum("receivedBytes") > ENOUGH_BYTES && sum("sentBytes") > ENOUGH_BYTES;
  };
  await until("pages and agents exchange bytes both ways", exchanged, 40_000);
  for (const page of pages) {
    await page.playsOn(2);
    await page.neverStalled();
    await page.payloadsAreTheOrigins();
  }
}
