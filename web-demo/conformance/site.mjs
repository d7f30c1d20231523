/**
 * The site of the two players: pages, the SDK as its sources are now, hls.js and Shaka Player.
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { bundle, serve } from "../tests/lib/site.mjs";

/** Serves it on a port of the system's choice. */
export async function openSite(web) {
  const pages = join(web, "conformance/page");
  const packages = join(web, "node_modules");
  const files = new Map([["/shoal.js", await bundle(web)]]);
  for (const [path, file] of [
    ...["hlsjs.html", "hlsjs.js", "shaka.html", "shaka.js", "watch.js"].map((name) => [
      `/${name}`,
      join(pages, name),
    ]),
    ["/shoal_bg.wasm", join(web, "wasm/pkg/shoal_bg.wasm")],
    ["/hls.mjs", join(packages, "hls.js/dist/hls.mjs")],
    ["/shaka-player.js", join(packages, "shaka-player/dist/shaka-player.compiled.js")],
  ]) {
    files.set(path, await readFile(file));
  }
  return serve(files, "127.0.0.1");
}
