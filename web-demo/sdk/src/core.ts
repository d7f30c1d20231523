/**
 * The engine's WASM: loaded once for the page, whoever asks first.
 *
 * Rule: a page without WASM or WebRTC is told why and plays over plain HTTP; loading never throws.
 */

import init, { Core, objectName, version } from "../../wasm/pkg/shoal.js";

export { Core, objectName, version };
export type { Host } from "../../wasm/pkg/shoal.js";

/** How loading went. */
export interface Loaded {
  /** Why peers cannot be used here; null if they can. */
  unsupported: string | null;
  loadMs: number;
  /** As sent, before decompression where the browser tells. */
  bytes: number | null;
}

const loads = new Map<string, Promise<Loaded>>();

/** Loads the WASM from `url`. */
export function load(url: string): Promise<Loaded> {
  let loading = loads.get(url);
  if (!loading) {
    loading = instantiate(url);
    loads.set(url, loading);
  }
  return loading;
}

async function instantiate(url: string): Promise<Loaded> {
  const startedAt = performance.now();
  const failed = (unsupported: string): Loaded => ({
    unsupported,
    loadMs: performance.now() - startedAt,
    bytes: null,
  });
  const missing = missingFeature();
  if (missing) {
    return failed(`this browser has no ${missing}`);
  }
  try {
    await init({ module_or_path: url });
  } catch (error) {
    return failed(`the engine did not load: ${String(error)}`);
  }
  const entry = performance.getEntriesByName(new URL(url, location.href).href).at(-1);
  const bytes = entry instanceof PerformanceResourceTiming ? entry.encodedBodySize : null;
  return { unsupported: null, loadMs: performance.now() - startedAt, bytes };
}

function missingFeature(): string | null {
  const features = ["WebAssembly", "RTCPeerConnection", "WebSocket", "ReadableStream"];
  return features.find((name) => !(name in globalThis)) ?? null;
}

/** The engine's own figures, as `Core.status` gives them. */
export interface CoreStatus {
  peer: string | null;
  totals: import("./api.js").Totals;
  neighbours: import("./api.js").NeighbourStats[];
  substreams: import("./api.js").SubstreamStats[];
  bufferedMs: number;
  uploadBps: number;
  fallbacks: Record<string, number>;
  cutOff: number;
  storeBytes: number;
}
