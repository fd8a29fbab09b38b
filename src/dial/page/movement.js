// The turning movement: a ring with the steps of a turn, and a hand that replays a real one, slowly enough to be seen.

import { $, DataTable, arc, plural, polar, say, sector, set, span, state, svg } from "./draw.js";
import { Model } from "./model.js";

const INNER = 126;
const OUTER = 168;
const BEZEL = 178;
const LABELS = 194;
const SHARE = 112;
/** A step that takes no time is still a step: so much of the ring is its own. */
const LEAST = 0.062;
const GAP = 0.003;
const LAP_MS = 2_600;
/** Smooth enough for a hand, and half of the work. */
const FRAME_MS = 30;
/** Until one was recorded: all steps, and none of them has taken any time. */
const EMPTY = { took_ns: 0, asleep_ns: 0, phases: [] };

export class Movement {
  #model;
  #stepChanged;
  #root = svg("svg", { viewBox: "-272 -232 544 464", role: "img" });
  #ring = svg("g");
  #sectors = [];
  #shareArc = svg("path", { class: "share-awake" });
  #hand = svg("g", {}, svg("path", { class: "hand", d: "M-4 22-2.4-104 0-152 2.4-104 4 22Z" }));
  #cage = svg("g", { class: "cage" });
  #number = svg("text", { class: "turn-number", y: 82, "text-anchor": "middle" });
  #word = svg("text", { class: "state", y: -70, "text-anchor": "middle" });
  #table;
  #still = matchMedia("(prefers-reduced-motion: reduce)");
  /** The turn that is shown, its steps' ends in parts of a lap, and where the hand is. */
  #shown = null;
  #edges = [];
  #at = 0;
  #laps = 0;
  #before = 0;
  #running = false;
  /** The lap that goes on is the only one. */
  #isStepped = false;
  #step = -1;
  /** How long the shown turn was in its first step and awake. */
  #parked = 0;
  #shownAt = 0;

  /** @param {(phase: number) => void} stepChanged the hand has come into another step */
  constructor(model, stepChanged) {
    this.#model = model;
    this.#stepChanged = stepChanged;
    const bezel = svg("circle", { class: "bezel", r: BEZEL, pathLength: 240, "stroke-dasharray": "0.7 1.3" });
    this.#drawCage();
    const pivot = svg("circle", { class: "pivot", r: 6 });
    this.#root.append(
      bezel,
      this.#ring,
      svg("circle", { class: "share-track", r: SHARE }),
      this.#shareArc,
      this.#cage,
      this.#hand,
      pivot,
      this.#word,
      this.#number,
    );
    $("movement-drawing").append(this.#root);
    this.#table = new DataTable($("movement"), "The steps of the turn shown", ["Step", "What it does", "#Took"], () => model.isPaused);
    this.#still.addEventListener("change", () => this.show());
  }

