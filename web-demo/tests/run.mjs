/**
 * Runs one scenario: `node run.mjs SCENARIO`. Exit code 0 if all that it says of Shoal is true.
 *
 * Rule: it ends in time and leaves nothing behind. `SHOAL_TEST_PROGRAMS` names the folder of the
 * server and the agent; screenshots of a failure go to `target/browser-tests`.
 */

import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Stage } from "./lib/stage.mjs";
import { inTime } from "./lib/wait.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const WEB = dirname(HERE);
const ROOT = dirname(WEB);
const TARGET = resolve(ROOT, process.env.CARGO_TARGET_DIR ?? "target");
const LIMIT_MS = 100_000;

async function play(name) {
  const { default: scenario } = await import(`./scenarios/${name}.mjs`);
  const stage = new Stage(WEB, process.env.SHOAL_TEST_PROGRAMS ?? join(TARGET, "debug"));
  const stopped = new Promise((_, reject) => {
    for (const signal of ["SIGTERM", "SIGINT"]) {
      process.once(signal, () => reject(new Error(`stopped by ${signal}`)));
    }
  });
  let failure = null;
  try {
    await inTime(`the end of ${name}`, Promise.race([scenario(stage), stopped]), LIMIT_MS);
  } catch (error) {
    const pictures = join(TARGET, "browser-tests");
    mkdirSync(pictures, { recursive: true });
    failure = `${error.stack}\n\n${await stage.describe(pictures, name)}`;
  }
  const stuck = await stage.end();
  return [failure, ...stuck.map((error) => `not ended: ${error.message}`)].filter(Boolean);
}

const [name] = process.argv.slice(2);
if (!name || !existsSync(join(HERE, "scenarios", `${name}.mjs`))) {
  const names = readdirSync(join(HERE, "scenarios")).map((file) => file.replace(".mjs", ""));
  console.error(`usage: node run.mjs SCENARIO, one of: ${names.join(" ")}`);
  process.exit(2);
}
const failures = await play(name);
failures.forEach((failure) => console.error(failure));
process.exit(failures.length === 0 ? 0 : 1);
