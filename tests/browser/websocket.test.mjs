// Chromium's own WebSocket against the yardstick: with compression, which it offers always and a route may take up, and
// without.
//
// To run: `npm ci`, then `YARDSTICK_BIN=path node websocket.test.mjs` with a yardstick that was built with the feature
// `deflate`. Chromium is `$CHROMIUM`, else /usr/bin/chromium. The exit code is 1 if a check failed.

import assert from "node:assert/strict";
import { Server, check, launch, runAll } from "./harness.mjs";

const binary = process.env.YARDSTICK_BIN;
if (!binary) {
  console.error("usage: YARDSTICK_BIN=path node websocket.test.mjs");
  process.exit(2);
}

/** In the page: everything is said twice and comes back. What was agreed on, how many came back, and how it ended. */
async function sayAll(path) {
  const socket = new WebSocket(`ws://${location.host}${path}`);
  socket.binaryType = "arraybuffer";
  const heard = (event) => new Promise((resolve, reject) => {
    socket.addEventListener(event, resolve, { once: true });
    socket.addEventListener("error", () => reject(new Error("the WebSocket failed")), { once: true });
  });
  await heard("open");
  const random = crypto.getRandomValues(new Uint8Array(60_000));
  const messages = ["", "a", "täxt 🦀", "x".repeat(126), "the same again ".repeat(2000), random, new Uint8Array(65_536)];
  let returned = 0;
  for (const message of [...messages, ...messages]) {
    const answer = heard("message");
    socket.send(message);
    const { data } = await answer;
    const same = typeof message === "string"
      ? data === message
      : new Uint8Array(data).length === message.length && new Uint8Array(data).every((byte, n) => byte === message[n]);
    if (!same) throw new Error(`message ${returned} came back as another`);
    returned += 1;
  }
  const closed = heard("close");
  socket.close(3000, "enough");
  const { code, wasClean } = await closed;
  return { extensions: socket.extensions, returned, code, wasClean };
}

const server = await Server.start(binary);
const browser = await launch();

await runAll(
  async () => {
    const page = await browser.newPage();
    // Whoever opens a WebSocket must come from this server, see docs/websocket.md.
    await page.goto(`http://127.0.0.1:${server.port}/plaintext`);
    for (const [path, extension] of [["/ws/echo", /^$/], ["/ws/deflate", /^permessage-deflate/], ["/ws/deflate/shared", /^permessage-deflate/]]) {
      await check(`${path}: all messages come back`, async () => {
        const { extensions, ...rest } = await page.evaluate(sayAll, path);
        assert.match(extensions, extension);
        assert.deepEqual(rest, { returned: 14, code: 3000, wasClean: true });
      });
    }
    await check("a page from elsewhere is refused", async () => {
      await page.goto("about:blank");
      const opened = await page.evaluate((url) => new Promise((resolve) => {
        const socket = new WebSocket(url);
        socket.onopen = () => resolve(true);
        socket.onerror = () => resolve(false);
      }), `ws://127.0.0.1:${server.port}/ws/echo`);
      assert.equal(opened, false);
    });
  },
  async () => {
    await browser.close();
    await server.stop();
  },
);
