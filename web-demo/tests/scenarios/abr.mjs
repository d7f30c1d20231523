/**
 * The quality that hls.js chooses is the one that it would choose without Shoal: on a line below
 * the top rendition it stays below, on one with room it climbs as soon.
 *
 * Each page has a line of its own; native agents with both renditions feed the page with Shoal.
 */

import { watchNatively } from "../lib/agent.mjs";
import { pushLadder } from "../lib/encoder.mjs";
import { Line, OPEN_ADDRESSES } from "../lib/network.mjs";

const RATES_BPS = [400_000, 2_000_000];
const NARROW = { downBps: 1_600_000, upBps: 2_000_000 };
const WIDE_BPS = 60_000_000;
/** So many segments that those which were there before they were asked for outweigh the first. */
const NARROW_FRAGMENTS = 12;
/** Until so many are loaded, Shoal has the origin alone, and fetches ahead of the player. */
const ALONE_FRAGMENTS = 7;
const CAPPED_FRAGMENTS = 6;
/** An estimate that follows the newest loads, not those of the last minute: the test is short. */
const CONFIG = { abrEwmaFastLive: 0.3, abrEwmaSlowLive: 0.5 };
/** What a page with Shoal may take longer to climb: two segments, and a busy machine's scatter. */
const LATER_MS_MAX = 6_000;

/** On each line a page, the first without Shoal. */
async function open(stage, what, lines, browsers, ports, query = {}) {
  const pages = await Promise.all(
    lines.map(({ host }, i) =>
      stage.viewer(`http://${host}:${ports.server}/live/cam/index.m3u8`, {
        ...{ browser: browsers[i], plain: i === 0, name: `${what}-${i === 0 ? "plain" : "shoal"}` },
        ...{ site: `http://${host}:${ports.site}`, config: CONFIG, ...query },
      }),
    ),
  );
  return Promise.all(pages.map((page) => page.plays()));
}

async function staysBelow(page) {
  const enough = ({ fragments }) => fragments >= NARROW_FRAGMENTS;
  await page.until(`it has loaded ${NARROW_FRAGMENTS} segments`, enough, 30_000);
  const levels = await page.run(() => window.viewer.payloads.map(({ level }) => level));
  if (levels.some((level) => level !== 0)) {
    throw new Error(`on a narrow line ${page.name} loads ${levels}\n${await page.describe()}`);
  }
}

/** How long it takes to load the top rendition once it may, in ms. */
async function climbs(page) {
  const enough = ({ fragments }) => fragments >= CAPPED_FRAGMENTS;
  await page.until(`it has loaded ${CAPPED_FRAGMENTS} segments`, enough, 30_000);
  const { nowMs } = await page.state();
  await page.run(() => (window.viewer.hls.loadLevel = -1));
  await page.until("it loads the top rendition", ({ topAtMs }) => topAtMs !== null, 30_000);
  return (await page.state()).topAtMs - nowMs;
}

export default async function abr(stage) {
  const lines = [0, 1].map((number) => new Line(stage, number, NARROW));
  const server = await stage.server({ host: "0.0.0.0" });
  pushLadder(stage, server, RATES_BPS);
  await server.lists(8, "v1/index.m3u8");
  const ports = {
    server: new URL(server.playlist).port,
    site: new URL(await stage.site("0.0.0.0")).port,
  };
  const launch = ({ name }) => stage.launch({ within: name, flags: OPEN_ADDRESSES });
  const browsers = await Promise.all(lines.map(launch));

  const narrow = await open(stage, "narrow", lines, browsers, ports);
  const alone = ({ fragments }) => fragments >= ALONE_FRAGMENTS;
  await narrow[1].until(`it has loaded ${ALONE_FRAGMENTS} segments`, alone, 30_000);
  for (const rendition of ["v0", "v1"]) {
    // By this address they are reached from the other side of the line.
    const src = `http://${lines[1].host}:${ports.server}/live/cam/${rendition}/index.m3u8`;
    await watchNatively(stage, src, `agent-${rendition}`);
  }
  await Promise.all(narrow.map(staysBelow));
  await narrow[1].until("peers are part of it", ({ stats }) => stats.totals.fromPeersBytes > 0);
  await Promise.all(narrow.map((page) => page.close()));
  stage.viewers = [];

  lines.forEach((line) => line.down(WIDE_BPS));
  // What peers bring meanwhile is part of what hls.js then decides on.
  const wide = await open(stage, "wide", lines, browsers, ports, { capped: true });
  const [plainMs, shoalMs] = await Promise.all(wide.map(climbs));
  console.log(`climbed after ${Math.round(shoalMs)} ms, plain hls.js ${Math.round(plainMs)} ms`);
  if (shoalMs > plainMs + LATER_MS_MAX) {
    throw new Error(`it climbs too late\n${await wide[1].describe()}`);
  }
}
