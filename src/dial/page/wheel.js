// The timer wheel as six nested dials. Where a timer lies follows from its deadline alone; see parts/wheel.rs.

import { $, DataTable, count, el, fill, place, plural, polar, say, set, span, svg } from "./draw.js";

const OUTERMOST = 176;
const BETWEEN = 25;

export class Wheel {
  #model;
  #root = svg("svg", { viewBox: "-190 -190 380 380", role: "img" });
  #rings = svg("g");
  #hands = [];
  #timers = svg("g");
  #moves = svg("g");
  #soonest = svg("path", { class: "soonest-line" });
  #table;
  #counts = {};
  #movesShown = null;

  constructor(model) {
    this.#model = model;
    const arrow = svg("marker", { id: "arrowhead", viewBox: "0 0 8 8", refX: 6, refY: 4, markerWidth: 5, markerHeight: 5, orient: "auto" }, svg("path", { d: "M0 0 8 4 0 8z", class: "ring-hand" }));
    this.#root.append(svg("defs", {}, arrow), this.#rings, this.#soonest, this.#timers, this.#moves);
    $("wheel-drawing").append(this.#root);
    for (const [key, name] of [["set", "set"], ["fired", "fired"], ["cancelled", "cancelled"], ["cascaded", "cascaded"]]) {
      this.#counts[key] = el("dd");
      $("wheel-counts").append(el("div", {}, el("dt", {}, name), this.#counts[key]));
    }
    this.#table = new DataTable($("wheel"), "Timers, the next first", ["#Due in", "What", "For", "Ring and slot", "Created at"], () => model.isPaused);
  }

  #drawRings(levels) {
    this.#rings.replaceChildren();
    this.#hands = levels.map(({ level, slots }) => {
      const r = radius(level);
      const hand = svg("path", { class: "ring-hand", d: `M0-${r - 6}l-4.5 9h9z` });
      this.#rings.append(
        svg("circle", { class: "ring-line", r: r + 8 }),
        svg("circle", { class: "ring-slots", r, pathLength: slots, "stroke-dasharray": "0.16 0.84", "stroke-dashoffset": "0.08", transform: "rotate(-90)" }),
        hand,
        svg("text", { class: "ring-name", y: r + 3, "text-anchor": "middle" }, String(level + 1)),
      );
      return hand;
    });
    const { tick_ns: tick } = this.#model.wheel;
    fill($("wheel-rings"), levels, () => el("tr", {}, ...Array.from({ length: 4 }, () => el("td"))), ({ children }, { level, slots, ticks_per_slot: ticks }) => {
      [level + 1, span(ticks * tick), span(ticks * tick * slots), ""].forEach((text, i) => say(children[i], String(text)));
    });
  }

  show() {
    const { wheel, nowNs } = this.#model;
    if (!wheel) return;
    if (this.#hands.length !== wheel.levels.length) this.#drawRings(wheel.levels);
    wheel.levels.forEach(({ hand, slots }, i) => set(this.#hands[i], { transform: `rotate(${((hand / slots) * 360).toFixed(1)})` }));

    wheel.levels.forEach(({ timers, more }, i) => say($("wheel-rings").children[i].lastChild, count(timers.length + more)));

    const timers = all(wheel);
    const first = timers[0];
    fill(this.#timers, bySlot(wheel), () => svg("g", {}, svg("circle"), svg("text", { class: "many", "text-anchor": "middle" })), (node, { level, slot, slots, number }) => {
      const [x, y] = polar(radius(level), slot / slots);
      const isFirst = first && first.level === level && first.slot === slot;
      set(node.firstChild, { cx: x.toFixed(1), cy: y.toFixed(1), r: isFirst ? 6.5 : Math.min(7, 3.2 + number * 0.8), class: isFirst ? "timer soonest" : "timer" });
      set(node.lastChild, { x: x.toFixed(1), y: (y + 2.8).toFixed(1) });
      say(node.lastChild, number > 1 ? String(number) : "");
    });
    set(this.#soonest, { d: first ? line(first) : "" });
    if (wheel.moves !== this.#movesShown) {
      this.#movesShown = wheel.moves;
      this.#moves.replaceChildren(...(wheel.moves ?? []).filter(({ level }) => level > 0).map((move) => cascade(move, wheel)));
    }

    const more = wheel.levels.reduce((sum, { more: hidden }) => sum + hidden, 0);
    const sleeps = this.#tie(wheel, nowNs);
    for (const [key, node] of Object.entries(this.#counts)) say(node, count(wheel[key]));
    set(this.#root, { "aria-label": `Timer wheel: ${plural(wheel.set, "timer")} set${more ? `, ${count(more)} of them not drawn` : ""}. ${sleeps}` });
    this.#table.show(() => timers.slice(0, 200).map((timer) => [span(timer.due_ns - nowNs), timer.what, timer.token, `${timer.level + 1}, slot ${timer.slot}`, timer.origin ? place(timer.origin) : ""]));
  }

  /** The wheel's first deadline is the longest that poll may sleep: the one sentence that joins both panes. */
  #tie(wheel, nowNs) {
    const note = $("wheel-next");
    const text =
      wheel.next_ns === null
        ? "No deadline: poll may sleep until the outside brings something."
        : `Next deadline in ${span(Math.max(0, wheel.next_ns - nowNs))}: so long poll may sleep, and no longer.`;
    say(note, text);
    return text;
  }
}

const radius = (level) => OUTERMOST - level * BETWEEN;

/** All timers that were told, the next first, each with its ring. */
export function all(wheel) {
  return wheel.levels.flatMap(({ level, timers }) => timers.map((timer) => ({ ...timer, level }))).sort((a, b) => a.due_ns - b.due_ns);
}

function bySlot(wheel) {
  return wheel.levels.flatMap(({ level, slots, timers }) => {
    const numbers = new Map();
    for (const { slot } of timers) numbers.set(slot, (numbers.get(slot) ?? 0) + 1);
    return [...numbers].map(([slot, number]) => ({ level, slot, slots, number }));
  });
}

/** From the middle to the slot of the next deadline. */
function line({ level, slot }) {
  const [x, y] = polar(radius(level) - 8, slot / 64);
  return `M0 0L${x.toFixed(1)} ${y.toFixed(1)}`;
}

/** Timers that have left a slot for the next finer ring, which is the next one out. */
function cascade({ level, slot, count: number }, wheel) {
  const [x1, y1] = polar(radius(level) + 5, slot / 64);
  const [x2, y2] = polar(radius(level - 1) - 6, wheel.levels[level - 1].hand / 64);
  return svg("path", { class: "cascade", d: `M${x1.toFixed(1)} ${y1.toFixed(1)}L${x2.toFixed(1)} ${y2.toFixed(1)}` }, svg("title", {}, `${plural(number, "timer")} filed again, one ring out`));
}
