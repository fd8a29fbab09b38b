// The slab as a grid: a cell for each slot in use, its state as a colour and a shape, its kind as a letter.

import { $, DataTable, Sheet, announce, bytes, el, glyph, place, plural, say, set, span } from "./draw.js";

/** Words for states are the sources' own; six groups are as many as can be told apart. */
const GROUPS = [
  { key: "quiet", name: "quiet", colour: "phase-0", words: /^(idle|open|listening|waiting|)$/ },
  { key: "reading", name: "reading", colour: "phase-1", words: /read|connecting|handshak/ },
  { key: "working", name: "in its handler, or running", colour: "phase-4", words: /handler|woken|running|ready/ },
  { key: "writing", name: "writing", colour: "phase-5", words: /send|writ|flush/ },
  { key: "held", name: "held back", colour: "phase-3", words: /block|full|rest|giving|paus/ },
  { key: "ending", name: "ending, or lost", colour: "bad", words: /clos|kill|lost|end/ },
];
const LETTERS = {
  listener: "L",
  http: "H",
  websocket: "W",
  task: "T",
  signal: "S",
  descriptor: "D",
  stream: "N",
  datagrams: "U",
  process: "P",
  hub: "B",
  engine: "E",
};
const NEW_MS = 1_500;
const HEIGHT_MIN = 48;
const HEIGHT_MAX = 330;

const HELD = GROUPS.find(({ key }) => key === "held");
const groupOf = ({ state, paused }) => (paused ? HELD : (GROUPS.find(({ words }) => words.test(state ?? "")) ?? GROUPS[0]));

export class Slab {
  #model;
  #palette;
  #act;
  #sheet;
  #table;
  #cell = 20;
  #columns = 1;
  #chosen = null;
  #under = null;
  /** When a slot's generation was seen to go up. */
  #reused = new Map();
  #generations = new Map();

  /** @param {{ follow(token: string): void, close(token: string): void }} act */
  constructor(model, palette, act) {
    this.#model = model;
    this.#palette = palette;
    this.#act = act;
    this.#sheet = new Sheet($("slab-grid"), () => this.show());
    this.#table = new DataTable(
      $("slab"),
      "Slots in use",
      ["Token", "Kind", "State", "Name", "#Descriptor", "#Holds", "#Deadline in", "#Age", "Created at"],
      () => model.isPaused,
    );
    const canvas = $("slab-grid");
    canvas.addEventListener("pointermove", (event) => this.#hover(this.#at(event), event));
    canvas.addEventListener("pointerleave", () => this.#hover(null));
    canvas.addEventListener("click", (event) => this.#choose(this.#at(event)));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    this.#drawLegend();
  }

  #drawLegend() {
    $("slab-legend").replaceChildren(
      ...GROUPS.map((group) => {
        const swatch = el("canvas", { width: 32, height: 32, "aria-hidden": "true" });
        const context = swatch.getContext("2d");
        context.scale(2, 2);
        this.#paint(context, 0, 0, 16, group);
        return el("li", {}, swatch, group.name);
      }),
    );
  }

  recolour() {
    this.#drawLegend();
    this.show();
  }

  get #slots() {
    return this.#model.slab?.slots ?? [];
  }

