/**
 * Drives a headless Chromium for the demo: opens pages when told to, says once a second how each
 * does.
 *
 * Rule: it only watches what the pages themselves show. Commands come as JSON lines on standard
 * input, news go as JSON lines to standard output; it ends, and the browser with it, when the input
 * does.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { setPriority, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { BOXES, behindS, readBoxes } from "./burnt_clock.mjs";

const SAMPLE_MS = 1_000;
/** Viewers' machines are not the encoder's and the server's: those come first on this one. */
const NICE = 10;
/** A phone's: a headless browser draws each frame of the video by software. */
const VIEWPORT = { width: 400, height: 700 };
/** Pages that nobody looks at must run like pages that somebody does. */
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--autoplay-policy=no-user-gesture-required",
  "--disable-background-timer-throttling",
  "--disable-backgrounding-occluded-windows",
  "--disable-renderer-backgrounding",
];

const pages = new Map();

function say(news) {
  process.stdout.write(`${JSON.stringify(news)}\n`);
}

async function open(browser, { name, url, screenshot, clock }) {
  const context = await browser.newContext({ viewport: VIEWPORT });
  const page = await context.newPage();
  page.on("pageerror", (error) => say({ type: "error", name, message: String(error) }));
  pages.set(name, { page, screenshot, clock });
  await page.goto(url, { waitUntil: "commit" });
}

async function sample(name, page, clock) {
  const seen = await page.evaluate(() => window.shoalPage?.figures() ?? null);
  if (seen) {
    say({ type: "page", name, ...seen, ...(clock ? await glassToGlass(page) : {}) });
  }
}

/** How far the picture itself is behind, in place of what the playlist's dates say. */
async function glassToGlass(page) {
  const look = `({ boxes: (${readBoxes})(window.shoalPage.video, ${BOXES}), nowMs: Date.now() })`;
  const { boxes, nowMs } = await page.evaluate(look);
  return { latencyS: behindS(boxes, nowMs) };
}

async function sampleAll() {
  const samples = [...pages].map(([name, { page, clock }]) => sample(name, page, clock).catch(() => undefined));
  await Promise.all(samples);
}

async function finish(browser) {
  await sampleAll();
  for (const { page, screenshot } of pages.values()) {
    if (screenshot) {
      await page.screenshot({ path: screenshot }).catch(() => undefined);
    }
  }
  await browser.close();
}

setPriority(NICE);
const profile = mkdtempSync(join(tmpdir(), "shoal-chromium-"));
const executablePath = process.env.SHOAL_CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: FLAGS, headless: true, env: { ...process.env, HOME: profile } });
say({ type: "ready", version: browser.version() });
const timer = setInterval(sampleAll, SAMPLE_MS);
const lines = createInterface({ input: process.stdin });
const opening = [];
for await (const line of lines) {
  const command = JSON.parse(line);
  opening.push(
    open(browser, command).catch((error) => {
      say({ type: "error", name: command.name, message: String(error) });
    }),
  );
}
clearInterval(timer);
await Promise.all(opening);
await finish(browser);
rmSync(profile, { recursive: true, force: true });
process.exit(0);
