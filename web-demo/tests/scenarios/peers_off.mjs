/**
 * The operator switches peers off: pages go on over plain HTTP within two seconds; and on again.
 * First those of the stream, then those of all streams, on the operator's page.
 */

const WITHIN_MS = 2_000;

export default async function peersOff(stage) {
  const server = await stage.server({ demo: true });
  const pages = [];
  for (let i = 0; i < 2; i += 1) {
    pages.push(await (await stage.viewer(server.playlist)).plays());
  }
  const each = (what, look, limitMs) =>
    Promise.all(pages.map((page) => page.until(what, look, limitMs)));
  await pages[1].until(
    "it takes bytes from the other page",
    ({ stats }) => stats.totals.fromPeersBytes > 100_000,
    30_000,
  );

  await server.switchPeers(false);
  const isOff = ({ stats }) =>
    stats.shareReason === "switched-off-by-server" && stats.neighbours.length === 0;
  await each("peers are off and links closed", isOff, WITHIN_MS);
  const before = await Promise.all(pages.map((page) => page.state()));
  await Promise.all(pages.map((page) => page.playsOn(6)));
  for (const [i, page] of pages.entries()) {
    const { stats } = await page.state();
    const gained = (field) => stats.totals[field] - before[i].stats.totals[field];
    if (gained("fromPeersBytes") > 0 || gained("toPeersBytes") > 0) {
      throw new Error(`bytes pass between peers that are off\n${await page.describe()}`);
    }
    if (gained("fromOriginBytes") < 100_000) {
      throw new Error(`nothing comes from the origin\n${await page.describe()}`);
    }
  }

  await server.switchPeers(true);
  const from = before[1].stats.totals.fromPeersBytes;
  await pages[1].until(
    "it takes bytes from the other page again",
    ({ stats }) => stats.totals.fromPeersBytes > from + 100_000,
    30_000,
  );
  const isOn = ({ stats }) => stats.shareReason === "chosen";
  await each("what the viewer chose is in force", isOn);

  const operator = await stage.page(`http://${server.admin}/admin/`);
  const shows = (id, on) => operator.locator(`#${id}[aria-checked="${on}"]:enabled`).waitFor();
  const press = (selector) => operator.locator(selector).click();
  await shows("switch-all", true);
  await press("#switch-all");
  const asked = await operator.locator("#confirm-title").textContent();
  const cost = await operator.locator("#confirm-text").textContent();
  if (asked !== "Turn peers off for all streams?" || !cost.startsWith("2 viewers")) {
    throw new Error(`the page asks: ${asked} ${cost}`);
  }
  await press("#confirm button[value=cancel]");
  await press("#switch-all");
  await press("#confirm-go");
  await each("peers of all streams are off", isOff, WITHIN_MS);
  await shows("switch-all", false);
  await shows("switch", true);
  await operator.locator("#streams .off").waitFor();
  await press("#switch-all");
  await each("peers of all streams are on again", isOn);
  await shows("switch-all", true);
  for (const page of pages) {
    await page.neverStalled();
  }
}
