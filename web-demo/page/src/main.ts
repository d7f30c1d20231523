/**
 * The viewer's page.
 *
 * Rule: it wires the parts together. Playing comes first: nothing that is shown delays it.
 */

import type { Stats } from "../../sdk/src/api.js";
import { Palette } from "./canvas.js";
import { bindDebug, bindSharing, enableSharing } from "./controls.js";
import { element, say } from "./dom.js";
import { Graph } from "./graph.js";
import { neighbours, showNeighbours, showPlayback, showShoal } from "./panel.js";
import { measured, play, type Playback, type Told } from "./player.js";
import { parse } from "./query.js";
import { Rates } from "./rates.js";
import { Timeline } from "./timeline.js";

declare global {
  interface Window {
    shoalPage: Playback;
  }
}

/** How often figures are read; less often where nothing may disturb a measurement. */
const REFRESH_MS = 500;
const REFRESH_QUIET_MS = 2_000;

const told: Told = {
  title(text) {
    say("title", text);
    document.title = `${text} – Shoal`;
  },
  state(text, kind) {
    say("state", text);
    element("state", HTMLElement).className = `chip ${kind}`;
  },
  notice(text) {
    say("notice", text);
    element("notice", HTMLElement).hidden = text === "";
  },
};

/** Says in a word or two how the page stands. */
function showState(playback: Playback, stats: Stats | null): void {
  if (playback.marks.firstFrame === null) {
    return;
  }
  if (stats === null || !stats.supported) {
    told.state("playing without peers", "");
  } else if (stats.share === "off" || stats.shareReason === "switched-off-by-server") {
    told.state("playing, peers off", "");
  } else if (!stats.connected) {
    told.state("playing, looking for the tracker", "");
  } else {
    const links = stats.neighbours.length;
    told.state(`playing, ${links} ${links === 1 ? "neighbour" : "neighbours"}`, "on");
  }
}

function start(): void {
  const query = parse(location.search);
  document.body.classList.toggle("quiet", query.quiet);
  const playback = measured(element("video", HTMLVideoElement));
  window.shoalPage = playback;
  void play(playback, query, told);

  const palette = new Palette();
  const bar = element("timeline", HTMLCanvasElement);
  const timeline = new Timeline(bar, element("timeline-text", HTMLElement), palette, query.quiet);
  const graph = query.quiet ? null : new Graph(element("graph", HTMLCanvasElement), palette);
  const rates = new Rates();
  bindSharing(playback, query);
  bindDebug(playback);

  const refresh = () => {
    if (document.hidden) {
      return;
    }
    const { hls, shoal, video } = playback;
    const stats = shoal?.stats() ?? null;
    enableSharing(stats?.supported ?? false);
    showState(playback, stats);
    showPlayback(playback);
    timeline.show({ video, hls, segments: stats?.segments ?? [] });
    if (stats) {
      rates.add(stats);
      const all = neighbours(stats, rates);
      showShoal(stats, rates);
      showNeighbours(all, stats);
      const roots = stats.substreams.filter((it) => it.parent === "origin").length;
      graph?.show(all, rates.originBps, roots);
    }
  };
  refresh();
  setInterval(refresh, query.quiet ? REFRESH_QUIET_MS : REFRESH_MS);
}

start();
