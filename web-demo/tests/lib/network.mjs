/**
 * A line of a given rate: a network namespace, joined to the host by one shaped link.
 *
 * Rule: what is made here is removed at the scenario's end, and what a scenario that was killed has
 * left at the next one's start. Addresses are of 198.18.0.0/15, set aside for measurements
 * (RFC 2544). It needs root.
 */

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";

const PREFIX = "shoal-web";
/** As in a common access router. */
const QUEUE = ["burst", "16kb", "latency", "200ms"];

function ip(...words) {
  return execFileSync("ip", words, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

function tc(...words) {
  execFileSync("tc", words, { stdio: ["ignore", "pipe", "pipe"] });
}

function removeLeftovers() {
  for (const line of ip("netns", "list").split("\n")) {
    const [, pid] = new RegExp(`^${PREFIX}-(\\d+)-\\d+`).exec(line) ?? [];
    if (pid && !existsSync(`/proc/${pid}`)) {
      ip("netns", "del", line.split(" ")[0]);
    }
  }
}

/** A line that browsers can be confined to. */
export class Line {
  /** Of the network namespace. */
  name;
  /** The host's, as seen from within. */
  host;
  #link;

  constructor(stage, number, { downBps, upBps }) {
    if (process.getuid?.() !== 0) {
      throw new Error("a line of a given rate is made of a network namespace, which takes root");
    }
    removeLeftovers();
    const subnet = `198.19.${process.pid % 256}`;
    const [outer, inner] = [1, 2].map((host) => `${subnet}.${number * 4 + host}`);
    this.name = `${PREFIX}-${process.pid}-${number}`;
    this.host = outer;
    // An interface's name has at most 15 characters.
    this.#link = `sw${process.pid}-${number}`;
    const within = ["-n", this.name];
    ip("netns", "add", this.name);
    stage.atEnd(() => ip("netns", "del", this.name));
    ip("link", "add", this.#link, "type", "veth", "peer", "name", "wan0", "netns", this.name);
    ip("addr", "add", `${outer}/30`, "dev", this.#link);
    ip("link", "set", this.#link, "up");
    ip(...within, "link", "set", "lo", "up");
    ip(...within, "addr", "add", `${inner}/30`, "dev", "wan0");
    ip(...within, "link", "set", "wan0", "up");
    // Without a default route a browser gathers no candidates.
    ip(...within, "route", "add", "default", "via", outer);
    this.down(downBps, "add");
    const up = ["root", "tbf", "rate", `${upBps}bit`, ...QUEUE];
    tc("-n", this.name, "qdisc", "add", "dev", "wan0", ...up);
  }

  /** Sets the rate towards the browser. */
  down(bps, verb = "change") {
    const shape = ["root", "tbf", "rate", `${bps}bit`, ...QUEUE];
    tc("qdisc", verb, "dev", this.#link, ...shape);
  }
}

/** How a router translates: to the same address for all, or to another for each. */
const NATS = { stable: "masquerade", symmetric: "masquerade random,fully-random" };

/** A home: a network namespace behind the namespace of a router, which is joined to the host. */
export class Home {
  /** Of the namespace. */
  name;
  /** The host's address, as seen from within. */
  host;

  constructor(stage, number, nat) {
    if (process.getuid?.() !== 0) {
      throw new Error("a home is made of network namespaces, which takes root");
    }
    removeLeftovers();
    const [outer, wan] = [1, 2].map((at) => `198.19.${process.pid % 256}.${128 + number * 4 + at}`);
    const router = `${PREFIX}-${process.pid}-${number}-router`;
    const link = `sh${process.pid}-${number}`;
    this.name = `${PREFIX}-${process.pid}-${number}-home`;
    this.host = outer;
    for (const namespace of [this.name, router]) {
      ip("netns", "add", namespace);
      stage.atEnd(() => ip("netns", "del", namespace));
      ip("-n", namespace, "link", "set", "lo", "up");
    }
    ip("link", "add", link, "type", "veth", "peer", "name", "wan0", "netns", router);
    ip("addr", "add", `${outer}/30`, "dev", link);
    ip("link", "set", link, "up");
    const lan = ["type", "veth", "peer", "name", "lan0", "netns", this.name];
    ip("-n", router, "link", "add", "lan0", ...lan);
    for (const [namespace, device, address] of [
      [router, "wan0", `${wan}/30`],
      [router, "lan0", "10.0.0.1/24"],
      [this.name, "lan0", "10.0.0.2/24"],
    ]) {
      ip("-n", namespace, "addr", "add", address, "dev", device);
      ip("-n", namespace, "link", "set", device, "up");
    }
    ip("-n", router, "route", "add", "default", "via", outer);
    ip("-n", this.name, "route", "add", "default", "via", "10.0.0.1");
    const run = (...words) => ip("netns", "exec", router, ...words);
    run("sysctl", "-qw", "net.ipv4.ip_forward=1");
    run("nft", "add table ip nat");
    run("nft", "add chain ip nat out { type nat hook postrouting priority 100 ; }");
    run("nft", `add rule ip nat out oifname wan0 ${NATS[nat]}`);
  }
}

/** Pages tell their neighbours on the other side of a line where they are. */
export const OPEN_ADDRESSES = ["--disable-features=WebRtcHideLocalIpsWithMdns"];
