// What the browser tests have in common: a salon that they start and stop, Chromium, and checks that are counted.

import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const SOON_MS = 8_000;
const CHECK_MS = 60_000;
const OUT = fileURLToPath(new URL("out/", import.meta.url));
const FLAGS = [
  "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

// The server

const running = new Set();
process.once("exit", () => running.forEach(({ child }) => child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

export class Server {
  /** A salon, when it has printed where it listens, and whatever else `says` looks for in what it prints. */
  static async start(binary, { port = 0, args = [], says = /listening on/ } = {}) {
    const child = spawn(binary, ["--port", String(port), ...args], { stdio: ["ignore", "pipe", "inherit"] });
    const server = new Server();
    server.child = child;
    running.add(server);
    server.ended = new Promise((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));
    await new Promise((resolve, reject) => {
      let printed = "";
      child.stdout.on("data", (chunk) => {
        printed += chunk;
        const found = /listening on 127\.0\.0\.1:(\d+)/.exec(printed);
        server.said = says.exec(printed);
        if (!found || !server.said) return;
        server.port = Number(found[1]);
        resolve();
      });
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`the server ended with ${code} before it listened`)));
      setTimeout(() => reject(new Error(`the server did not say where it listens: ${printed}`)), SOON_MS).unref();
    });
    return server;
  }

  async stop() {
    this.child.kill("SIGTERM");
    const ended = await Promise.race([this.ended, sleep(SOON_MS, null, { ref: false })]);
    if (ended === null) this.child.kill("SIGKILL");
    running.delete(this);
    return ended;
  }
}

/** Asks until the answer satisfies; a test that waits for a moment does not sleep for it. */
export async function until(what, ask, satisfies, withinMs = SOON_MS) {
  const end = performance.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (satisfies(answer)) return answer;
    if (performance.now() > end) throw new Error(`${what}: still ${JSON.stringify(answer)} after ${withinMs} ms`);
    await sleep(50);
  }
}

// The checks

let passed = 0;
let failed = 0;

export async function check(name, body) {
  try {
    await Promise.race([body(), sleep(CHECK_MS, null, { ref: false }).then(() => Promise.reject(new Error(`not done after ${CHECK_MS} ms`)))]);
    passed += 1;
    console.log(`ok ${passed + failed} - ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`not ok ${passed + failed} - ${name}\n  ${String(error.stack ?? error).split("\n").slice(0, 12).join("\n  ")}`);
  }
}

/** Runs all of a test, then says how it went and ends the process. */
export async function runAll(run, finish) {
  try {
    await run();
  } catch (error) {
    failed += 1;
    console.log(`not ok - the run itself\n  ${error.stack}`);
  } finally {
    await finish();
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}

// The browser

export function launch() {
  mkdirSync(OUT, { recursive: true });
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
}

/** A page in a window of its own, whose errors and warnings are told to `note`. */
export async function openTab(browser, url, note, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(SOON_MS);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && note(message.text()));
  page.on("pageerror", (error) => note(String(error)));
  await page.goto(url);
  await page.locator("body[data-link=open]").waitFor();
  return page;
}

/** The person at a page that has come into a room of the salon, seen and acted through what the page shows. */
export async function enterRoom(page, room, name) {
  await page.locator("[data-kind=here]").first().waitFor();
  if (name) {
    await page.getByLabel("Your name").fill(name);
    await page.getByRole("button", { name: "Set" }).click();
    await page.locator("[data-kind=renamed]", { hasText: `You are now ${name}` }).waitFor().catch(() => {
      throw new Error(`${name} came into ${room} and does not hear the room: not a member any more?`);
    });
  }
  return {
    page,
    async say(text) {
      await page.getByLabel("Message", { exact: true }).fill(text);
      await page.keyboard.press("Enter");
    },
    hears: (text, selector = ".said") => page.locator(selector).filter({ hasText: text }).first().waitFor(),
    heard: () => page.locator(".said .text").allTextContents(),
    users: () => page.locator("#users").getAttribute("data-users").then(Number),
    sees: (users) => page.locator(`#users[data-users="${users}"]`).waitFor(),
  };
}

/** Waits for what moves to arrive; what turns for ever is not waited for. */
export const stillness = (page) => page.evaluate(() => Promise.allSettled(
  document.getAnimations().filter((moving) => moving.effect.getComputedTiming().endTime < Infinity).map((moving) => moving.finished),
));

/** A busy machine may take its time for one. */
export const picture = (page, name, options = {}) => page.screenshot({ path: `${OUT}${name}.png`, timeout: 4 * SOON_MS, ...options });
