/**
 * Programs that a scenario starts.
 *
 * Rule: none outlives the scenario. Each is ended by its own process id; should the scenario itself
 * be killed, the kernel ends them (`setpriv --pdeathsig`).
 */

import { spawn } from "node:child_process";
import { openSync, closeSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { inTime } from "./wait.mjs";

const GRACE_MS = 5_000;
const TAIL_LINES = 12;

/** A running program. */
export class Program {
  #child;
  #ended;
  #log;
  name;

  constructor(name, words, folder) {
    this.name = name;
    this.#log = join(folder, `${name}.log`);
    const log = openSync(this.#log, "a");
    const stdio = ["ignore", log, log];
    this.#child = spawn("setpriv", ["--pdeathsig", "KILL", "--", ...words], { stdio });
    closeSync(log);
    this.#ended = new Promise((resolve) => {
      this.#child.once("exit", resolve);
      this.#child.once("error", resolve);
    });
  }

  get isRunning() {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Its last words, for messages. */
  tail() {
    const lines = readFileSync(this.#log, "utf8").trimEnd().split("\n").slice(-TAIL_LINES);
    return `${this.name}${this.isRunning ? "" : " (ended)"}:\n  ${lines.join("\n  ")}`;
  }

  /** Ends it without a chance to say anything. */
  async kill() {
    this.#child.kill("SIGKILL");
    await inTime(`the end of ${this.name}`, this.#ended, GRACE_MS);
  }

  /** Asks it to end, and kills it if it does not. */
  async stop() {
    this.#child.kill("SIGTERM");
    await inTime("an orderly end", this.#ended, GRACE_MS).catch(() => this.kill());
  }
}
