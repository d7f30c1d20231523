/**
 * Homes behind routers that translate addresses, each with an agent and a page: the tracker knows
 * what each router does.
 */

import { watchNatively } from "../lib/agent.mjs";
import { push } from "../lib/encoder.mjs";
import { Home } from "../lib/network.mjs";
import { until } from "../lib/wait.mjs";

export default async function nat(stage) {
  const stun = ["--stun-listen", "0.0.0.0:0", "--stun-listen", "0.0.0.0:0"];
  const server = await stage.server({ host: "0.0.0.0", flags: stun });
  push(stage, server);
  await server.lists(8);
  const { port } = new URL(await stage.site("0.0.0.0"));
  const expected = { unknown: 0, stable: 0, symmetric: 0 };
  let said = {};
  for (const [number, kind] of ["stable", "symmetric"].entries()) {
    const home = new Home(stage, number, kind);
    const src = server.playlist.replace("0.0.0.0", home.host);
    const known = async () => {
      said = (await server.status()).mappings;
      return Object.entries(expected).every(([mapping, count]) => said[mapping] === count);
    };
    const waits = (who) =>
      until(`the mapping of ${who} is ${kind}`, known, 20_000, () => JSON.stringify(said));
    await watchNatively(stage, src, `agent-${kind}`, { within: home.name });
    expected[kind] += 1;
    await waits("an agent");
    const browser = await stage.launch({ within: home.name });
    await stage.viewer(src, { browser, site: `http://${home.host}:${port}`, name: `page-${kind}` });
    expected[kind] += 1;
    await waits("a page");
  }
}
