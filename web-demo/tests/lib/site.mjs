/**
 * The site that the pages under test come from: a page, the SDK as its sources are now, hls.js.
 *
 * Rule: it is another origin than the server, as a real host page may be.
 */

import { build } from "esbuild";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";

const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".wasm": "application/wasm",
};

/** The SDK in one file. */
async function bundle(web) {
  const { outputFiles } = await build({
    entryPoints: [join(web, "sdk/src/index.ts")],
    ...{ bundle: true, format: "esm", target: "es2022", write: false, logLevel: "warning" },
  });
  return outputFiles[0].contents;
}

async function files(web) {
  const packages = join(web, "node_modules");
  return new Map([
    ["/index.html", await readFile(join(web, "tests/page/index.html"))],
    ["/viewer.js", await readFile(join(web, "tests/page/viewer.js"))],
    ["/shoal.js", await bundle(web)],
    ["/shoal_bg.wasm", await readFile(join(web, "wasm/pkg/shoal_bg.wasm"))],
    ["/hls-1.7.js", await readFile(join(packages, "hls.js/dist/hls.mjs"))],
    ["/hls-1.6.js", await readFile(join(packages, "hls.js-1.6/dist/hls.mjs"))],
  ]);
}

/** Serves it on a port of the system's choice. */
export async function openSite(web, host) {
  const content = await files(web);
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://site").pathname;
    const body = content.get(path);
    const type = TYPES[extname(path)] ?? "application/octet-stream";
    response.writeHead(body ? 200 : 404, { "content-type": type });
    response.end(body);
  });
  await new Promise((resolve) => server.listen(0, host, resolve));
  return {
    url: `http://${host}:${server.address().port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
