/**
 * The real server.
 *
 * Rule: its ports are the system's choice at the first start and the same after a restart.
 */

import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { until } from "./wait.mjs";

const START_MS = 20_000;

/** A server of one stream: `demo`, or `cam` with the key `key1`. */
export class Server {
  #stage;
  #flags;
  #program = null;
  #starts = 0;
  stream;
  listen = "";
  admin = "";

  constructor(stage, { demo = false, flags = [], host = "127.0.0.1" } = {}) {
    this.#stage = stage;
    this.stream = demo ? "demo" : "cam";
    this.#flags = [...(demo ? ["--demo-channel"] : ["--stream", "cam=key1"]), ...flags];
    [this.listen, this.admin] = [`${host}:0`, "127.0.0.1:0"];
  }

  /** The master playlist of a ladder, or the only media playlist. */
  get playlist() {
    return `http://${this.listen}/live/${this.stream}/index.m3u8`;
  }

  get publish() {
    return `http://${this.listen}/publish/key1/cam`;
  }

  async start() {
    const { folder, programs } = this.#stage;
    const ports = join(folder, "ports.json");
    rmSync(ports, { force: true });
    this.#starts += 1;
    this.#program = this.#stage.start(`server-${this.#starts}`, [
      join(programs, "shoal-server"),
      ...["--listen", this.listen, "--admin-listen", this.admin],
      ...["--data-dir", join(folder, "data"), "--ports-file", ports],
      ...["--report-interval-ms", "1000", "--log", "info,shoal_server=debug"],
      ...this.#flags,
    ]);
    const written = () => existsSync(ports) || !this.#program.isRunning;
    await until("the server listens", written, START_MS);
    if (!this.#program.isRunning) {
      throw new Error(this.#program.tail());
    }
    const addresses = JSON.parse(readFileSync(ports, "utf8"));
    this.listen = addresses.listen;
    this.admin = addresses.admin_listen;
    return this;
  }

  /** As a power cut would. */
  async kill() {
    await this.#program.kill();
  }

  /** Waits until the playlist lists so many segments. */
  async lists(segments, path = "index.m3u8") {
    const url = new URL(path, this.playlist);
    const look = async () => {
      const answer = await fetch(url, { signal: AbortSignal.timeout(5_000) }).catch(() => null);
      const text = answer?.ok ? await answer.text() : "";
      return text.split("#EXTINF").length > segments;
    };
    await until(`${url.pathname} lists ${segments} segments`, look, 30_000);
  }

  /** What the tracker knows of the stream. */
  async status() {
    const url = `http://${this.admin}/status`;
    const answer = await fetch(url, { signal: AbortSignal.timeout(5_000) });
    return (await answer.json()).streams[0];
  }

  /** The operator's switch. */
  async switchPeers(enabled) {
    const answer = await fetch(`http://${this.admin}/api/v1/streams/${this.stream}/peers`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ enabled }),
      signal: AbortSignal.timeout(5_000),
    });
    if (!answer.ok) {
      throw new Error(`the switch: ${answer.status} ${await answer.text()}`);
    }
  }
}
