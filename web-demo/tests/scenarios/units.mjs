/**
 * The unit tests of the SDK and of the message layout, in Node: no browser, no server.
 */

import { build } from "esbuild";
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const TESTS = join(dirname(fileURLToPath(import.meta.url)), "../unit");
const LIMIT_MS = 60_000;

export default async function units(stage) {
  const names = readdirSync(TESTS).filter((name) => name.endsWith(".test.ts"));
  await build({
    entryPoints: names.map((name) => join(TESTS, name)),
    ...{ outdir: stage.folder, outExtension: { ".js": ".mjs" }, sourcemap: "inline" },
    ...{ bundle: true, platform: "node", format: "esm", target: "es2022", logLevel: "warning" },
  });
  const bundles = names.map((name) => join(stage.folder, name.replace(/ts$/, "mjs")));
  const run = promisify(execFile)(process.execPath, ["--test", ...bundles], {
    env: { ...process.env, SHOAL_ROOT: join(TESTS, "../../..") },
    timeout: LIMIT_MS,
  });
  const { stdout } = await run.catch((error) => {
    throw new Error(`unit tests failed\n${error.stdout}${error.stderr}`);
  });
  const passed = Number(/^\D*pass (\d+)$/m.exec(stdout)?.[1] ?? 0);
  if (passed < names.length) {
    throw new Error(`${passed} tests ran in ${names.length} files\n${stdout}`);
  }
}
