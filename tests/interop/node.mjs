// Node against the yardstick: its own fetch, the WebSocket client of `ws`, and Node's own WebSocket where there is one.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import WebSocket from "ws";

const address = `127.0.0.1:${process.env.PORT}`;
const CHECK_MS = 60_000;
const MESSAGE_BYTES_MAX = 1 << 20;
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

const checks = {
  async "fetch gets text, JSON and chunks"() {
    assert.equal(await (await fetch(`http://${address}/plaintext`)).text(), "Hello, World!");
    assert.deepEqual(await (await fetch(`http://${address}/json`)).json(), { message: "Hello, World!" });
    assert.equal(await (await fetch(`http://${address}/chunked`)).text(), "part0\npart1\npart2\npart3\npart4\n");
  },

  async "a hundred fetches at once are all answered"() {
    const lengths = await Promise.all(
      Array.from({ length: 100 }, async (_, n) => (await (await fetch(`http://${address}/bytes/${n * 1000}`)).text()).length),
    );
    assert.deepEqual(lengths, Array.from({ length: 100 }, (_, n) => n * 1000));
  },

  async "fetch uploads with a length and as a stream"() {
    const body = randomBytes(8 << 20);
    const whole = await fetch(`http://${address}/echo/stream`, { method: "POST", body });
    assert.equal(sha256(Buffer.from(await whole.arrayBuffer())), sha256(body));
    const streamed = await fetch(`http://${address}/echo/stream`, { method: "POST", body: new Blob([body]).stream(), duplex: "half" });
    assert.equal(sha256(Buffer.from(await streamed.arrayBuffer())), sha256(body));
  },

  async "fetch sees statuses, HEAD and Allow"() {
    assert.equal((await fetch(`http://${address}/204`)).status, 204);
    assert.equal((await fetch(`http://${address}/nowhere`)).status, 404);
    const wrong = await fetch(`http://${address}/echo`);
    assert.equal(wrong.status, 405);
    assert.match(wrong.headers.get("allow"), /POST/);
    const head = await fetch(`http://${address}/`, { method: "HEAD" });
    assert.ok(Number(head.headers.get("content-length")) > 0);
    assert.equal(await head.text(), "");
  },

  async "an answer that is not waited for disturbs nobody"() {
    for (let n = 0; n < 20; n += 1) {
      const impatient = new AbortController();
      const answer = fetch(`http://${address}/sleep/1000`, { signal: impatient.signal });
      setTimeout(() => impatient.abort(), 5);
      await assert.rejects(answer, { name: "AbortError" });
    }
    assert.equal((await fetch(`http://${address}/plaintext`)).status, 200);
  },

  async "one agent's connection serves one request after another"() {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const ports = new Set();
    for (let n = 0; n < 50; n += 1) {
      const request = http.get(`http://${address}/bytes/${n}`, { agent });
      const [response] = await once(request, "response");
      ports.add(response.socket.localPort);
      response.resume();
      await once(response, "end");
    }
    agent.destroy();
    assert.equal(ports.size, 1);
  },

  async "ws: text, bytes and fragments come back"() {
    const socket = await open("/ws/echo");
    assert.deepEqual(await echo(socket, "tick 🦀"), { text: "tick 🦀" });
    assert.deepEqual(await echo(socket, Buffer.from([0, 255])), { bytes: "00ff" });
    const answer = next(socket);
    socket.send("one, ", { fin: false });
    socket.send("two, ", { fin: false });
    socket.send("three", { fin: true });
    assert.deepEqual(await answer, { text: "one, two, three" });
    await close(socket, 1000);
  },

  async "ws: a ping is answered with what it carried"() {
    const socket = await open("/ws/echo");
    const pong = once(socket, "pong");
    socket.ping("are you there");
    assert.equal(String((await pong)[0]), "are you there");
    await close(socket, 4000);
  },

  async "ws: one mebibyte passes, a byte more is refused with 1009"() {
    const socket = await open("/ws/echo");
    const largest = randomBytes(MESSAGE_BYTES_MAX);
    assert.deepEqual(await echo(socket, largest), { bytes: largest.toString("hex") });
    const closed = once(socket, "close");
    socket.on("error", () => {});
    socket.send(Buffer.alloc(MESSAGE_BYTES_MAX + 1));
    assert.equal((await closed)[0], 1009);
  },

  async "ws: an offer of compression is passed over"() {
    const socket = await open("/ws/echo", { perMessageDeflate: true });
    assert.equal(socket.extensions, "");
    assert.deepEqual(await echo(socket, "x".repeat(10_000)), { text: "x".repeat(10_000) });
    await close(socket, 1000);
  },

  async "ws: a room tells its members, and forgets who has gone"() {
    const [ada, bob, gone] = [await open("/ws/room"), await open("/ws/room"), await open("/ws/room")];
    gone.terminate();
    const heard = [next(ada), next(bob)];
    ada.send("hello");
    assert.deepEqual(await Promise.all(heard), [{ text: "hello" }, { text: "hello" }]);
    await Promise.all([close(ada, 1000), close(bob, 1000)]);
  },
};

if (globalThis.WebSocket) {
  checks["Node's own WebSocket: text comes back, and the close is clean"] = async () => {
    const socket = new globalThis.WebSocket(`ws://${address}/ws/echo`);
    await new Promise((resolve) => socket.addEventListener("open", resolve, { once: true }));
    const answer = new Promise((resolve) => socket.addEventListener("message", resolve, { once: true }));
    socket.send("tick");
    assert.equal((await answer).data, "tick");
    const closed = new Promise((resolve) => socket.addEventListener("close", resolve, { once: true }));
    socket.close(3001, "enough");
    const { code, wasClean } = await closed;
    assert.deepEqual({ code, wasClean }, { code: 3001, wasClean: true });
  };
}

async function open(path, options = { perMessageDeflate: false }) {
  const socket = new WebSocket(`ws://${address}${path}`, options);
  await once(socket, "open");
  return socket;
}

async function next(socket) {
  const [data, isBinary] = await once(socket, "message");
  return isBinary ? { bytes: data.toString("hex") } : { text: String(data) };
}

function echo(socket, message) {
  const answer = next(socket);
  socket.send(message);
  return answer;
}

/** Closes with `code`, and wants it back. */
async function close(socket, code) {
  const closed = once(socket, "close");
  socket.close(code, "enough");
  assert.equal((await closed)[0], code);
}

let failed = 0;
for (const [sentence, check] of Object.entries(checks)) {
  const began = performance.now();
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`took more than ${CHECK_MS} ms`)), CHECK_MS);
  });
  try {
    await Promise.race([check(), late]);
    console.log(`ok      ${sentence} (${((performance.now() - began) / 1000).toFixed(2)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${sentence}\n`, error);
  }
  clearTimeout(timer);
}
process.exit(failed ? 1 : 0);
