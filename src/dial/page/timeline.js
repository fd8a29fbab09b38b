// The timeline: above, a bar for each turn; below, a stretch of time with its turns, their steps and each piece of work.

import { $, DataTable, Sheet, announce, bytes, count, el, place, plural, say, set, span, title, weave } from "./draw.js";

/** Bars are read on a scale where each line is ten times the one below: turns take from microseconds to seconds. */
const LEAST_NS = 1e3;
const DECADES = 6;
const BAR = 6;
/** Worth a mark: nobody who waits for an answer should wait for that. */
const SLOW_NS = 10e6;
/** A poll that returns at once takes a little time, too. */
const NO_SLEEP_NS = 50e3;
const CHOOSE_EVERY_MS = 1_500;
/** What was slow stays long enough to be read. */
const CHOOSE_AFTER_SLOW_MS = 8_000;
const SPAN_LEAST_NS = 500;
const ROWS = { axis: 14, turn: 24, phases: 44, blocks: 76, inner: 126 };
const VICTIMS_MAX = 8;

export class Timeline {
  #model;
  #palette;
  #source;
  #bars;
  #blocks;
  #table;
  #follows = true;
  #chooseFrom = 0;
  /** The turn that is open, kept also when the model has forgotten it; and the stretch that is seen. */
  #open = null;
  #view = { from: 0, to: 1e6 };
  #block = null;
  /** A finding whose turn has not been told yet. */
  #wanted = null;
  /** What can be hit, as drawn: for the pointer and for the keys. */
  #targets = [];
  #barTurns = [];
  #barsLeft = 0;
  #mark = -1;