  show() {
    const slots = this.#slots;
    if (this.#sheet.width === 0) return;
    this.#notice(slots);
    this.#measure(slots.length);
    const context = this.#sheet.begin();
    slots.forEach((slot, i) => this.#drawSlot(context, slot, i));
    this.#detail();
    const { slab } = this.#model;
    if (slab)
      set($("slab-grid"), {
        "aria-label": `${plural(slab.len, "slot")} in use of ${slab.capacity}: ${census(slots)}. Arrow keys move, Enter chooses.`,
      });
    this.#table.show(() =>
      slots.map((slot) => [
        `${slot.i}.${slot.g}`,
        slot.kind,
        slot.state,
        slot.name ?? "",
        slot.fd ?? "",
        slot.bytes ? bytes(slot.bytes) : "0",
        slot.deadline_ns ? span(slot.deadline_ns - this.#model.nowNs) : "",
        span(slot.age_ns),
        place(slot.origin),
      ]),
    );
  }

  #notice(slots) {
    const now = performance.now();
    for (const { i, g } of slots) {
      const before = this.#generations.get(i);
      if (before !== undefined && before !== g) this.#reused.set(i, now);
      this.#generations.set(i, g);
    }
    for (const [i, at] of this.#reused) if (now - at > NEW_MS) this.#reused.delete(i);
  }

  /** The largest cells with which all of them fit. */
  #measure(number) {
    const { width } = this.#sheet;
    for (this.#cell = 46; this.#cell > 9; this.#cell -= this.#cell > 20 ? 2 : 1) {
      this.#columns = Math.max(1, Math.floor(width / this.#cell));
      if (Math.ceil(number / this.#columns) * this.#cell <= HEIGHT_MAX) break;
    }
    const rows = Math.ceil(number / this.#columns);
    const height = `${Math.max(HEIGHT_MIN, rows * this.#cell + 2)}px`;
    if ($("slab-grid").style.height !== height) $("slab-grid").style.height = height;
  }

  #where(i) {
    return [(i % this.#columns) * this.#cell, Math.floor(i / this.#columns) * this.#cell];
  }

  #drawSlot(context, slot, i) {
    const [x, y] = this.#where(i);
    const size = this.#cell;
    this.#paint(context, x + 1, y + 1, size - 2, groupOf(slot));
    if (size >= 30) {
      context.fillStyle = this.#palette.get("ink");
      context.font = "600 12px sans-serif";
      context.textAlign = "left";
      context.fillText(LETTERS[slot.kind] ?? "?", x + 5, y + 14);
      context.font = "10px sans-serif";
      context.textAlign = "right";
      context.fillText(`${slot.i}.${slot.g}`, x + size - 5, y + size - 6);
    }
    if (slot.g > 0 && size < 30 && size >= 18) {
      context.fillStyle = this.#palette.get("ink");
      context.font = "9px sans-serif";
      context.textAlign = "right";
      context.fillText(String(slot.g), x + size - 3, y + size - 3);
    }
    const mark = (colour, width) => {
      context.strokeStyle = this.#palette.get(colour);
      context.lineWidth = width;
      context.strokeRect(x + 1.5, y + 1.5, size - 3, size - 3);
    };
    if (this.#reused.has(slot.i)) mark("jewel", 2);
    if (`${slot.i}.${slot.g}` === this.#chosen) mark("gold", 3);
    else if (i === this.#under) mark("ink", 2);
  }

  /** A cell: its ground, and the shape that says the same. */
  #paint(context, x, y, size, { key, colour }) {
    const ink = this.#palette.get(colour);
    context.globalAlpha = key === "quiet" ? 0.22 : 0.34;
    context.fillStyle = ink;
    context.fillRect(x, y, size, size);
    context.globalAlpha = 1;
    context.strokeStyle = ink;
    context.lineWidth = 1;
    context.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
    const [cx, cy, r] = [x + size / 2, y + size / 2, Math.max(2, size * 0.2)];
    context.lineWidth = Math.max(1.3, size * 0.07);
    context.beginPath();
    switch (key) {
      case "quiet":
        context.arc(cx, cy, r * 0.7, 0, 7);
        context.stroke();
        break;
      case "reading":
        context.moveTo(cx - r, cy - r * 0.6);
        context.lineTo(cx + r, cy - r * 0.6);
        context.lineTo(cx, cy + r);
        context.fill();
        break;
      case "working":
        context.moveTo(cx, cy - r * 1.2);
        context.lineTo(cx + r * 1.2, cy);
        context.lineTo(cx, cy + r * 1.2);
        context.lineTo(cx - r * 1.2, cy);
        context.fill();
        break;
      case "writing":
        context.moveTo(cx - r, cy + r * 0.6);
        context.lineTo(cx + r, cy + r * 0.6);
        context.lineTo(cx, cy - r);
        context.fill();
        break;
      case "held":
        context.moveTo(cx - r * 0.5, cy - r);
        context.lineTo(cx - r * 0.5, cy + r);
        context.moveTo(cx + r * 0.5, cy - r);
        context.lineTo(cx + r * 0.5, cy + r);
        context.stroke();
        break;
      default:
        context.moveTo(cx - r, cy - r);
        context.lineTo(cx + r, cy + r);
        context.moveTo(cx + r, cy - r);
        context.lineTo(cx - r, cy + r);
        context.stroke();
    }
  }

  #at({ offsetX, offsetY }) {
    const column = Math.floor(offsetX / this.#cell);
    const i = Math.floor(offsetY / this.#cell) * this.#columns + column;
    return column < this.#columns && i < this.#slots.length ? i : null;
  }

  #hover(i, event) {
    const tip = $("tip");
    tip.hidden = i === null || !event;
    if (this.#under !== i) {
      this.#under = i;
      this.show();
    }
    if (tip.hidden) return;
    say(
      tip,
      this.#words(this.#slots[i])
        .map(([name, value]) => `${name}: ${value}`)
        .join("\n"),
    );
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
  }

  #words(slot) {
    const { nowNs } = this.#model;
    return [
      ["Token", `${slot.i}.${slot.g} (slot ${slot.i}, generation ${slot.g})`],
      ["Kind", slot.kind],
      ["State", `${slot.state || "–"}${slot.paused ? ", reads no more for now" : ""}`],
      ...(slot.name ? [["Name", slot.name]] : []),
      ["Descriptor", slot.fd ?? "none"],
      ["Holds", bytes(slot.bytes ?? 0)],
      ["Deadline", slot.deadline_ns ? `in ${span(slot.deadline_ns - nowNs)}` : "none"],
      ["Age", span(slot.age_ns)],
      ...(slot.origin ? [["Created at", place(slot.origin)]] : []),
    ];
  }

  choose(token) {
    this.#chosen = token;
    this.show();
  }

  #choose(i) {
    if (i === null) return;
    const slot = this.#slots[i];
    this.#chosen = `${slot.i}.${slot.g}`;
    this.show();
    this.#act.follow(this.#chosen);
  }

  #key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.#columns, ArrowDown: this.#columns }[event.key];
    if (steps) {
      event.preventDefault();
      const i = (this.#under ?? -1) + (this.#under === null ? 1 : steps);
      if (i >= 0 && i < this.#slots.length) this.#under = i;
      this.#chosen = null;
      this.show();
      if (this.#under !== null)
        announce(
          this.#words(this.#slots[this.#under])
            .map((pair) => pair.join(" "))
            .join(", "),
        );
    } else if (event.key === "Enter" && this.#under !== null) {
      event.preventDefault();
      this.#choose(this.#under);
    }
  }

  /** Under the grid: the slot that was chosen, else the one under the mark. */
  #detail() {
    const place = $("slab-detail");
    const chosen = this.#chosen && this.#model.slot(this.#chosen);
    const slot = chosen ?? (this.#under === null ? null : this.#slots[this.#under]);
    const token = slot ? `${slot.i}.${slot.g}` : "";
    if (place.dataset.token !== token || place.children.length === 0) {
      place.dataset.token = token;
      place.replaceChildren(
        ...(slot
          ? [el("dl", { class: "row" })]
          : [
              el(
                "p",
                { class: "note" },
                this.#chosen
                  ? `${this.#chosen} has gone: its slot is free, or has another generation.`
                  : "Choose a slot for its descriptor, bytes and deadline.",
              ),
            ]),
      );
      if (slot && this.#model.mayControl) {
        const close = el(
          "button",
          { type: "button", class: "small" },
          glyph("panic"),
          slot.kind === "task" ? "Cancel the task" : "Close it",
        );
        close.addEventListener("click", () => this.#act.close(token));
        place.append(close);
      }
    }
    if (!slot) return;
    const words = this.#words(slot);
    const list = place.firstChild;
    if (list.children.length !== words.length) list.replaceChildren(...words.map(() => el("div", {}, el("dt"), el("dd"))));
    words.forEach(([name, value], i) => {
      say(list.children[i].firstChild, name);
      say(list.children[i].lastChild, String(value));
    });
  }
}

function census(slots) {
  const numbers = new Map();
  for (const { kind } of slots) numbers.set(kind, (numbers.get(kind) ?? 0) + 1);
  return [...numbers].map(([kind, number]) => `${number} ${kind}`).join(", ");
}
