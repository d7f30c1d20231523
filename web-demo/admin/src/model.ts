/**
 * What the server tells, and what follows from it.
 *
 * Rule: the server sends counters; rates are made here over windows longer than viewers' reports
 * are apart. What cannot be told is null, never 0.
 */

/** A row of the server's history; the order is the server's `columns`. */
export type Row = number[];

export interface Outcomes {
  up: number;
  failed: number;
  closed: number;
}

export interface Rendition {
  rendition: number;
  playlist: string;
  members: number;
  rate_bps: number;
  resource_index: number;
}

export interface StreamSample {
  stream: string;
  epoch: number;
  /** Whether viewers may use peers: both switches are on. */
  peers_enabled: boolean;
  /** The stream's own switch. */
  peers_switched_on: boolean;
  row: Row;
  links: Record<"browser_browser" | "browser_native" | "native_native" | "other", Outcomes>;
  plan_changes: number;
  bans: number;
  resource_index: number;
  renditions: Rendition[];
}

export interface Sample {
  unix_ms: number;
  version: string;
  uptime_s: number;
  rss_bytes: number;
  cpu_seconds: number;
  egress: Record<string, number>;
  connections: number;
  /** The switch for all streams. */
  peers_enabled: boolean;
  streams: StreamSample[];
}

export interface Past {
  columns: string[];
  rows: Record<string, Row[]>;
}

export interface Tree {
  substream: number;
  is_whole: boolean;
  peers: string[];
  /** Index of each one's parent, −1 for the origin. */
  parents: number[];
}

export interface Forest {
  rendition: number;
  substreams: number;
  visited: number;
  is_whole: boolean;
  depths: number[];
  fan_out: number[];
  trees: Tree[];
}

const ROWS_MAX = 600;
/** Viewers report every few seconds; rates over less would jump. */
export const RATE_MS = 10_000;
export const OFFLOAD_MS = 60_000;
export const REBUFFER_MS = 60_000;
/** Below this part of all, players without Shoal are a matter of when viewers report. */
const PLAIN_MIN = 0.15;

/** Everything that plots show of one stream, column by column; times in s. */
export interface Series {
  at: number[];
  viewers: number[];
  originBps: (number | null)[];
  /** What players without Shoal take: media that the origin sent and no viewer reported. */
  plainBps: (number | null)[];
  /** What the origin would send: what Shoal's viewers were given, and the plain players' part. */
  withoutPeersBps: (number | null)[];
  offload: (number | null)[];
  /** The bound of the tracker's plan, diluted by the plain players' part. */
  bound: (number | null)[];
  fromPeersBps: (number | null)[];
  fromOriginBps: (number | null)[];
  rebuffering: (number | null)[];
}

/** The rows of all streams, and what can be read from them. */
export class History {
  #columns: string[] = [];
  #rows = new Map<string, Row[]>();

  /** The server's past replaces what is here. */
  replace(past: Past): void {
    this.#columns = past.columns;
    this.#rows = new Map(Object.entries(past.rows));
  }

  add(stream: string, row: Row): void {
    const rows = this.#rows.get(stream) ?? [];
    this.#rows.set(stream, rows);
    if ((rows.at(-1)?.[0] ?? 0) < (row[0] ?? 0)) {
      rows.push(row);
      rows.splice(0, rows.length - ROWS_MAX);
    }
  }

  rows(stream: string): Row[] {
    return this.#rows.get(stream) ?? [];
  }

  /** A column of a row. */
  value(row: Row, name: string): number {
    return row[this.#columns.indexOf(name)] ?? 0;
  }

  /** What a counter grew by per ms, within `ms` before the row at `index`. */
  #perMs(rows: Row[], index: number, name: string, ms: number): number | null {
    const row = rows[index];
    if (!row) {
      return null;
    }
    let first = index;
    while (first > 0 && (rows[first - 1]?.[0] ?? 0) >= (row[0] ?? 0) - ms) {
      first -= 1;
    }
    const before = rows[first] ?? row;
    const [time, grown] = [
      (row[0] ?? 0) - (before[0] ?? 0),
      this.value(row, name) - this.value(before, name),
    ];
    // A server that began anew counts from nothing.
    return time > 0 && grown >= 0 ? grown / time : null;
  }

  /** What players without Shoal took per ms. */
  #plain(rows: Row[], i: number, ms: number): number | null {
    const media = this.#perMs(rows, i, "media_bytes", ms);
    const reported = this.#perMs(rows, i, "from_origin_bytes", ms);
    if (media === null || reported === null) {
      return null;
    }
    const delivered = this.#perMs(rows, i, "delivered_bytes", ms) ?? 0;
    const other = Math.max(0, media - reported);
    // A little is only what viewers have not reported yet.
    return other > PLAIN_MIN * (delivered + other) ? other : 0;
  }

  /** What the origin would send per ms if nobody had peers. */
  #without(rows: Row[], i: number, ms: number): number | null {
    const delivered = this.#perMs(rows, i, "delivered_bytes", ms);
    const other = this.#plain(rows, i, ms);
    return delivered === null || other === null ? null : delivered + other;
  }

  /** What the origin would send now for all streams if nobody had peers; null if none can tell. */
  withoutPeersBps(): number | null {
    const each = [...this.#rows.values()].map((rows) => this.#without(rows, rows.length - 1, RATE_MS));
    const known = each.filter((perMs) => perMs !== null);
    return known.length > 0 ? known.reduce((sum, perMs) => sum + perMs, 0) * 8_000 : null;
  }

  /** All that is plotted. */
  series(stream: string): Series {
    const rows = this.rows(stream);
    const column = (name: string, scale = 1) => rows.map((row) => this.value(row, name) * scale);
    const bps = (name: string) =>
      rows.map((_, i) => times(this.#perMs(rows, i, name, RATE_MS), 8_000));
    const plain = (i: number, ms: number) => this.#plain(rows, i, ms);
    const without = (i: number, ms: number) => this.#without(rows, i, ms);
    const offload = rows.map((_, i) => {
      const sent = this.#perMs(rows, i, "egress_bytes", OFFLOAD_MS);
      const would = without(i, OFFLOAD_MS);
      return sent !== null && would ? 1 - sent / would : null;
    });
    const bound = rows.map((row, i) => {
      const [other, would] = [plain(i, OFFLOAD_MS), without(i, OFFLOAD_MS)];
      const part = other !== null && would ? 1 - other / would : 1;
      return (this.value(row, "bound_permille") / 1000) * part;
    });
    const rebuffering = rows.map((row, i) => {
      const stalled = this.#perMs(rows, i, "stalled_ms", REBUFFER_MS);
      const viewers = this.value(row, "viewers");
      return stalled !== null && viewers > 0 ? stalled / viewers : null;
    });
    return {
      at: column("unix_ms", 1 / 1000),
      viewers: column("viewers"),
      originBps: bps("egress_bytes"),
      plainBps: rows.map((_, i) => times(plain(i, RATE_MS), 8_000)),
      withoutPeersBps: rows.map((_, i) => times(without(i, RATE_MS), 8_000)),
      offload,
      bound,
      fromPeersBps: bps("from_peers_bytes"),
      fromOriginBps: bps("from_origin_bytes"),
      rebuffering,
    };
  }
}

function times(value: number | null, factor: number): number | null {
  return value === null ? null : value * factor;
}

/** Rebuffering in the bands that operators use. */
export function band(share: number): "good" | "fair" | "bad" {
  return share < 0.01 ? "good" : share <= 0.03 ? "fair" : "bad";
}
