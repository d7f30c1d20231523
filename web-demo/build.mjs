/**
 * Builds the SDK and the pages into `dist`, from where the server's build takes them.
 *
 * Rule: the same sources and packages give the same bytes. Each file that gets smaller has a
 * `.gz` beside it, so that nothing is compressed while it is served. Run by `cargo xtask web`, which
 * makes `wasm/pkg` first.
 */

import { build } from "esbuild";
import { copyFile, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const HERE = dirname(fileURLToPath(import.meta.url));
const DIST = join(HERE, "dist");
/** What a page that embeds the SDK loads at most, gzipped: a second of a 3G line. */
const SDK_BYTES_GOAL = 300 * 1024;

/** What browsers of the last four years know. */
const COMMON = {
  absWorkingDir: HERE,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  legalComments: "none",
  charset: "utf8",
  logLevel: "warning",
};

/** hls.js lies in a file of its own, which its page imports from beside it. */
const hlsBeside = {
  name: "hls-beside",
  setup(it) {
    it.onResolve({ filter: /^hls\.js$/ }, () => ({ path: "./hls.js", external: true }));
  },
};

async function check() {
  const needed = { "wasm/pkg/shoal.js": "cargo xtask web", "node_modules/hls.js": "npm ci" };
  for (const [path, command] of Object.entries(needed)) {
    await stat(join(HERE, path)).catch(() => {
      throw new Error(`web-demo/${path} is missing; to make it: ${command}`);
    });
  }
}

/** Empties `dist`, but for the file that keeps the folder in the repository. */
async function clear() {
  await mkdir(DIST, { recursive: true });
  for (const name of await readdir(DIST)) {
    if (!name.startsWith(".")) {
      await rm(join(DIST, name), { recursive: true });
    }
  }
  for (const folder of ["sdk", "page", "admin"]) {
    await mkdir(join(DIST, folder));
  }
}

async function bundle() {
  const hls = { contents: 'export * from "hls.js"; export { default } from "hls.js";' };
  const page = { entryPoints: ["page/src/main.ts"], plugins: [hlsBeside] };
  await Promise.all([
    build({ ...COMMON, entryPoints: ["sdk/src/index.ts"], outfile: "dist/sdk/shoal.js" }),
    build({ ...COMMON, stdin: { ...hls, resolveDir: HERE }, outfile: "dist/page/hls.js" }),
    build({ ...COMMON, ...page, outfile: "dist/page/page.js" }),
    build({ ...COMMON, entryPoints: ["admin/src/main.ts"], outfile: "dist/admin/admin.js" }),
    build({ ...COMMON, entryPoints: ["page/page.css"], outfile: "dist/page/page.css" }),
    build({ ...COMMON, entryPoints: ["admin/admin.css"], outfile: "dist/admin/admin.css" }),
  ]);
  const copies = {
    "wasm/pkg/shoal_bg.wasm": "sdk/shoal_bg.wasm",
    "page/index.html": "page/index.html",
    "admin/index.html": "admin/index.html",
    "node_modules/hls.js/dist/hls.worker.js": "page/hls.worker.js",
  };
  for (const [from, to] of Object.entries(copies)) {
    await copyFile(join(HERE, from), join(DIST, to));
  }
}

/** What we pass on in minified form stands under licences that want to be passed on too. */
async function licences() {
  const parts = ["hls.js", "uplot"].map(async (name) => {
    const text = await readFile(join(HERE, "node_modules", name, "LICENSE"), "utf8");
    return `${name}\n\n${text.trim()}\n`;
  });
  await writeFile(join(DIST, "page/licenses.txt"), (await Promise.all(parts)).join("\n\n"));
}

/** All files below `folder`, sorted. */
async function files(folder) {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const found = entries.filter((entry) => entry.isFile() && !entry.name.startsWith("."));
  return found.map((entry) => join(entry.parentPath, entry.name)).sort();
}

/** Writes the small forms and returns each file's sizes. */
async function compress() {
  const sizes = new Map();
  for (const path of await files(DIST)) {
    const bytes = await readFile(path);
    const small = gzipSync(bytes, { level: 9 });
    // The tenth byte names the system that it was made on.
    small[9] = 255;
    if (small.length < bytes.length) {
      await writeFile(`${path}.gz`, small);
    }
    const name = relative(DIST, path).replaceAll("\\", "/");
    sizes.set(name, { raw: bytes.length, gzip: Math.min(small.length, bytes.length) });
  }
  return sizes;
}

function report(sizes) {
  const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`.padStart(11);
  for (const [name, { raw, gzip }] of sizes) {
    console.log(`${name.padEnd(22)}${kib(raw)}${kib(gzip)} gzip`);
  }
  const sdk = [...sizes].filter(([name]) => name.startsWith("sdk/"));
  const total = sdk.reduce((sum, [, size]) => sum + size.gzip, 0);
  const verdict = total <= SDK_BYTES_GOAL ? "within" : "above";
  console.log(`sdk and wasm: ${kib(total).trim()} gzip, ${verdict} ${kib(SDK_BYTES_GOAL).trim()}`);
}

await check();
await clear();
await bundle();
await licences();
report(await compress());