  /** @param {(origin: string) => boolean} source show that line */
  constructor(model, palette, source) {
    this.#model = model;
    this.#palette = palette;
    this.#source = source;
    this.#bars = new Sheet($("timeline-bars"), () => this.#draw());
    this.#blocks = new Sheet($("timeline-blocks"), () => this.#draw());
    this.#table = new DataTable(
      $("timeline"),
      "The last turns",
      ["#Turn", "#Slept", "#Worked", "#Events", "#Blocks", "Longest block", "#It took"],
      () => model.isPaused,
    );
    $("timeline-follow").addEventListener("click", () => this.follow());
    $("timeline-in").addEventListener("click", () => this.#zoom(0.5));
    $("timeline-out").addEventListener("click", () => this.#zoom(2));
    $("timeline-back").addEventListener("click", () => this.#move(-1));
    $("timeline-on").addEventListener("click", () => this.#move(1));
    $("timeline-bars").addEventListener("click", ({ offsetX }) => this.#openBar(offsetX));
    $("timeline-bars").addEventListener("keydown", (event) =>
      this.#key(event, { ArrowLeft: () => this.#move(-1), ArrowRight: () => this.#move(1) }),
    );
    this.#listenToBlocks($("timeline-blocks"));
  }

  #listenToBlocks(canvas) {
    let held = null;
    let moved = false;
    canvas.addEventListener("pointerdown", (event) => {
      held = { x: event.offsetX, ...this.#view };
      moved = false;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!held) return canvas.classList.toggle("over", Boolean(this.#hit(event)));
      if (Math.abs(event.offsetX - held.x) > 3) moved = true;
      if (!moved) return;
      const shift = ((event.offsetX - held.x) / this.#blocks.width) * (held.to - held.from);
      this.#look(held.from - shift, held.to - shift);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (held && !moved) this.#choose(this.#hit(event));
      held = null;
    });
    canvas.addEventListener("pointercancel", () => (held = null));
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.metaKey && !event.deltaX) return;
        event.preventDefault();
        const { from, to } = this.#view;
        if (event.deltaX)
          return this.#look(
            from + (event.deltaX / this.#blocks.width) * (to - from),
            to + (event.deltaX / this.#blocks.width) * (to - from),
          );
        this.#zoom(2 ** (event.deltaY / 200), from + (event.offsetX / this.#blocks.width) * (to - from));
      },
      { passive: false },
    );
    const pan = (part) => this.#look(this.#view.from + part * this.#length, this.#view.to + part * this.#length);
    canvas.addEventListener("keydown", (event) =>
      this.#key(event, {
        ArrowLeft: () => (event.shiftKey ? pan(-0.2) : this.#markNext(-1)),
        ArrowRight: () => (event.shiftKey ? pan(0.2) : this.#markNext(1)),
        "+": () => this.#zoom(0.5),
        "=": () => this.#zoom(0.5),
        "-": () => this.#zoom(2),
        Enter: () => this.#choose(this.#targets[this.#mark]),
      }),
    );
  }

  #key(event, keys) {
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  get #turns() {
    const { turns } = this.#model;
    const isKnown = !this.#open || turns.some(({ n }) => n === this.#open.n);
    return isKnown ? turns : [this.#open, ...turns];
  }

  get #length() {
    return this.#view.to - this.#view.from;
  }

  show() {
    if (this.#wanted) this.select(this.#wanted);
    if (this.#follows) this.#chooseTurn();
    this.#draw();
    this.#table.show(() =>
      this.#model.turns
        .slice(-60)
        .reverse()
        .map((turn) => {
          const longest = longestOf(turn.blocks);
          return [
            turn.n,
            span(turn.asleep_ns),
            span(workOf(turn)),
            turn.events,
            turn.blocks.length + turn.cut,
            longest ? `${title(longest)} ${place(longest.origin)}` : "",
            span(longest?.took_ns),
          ];
        }),
    );
  }

  /** A paused loop's last turn; of one that runs, now and then the one of the last moment that worked longest. */
  #chooseTurn() {
    const { turns, openTurn, isPaused } = this.#model;
    const last = openTurn ?? turns.at(-1);
    if (!last) return;
    const now = performance.now();
    if (isPaused) return this.#fit(last);
    if (now < this.#chooseFrom) return;
    const open = turns.findIndex(({ n }) => n === this.#open?.n);
    if (open === turns.length - 1) return;
    const turn = longestTurn(turns.slice(Math.max(open + 1, turns.length - 200)));
    this.#chooseFrom = now + (workOf(turn) >= SLOW_NS ? CHOOSE_AFTER_SLOW_MS : CHOOSE_EVERY_MS);
    this.#fit(turn);
  }

  follow() {
    this.#setFollow(true);
    this.#block = null;
    this.#chooseFrom = 0;
    this.show();
  }

  #setFollow(follows) {
    this.#follows = follows;
    set($("timeline-follow"), { "aria-pressed": String(follows) });
  }

  #fit(turn) {
    this.#open = turn;
    const from = turn.from_ns + turn.asleep_ns;
    const to = turn.from_ns + turn.took_ns;
    const edge = Math.max(200, (to - from) * 0.015);
    this.#view = { from: from - edge, to: to + edge };
    this.#mark = -1;
    if (this.#block && this.#block.turn.n !== turn.n) this.#block = null;
  }

  #look(from, to) {
    this.#setFollow(false);
    this.#view = { from, to };
    this.#draw();
  }

  #zoom(factor, around = (this.#view.from + this.#view.to) / 2) {
    const length = Math.max(SPAN_LEAST_NS, this.#length * factor);
    const part = (around - this.#view.from) / this.#length;
    this.#look(around - part * length, around + (1 - part) * length);
  }

  #move(step) {
    const { turns } = this.#model;
    const at = turns.findIndex(({ n }) => n === this.#open?.n);
    const turn = turns[Math.min(turns.length - 1, Math.max(0, at + step))];
    if (turn) this.#openTurn(turn);
  }

  #openBar(x) {
    const turn = this.#barTurns[Math.floor((x - this.#barsLeft) / BAR)];
    if (turn) this.#openTurn(turn);
  }

  #openTurn(turn) {
    this.#setFollow(false);
    this.#fit(turn);
    this.#draw();
  }

  /** Another loop has other turns. */
  begin() {
    if (this.#model.turns.length === 0) this.#open = this.#block = null;
    this.follow();
  }

  /**
   * Opens the turn of a finding, and in it the block that it is about; when the turn is so new that it has not been told
   * yet, as soon as it is. @returns {boolean} whether it is still known
   */
  select(finding) {
    const found = this.#find(finding);
    this.#wanted = found ? null : finding;
    if (found) {
      this.#openTurn(found.turn);
      this.#choose(found);
    } else if (finding.turn + 1 < (this.#model.turns.at(-1)?.n ?? 0)) {
      this.#wanted = null;
      return false;
    }
    $("timeline").scrollIntoView({ block: "nearest" });
    return true;
  }

  #find({ turn: number, work, took_ns: took }) {
    const near = this.#model.turns.filter(({ n }) => Math.abs(n - number) <= 1);
    const places = near.flatMap((turn) => turn.blocks.filter(({ origin }) => origin === work?.origin).map((block) => ({ turn, block })));
    const off = ({ block }) => (took ? Math.abs(block.took_ns - took) : -block.took_ns);
    return places.reduce((best, place) => (!best || off(place) < off(best) ? place : best), null);
  }

  #choose(target) {
    if (!target) return;
    this.#setFollow(false);
    this.#block = target;
    this.#draw();
    announce($("blame").firstElementChild.textContent);
  }

  #hit({ offsetX: x, offsetY: y }) {
    return this.#targets.findLast(
      (target) => x >= target.x - 2 && x <= target.x + target.width + 2 && y >= target.y && y <= target.y + target.height,
    );
  }

