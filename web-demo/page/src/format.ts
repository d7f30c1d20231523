/**
 * Numbers as people read them.
 *
 * Rule: three digits at most, the unit always; what is not known is a dash.
 */

export const UNKNOWN = "–";

const scaled = (value: number, units: readonly string[]): string => {
  let at = 0;
  while (value >= 999.5 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  const digits = at === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[at]}`;
};

/** A rate in bit/s. */
export function rate(bps: number | null): string {
  return bps === null ? UNKNOWN : scaled(bps, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"]);
}

/** A number of bytes. */
export function bytes(count: number | null): string {
  return count === null ? UNKNOWN : scaled(count, ["B", "kB", "MB", "GB", "TB"]);
}

/** A time in ms. */
export function time(ms: number | null): string {
  if (ms === null) {
    return UNKNOWN;
  }
  if (ms < 1000) {
    return `${Math.round(ms)} ms`;
  }
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60_000)} min`;
}

/** A share from 0 to 1 as per cent. */
export function percent(share: number | null, digits = 1): string {
  return share === null ? UNKNOWN : `${(share * 100).toFixed(digits)} %`;
}

/** The few digits by which a peer is told apart from its neighbours. */
export function shortName(peer: string): string {
  return peer.slice(-4);
}
