/**
 * What a viewer allows is what happens: who only receives sends nothing, who was not asked yet
 * neither, a metered line sends nothing, and an upload cap is kept.
 */

const METERED = `
  const line = Object.assign(new EventTarget(), { saveData: true, type: "wifi" });
  Object.defineProperty(navigator, "connection", { value: line });
`;
const CAP_BPS = 500_000;
/** Time over which the cap is measured, and what pacing may put into it beyond the rate. */
const CAP_OVER_MS = 8_000;
const CAP_SLACK = 1.25;

export default async function options(stage) {
  const server = await stage.server({ demo: true });
  const open = async (name, query) => (await stage.viewer(server.playlist, { name, ...query })).plays();
  const asked = await open("asked", { consent: "ask" });
  const receives = await open("receives", { options: { share: "receive-only" } });
  const metered = await open("metered", { before: METERED });
  const quiet = [
    [asked, "no-consent"],
    [receives, "chosen"],
    [metered, "metered"],
  ];
  const check = async (pages) => {
    for (const [page, reason] of pages) {
      const { share, shareReason, totals, connected } = await page.stats();
      const isRight = share === "receive-only" && shareReason === reason && connected;
      if (!isRight || totals.toPeersBytes > 0) {
        throw new Error(`it should send nothing (${reason})\n${await page.describe()}`);
      }
    }
  };
  // Nobody may send: all play from the origin.
  await Promise.all(quiet.map(([page]) => page.playsOn(4)));
  await check(quiet);

  // One who may send, to three who want it: more than its cap.
  const capped = await open("capped", { options: { uploadCapBps: CAP_BPS } });
  const sends = ({ stats }) => stats.totals.toPeersBytes > 50_000;
  await capped.until("it sends", sends, 30_000);
  const before = await capped.state();
  const over = ({ nowMs }) => nowMs - before.nowMs > CAP_OVER_MS;
  await capped.until("the time over which the cap is measured", over, 2 * CAP_OVER_MS);
  const after = await capped.state();
  const sent = after.stats.totals.toPeersBytes - before.stats.totals.toPeersBytes;
  const bps = (sent * 8_000) / (after.nowMs - before.nowMs);
  if (bps > CAP_BPS * CAP_SLACK) {
    throw new Error(`it sent ${Math.round(bps)} bit/s\n${await capped.describe()}`);
  }
  await check(quiet);

  await asked.run(() => window.viewer.consent());
  const shares = ({ stats }) => stats.share === "share" && stats.totals.toPeersBytes > 0;
  await asked.until("it sends, now that it may", shares, 30_000);
  await check(quiet.slice(1));
  for (const page of [asked, receives, metered, capped]) {
    await page.neverStalled();
  }
}
