/**
 * The native agent, with ffmpeg as the player beside it.
 */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "./wait.mjs";

const START_MS = 20_000;

/**
 * Starts an agent and a player that reads `playlist` through it as a viewer would; `within` is a
 * network that they are confined to.
 */
export async function watchNatively(stage, playlist, name, { flags = [], within } = {}) {
  const confined = within ? ["ip", "netns", "exec", within] : [];
  const origin = new URL(playlist);
  const ports = join(stage.folder, `${name}.json`);
  const agent = stage.start(name, [
    ...confined,
    ...[join(stage.programs, "shoal-agent"), "run", "--origin", origin.origin],
    ...["--listen", "127.0.0.1:0", "--ports-file", ports, ...flags],
  ]);
  await until(`${name} listens`, () => existsSync(ports) || !agent.isRunning, START_MS);
  if (!agent.isRunning) {
    throw new Error(agent.tail());
  }
  const { listen } = JSON.parse(readFileSync(ports, "utf8"));
  const url = `http://${listen}/http/${origin.host}${origin.pathname}`;
  const read = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "warning", "-re", "-i", url];
  stage.start(`${name}-player`, [...confined, ...read, "-c", "copy", "-f", "null", "-"]);
  return agent;
}
