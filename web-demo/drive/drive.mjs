/**
 * Drives a headless Chromium for the demo: opens pages when told to, says once a second how each
 * does.
 *
 * Rule: it only watches what the pages themselves show. Commands come as JSON lines on standard
 * input, news go as JSON lines to standard output; it ends, and the browser with it, when the input
 * does.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const SAMPLE_MS = 1_000;
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

async function open(browser, { name, url, screenshot }) {
  const context = await browser.newContext({ viewport: VIEWPORT });
  const page = await context.newPage();
  page.on("pageerror", (error) => say({ type: "error", name, message: String(error) }));
  pages.set(name, { page, screenshot });
  await page.goto(url, { waitUntil: "commit" });
}

async function sample(name, page) {
  const seen = await page.evaluate(() => window.shoalPage?.figures() ?? null);
  if (seen) {
    say({ type: "page", name, ...seen });
  }
}

async function sampleAll() {
  const samples = [...pages].map(([name, { page }]) => sample(name, page).catch(() => undefined));
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
