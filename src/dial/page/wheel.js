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
  /** The wheel that was drawn last, and its timers by what does not change about them. */
  #before = null;
  #known = new Map();

  constructor(model) {
    this.#model = model;
    const arrow = svg(
      "marker",
      { id: "arrowhead", viewBox: "0 0 8 8", refX: 6, refY: 4, markerWidth: 5, markerHeight: 5, orient: "auto" },
      svg("path", { d: "M0 0 8 4 0 8z", class: "ring-hand" }),
    );
    this.#root.append(svg("defs", {}, arrow), this.#rings, this.#soonest, this.#timers, this.#moves);
    $("wheel-drawing").append(this.#root);
    for (const [key, name] of [
      ["set", "set"],
      ["fired", "fired"],
      ["cancelled", "cancelled"],
      ["cascaded", "cascaded"],
    ]) {
      this.#counts[key] = el("dd");
      $("wheel-counts").append(el("div", {}, el("dt", {}, name), this.#counts[key]));
    }
    this.#table = new DataTable(
      $("wheel"),
      "Timers, the next first",
      ["#Due in", "What", "For", "Ring and slot", "Created at"],
      () => model.isPaused,
    );
  }

  #drawRings(levels) {
    this.#rings.replaceChildren();
    this.#hands = levels.map(({ level, slots }) => {
      const r = radius(level);
      const hand = svg("path", { class: "ring-hand", d: `M0-${r - 6}l-4.5 9h9z` });
      this.#rings.append(
        svg("circle", { class: "ring-line", r: r + 8 }),
        svg("circle", {
          class: "ring-slots",
          r,
          pathLength: slots,
          "stroke-dasharray": "0.16 0.84",
          "stroke-dashoffset": "0.08",
          transform: "rotate(-90)",
        }),
        hand,
        svg("text", { class: "ring-name", y: r + 3, "text-anchor": "middle" }, String(level + 1)),
      );
      return hand;
    });
    const { tick_ns: tick } = this.#model.wheel;
    fill(
      $("wheel-rings"),
      levels,
      () => el("tr", {}, ...Array.from({ length: 4 }, () => el("td"))),
      ({ children }, { level, slots, ticks_per_slot: ticks }) => {
        [level + 1, span(ticks * tick), span(ticks * tick * slots), ""].forEach((text, i) => say(children[i], String(text)));
      },
    );
  }

  show() {
    const { wheel, nowNs } = this.#model;
    if (!wheel) return;
    if (this.#hands.length !== wheel.levels.length) this.#drawRings(wheel.levels);
    wheel.levels.forEach(({ hand, slots }, i) => set(this.#hands[i], { transform: `rotate(${((hand / slots) * 360).toFixed(1)})` }));

    wheel.levels.forEach(({ timers, more }, i) => say($("wheel-rings").children[i].lastChild, count(timers.length + more)));

    const timers = all(wheel);
    const first = timers[0];
    fill(
      this.#timers,
      bySlot(wheel),
      () => svg("g", {}, svg("circle"), svg("text", { class: "many", "text-anchor": "middle" })),
      (node, { level, slot, slots, number }) => {
        const [x, y] = polar(radius(level), slot / slots);
        const isFirst = first && first.level === level && first.slot === slot;
        set(node.firstChild, {
          cx: x.toFixed(1),
          cy: y.toFixed(1),
          r: isFirst ? 6.5 : Math.min(7, 3.2 + number * 0.8),
          class: isFirst ? "timer soonest" : "timer",
        });
        set(node.lastChild, { x: x.toFixed(1), y: (y + 2.8).toFixed(1) });
        say(node.lastChild, number > 1 ? String(number) : "");
      },
    );
    set(this.#soonest, { d: first ? line(first) : "" });
    if (wheel !== this.#before) this.#compare(wheel, timers);

    const more = wheel.levels.reduce((sum, { more: hidden }) => sum + hidden, 0);
    const sleeps = this.#tie(wheel, first);
    for (const [key, node] of Object.entries(this.#counts)) say(node, count(wheel[key]));
    set(this.#root, {
      "aria-label": `Timer wheel: ${plural(wheel.set, "timer")} set${more ? `, ${count(more)} of them not drawn` : ""}. ${sleeps}`,
    });
    this.#table.show(() =>
      timers
        .slice(0, 200)
        .map((timer) => [
          span(timer.due_ns - nowNs),
          timer.what,
          timer.token,
          `${timer.level + 1}, slot ${timer.slot}`,
          timer.origin ? place(timer.origin) : "",
        ]),
    );
  }

  /** What has changed since the last look: which timers fell into a finer ring, and which were cancelled or have fired. */
  #compare(wheel, timers) {
    const isWhole = wheel.levels.every(({ more }) => more === 0);
    const known = new Map(timers.map((timer) => [[timer.due_ns, timer.what, timer.token, timer.origin].join(), timer]));
    // A deadline that was only moved is not one that was cancelled.
    const owners = new Set(timers.filter(({ token }) => token).map(({ token, what }) => `${token} ${what}`));
    // Those of one slot go one way.
    const marks = new Map();
    for (const [key, was] of this.#known) {
      const is = known.get(key);
      if (is && is.level < was.level) marks.set(`${at(was)} ${at(is)}`, cascade(was, is));
      if (!is && isWhole && !owners.has(`${was.token} ${was.what}`)) marks.set(at(was), gone(was, was.due_ns > this.#model.nowNs));
    }
    // A calm wheel leaves its last marks to fade.
    if (marks.size > 0) this.#moves.replaceChildren(...marks.values());
    this.#before = wheel;
    this.#known = isWhole ? known : new Map();
  }

  /** The wheel's first deadline is the longest that poll may sleep: the one sentence that joins both panes. */
  #tie({ next_ns: next, tick_ns: tick }, first) {
    const inTime = (ns) => span(Math.max(0, ns - this.#model.nowNs));
    let text = "No deadline: poll may sleep until the outside brings something.";
    if (next !== null && next <= this.#model.nowNs) text = "The next deadline has come: poll may not sleep.";
    else if (next !== null && first && next < first.due_ns - tick)
      text = `The hand has to come to a slot of a coarse ring in ${inTime(next)}, and file it anew: so long poll may sleep. The first timer is due in ${inTime(first.due_ns)}.`;
    else if (next !== null) text = `Next deadline in ${inTime(next)}: so long poll may sleep, and no longer.`;
    say($("wheel-next"), text);
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
  return `M0 0L${at({ level, slot }, -8)}`;
}

const at = ({ level, slot }, away = 0) =>
  polar(radius(level) + away, slot / 64)
    .map((n) => n.toFixed(1))
    .join(" ");

/** A timer that has left its slot for one in a finer ring, further out. */
function cascade(was, is) {
  return svg("path", { class: "cascade", d: `M${at(was, 5)}L${at(is, -6)}` });
}

/** A timer that is there no more: a cross if it was cancelled, a ring that opens if it has fired. */
function gone(was, isCancelled) {
  const shape = isCancelled ? svg("path", { d: "M-5-5 5 5M5-5-5 5" }) : svg("circle", { r: 8 });
  const mark = svg("g", { class: `gone ${isCancelled ? "cancelled" : "fired"}`, transform: `translate(${at(was)})` });
  mark.append(shape);
  return mark;
}
