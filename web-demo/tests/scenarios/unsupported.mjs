/**
 * Browsers without WebRTC or without WASM: the page plays over plain HTTP, and is told why.
 */

const MISSING = ["RTCPeerConnection", "WebAssembly"];

export default async function unsupported(stage) {
  const server = await stage.server({ demo: true });
  for (const feature of MISSING) {
    const before = `delete globalThis.${feature};`;
    const viewer = await stage.viewer(server.playlist, { name: `without-${feature}`, before });
    await viewer.plays();
    await viewer.playsOn(4);
    await viewer.neverStalled();
    await viewer.payloadsAreTheOrigins();
    const { supported, unsupportedReason, connected, totals } = await viewer.stats();
    const isTold = !supported && unsupportedReason?.includes(feature);
    if (!isTold || connected || totals.deliveredBytes > 0) {
      throw new Error(`it does not say why it has no peers\n${await viewer.describe()}`);
    }
  }
}
