/**
 * A TCP proxy before the server whose tracker's connections can be cut, and only these.
 */

import { connect, createServer } from "node:net";

/** Opens it before `target` (HOST:PORT). */
export async function openProxy(stage, target) {
  const [host, port] = target.split(":");
  const sockets = new Set();
  const sessions = new Set();
  let isCut = false;
  const server = createServer((client) => {
    client.once("data", (head) => {
      const isTracker = /^GET \S*\/tracker[ ?]/.test(head.toString("latin1"));
      if (isTracker && isCut) {
        client.destroy();
        return;
      }
      const origin = connect(Number(port), host);
      const pair = [client, origin];
      pair.forEach((socket) => {
        (isTracker ? sessions : sockets).add(socket);
        socket.on("error", () => undefined);
        socket.on("close", () => pair.forEach((each) => each.destroy()));
      });
      origin.write(head);
      client.pipe(origin).pipe(client);
    });
    client.on("error", () => undefined);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  stage.atEnd(() => {
    server.close();
    [...sockets, ...sessions].forEach((socket) => socket.destroy());
  });
  return {
    address: `127.0.0.1:${server.address().port}`,
    /** Cuts the tracker's connections, and all that are tried until `mend`. */
    cut() {
      isCut = true;
      sessions.forEach((socket) => socket.destroy());
      sessions.clear();
    },
    mend() {
      isCut = false;
    },
  };
}
