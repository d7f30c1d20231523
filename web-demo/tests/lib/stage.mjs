/**
 * Everything that one scenario starts, and its end.
 *
 * Rule: what was started is ended, last first, whatever happened in between.
 */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { Program } from "./process.mjs";
import { Server } from "./server.mjs";
import { openSite } from "./site.mjs";
import { Viewer } from "./viewer.mjs";
import { inTime } from "./wait.mjs";

const CHROMIUM = process.env.SHOAL_CHROMIUM ?? "/usr/bin/chromium";
const CHROMIUM_FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"],
  "--autoplay-policy=no-user-gesture-required",
  ...["--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows"],
  "--disable-renderer-backgrounding",
];
const STEP_MS = 10_000;

/** The stage of one scenario. */
export class Stage {
  folder = mkdtempSync(join(tmpdir(), "shoal-browser-"));
  programs;
  isOver = false;
  viewers = [];
  #web;
  #site = null;
  #browser = null;
  #running = [];
  #ends = [];

  constructor(web, programs) {
    this.#web = web;
    this.programs = programs;
  }

  /** Starts a program. */
  start(name, words) {
    const program = new Program(name, words, this.folder);
    this.#running.push(program);
    this.atEnd(() => program.stop());
    return program;
  }

  /** Has `step` done when the scenario is over. */
  atEnd(step) {
    this.#ends.push(step);
  }

  /** A running server (see `Server`). */
  server(settings) {
    return new Server(this, settings).start();
  }

  /** The site that pages come from. */
  async site(host = "127.0.0.1") {
    if (this.#site === null) {
      const site = await openSite(this.#web, host);
      this.atEnd(() => site.close());
      this.#site = site.url;
    }
    return this.#site;
  }

  /** A Chromium of its own; `within` is a network that it is confined to. */
  async launch({ within, flags = [] } = {}) {
    let executablePath = CHROMIUM;
    if (within) {
      executablePath = join(this.folder, `chromium-${within}`);
      const line = `exec ip netns exec ${within} ${CHROMIUM} "$@"`;
      writeFileSync(executablePath, `#!/bin/sh\n${line}\n`, { mode: 0o755 });
    }
    const browser = await chromium.launch({
      ...{ executablePath, args: [...CHROMIUM_FLAGS, ...flags], headless: true },
    });
    this.atEnd(() => browser.close());
    return browser;
  }

  /** A page of `site` that plays `src`; `before` is run in it before anything else. */
  async viewer(src, { name, browser, before, site, ...query } = {}) {
    this.#browser ??= browser ? null : await this.launch();
    const context = await (browser ?? this.#browser).newContext();
    const page = await context.newPage();
    if (before) {
      await page.addInitScript(before);
    }
    const viewer = new Viewer(name ?? `page-${this.viewers.length}`, page, src).listen();
    this.viewers.push(viewer);
    return viewer.open(site ?? (await this.site()), query);
  }

  /** Any other page, such as the operator's. */
  async page(url) {
    this.#browser ??= await this.launch();
    const page = await (await this.#browser.newContext()).newPage();
    page.setDefaultTimeout(STEP_MS);
    await page.goto(url);
    return page;
  }

  /** How things stand, for a failure's message; screenshots go to `pictures`. */
  async describe(pictures, scenario) {
    const lines = [];
    for (const viewer of this.viewers) {
      lines.push(await viewer.describe(), ...viewer.said.slice(-8).map((line) => `  ${line}`));
      const path = join(pictures, `${scenario}-${viewer.name}.png`);
      await viewer.page.screenshot({ path, timeout: STEP_MS }).catch(() => undefined);
    }
    lines.push(...this.#running.map((program) => program.tail()));
    return lines.join("\n");
  }

  /** Ends everything; gives what could not be ended. */
  async end() {
    this.isOver = true;
    const failed = [];
    for (const step of this.#ends.reverse()) {
      await inTime("a step of the end", (async () => step())(), STEP_MS).catch((error) => failed.push(error));
    }
    rmSync(this.folder, { recursive: true, force: true });
    return failed;
  }
}
