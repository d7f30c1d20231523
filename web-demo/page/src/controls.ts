/**
 * What the viewer may change and take away: the share switch, the cap, the debug JSON.
 *
 * Rule: a control shows what is wanted; what is in force, and why, is said beside it.
 */

import type { ShareMode, Stats } from "../../sdk/src/api.js";
import { element, say } from "./dom.js";
import type { Playback } from "./player.js";
import type { Query } from "./query.js";

const DEBUG_SHOWN_MS = 4_000;

/** Binds the switch and the cap; they are of no use without Shoal. */
export function bindSharing(playback: Playback, query: Query): void {
  const share = element("share", HTMLFieldSetElement);
  const cap = element("cap", HTMLSelectElement);
  const chosen = () => share.querySelector<HTMLInputElement>("input:checked")?.value as ShareMode;
  const radios = share.querySelectorAll<HTMLInputElement>("input");
  radios.forEach((radio) => (radio.checked = radio.value === query.share));
  if (query.uploadCapBps !== null) {
    const value = String(query.uploadCapBps);
    if (![...cap.options].some((option) => option.value === value)) {
      cap.add(new Option(`${query.uploadCapBps / 1e6} Mbit/s`, value));
    }
    cap.value = value;
  }
  const apply = () => {
    playback.shoal?.setShare(chosen(), cap.value === "" ? null : Number(cap.value));
  };
  share.addEventListener("change", apply);
  cap.addEventListener("change", apply);
}

/** Without an engine there is nothing to switch. */
export function enableSharing(enabled: boolean): void {
  element("share", HTMLFieldSetElement).disabled = !enabled;
  element("cap", HTMLSelectElement).disabled = !enabled;
}

/** Everything that helps to understand a complaint. */
function debugJson(playback: Playback, stats: Stats | null): string {
  const { hls, video, marks, waiting, stalledMs } = playback;
  const levels = hls?.levels.map(({ bitrate, width, height, name, videoCodec, audioCodec }) => {
    return { bitrate, width, height, name, videoCodec, audioCodec };
  });
  const buffered = Array.from({ length: video.buffered.length }, (_, i) => {
    return [video.buffered.start(i), video.buffered.end(i)];
  });
  const player = {
    level: hls?.currentLevel,
    latency: hls?.latency,
    bandwidthEstimate: hls?.bandwidthEstimate,
    currentTime: video.currentTime,
    buffered,
    marks,
    waiting,
    stalledMs,
  };
  const page = { at: new Date().toISOString(), userAgent: navigator.userAgent };
  return JSON.stringify({ page, player, levels, stats }, null, 2);
}

/** Binds the button that copies it; where copying is not allowed, it is shown to be copied. */
export function bindDebug(playback: Playback): void {
  element("copy", HTMLButtonElement).addEventListener("click", async () => {
    const text = debugJson(playback, playback.shoal?.stats() ?? null);
    try {
      await navigator.clipboard.writeText(text);
      say("copied", "copied");
      setTimeout(() => say("copied", ""), DEBUG_SHOWN_MS);
    } catch {
      const area = element("debug-text", HTMLTextAreaElement);
      area.value = text;
      element("debug", HTMLDialogElement).showModal();
      area.select();
    }
  });
}
