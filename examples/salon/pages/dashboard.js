// The dashboard page: subscribes, shows each second's figures, draws them, lists alerts.

import { Gauge, LineChart } from "/chart.js";
import { Link, header, socketUrl } from "/link.js";

const $ = (id) => document.getElementById(id);
const ALERTS_MAX = 50;
const POINTS_MAX = 300;
const MIB = 1024 * 1024;
const LEVELS = ["info", "warning", "critical"];

const percent = (value) => `${value.toFixed(1)} %`;
const mebibytes = (value) => `${value.toFixed(1)} MiB`;
const milliseconds = (value) => `${value.toFixed(2)} ms`;
const plot = { pointsMax: POINTS_MAX, spanMsMin: 30_000, gapMs: 3500 };
const load = new LineChart($("load"), {
  ...plot,
  series: [
    { key: "cpu", name: "CPU", unit: "% of a core (left)", ceilingMin: 1, format: percent },
    { key: "memory", name: "Memory", unit: "MiB (right)", ceilingMin: 1, format: mebibytes },
  ],
});
const lag = new LineChart($("lag-chart"), {
  ...plot,
  series: [{ key: "lag", name: "Longest wait of a due callback", unit: "ms", ceilingMin: 1, format: milliseconds }],
});
const gauge = new Gauge($("gauge"));

let before = null;

const bar = header(() => link.retryNow());
const link = new Link(() => socketUrl("/realtime"), {
  roundTrip: bar.roundTrip,
  state(state, detail) {
    bar.state(state, detail);
    if (state === "open") link.send({ type: "subscribe" });
    if (state === "waiting") clear();
  },
  message(message) {
    if (message?.type === "metrics") show(message);
    if (message?.type === "alert") ring(message);
  },
});

function show(metrics) {
  const { timestamp, cpu_percent, memory_bytes, loop_lag_ms, connections, rooms, chatters } = metrics;
  figure("cpu", cpu_percent, 1);
  figure("memory", memory_bytes === null ? null : memory_bytes / MIB, 1);
  figure("lag", loop_lag_ms, 2);
  figure("turns", aSecond(metrics, "turns"), 0);
  figure("requests", aSecond(metrics, "requests"), 1);
  figure("chatters", chatters, 0);
  $("rooms").textContent = `in ${rooms} ${rooms === 1 ? "room" : "rooms"}`;
  gauge.show(connections);
  load.push({ timestamp, cpu: cpu_percent, memory: memory_bytes === null ? null : memory_bytes / MIB });
  lag.push({ timestamp, lag: loop_lag_ms });
  before = metrics;
}

function figure(id, value, digits) {
  $(id).textContent = value?.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }) ?? "–";
}

/** A counter's growth since the last message. A restarted server counts from nought again. */
function aSecond(metrics, key) {
  if (before === null || metrics.timestamp <= before.timestamp || metrics[key] < before[key]) return null;
  return ((metrics[key] - before[key]) * 1000) / (metrics.timestamp - before.timestamp);
}

function clear() {
  before = null;
  for (const id of ["cpu", "memory", "lag", "turns", "requests", "chatters"]) figure(id, null, 0);
  $("rooms").textContent = "";
  gauge.show(null);
}

function ring({ level, message, timestamp }) {
  const shown = LEVELS.includes(level) ? level : "info";
  const item = document.createElement("li");
  item.className = shown;
  item.dataset.level = shown;
  const word = document.createElement("b");
  word.textContent = shown;
  const text = document.createElement("span");
  text.textContent = message;
  const time = document.createElement("time");
  const date = new Date(timestamp);
  time.dateTime = date.toISOString();
  time.textContent = date.toLocaleTimeString();
  item.append(icon(shown), word, text, time);
  $("alerts").prepend(item);
  while ($("alerts").children.length > ALERTS_MAX) $("alerts").lastElementChild.remove();
  $("no-alerts").hidden = true;
}

function icon(level) {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#level-${level}`);
  picture.setAttribute("aria-hidden", "true");
  picture.append(use);
  return picture;
}
