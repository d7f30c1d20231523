/**
 * Drives a headless Chromium for `cargo xtask conformance`: plays streams in pages, says how each
 * did.
 *
 * Rule: it plays and compares; what that means is decided elsewhere. Commands come as JSON lines on
 * standard input, answers go as JSON lines to standard output; it ends, and the browser with it,
 * when the input does.
 */

import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { openSite } from "./site.mjs";

const WEB = dirname(dirname(fileURLToPath(import.meta.url)));
/** Pages that nobody looks at must run like pages that somebody does. */
const FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"],
  "--autoplay-policy=no-user-gesture-required",
  ...["--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows"],
  "--disable-renderer-backgrounding",
];
const OPEN_MS = 20_000;
const FETCH_MS = 10_000;

function say(news) {
  process.stdout.write(`${JSON.stringify(news)}\n`);
}

/** Compares what a player was handed with what the origin answers to the same question. */
async function compare({ url, range, hash, bytes }, result) {
  const headers = range ? { range } : {};
  const answer = await fetch(url, { headers, signal: AbortSignal.timeout(FETCH_MS) });
  const body = Buffer.from(await answer.arrayBuffer());
  if (answer.ok && createHash("sha256").update(body).digest("hex") === hash) {
    result.same += 1;
  } else {
    const path = new URL(url).pathname;
    result.different.push(`${path}: ${bytes} bytes, the origin's ${answer.status} has ${body.length}`);
  }
}

/** Plays as the command says and returns all that there is to say of it. */
async function play(browser, site, { client, url, live, mediaS, limitMs, plain }) {
  const result = { playedS: 0, ended: false, fault: null, same: 0, different: [], refused: [] };
  const comparisons = [];
  const context = await browser.newContext({ viewport: { width: 400, height: 300 } });
  const page = await context.newPage();
  page.on("pageerror", (error) => (result.fault ??= `page: ${error.message}`));
  page.on("crash", () => (result.fault ??= "the page crashed"));
  // Compared at once: what is live now may be gone later.
  await page.exposeFunction("handed", (entry) => {
    const failed = (error) => result.different.push(`${entry.url}: ${error.message}`);
    comparisons.push(compare(entry, result).catch(failed));
  });
  await page.exposeFunction("refused", (text) => result.refused.push(text));
  try {
    const query = new URLSearchParams({ src: url });
    const flags = { live, plain };
    Object.keys(flags).forEach((name) => flags[name] && query.set(name, "1"));
    await page.goto(`${site}/${client}.html?${query}`, { timeout: OPEN_MS });
    const done = await page.waitForFunction(
      ({ live, mediaS }) => {
        const state = window.watched?.state();
        const finished = state && (state.fault || (live ? state.playedS >= mediaS : state.ended));
        return finished ? state : false;
      },
      { live, mediaS },
      { timeout: limitMs, polling: 100 },
    );
    Object.assign(result, await done.jsonValue());
  } catch (error) {
    const state = await page.evaluate(() => window.watched?.state() ?? {}).catch(() => ({}));
    Object.assign(result, state);
    result.fault ??= error.name === "TimeoutError" ? `stopped after ${limitMs / 1_000} s` : error.message;
  }
  Object.assign(result, await page.evaluate(() => window.watched?.sources() ?? {}).catch(() => ({})));
  await context.close();
  await Promise.all(comparisons);
  return result;
}

const version = (name) =>
  JSON.parse(readFileSync(join(WEB, `node_modules/${name}/package.json`), "utf8")).version;

const profile = mkdtempSync(join(tmpdir(), "shoal-chromium-"));
const site = await openSite(WEB);
const browser = await chromium.launch({
  executablePath: process.env.SHOAL_CHROMIUM ?? "/usr/bin/chromium",
  ...{ args: FLAGS, headless: true, env: { ...process.env, HOME: profile } },
});
say({ chromium: browser.version(), hlsjs: version("hls.js"), shaka: version("shaka-player") });
const playing = [];
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  const failed = (error) => ({ fault: error.message });
  const played = play(browser, site.url, command).catch(failed);
  playing.push(played.then((result) => say({ id: command.id, ...result })));
}
await Promise.race([Promise.all(playing), new Promise((done) => setTimeout(done, 2_000))]);
await browser.close();
site.close();
rmSync(profile, { recursive: true, force: true });
process.exit(0);
