// Node's ws as a server, for our client as `wsload reflect`: says things, looks at what comes back, and prints a line for
// each connection. Its port is the first line. With the files of a key and a certificate, it speaks TLS.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { WebSocketServer } from "ws";

const deflate = {
  "/plain": false,
  "/compressed": { threshold: 0 },
  "/forgetful": {
    threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true,
    serverMaxWindowBits: 10, clientMaxWindowBits: 10,
  },
};

const messages = [];
for (const size of [0, 1, 125, 126, 1000, 65535, 65536, 200000]) {
  messages.push("grüß ".repeat(size / 5), Buffer.alloc(size, 7), Buffer.from(Array.from({ length: size }, (_, i) => i * i)));
}

async function talk(socket) {
  const came = [];
  let wake = () => {};
  socket.on("message", (data, isBinary) => {
    came.push(isBinary ? data : data.toString());
    wake();
  });
  for (const message of messages) {
    socket.send(message);
    while (came.length === 0) await new Promise((resolve) => { wake = resolve; });
    const back = came.shift();
    const isSame = typeof message === "string" ? back === message : Buffer.isBuffer(back) && back.equals(message);
    if (!isSame) return `message of ${message.length} came back as another`;
  }
  const pong = new Promise((resolve) => socket.on("pong", (data) => resolve(data.toString())));
  socket.ping("there?");
  if (await pong !== "there?") return "another pong";
  return "ok";
}

const servers = Object.fromEntries(Object.entries(deflate).map(([path, perMessageDeflate]) =>
  [path, new WebSocketServer({ noServer: true, perMessageDeflate })]));
const [key, cert] = process.argv.slice(2).map((file) => readFileSync(file));
const http = key ? createSecureServer({ key, cert }) : createServer();
http.on("upgrade", (request, socket, head) => {
  servers[request.url].handleUpgrade(request, socket, head, async (webSocket) => {
    const wanted = request.url === "/plain" ? "" : "permessage-deflate";
    const said = webSocket.extensions === wanted ? await talk(webSocket) : `agreed on ${webSocket.extensions}`;
    webSocket.on("close", (code) => console.log(code === 4000 ? said : `closed with ${code}`));
    webSocket.close(4000);
  });
});
http.listen(0, "127.0.0.1", () => console.log(http.address().port));
