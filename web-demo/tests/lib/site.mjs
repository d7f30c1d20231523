/**
 * The site that the pages under test come from: a page, the SDK as its sources are now, hls.js.
 *
 * Rule: it is another origin than the server, as a real host page may be, and no heavier than one.
 */

import { build, transform } from "esbuild";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { gzipSync } from "node:zlib";

const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
};

/** The SDK in one file. */
export async function bundle(web) {
  const { outputFiles } = await build({
    entryPoints: [join(web, "sdk/src/index.ts")],
    ...{ bundle: true, minify: true, format: "esm", target: "es2022", write: false },
    logLevel: "warning",
  });
  return outputFiles[0].contents;
}

async function minified(path) {
  const { code } = await transform(await readFile(path), { minify: true, format: "esm" });
  return code;
}

async function files(web) {
  const packages = join(web, "node_modules");
  return new Map([
    ["/index.html", await readFile(join(web, "tests/page/index.html"))],
    ["/viewer.js", await readFile(join(web, "tests/page/viewer.js"))],
    ["/shoal.js", await bundle(web)],
    ["/shoal_bg.wasm", await readFile(join(web, "wasm/pkg/shoal_bg.wasm"))],
    ["/hls-1.7.js", await minified(join(packages, "hls.js/dist/hls.mjs"))],
    ["/hls-1.6.js", await minified(join(packages, "hls.js-1.6/dist/hls.mjs"))],
  ]);
}

/** Serves it on a port of the system's choice. */
export async function openSite(web, host) {
  return serve(await files(web), host);
}

/** Serves these files, by path, on a port of the system's choice. */
export async function serve(files, host) {
  const content = new Map();
  for (const [path, body] of files) {
    content.set(path, gzipSync(body));
  }
  // Browsers ask for it, and would tell that it is not there.
  content.set("/favicon.ico", gzipSync(""));
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://site").pathname;
    const body = content.get(path);
    const type = TYPES[extname(path)] ?? "application/octet-stream";
    const headers = { "content-type": type, "content-encoding": "gzip" };
    response.writeHead(body ? 200 : 404, body ? headers : {});
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
