/**
 * What of hls.js's types the loader needs: 1.6 and 1.7 agree on these.
 *
 * Rule: the SDK imports nothing of hls.js, so that a page brings the version that it likes.
 */

/** Times of hls.js, in ms of `performance.now()`. */
export interface LoaderStats {
  aborted: boolean;
  loaded: number;
  retry: number;
  total: number;
  chunkCount: number;
  bwEstimate: number;
  loading: { start: number; first: number; end: number };
  parsing: { start: number; end: number };
  buffering: { start: number; first: number; end: number };
}

export interface FragmentLike {
  sn: number | "initSegment";
  level: number;
  start: number;
  duration: number;
}

export interface LoaderContext {
  url: string;
  responseType: string;
  rangeStart?: number;
  rangeEnd?: number;
  frag?: FragmentLike;
  part?: { start: number; duration: number } | null;
}

export interface LoaderConfiguration {
  loadPolicy: { maxTimeToFirstByteMs: number; maxLoadTimeMs: number };
}

export interface LoaderCallbacks {
  onSuccess(
    response: { url: string; data: ArrayBuffer; code: number },
    stats: LoaderStats,
    context: LoaderContext,
    networkDetails: unknown,
  ): void;
  onError(
    error: { code: number; text: string },
    context: LoaderContext,
    networkDetails: unknown,
    stats: LoaderStats,
  ): void;
  onTimeout(stats: LoaderStats, context: LoaderContext, networkDetails: unknown): void;
  onAbort?(stats: LoaderStats, context: LoaderContext, networkDetails: unknown): void;
  onProgress?(
    stats: LoaderStats,
    context: LoaderContext,
    data: ArrayBuffer,
    networkDetails: unknown,
  ): void;
}

export interface Loader {
  context: LoaderContext | null;
  stats: LoaderStats;
  load(context: LoaderContext, config: LoaderConfiguration, callbacks: LoaderCallbacks): void;
  abort(): void;
  destroy(): void;
  getCacheAge?(): number | null;
  getResponseHeader?(name: string): string | null;
}

export type LoaderClass = new (config: HlsConfigLike) => Loader;

export interface HlsConfigLike {
  loader: LoaderClass;
}
