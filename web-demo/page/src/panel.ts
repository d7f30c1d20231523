/**
 * The figures beside the video.
 *
 * Rule: it shows what `stats()` and the player say, and decides nothing.
 */

import type { NeighbourStats, ShareReason, Stats } from "../../sdk/src/api.js";
import { element, say } from "./dom.js";
import { bytes, percent, rate, shortName, time, UNKNOWN } from "./format.js";
import type { Neighbour } from "./graph.js";
import type { Playback } from "./player.js";
import type { Rates } from "./rates.js";
import { bufferedEnd } from "./timeline.js";

const REASONS: Record<ShareReason, string> = {
  chosen: "",
  "no-consent": "Not shared until you agree.",
  metered: "On a metered connection: only receiving.",
  hidden: "The tab is hidden: only receiving.",
  "switched-off-by-server": "The operator has switched peers off for this stream.",
};

const FALLBACKS: Record<string, string> = {
  deadline: "peers were not in time",
  "no-source": "no neighbour had it",
  "no-peers": "no peers",
};

/** What the origin did in peers' place, in words. */
const fallbackText = (reason: string) => FALLBACKS[reason] ?? reason;

/** All that is shown of Shoal. */
export function showShoal(stats: Stats, rates: Rates): void {
  const { totals } = stats;
  const share = rates.peerShare;
  say("share-now", percent(share, 0));
  element("split-bar", HTMLElement).style.width = `${(share ?? 0) * 100}%`;
  const split = element("split", HTMLElement);
  split.classList.toggle("empty", share === null);
  split.setAttribute("aria-label", `${percent(share, 0)} of the bytes from peers`);
  say("rate-peers", rate(rates.peersBps));
  say("rate-origin", rate(rates.originBps));
  say("rate-up", rate(rates.uploadBps));
  say("total-peers", bytes(totals.fromPeersBytes));
  say("total-origin", bytes(totals.fromOriginBytes));
  say("total-up", bytes(totals.toPeersBytes));
  say("total-wasted", bytes(totals.wastedBytes));
  say("uplink", stats.uploadBps > 0 ? rate(stats.uploadBps) : UNKNOWN);
  say("share-why", REASONS[stats.shareReason]);
  say("fallbacks", `${totals.fallbacks} ×`);
  const last = stats.lastFallback;
  say("fallback-last", last ? fallbackText(last.reason) : "");
  const counted = Object.entries(stats.fallbacks).map(([why, n]) => `${fallbackText(why)}: ${n}`);
  element("fallback-last", HTMLElement).title = counted.join("; ");
  say("version", stats.version === "" ? "" : `Shoal ${stats.version}`);
}

/** What is shown of the player, with Shoal or without. */
export function showPlayback(playback: Playback): void {
  const { hls, video, marks, waiting, stalledMs } = playback;
  const latency = hls?.latency ?? 0;
  say("latency", latency > 0 ? time(latency * 1000) : UNKNOWN);
  say("buffered", time(Math.max(0, bufferedEnd(video) - video.currentTime) * 1000));
  say("waiting", `${waiting} ×`);
  say("stalled", stalledMs > 0 ? time(stalledMs) : "");
  say("first-frame", time(marks.firstFrame));
  const level = hls?.levels[hls.currentLevel];
  if (level) {
    // A playlist without a master says nothing of its picture; the picture itself does.
    const size = `${level.height > 0 ? level.height : video.videoHeight}p`;
    say("quality", level.bitrate > 0 ? `${size}, ${rate(level.bitrate)}` : size);
  }
}

/** The neighbours with their rates, those that feed this page first. */
export function neighbours(stats: Stats, rates: Rates): Neighbour[] {
  const feeds = (peer: string) => stats.substreams.filter((it) => it.parent === peer).length;
  const all = stats.neighbours.map(({ peer }) => ({ peer, feeds: feeds(peer), ...rates.link(peer) }));
  return all.sort((a, b) => b.feeds - a.feeds || (a.peer < b.peer ? -1 : 1));
}

/** The neighbours as a table. */
export function showNeighbours(all: Neighbour[], stats: Stats): void {
  const rtt = (peer: string) => {
    const found = stats.neighbours.find((it: NeighbourStats) => it.peer === peer);
    return time(found?.rttMs ?? null);
  };
  const substreams = stats.substreams.length;
  const rows = all.map(({ peer, feeds, inBps, outBps }) => {
    const row = document.createElement("tr");
    const fed = feeds > 0 ? `${feeds} of ${substreams}` : UNKNOWN;
    for (const text of [shortName(peer), fed, rate(inBps), rate(outBps), rtt(peer)]) {
      row.insertCell().textContent = text;
    }
    return row;
  });
  element("neighbours", HTMLElement).replaceChildren(...rows);
  say("neighbour-count", all.length > 0 ? String(all.length) : "");
  element("no-neighbours", HTMLElement).hidden = all.length > 0;
}
