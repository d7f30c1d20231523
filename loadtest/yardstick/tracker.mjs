// bittorrent-tracker's WebSocket server on a free port, which it prints.
import Server from "bittorrent-tracker/server";

const server = new Server({ udp: false, http: false, ws: true, stats: false });
server.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
server.on("warning", (warning) => console.error(warning.message));
server.listen(0, "127.0.0.1", () => console.log(server.ws.address().port));
