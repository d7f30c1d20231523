/**
 * The operator's page.
 *
 * Rule: it wires the parts together and remembers which stream is looked at, in the address, so
 * that a link shows the same.
 */

import { element, say } from "../../page/src/dom.js";
import { rate } from "../../page/src/format.js";
import { listen } from "./feed.js";
import { Trees } from "./forest.js";
import { type Forest, History, type Sample } from "./model.js";
import { showServer, showTables, showTiles } from "./panel.js";
import { Plots } from "./plots.js";
import { Switch } from "./switch.js";

const history = new History();
const plots = new Plots();
const trees = new Trees();
const peers = new Switch("switch");
const allPeers = new Switch("switch-all");
let sample: Sample | null = null;
let forests: Record<string, Forest> = {};

/** The stream that is looked at: the one in the address, else the one that most watch. */
function chosen(all: Sample): Sample["streams"][number] | undefined {
  const name = decodeURIComponent(location.hash.slice(1));
  const viewers = (it: Sample["streams"][number]) => history.value(it.row, "viewers");
  const most = all.streams.toSorted((a, b) => viewers(b) - viewers(a))[0];
  return all.streams.find((it) => it.stream === name) ?? most;
}

/** Buttons, one per stream; made anew only when the streams change. */
function showStreams(all: Sample, current: string): void {
  const root = element("streams", HTMLElement);
  const names = all.streams.map((it) => it.stream);
  const buttons = [...root.querySelectorAll("button")];
  if (names.join("\n") !== buttons.map((button) => button.dataset["stream"]).join("\n")) {
    const made = names.map((name) => {
      const button = document.createElement("button");
      [button.type, button.textContent, button.dataset["stream"]] = ["button", name, name];
      button.addEventListener("click", () => (location.hash = encodeURIComponent(name)));
      return button;
    });
    root.replaceChildren(...made);
  }
  root.querySelectorAll("button").forEach((button, i) => {
    button.setAttribute("aria-current", String(button.dataset["stream"] === current));
    button.classList.toggle("off", all.streams[i]?.peers_enabled === false);
  });
}

function show(): void {
  const stream = sample ? chosen(sample) : undefined;
  if (!sample || !stream || document.hidden) {
    return;
  }
  const series = history.series(stream.stream);
  showServer(sample);
  showStreams(sample, stream.stream);
  showTiles(stream, series, history);
  showTables(stream, sample, history);
  plots.show(series);
  trees.show(forests[stream.stream]);
  peers.show({
    name: stream.stream,
    path: `streams/${encodeURIComponent(stream.stream)}/peers`,
    enabled: stream.peers_switched_on,
    viewers: history.value(stream.row, "viewers"),
    withoutPeers: rate(series.withoutPeersBps.at(-1) ?? null),
  });
  const viewers = sample.streams.map((it) => history.value(it.row, "viewers"));
  allPeers.show({
    name: "all streams",
    path: "peers",
    enabled: sample.peers_enabled,
    viewers: viewers.reduce((sum, count) => sum + count, 0),
    withoutPeers: rate(history.withoutPeersBps()),
  });
}

addEventListener("hashchange", show);
document.addEventListener("visibilitychange", show);
listen({
  past: (past) => history.replace(past),
  sample: (now) => {
    sample = now;
    now.streams.forEach((it) => history.add(it.stream, it.row));
    show();
  },
  forests: (now) => {
    forests = now;
    show();
  },
  live: (isLive) => {
    say("feed", isLive ? "live" : "reconnecting");
    element("feed", HTMLElement).className = `chip ${isLive ? "on" : "bad"}`;
  },
});