  #markNext(step) {
    if (this.#targets.length === 0) return;
    this.#setFollow(false);
    this.#block = null;
    this.#mark = Math.min(this.#targets.length - 1, Math.max(0, this.#mark + step));
    this.#draw();
    announce($("blame").firstElementChild.textContent);
  }

  // ---- drawing

  #draw() {
    if (this.#bars.width > 0) this.#drawBars();
    if (this.#blocks.width > 0) this.#drawBlocks();
    this.#blame();
  }

  #drawBars() {
    const { width, height } = this.#bars;
    const context = this.#bars.begin();
    const colour = (name) => this.#palette.get(name);
    const base = Math.round(height * 0.8);
    const up = base - 8;
    const y = (ns) => Math.min(1, Math.max(0.02, Math.log10(Math.max(1, ns / LEAST_NS)) / DECADES)) * up;
    context.font = "10px sans-serif";
    context.textAlign = "right";
    for (let decade = 1; decade < DECADES; decade++) {
      const at = Math.round(base - (decade / DECADES) * up) + 0.5;
      context.strokeStyle = colour("line");
      context.beginPath();
      context.moveTo(44, at);
      context.lineTo(width, at);
      context.stroke();
      context.fillStyle = colour("soft");
      context.fillText(span(LEAST_NS * 10 ** decade), 40, at + 3);
    }
    context.fillText("asleep", 40, height - 6);
    const room = Math.floor((width - 50) / BAR);
    const { turns } = this.#model;
    // A turn that was opened stays in sight while others come.
    const open = this.#follows ? -1 : turns.findIndex(({ n }) => n === this.#open?.n);
    const end = open < 0 ? turns.length : Math.max(Math.min(room, turns.length), Math.min(turns.length, open + Math.ceil(room / 2)));
    this.#barTurns = turns.slice(Math.max(0, end - room), end);
    this.#barsLeft = width - this.#barTurns.length * BAR;
    this.#barTurns.forEach((turn, i) => {
      const x = this.#barsLeft + i * BAR + 1;
      const worked = workOf(turn);
      const tall = y(worked);
      const isSlow = worked >= SLOW_NS;
      const phase = longestPhase(turn);
      context.fillStyle = isSlow ? colour("bad") : this.#palette.phase(phase);
      context.fillRect(x, base - tall, BAR - 2, tall);
      if (isSlow) {
        context.beginPath();
        context.moveTo(x + BAR / 2 - 1, base - tall - 8);
        context.lineTo(x + BAR - 1, base - tall - 2);
        context.lineTo(x - 1, base - tall - 2);
        context.fill();
      }
      context.fillStyle = colour("phase-0");
      context.globalAlpha = 0.45;
      context.fillRect(x, base + 2, BAR - 2, (y(turn.asleep_ns) / up) * (height - base - 4));
      context.globalAlpha = 1;
      if (turn.n === this.#open?.n) {
        context.strokeStyle = colour("gold");
        context.lineWidth = 2;
        context.strokeRect(x - 1, base - up - 6, BAR, height - 3 - (base - up - 6));
        context.lineWidth = 1;
      }
    });
    const slow = this.#barTurns.filter((turn) => workOf(turn) >= SLOW_NS).length;
    set($("timeline-bars"), {
      "aria-label": `The last ${plural(this.#barTurns.length, "turn")}, ${slow === 0 ? "none" : slow} of them slower than ${span(SLOW_NS)}. Left and right arrow open the one before and after.`,
    });
  }

  #drawBlocks() {
    const { width, height } = this.#blocks;
    const context = this.#blocks.begin();
    const colour = (name) => this.#palette.get(name);
    const { from, to } = this.#view;
    const x = (ns) => ((ns - from) / (to - from)) * width;
    context.fillStyle = colour("well");
    context.fillRect(0, 0, width, height);
    this.#drawAxis(context, x, from, to, width, height);
    this.#targets = [];
    for (const turn of this.#turns) {
      if (turn.from_ns + turn.took_ns < from || turn.from_ns > to) continue;
      this.#drawTurn(context, turn, x, width);
    }
    say($("timeline-span"), `${span(to - from)} from edge to edge`);
    const open = this.#open;
    set($("timeline-blocks"), {
      "aria-label": open
        ? `Turn ${count(open.n)}, ${plural(open.blocks.length, "block")}. Arrow keys go from block to block, Enter chooses, plus and minus zoom, Shift with arrows moves.`
        : "No turn is open.",
    });
  }

  #drawAxis(context, x, from, to, width, height) {
    const power = 10 ** Math.floor(Math.log10((to - from) / 4));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => (to - from) / n <= 8);
    const zero = this.#open;
    const origin = zero ? zero.from_ns + zero.asleep_ns : from;
    context.font = "10px sans-serif";
    context.textAlign = "left";
    for (let at = Math.ceil((from - origin) / step) * step; at + origin < to; at += step) {
      const left = Math.round(x(at + origin)) + 0.5;
      context.strokeStyle = this.#palette.get("line");
      context.beginPath();
      context.moveTo(left, 0);
      context.lineTo(left, height);
      context.stroke();
      context.fillStyle = this.#palette.get("soft");
      if (left < width - 30) context.fillText(at === 0 ? "0" : `${at > 0 ? "+" : ""}${span(at)}`, left + 3, ROWS.axis - 3);
    }
  }

  #drawTurn(context, turn, x, width) {
    const colour = (name) => this.#palette.get(name);
    const awake = turn.from_ns + turn.asleep_ns;
    const end = turn.from_ns + turn.took_ns;
    const clip = (a, b) => [Math.max(-20, x(a)), Math.min(width + 20, x(b))];
    const text = (words, left, right, y) => {
      const room = right - Math.max(2, left) - 8;
      if (room < 24) return;
      context.textAlign = "left";
      const fits = Math.floor((words.length * room) / context.measureText(words).width);
      context.fillText(words.length > fits ? `${words.slice(0, Math.max(1, fits - 1))}…` : words, Math.max(2, left) + 5, y);
    };

    const [sleepFrom, sleepTo] = clip(turn.from_ns, awake);
    if (sleepTo - sleepFrom > 1) {
      context.strokeStyle = colour("soft");
      context.setLineDash([3, 4]);
      context.strokeRect(sleepFrom, ROWS.turn, sleepTo - sleepFrom, 14);
      context.setLineDash([]);
      context.fillStyle = colour("soft");
      context.font = "italic 11px sans-serif";
      text(`asleep ${span(turn.asleep_ns)}`, sleepFrom, sleepTo, ROWS.turn + 11);
    }
    const [left, right] = clip(awake, end);
    context.fillStyle = colour("line");
    context.fillRect(left, ROWS.turn, Math.max(1, right - left), 15);
    context.fillStyle = colour("ink");
    context.font = "11px sans-serif";
    text(
      `turn ${turn.n.toLocaleString("en")}${turn.isOpen ? ", as far as it has come" : ""} · ${span(workOf(turn))}`,
      left,
      right,
      ROWS.turn + 11,
    );

    for (const [phase, from, took] of turn.phases) {
      const [a, b] = clip(phase === 0 ? Math.max(from, awake) : from, from + took);
      if (b - a < 0.4) continue;
      context.fillStyle = this.#palette.phase(phase);
      context.fillRect(a, ROWS.phases, Math.max(1, b - a - 0.5), 26);
      context.strokeStyle = context.fillStyle = colour("card");
      context.globalAlpha = 0.4;
      weave(context, phase, a, ROWS.phases, b - a, 26);
      context.globalAlpha = 1;
      const name = this.#model.phases[phase]?.name ?? "";
      const label = b - a > 60 ? `${this.#model.stepNumber(phase)} ${name}` : b - a > 16 ? this.#model.stepNumber(phase) : "";
      if (!label) continue;
      context.font = "600 12px sans-serif";
      const wide = context.measureText(label).width + 8;
      if (wide > b - Math.max(0, a)) continue;
      context.fillStyle = this.#palette.phase(phase);
      context.fillRect(Math.max(0, a) + 2, ROWS.phases + 5, wide, 16);
      context.fillStyle = colour("card");
      context.fillText(label, Math.max(0, a) + 6, ROWS.phases + 17);
    }

    let outerEnd = -Infinity;
    for (const block of turn.blocks) {
      const isInner = block.from_ns < outerEnd;
      if (!isInner) outerEnd = block.from_ns + block.took_ns;
      this.#drawBlock(context, turn, block, isInner, clip, text);
    }
  }

  #drawBlock(context, turn, block, isInner, clip, text) {
    const [a, b] = clip(block.from_ns, block.from_ns + block.took_ns);
    if (b < 0 || a > this.#blocks.width) return;
    const colour = (name) => this.#palette.get(name);
    const [y, height] = isInner ? [ROWS.inner, 30] : [ROWS.blocks, 46];
    const width = Math.max(2, b - a);
    const isSlow = block.took_ns >= SLOW_NS;
    context.beginPath();
    outline(context, block.kind, a, y, width, height);
    context.fillStyle = isSlow ? colour("bad") : this.#palette.phase(block.phase);
    context.globalAlpha = isSlow ? 0.55 : 0.3;
    context.fill();
    context.globalAlpha = 1;
    context.strokeStyle = isSlow ? colour("bad") : this.#palette.phase(block.phase);
    context.lineWidth = 1;
    context.stroke();
    context.fillStyle = colour("ink");
    context.font = "600 12px sans-serif";
    const inset = block.kind === "visit" ? 0 : 6;
    text(isSlow ? `▲ ${title(block)}` : title(block), a + inset, b, y + 15);
    context.font = "10.5px sans-serif";
    context.fillStyle = colour("soft");
    if (height > 32) {
      text(io(block) || place(block.origin), a + inset, b, y + 28);
      text(span(block.took_ns), a + inset, b, y + 41);
    } else text(span(block.took_ns), a + inset, b, y + 26);
    if (this.#block?.block === block || this.#mark === this.#targets.length) {
      context.strokeStyle = colour("gold");
      context.lineWidth = 2.5;
      context.beginPath();
      context.rect(a - 1, y - 2, width + 2, height + 4);
      context.stroke();
      context.lineWidth = 1;
    }
    this.#targets.push({ turn, block, x: a, y, width, height });
  }

  // ---- culprit and victims

  #blame() {
    const marked = this.#targets[this.#mark];
    const chosen = this.#block ?? marked;
    const turn = chosen?.turn ?? this.#open;
    const key = `${turn?.n} ${turn?.blocks.length} ${chosen?.block.from_ns} ${this.#model.findings[0]?.turn}`;
    const board = $("blame");
    if (board.dataset.key === key) return;
    board.dataset.key = key;
    if (!turn) return board.replaceChildren(el("p", { class: "note" }, "No turn was recorded yet."));
    board.replaceChildren(...(chosen ? this.#culprit(turn, chosen.block) : this.#summary(turn)));
  }

  #summary(turn) {
    const longest = longestOf(turn.blocks);
    const words = turn.isOpen
      ? `has come so far: ${plural(turn.blocks.length, "piece")} of work, ${span(turn.took_ns)}.`
      : `slept ${span(turn.asleep_ns)}, worked ${span(workOf(turn))}: ${plural(turn.events, "event")}, ${plural(turn.blocks.length + turn.cut, "piece")} of work.`;
    return [
      el("p", {}, el("b", {}, `Turn ${turn.n.toLocaleString("en")} `), words),
      el(
        "p",
        { class: "note" },
        ...(longest
          ? [`The longest: ${title(longest)}, ${span(longest.took_ns)}, created at `, this.#link(longest.origin)]
          : ["Nothing ran in it."]),
      ),
    ];
  }

  #culprit(turn, block) {
    const end = block.from_ns + block.took_ns;
    const later = turn.blocks.filter((other) => other.from_ns >= end);
    const finding = this.#model.findings.find((found) => found.kind === "slow" && this.#find(found)?.block === block);
    const held = el(
      "p",
      {},
      el("span", { class: block.took_ns >= SLOW_NS ? "culprit" : "" }, title(block)),
      ` held the loop for ${span(block.took_ns)} in step ${this.#model.stepNumber(block.phase)} of turn ${turn.n.toLocaleString("en")}. Created at `,
      this.#link(block.origin),
      io(block) ? `; it ${io(block)}.` : ".",
    );
    const shown = later.slice(0, VICTIMS_MAX).map((other) => el("li", {}, `${title(other)} ${place(other.origin)}`));
    if (later.length > shown.length) shown.push(el("li", {}, `and ${later.length - shown.length} more`));
    const behind =
      later.length === 0
        ? "Nothing ran after it in this turn."
        : `Behind it in this turn, and so later by as much: ${plural(later.length, "piece")} of work`;
    const parts = [held, el("p", { class: "note" }, behind), el("ul", {}, ...shown)];
    if (finding?.victims) {
      const { number, longest_wait_ns: longest } = finding.victims;
      parts.splice(
        1,
        0,
        el(
          "p",
          {},
          el("b", {}, number === 0 ? "Nobody had to wait." : `${number} had to wait`),
          number === 0
            ? ""
            : `${longest > 0 ? `, the first for ${span(longest)}` : ""} (${groups(finding.victims)}), as the loop itself counted when it had ended.`,
        ),
      );
    }
    const next = block.took_ns >= SLOW_NS && this.#model.turns.find(({ n }) => n === turn.n + 1);
    if (next && next.events > 0 && next.asleep_ns < NO_SLEEP_NS)
      parts.push(
        el(
          "p",
          { class: "note" },
          `The next turn did not sleep: ${plural(next.events, "event")} had come meanwhile, and nobody could see them.`,
        ),
      );
    return parts;
  }

  #link(origin) {
    const button = el("button", { type: "button", class: "place" }, origin ?? "an unknown place");
    button.addEventListener("click", () => {
      if (!this.#source(origin)) button.replaceWith(el("code", { class: "place" }, origin ?? ""));
    });
    return button;
  }
}

