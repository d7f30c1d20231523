/**
 * Shoal's SDK for pages with hls.js.
 *
 * ```js
 * const shoal = await Shoal.load();
 * const hls = new Hls(shoal.hlsConfig({ …your own settings… }));
 * shoal.attach(hls);
 * ```
 */

export type * from "./api.js";
export { Shoal } from "./shoal.js";
