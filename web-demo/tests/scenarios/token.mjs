/**
 * A site that signs tokens: its page gives Shoal a function, which is asked at each join. With a
 * token that has expired the page plays over plain HTTP, with the next one it joins.
 */

import { createHmac } from "node:crypto";
import { push } from "../lib/encoder.mjs";

const SECRET = "0123456789abcdef0123456789abcdef";
const HOUR_S = 3_600;

function sign(lastsS) {
  const text = (part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const exp = Math.floor(Date.now() / 1_000) + lastsS;
  const signed = `${text({ alg: "HS256" })}.${text({ sub: "viewer", stream: "cam", exp })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

export default async function token(stage) {
  const server = await stage.server({ flags: ["--auth-secret", SECRET] });
  push(stage, server);
  await server.lists(8);
  const expired = await stage.viewer(server.playlist, { name: "expired", tokens: [sign(-HOUR_S)] });
  const tokens = [sign(-HOUR_S), sign(HOUR_S)];
  const renewed = await stage.viewer(server.playlist, { name: "renewed", tokens });
  await renewed.until("it has joined", ({ stats }) => stats.connected);
  for (const page of [expired, renewed]) {
    await page.plays();
    await page.playsOn(2);
    await page.neverStalled();
  }
  if ((await expired.stats()).connected) {
    throw new Error("a token that has expired lets nobody in");
  }
}
