// The source of the running step, as it was built: the turn, with the line the hand stands in, and below it the step.

import { $, el, set } from "./draw.js";

const WORDS = new Set(
  "as async await break const continue crate dyn else enum extern false fn for if impl in let loop match mod move mut pub ref return self Self static struct super trait true type unsafe use where while".split(
    " ",
  ),
);
const TOKENS = /(\/\/.*$)|("(?:[^"\\]|\\.)*")|\b(\d[\d_]*)\b|\b([A-Za-z_]\w*)\b/gm;
const AROUND = 12;

export class Source {
  #model;
  #fetched = new Map();
  #texts = new Map();
  /** The step or the place to show; `null`: the step in which the hand is. */
  #pinned = null;
  #step = -1;
  #shown = "";
  #buttons = [];

  constructor(model) {
    this.#model = model;
  }

  /** Another process may be another build: its lines are other lines. */
  begin() {
    this.#fetched.clear();
    this.#texts.clear();
    this.#shown = "";
    if (typeof this.#pinned === "string") this.#pinned = null;
  }

  /** The hand has come into another step. */
  follow(step) {
    this.#step = step;
    this.#show();
  }

  /** @param {number | null} step */
  pin(step) {
    if (step !== null && !this.#model.phases[step]) return;
    this.#pinned = step;
    this.#show();
  }

  show() {
    if (this.#buttons.length !== this.#model.phases.length + 1) this.#makeButtons();
    this.#show();
  }

  #makeButtons() {
    const make = (text, step) => {
      const button = el("button", { type: "button", "aria-pressed": "false" }, text);
      button.addEventListener("click", () => this.pin(step));
      return button;
    };
    this.#buttons = [
      make("Follow the hand", null),
      ...this.#model.phases.map(({ name }, i) => make(`${this.#model.stepNumber(i)} ${name}`, i)),
    ];
    $("source-steps").replaceChildren(...this.#buttons);
  }

  #show() {
    const { phases, hello } = this.#model;
    if (!hello || phases.length === 0) return;
    this.#buttons.forEach((button, i) => set(button, { "aria-pressed": String(this.#pinned === (i === 0 ? null : i - 1)) }));
    if (typeof this.#pinned === "string") return;
    const step = this.#pinned ?? this.#step;
    const key = `step ${step}`;
    if (key === this.#shown) return;
    this.#shown = key;
    this.#render(key, step).catch((error) =>
      $("source-code").replaceChildren(el("p", { class: "empty" }, `The source could not be read: ${error.message}`)),
    );
  }

  async #render(key, step) {
    const { turn_source: turn } = this.#model.hello;
    const phase = this.#model.phases[step];
    const parts = [];
    if (turn)
      parts.push(
        await this.#part(
          turn.file,
          turn.calls[0],
          turn.calls.at(-1),
          "one turn, each line a step",
          (line) => line === turn.calls[step] && "here",
        ),
      );
    if (phase)
      parts.push(await this.#part(phase.file, phase.from, phase.to, `step ${this.#model.stepNumber(step)}, ${phase.name}`, () => "part"));
    if (key !== this.#shown) return;
    $("source-code").replaceChildren(...parts);
    $("source-code").scrollTop = 0;
  }

  /** Any place in the program whose text the dial has: a culprit, say. @returns {boolean} whether it has it */
  reveal(origin) {
    const { file, at } = this.#locate(origin) ?? {};
    if (!file) return false;
    this.#pinned = this.#shown = origin;
    this.#show();
    this.#part(file, Math.max(1, at - AROUND), at + AROUND, origin, (line) => line === at && "here").then((part) => {
      $("source-code").replaceChildren(part);
      $("source-code").scrollTop = 0;
      $("source").scrollIntoView({ block: "nearest" });
      $("source-code").focus({ preventScroll: true });
    });
    return true;
  }

  /** What stands at a place, if the dial has it and it has been read; if not, the next look may have it. */
  line(origin) {
    const { file, at } = this.#locate(origin) ?? {};
    if (!file) return "";
    if (!this.#texts.has(file)) this.#lines(file).catch(() => {});
    return this.#texts.get(file)?.[at - 1]?.trim() ?? "";
  }

  #locate(origin) {
    const { origin_root: root, sources } = this.#model.hello ?? {};
    const [, path, line] = /^(.*):(\d+):\d+$/.exec(origin ?? "") ?? [];
    const file = path?.startsWith(root) ? path.slice(root.length) : null;
    return file && sources.includes(file) ? { file, at: Number(line) } : null;
  }

  async #part(file, from, to, title, mark) {
    const lines = await this.#lines(file);
    const list = el("ol");
    for (let line = from; line <= Math.min(to, lines.length); line++) {
      const item = el("li", {}, el("i", {}, String(line)), el("code", {}, ...coloured(lines[line - 1])));
      const kind = mark(line);
      if (kind) item.className = kind;
      if (kind === "here") set(item, { "aria-current": "step" });
      list.append(item);
    }
    return el("div", {}, el("h3", {}, `${file}: ${title}`), list);
  }

  #lines(file) {
    if (!this.#fetched.has(file)) {
      const asked = fetch(`source/${file}`)
        .then((answer) => {
          if (!answer.ok) throw new Error(`${file}: ${answer.status}`);
          return answer.text();
        })
        .then((text) => text.split("\n"));
      asked.then(
        (lines) => this.#texts.set(file, lines),
        () => {},
      );
      asked.catch(() => this.#fetched.delete(file));
      this.#fetched.set(file, asked);
    }
    return this.#fetched.get(file);
  }
}

/** A line of Rust, as pieces with their kind. Enough for reading; it is not a parser. */
function coloured(line) {
  const pieces = [];
  let end = 0;
  for (const { 0: text, 1: comment, 2: quoted, 3: number, 4: word, index } of line.matchAll(TOKENS)) {
    const kind = comment ? "comment" : quoted ? "text" : number ? "number" : WORDS.has(word) ? "word" : null;
    if (!kind) continue;
    pieces.push(line.slice(end, index), el("span", { class: kind }, text));
    end = index + text.length;
  }
  pieces.push(line.slice(end));
  return pieces;
}
