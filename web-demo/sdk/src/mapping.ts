/**
 * What address translation does to this page: one public address for all others, or another for
 * each (RFC 4787, 4.1).
 *
 * Rule: two STUN servers of one host are asked (RFC 5780, 4.3), by a connection that is made for it
 * and connects to nobody. Nothing waits for it, and what it cannot tell is unknown. Browsers ask all
 * servers from one socket and name an address once: that both saw the same shows only in that
 * neither failed.
 */

export type Mapping = "unknown" | "stable" | "symmetric";

/** What gathering shows of one way out of this machine. */
export interface Gathered {
  /** Of each address that a server saw: from which socket, and the address. */
  reflexive: { base: string; mapped: string }[];
  /** Addresses of this machine. */
  hosts: number;
  /** How often each server failed, by URL. */
  failures: Map<string, number>;
}

/** Browsers give a STUN server up after about 10 s. */
const PATIENCE_MS = 15_000;

/** Finds out; never fails. */
export async function findMapping(iceServers: RTCIceServer[]): Promise<Mapping> {
  const urls = pair(iceServers.flatMap(({ urls }) => urls));
  // Without news of failures, one address may be one answer.
  if (urls === null || !("onicecandidateerror" in RTCPeerConnection.prototype)) {
    return "unknown";
  }
  try {
    return await gather(urls);
  } catch {
    // The browser allows no more connections.
    return "unknown";
  }
}

/** The first two ports of one host among `stun:` URLs. */
export function pair(urls: string[]): [string, string] | null {
  const stun = urls.flatMap((url) => {
    const [, host, port = "3478"] = /^stun:(\[[^\]]+\]|[^:?]+)(?::(\d+))?$/.exec(url) ?? [];
    return host === undefined ? [] : [{ url, host, port }];
  });
  for (const one of stun) {
    const two = stun.find(({ host, port }) => host === one.host && port !== one.port);
    if (two) {
      return [one.url, two.url];
    }
  }
  return null;
}

/** What was gathered says; `complete` once nothing more will be. */
export function mappingOf(gathered: Gathered, urls: [string, string], complete: boolean): Mapping {
  const seen = new Map<string, string>();
  for (const { base, mapped } of gathered.reflexive) {
    if ((seen.get(base) ?? mapped) !== mapped) {
      return "symmetric";
    }
    seen.set(base, mapped);
  }
  const [one, two] = urls.map((url) => gathered.failures.get(url) ?? 0);
  // Both fail at a way out that has no such addresses, IPv6 for instance.
  const both = one === two && (seen.size > 0 || (one === 0 && gathered.hosts > 0));
  return complete && both ? "stable" : "unknown";
}

async function gather(urls: [string, string]): Promise<Mapping> {
  const connection = new RTCPeerConnection({ iceServers: [{ urls }] });
  const gathered: Gathered = { reflexive: [], hosts: 0, failures: new Map() };
  try {
    return await new Promise<Mapping>((resolve, reject) => {
      const look = (complete: boolean) => {
        const mapping = mappingOf(gathered, urls, complete);
        if (complete || mapping !== "unknown") {
          resolve(mapping);
        }
      };
      const timer = setTimeout(() => resolve("unknown"), PATIENCE_MS);
      connection.onicecandidateerror = ({ url }) => {
        gathered.failures.set(url, (gathered.failures.get(url) ?? 0) + 1);
      };
      connection.onicecandidate = ({ candidate }) => {
        if (candidate?.candidate) {
          note(gathered, candidate);
          look(false);
        }
      };
      connection.onicegatheringstatechange = () => {
        if (connection.iceGatheringState === "complete") {
          clearTimeout(timer);
          look(true);
        }
      };
      connection.createDataChannel("");
      connection.setLocalDescription().catch(reject);
    });
  } finally {
    connection.close();
  }
}

function note(gathered: Gathered, candidate: RTCIceCandidate): void {
  const { type, protocol, address, port, relatedAddress, relatedPort } = candidate;
  if (protocol !== "udp") {
    return;
  }
  if (type === "host") {
    gathered.hosts += 1;
  }
  if (type === "srflx") {
    const family = address?.includes(":") ? 6 : 4;
    const base = `${family} ${relatedAddress} ${relatedPort}`;
    gathered.reflexive.push({ base, mapped: `${address} ${port}` });
  }
}