function groups({ ready, visits, timers, messages }) {
  return [
    [ready, "ready"],
    [visits, "with I/O"],
    [timers, "due"],
    [messages, "from other threads"],
  ]
    .filter(([number]) => number > 0)
    .map(([number, what]) => `${number} ${what}`)
    .join(", ");
}

const longestOf = (blocks) => blocks.reduce((best, block) => (!best || block.took_ns > best.took_ns ? block : best), null);
const workOf = (turn) => turn.took_ns - turn.asleep_ns;
const longestTurn = (turns) => turns.reduce((best, turn) => (workOf(turn) > workOf(best) ? turn : best));

function longestPhase(turn) {
  let [longest, most] = [0, -1];
  for (const [phase, , took] of turn.phases) {
    const worked = phase === 0 ? took - turn.asleep_ns : took;
    if (worked > most) [longest, most] = [phase, worked];
  }
  return longest;
}

/** What a block did with its socket. */
function io({ read = [], written = [], blocked }) {
  const sum = (sizes) => sizes.reduce((a, b) => a + b, 0);
  const parts = [];
  if (read?.length) parts.push(`read ${bytes(sum(read))}`);
  if (written?.length) parts.push(`wrote ${bytes(sum(written))}`);
  if (parts.length && blocked) parts.push("then would block");
  return parts.join(", ");
}

/** A visit is a box, a callback an arrow, a task has pointed ends. */
function outline(context, kind, x, y, width, height) {
  const tip = Math.min(6, width / 2);
  if (width < 8 || kind === "visit") return context.rect(x + 0.5, y + 0.5, Math.max(1, width - 1), height - 1);
  const middle = y + height / 2;
  context.moveTo(x + (kind === "task" ? tip : 0), y);
  context.lineTo(x + width - tip, y);
  context.lineTo(x + width, middle);
  context.lineTo(x + width - tip, y + height);
  context.lineTo(x + (kind === "task" ? tip : 0), y + height);
  context.lineTo(kind === "task" ? x : x + tip, middle);
  context.closePath();
}
