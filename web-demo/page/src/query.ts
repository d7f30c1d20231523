/**
 * What the page's address asks for.
 *
 * Rule: everything has a default, and nonsense is the default.
 */

import type { ShareMode } from "../../sdk/src/api.js";

export interface Query {
  /** Whether Shoal is used at all; if not, it is not even loaded. */
  peers: boolean;
  /** It is loaded and left alone: a twin then begins when the page that it is compared with does. */
  unused: boolean;
  share: ShareMode;
  uploadCapBps: number | null;
  /** Nothing that moves: for measuring. */
  quiet: boolean;
  /** A playlist to play in place of the stream's own. */
  src: string | null;
}

const UNITS: Record<string, number> = { bit: 1, kbit: 1e3, mbit: 1e6, gbit: 1e9 };

/** Reads `?share=…&cap=2mbit&peers=0|unused&quiet=1&src=URL`. */
export function parse(search: string): Query {
  const params = new URLSearchParams(search);
  const share = params.get("share");
  return {
    peers: params.get("peers") !== "0",
    unused: params.get("peers") === "unused",
    share: share === "off" || share === "receive-only" ? share : "share",
    uploadCapBps: cap(params.get("cap") ?? ""),
    quiet: params.get("quiet") === "1",
    src: httpUrl(params.get("src")),
  };
}

function cap(text: string): number | null {
  const [, number, unit] = /^(\d+(?:\.\d+)?)([kmg]?bit)$/.exec(text.toLowerCase()) ?? [];
  const bps = Number(number) * (UNITS[unit ?? ""] ?? NaN);
  return bps > 0 ? bps : null;
}

function httpUrl(text: string | null): string | null {
  if (text === null || !URL.canParse(text, location.href)) {
    return null;
  }
  const url = new URL(text, location.href);
  return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
}
