/**
 * Tiles and tables of one stream.
 *
 * Rule: a figure stands beside what it is to be compared with.
 */

import { element, say } from "../../page/src/dom.js";
import { bytes, percent, rate, UNKNOWN } from "../../page/src/format.js";
import { band, type History, type Sample, type Series, type StreamSample } from "./model.js";

const last = <T>(values: (T | null)[]): T | null => values.at(-1) ?? null;

/** The tiles. */
export function showTiles(stream: StreamSample, series: Series, history: History): void {
  const of = (name: string) => history.value(stream.row, name);
  const viewers = of("viewers");
  say("viewers", String(viewers));
  say("viewers-more", `${of("members")} planned in the largest rendition`);
  const [sends, would] = [last(series.originBps), last(series.withoutPeersBps)];
  say("origin", rate(sends));
  const plain = last(series.plainBps) ?? 0;
  const others = plain > 0 ? `, ${rate(plain)} of it without Shoal` : "";
  say("origin-more", `without peers ${rate(would)}${others}`);
  const [offload, bound] = [last(series.offload), last(series.bound) ?? 0];
  say("offload", percent(offload));
  const limit = stream.resource_index < 1000 - 1000 / Math.max(1, viewers) ? "upload" : "1 − 1/N";
  say("offload-more", `of ${percent(bound)} possible (${limit}), last 60 s`);
  element("gauge-fill", HTMLElement).style.width = percent(Math.min(1, Math.max(0, offload ?? 0)), 2).replace(" ", "");
  element("gauge-bound", HTMLElement).style.left = percent(bound, 2).replace(" ", "");
  const rebuffering = last(series.rebuffering);
  say("rebuffer", percent(rebuffering, 2));
  const verdict = element("rebuffer-band", HTMLElement);
  const names = { good: "good", fair: "acceptable", bad: "bad" };
  const found = rebuffering === null ? null : band(rebuffering);
  say("rebuffer-band", found ? names[found] : "");
  verdict.className = `band ${found ?? ""}`;
  say("rebuffer-more", "of viewing time, last 60 s");
  const copies = of("copies_permille");
  say("copies", copies > 0 ? (copies / 1000).toFixed(2) : UNKNOWN);
  say("copies-more", viewers > 0 ? `${viewers} without peers; mean of the last ten` : "mean of the last ten");
}

function row(cells: string[]): HTMLTableRowElement {
  const line = document.createElement("tr");
  cells.forEach((text) => (line.insertCell().textContent = text));
  return line;
}

function pairs(id: string, all: [string, string][]): void {
  const nodes = all.flatMap(([name, value]) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    [dt.textContent, dd.textContent] = [name, value];
    return [dt, dd];
  });
  element(id, HTMLElement).replaceChildren(...nodes);
}

const PAIRS = {
  browser_browser: "browser – browser",
  browser_native: "browser – agent",
  native_native: "agent – agent",
  other: "others",
} as const;

/** The tables and lists. */
export function showTables(stream: StreamSample, sample: Sample, history: History): void {
  const of = (name: string) => history.value(stream.row, name);
  const names = Object.keys(PAIRS) as (keyof typeof PAIRS)[];
  const links = names.map((name) => {
    const { up, failed, closed } = stream.links[name];
    const success = up + failed > 0 ? percent(up / (up + failed), 0) : UNKNOWN;
    return row([PAIRS[name], String(up), String(failed), success, String(closed)]);
  });
  element("links", HTMLElement).replaceChildren(...links);
  const renditions = stream.renditions.map((it) => {
    const name = it.playlist || String(it.rendition);
    const upload = (it.resource_index / 1000).toFixed(2);
    return row([name, String(it.members), rate(it.rate_bps), it.members > 0 ? upload : UNKNOWN]);
  });
  element("renditions", HTMLElement).replaceChildren(...renditions);
  pairs("trust", [
    ["Origin stepped in for peers", `${of("fallbacks")} ×`],
    ["Bytes from peers of no use", bytes(of("wasted_bytes"))],
    ["Chunks that failed their hash", String(of("hash_mismatches"))],
    ["Viewers banned", String(stream.bans)],
    ["Changes of a parent", String(stream.plan_changes)],
    ["Passed on by viewers", bytes(of("to_peers_bytes"))],
  ]);
  const egress = (name: string) => bytes(sample.egress[`${name}_bytes`] ?? 0);
  pairs("egress", [
    ["Media", egress("media")],
    ["Playlists", egress("playlist")],
    ["Tracker sessions", egress("control")],
    ["Heads and other answers", egress("other")],
    ["Pages", egress("page")],
    ["All sockets", egress("socket")],
  ]);
}

/** What is said of the process. */
export function showServer(sample: Sample): void {
  const minutes = Math.floor(sample.uptime_s / 60);
  const up = minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  say("server", `${sample.version} · up ${up}`);
  const cpu = `${sample.cpu_seconds.toFixed(0)} s CPU`;
  say("process", `${bytes(sample.rss_bytes)} memory · ${cpu} · ${sample.connections} connections`);
}
