/**
 * A page that plays, as a scenario sees it.
 */

import { createHash } from "node:crypto";
import { BOXES, behindS, readBoxes } from "../../drive/burnt_clock.mjs";
import { inTime, until } from "./wait.mjs";

/** A page that does not answer within this time hangs. */
const ANSWER_MS = 15_000;
const START_MS = 30_000;
/** Waiting shorter than this is no stall: as the demo counts. */
const STALL_MS_MIN = 100;

/** One viewer. */
export class Viewer {
  name;
  page;
  #src;

  constructor(name, page, src) {
    this.name = name;
    this.page = page;
    this.#src = src;
  }

  /** Opens the page; `query` is what it may be told (see `page/viewer.js`). */
  async open(site, { hls, plain = false, options, config, consent, tokens, capped } = {}) {
    const url = new URL(`${site}/index.html`);
    const flags = { plain: plain || undefined, capped };
    const query = { src: this.#src, hls, options, config, consent, tokens, ...flags };
    for (const [key, value] of Object.entries(query).filter(([, each]) => each !== undefined)) {
      const text = typeof value === "object" ? JSON.stringify(value) : String(value);
      url.searchParams.set(key, text);
    }
    await this.page.goto(url.href, { timeout: START_MS });
    await this.page.waitForFunction(() => "viewer" in window, undefined, { timeout: START_MS });
    return this;
  }

  /** Runs `action` in the page, with `argument`. */
  run(action, argument) {
    const answer = this.page.evaluate(action, argument);
    return inTime(`${this.name} answers`, answer, ANSWER_MS);
  }

  /** What the page says of itself. */
  state() {
    return this.run(() => window.viewer.state());
  }

  async stats() {
    return (await this.state()).stats;
  }

  /** How far the picture is behind the clock that was burnt into it; null if it shows none. */
  async behindS() {
    const look = `({ boxes: (${readBoxes})(window.viewer.video, ${BOXES}), nowMs: Date.now() })`;
    const { boxes, nowMs } = await this.run(look);
    return behindS(boxes, nowMs);
  }

  /** For messages. */
  async describe() {
    const state = await this.state().catch((error) => error.message);
    const { stats, ...rest } = typeof state === "object" ? state : { stats: state };
    const segments = stats?.segments?.slice(-5);
    return `${this.name}: ${JSON.stringify({ ...rest, stats: { ...stats, segments } })}`;
  }

  /** Waits until `look` finds something in the state. */
  until(what, look, limitMs = 20_000) {
    const found = async () => look(await this.state());
    return until(`${this.name}: ${what}`, found, limitMs, () => this.describe());
  }

  /** Waits for the first frame. */
  async plays() {
    await this.until("it plays", ({ playingAtMs }) => playingAtMs !== null, START_MS);
    return this;
  }

  /** Lets so many seconds of media pass, in which nothing may wait. */
  async playsOn(seconds) {
    const before = await this.state();
    const target = before.currentTime + seconds;
    const what = `${seconds} s more are played, up to ${target.toFixed(1)}`;
    await this.until(what, ({ currentTime }) => currentTime >= target, seconds * 3_000 + 10_000);
  }

  /**
   * Fails if the player ever stood still after its first frame, or hls.js told of an error. A
   * decoder that begins may say that it waits for a frame or two: that is nothing to see.
   */
  async neverStalled() {
    const { waits, errors } = await this.state();
    const stalls = waits.filter(({ ms }) => ms === null || ms >= STALL_MS_MIN);
    if (stalls.length > 0 || errors.length > 0) {
      throw new Error(`it waited, or there were errors\n${await this.describe()}`);
    }
  }

  /**
   * Fails unless what hls.js was given is what the origin has; says how much that was. Of parts
   * the origin has only the `newest`.
   */
  async payloadsAreTheOrigins(newest = Infinity) {
    const payloads = await this.run(async () => {
      const { payloads } = window.viewer;
      while (payloads.some(({ hash }) => hash === undefined)) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      return payloads;
    });
    for (const { url, hash, bytes } of payloads.slice(-newest)) {
      const answer = await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS) });
      const body = Buffer.from(await answer.arrayBuffer());
      if (!answer.ok || createHash("sha256").update(body).digest("hex") !== hash) {
        throw new Error(
          `${this.name} was given other ${bytes} bytes than the origin's ${body.length}: ${url}`,
        );
      }
    }
    return payloads.length;
  }

  /** As a reader closes a tab. */
  close() {
    return this.page.close();
  }

  /** As a crash or the system's memory killer does: the page runs no more code. */
  async crash() {
    const session = await this.page.context().newCDPSession(this.page);
    void session.send("Page.crash").catch(() => undefined);
    await until(`${this.name} is gone`, () => this.#crashed, ANSWER_MS);
  }

  #crashed = false;

  /** Notes what the page itself cannot tell. */
  listen() {
    this.page.on("crash", () => (this.#crashed = true));
    this.page.on("pageerror", (error) => this.said.push(`error: ${error.message}`));
    this.page.on("console", (message) => this.said.push(`${message.type()}: ${message.text()}`));
    return this;
  }

  said = [];
}
