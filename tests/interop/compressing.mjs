// Node's `ws` against a yardstick that compresses.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import WebSocket from "ws";

const MESSAGES = ["", "a", "täxt 🦀", "x".repeat(125), "the same again ".repeat(1000), "the same again ".repeat(1000),
  randomBytes(100_000), Buffer.alloc(65_536)];
const OPTIONS = [
  true,
  { threshold: 0 },
  { threshold: 0, clientNoContextTakeover: true },
  { threshold: 0, serverNoContextTakeover: true },
  { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true },
  { threshold: 0, serverMaxWindowBits: 10, clientMaxWindowBits: 10 },
];

for (const path of ["/ws/deflate", "/ws/deflate/shared"]) {
  for (const perMessageDeflate of OPTIONS) {
    const socket = new WebSocket(`ws://127.0.0.1:${process.env.PORT}${path}`, { perMessageDeflate });
    await once(socket, "open");
    assert.match(socket.extensions, /^permessage-deflate/);
    for (const message of [...MESSAGES, ...MESSAGES]) {
      const answer = once(socket, "message");
      socket.send(message);
      const [bytes, isBinary] = await answer;
      assert.equal(isBinary, typeof message !== "string");
      assert.deepEqual(bytes, Buffer.from(message));
    }
    const closed = once(socket, "close");
    socket.close(1000);
    assert.equal((await closed)[0], 1000);
    console.log(`ok      ${path} ${JSON.stringify(perMessageDeflate)}: ${socket.extensions}`);
  }
}