  /** In the middle, as in the watch: three arms that carry the jewels, and the balance that beats. */
  #drawCage() {
    const arm = (degrees) => svg("path", { d: "M0 0C-6-15-6-30 0-45", "stroke-width": 3, transform: `rotate(${degrees})` });
    const jewel = (degrees) => svg("circle", { class: "jewel", cy: -45, r: 4, "stroke-width": 1.6, transform: `rotate(${degrees})` });
    const spring =
      "M3 0A3.5 3.5 0 0 1-4 0A4.75 4.75 0 0 1 5.5 0A6.25 6.25 0 0 1-7 0A7.75 7.75 0 0 1 8.5 0A9.25 9.25 0 0 1-10 0A10.75 10.75 0 0 1 11.5 0A12.25 12.25 0 0 1-13 0";
    this.#cage.append(
      svg("circle", { r: 45, "stroke-width": 2.4 }),
      ...[0, 120, 240].flatMap((degrees) => [arm(degrees), jewel(degrees)]),
      svg(
        "g",
        { class: "balance" },
        svg("circle", { r: 25, "stroke-width": 3 }),
        svg("path", { d: "M-25 0H25", "stroke-width": 2.2 }),
        svg("path", { d: spring, "stroke-width": 1.1, transform: "scale(1.2)" }),
      ),
    );
  }

  #drawSectors() {
    this.#ring.replaceChildren();
    this.#sectors = this.#model.phases.map(({ name }, i) => {
      const parts = {
        arc: svg("path", { class: `arc phase-${i % 7}${i === 0 ? " first" : ""}` }),
        mesh: svg("path", { class: `mesh weave${i === 0 ? " first" : ""}` }),
        numeral: svg("text", { class: `numeral${i === 0 ? " first" : ""}`, "text-anchor": "middle" }, this.#model.stepNumber(i)),
        label: svg("text", { class: "label" }, name),
        took: svg("text", { class: "took" }),
      };
      this.#ring.append(...Object.values(parts));
      return parts;
    });
    this.#shown = null;
  }

  show() {
    const { phases, phase, isPaused, state: word } = this.#model;
    if (phases.length === 0) return;
    if (this.#sectors.length !== phases.length) this.#drawSectors();
    say(this.#word, word === "unknown" ? "no connection" : state(word).toLowerCase());
    this.#root.classList.toggle("asleep", word === "asleep");
    const awake = this.#model.awakeShare();
    set(this.#shareArc, { d: arc(SHARE, 0, Math.max(0.002, awake)) });

    const isTurning = word === "running" && !this.#still.matches;
    const before = this.#shown?.n;
    if (!this.#shown || !isTurning) {
      const isDue = !this.#shown || word !== "running" || performance.now() - this.#shownAt > 1000;
      if (isDue) this.#take(this.#turnToShow());
    }
    // A turn that was stepped is one lap.
    if (isPaused && phase === null && before < this.#shown.n && !this.#still.matches) [this.#isStepped, this.#at] = [true, 0];
    if ((isTurning || this.#isStepped) && !this.#running) {
      this.#running = true;
      this.#before = performance.now();
      requestAnimationFrame((now) => this.#sweep(now));
    }
    if (!this.#running) this.#rest();
    const [park] = this.#sectors;
    park.took.classList.toggle("sleeps", word === "asleep");
    say(park.took, word === "asleep" ? "z z z" : took(this.#parked));
    this.#describe(awake);
  }

  /** Of the turns of the last moment the one with the most in it: a newcomer has nothing from an empty one. */
  #turnToShow() {
    const { turns, turn, openTurn, isPaused } = this.#model;
    if (openTurn) return openTurn;
    if (turns.length === 0) return { ...EMPTY, n: turn };
    if (isPaused) return turns.at(-1);
    return turns.slice(-40).reduce((best, turn) => (turn.took_ns - turn.asleep_ns >= best.took_ns - best.asleep_ns ? turn : best));
  }

  #take(turn) {
    this.#shown = turn;
    this.#shownAt = performance.now();
    const number = this.#sectors.length;
    const times = Model.phaseTimes(turn, number);
    const whole = times.reduce((a, b) => a + b, 0);
    let at = 0;
    this.#edges = times.map((time) => (at += whole > 0 ? LEAST + (1 - LEAST * number) * (time / whole) : 1 / number));
    this.#sectors.forEach((parts, i) => this.#place(parts, i, i === 0 ? 0 : this.#edges[i - 1], this.#edges[i], times[i]));
    say(this.#number, turn.n.toLocaleString("en"));
    this.#table.show(() => this.#model.phases.map(({ name, title }, i) => [`${this.#model.stepNumber(i)} ${name}`, title, took(times[i])]));
  }

  #place(parts, i, from, to, time) {
    const middle = (from + to) / 2;
    set(parts.arc, { d: sector(INNER, OUTER, from + GAP / 2, to - GAP / 2) });
    set(parts.mesh, { d: mesh(i, from + GAP, to - GAP) });
    const [x, y] = polar((INNER + OUTER) / 2, middle);
    set(parts.numeral, { x, y: y + 5 });
    const [lx, ly] = polar(LABELS, middle);
    const side = Math.abs(lx) < 26 ? "middle" : lx > 0 ? "start" : "end";
    // Two lines grow away from the ring.
    const top = ly - 1 + Math.min(0, (ly / LABELS) * 14) + (side === "middle" && ly > 0 ? 8 : 0);
    set(parts.label, { x: lx, y: top + 1, "text-anchor": side });
    set(parts.took, { x: lx, y: top + 17, "text-anchor": side });
    if (i === 0) this.#parked = time;
    else say(parts.took, took(time));
  }

  #sweep(now) {
    const { state: word, phase, isPaused } = this.#model;
    const isStepped = this.#isStepped && isPaused && phase === null && this.#at < 1;
    if ((word !== "running" && !isStepped) || this.#still.matches) {
      this.#running = this.#isStepped = false;
      this.#rest();
      return;
    }
    requestAnimationFrame((next) => this.#sweep(next));
    if (now - this.#before < FRAME_MS) return;
    this.#at += Math.min(100, now - this.#before) / LAP_MS;
    this.#before = now;
    if (this.#at >= 1 && !isStepped) {
      this.#at %= 1;
      this.#laps += 1;
      this.#take(this.#turnToShow());
      this.#describe(this.#model.awakeShare());
    }
    this.#point(Math.min(this.#at, 1));
  }

  /** Without a turn to replay the hand stands where the loop does: in its sleep, or where it was stopped. */
  #rest() {
    const { phase, isPaused } = this.#model;
    // Between two turns it stands at the top.
    if (isPaused && phase === null) return this.#point(0, true);
    const step = isPaused ? phase : this.#model.state === "asleep" ? 0 : this.#longest();
    this.#point(((step === 0 ? 0 : this.#edges[step - 1]) + this.#edges[step]) / 2);
  }

  #longest() {
    const times = Model.phaseTimes(this.#shown, this.#sectors.length);
    return times.indexOf(Math.max(...times));
  }

  #point(at, isBetween = false) {
    this.#at = at;
    set(this.#hand, { transform: `rotate(${(at * 360).toFixed(2)})` });
    set(this.#cage, { transform: `rotate(${((at + this.#laps) * 360).toFixed(2)})` });
    const step = isBetween ? -1 : this.#edges.findIndex((edge) => at < edge);
    if (step === this.#step) return;
    this.#step = step;
    this.#sectors.forEach(({ arc: shape }, i) => shape.classList.toggle("now", i === step));
    this.#stepChanged(step);
  }

  #describe(awake) {
    const turn = this.#shown;
    const { state: word, phases, phase } = this.#model;
    const worked = turn.took_ns - turn.asleep_ns;
    const percent = awake > 0 && awake < 0.01 ? "under 1 %" : `${Math.round(awake * 100)} %`;
    const inner = `The thin ring: awake ${percent} of the last second.`;
    const text = {
      running: this.#still.matches
        ? `Turn ${turn.n.toLocaleString("en")} worked for ${span(worked)}. ${inner}`
        : `The hand replays turn ${turn.n.toLocaleString("en")}: ${span(worked)} of work, about ${slower(worked)} times slower. ${inner}`,
      asleep: `Asleep in poll: nothing to do until something happens. ${worked > 0 ? `Turn ${turn.n.toLocaleString("en")}, shown here, worked for ${span(worked)}. ` : ""}${inner}`,
      paused:
        phase === null
          ? `Paused between two turns. Turn ${turn.n.toLocaleString("en")} worked for ${span(worked)}.`
          : `Paused inside turn ${this.#model.turn.toLocaleString("en")}, in step ${this.#model.stepNumber(phase)}, ${phases[phase].name}.`,
      unknown: "No connection to the loop.",
    }[word];
    say($("movement-note"), text);
    set(this.#root, { "aria-label": `Ring of ${plural(phases.length, "step")}. ${text}` });
  }
}

/** A step that had nothing to do is not recorded. */
const took = (ns) => (ns > 0 ? span(ns) : "–");

/** Rounded so that it can be taken in. */
function slower(workedNs) {
  const factor = (LAP_MS * 1e6) / Math.max(1, workedNs);
  const power = 10 ** Math.max(0, Math.floor(Math.log10(factor)));
  return (factor < 10 ? factor.toFixed(1) : Math.round(factor / power) * power).toLocaleString("en");
}

/** Each step has lines of its own across its arc, so that it can be told without its colour. */
function mesh(i, from, to) {
  let path = "";
  const spoke = (at, lean) => {
    const [x1, y1] = polar(INNER + 2, at);
    const [x2, y2] = polar(OUTER - 2, at + lean);
    path += `M${x1.toFixed(1)} ${y1.toFixed(1)}L${x2.toFixed(1)} ${y2.toFixed(1)}`;
  };
  const every = 0.011;
  const lean = 0.02;
  switch (i % 7) {
    case 0:
      for (let at = from; at + lean < to; at += every) spoke(at, lean);
      break;
    case 2:
      for (let at = from + lean; at < to; at += every) spoke(at, -lean);
      break;
    case 3:
      for (let at = from + every / 2; at < to; at += every) spoke(at, 0);
      break;
    case 4:
      for (const radius of [INNER + 10, INNER + 21, INNER + 32]) path += arc(radius, from, to);
      break;
    case 5:
      path += arc(INNER + 14, from, to) + arc(INNER + 28, from, to);
      break;
    case 6:
      for (let at = from; at + lean < to; at += every) (spoke(at, lean), spoke(at + lean, -lean));
      break;
    default:
  }
  return path;
}
