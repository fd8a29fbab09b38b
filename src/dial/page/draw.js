// What all panes draw with: elements, shapes, numbers as people say them, and tables beside the drawings. Text from the
// loop becomes text nodes and nothing else.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  set(made, attributes);
  made.append(...children);
  return made;
}

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  set(made, attributes);
  made.append(...children);
  return made;
}

export function set(node, attributes) {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
}

/** Writes only what is new, so that nothing is laid out or read aloud again. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Said aloud to those who listen to the page. The same words twice are two messages. */
export function announce(text) {
  $("say").textContent = "";
  $("say").textContent = text;
}

/** As many children as there are items, the nodes used again: what has the focus keeps it. */
export function fill(parent, items, make, update) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  items.forEach((item, i) => {
    let node = parent.children[i];
    if (!node) parent.append((node = make()));
    update(node, item, i);
  });
}

// ---- numbers and names

/** `0.4 ms`, `12 µs`, `205 ms`, `1.5 s`, `3 min` */
export function span(ns) {
  if (ns === null || ns === undefined) return "–";
  if (ns < 0) return `−${span(-ns)}`;
  if (ns < 1e3) return `${Math.round(ns)} ns`;
  if (ns < 1e6) return `${brief(ns / 1e3)} µs`;
  if (ns < 1e9) return `${brief(ns / 1e6)} ms`;
  if (ns < 120e9) return `${brief(ns / 1e9)} s`;
  return ns < 7200e9 ? `${Math.round(ns / 60e9)} min` : `${Math.round(ns / 3600e9)} h`;
}

function brief(value) {
  return value < 9.95 ? value.toFixed(1).replace(/\.0$/, "") : String(Math.round(value));
}

export const count = (value) => value?.toLocaleString("en") ?? "–";
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export function bytes(value) {
  if (value < 1024) return `${value} B`;
  return value < 1024 * 1024 ? `${brief(value / 1024)} KiB` : `${brief(value / 1048576)} MiB`;
}

/** `src/conn/mod.rs:10:5` as `conn/mod.rs:10`: the column helps nobody here. */
export function place(origin) {
  const found = /([^/\\]+[/\\])?([^/\\:]+:\d+)(:\d+)?$/.exec(origin ?? "");
  return found ? (found[1] ?? "") + found[2] : (origin ?? "");
}

/** What a piece of work is called: one that waits says `what` it is and the `kind` of its source, one that ran the reverse. */
export function title(work) {
  if (!work) return "nothing";
  const visited = work.kind === "visit" ? work.what : work.what === "visit" ? (work.kind ?? "source") : null;
  const what = visited ? `visit to ${visited}` : ({ source: "new source" }[work.what] ?? work.what ?? work.kind);
  if (work.name) return `${work.name} (${visited ?? what})`;
  return work.token ? `${what} ${work.token}` : what;
}

export function state(word) {
  return { running: "Running", asleep: "Asleep", paused: "Paused" }[word] ?? "Unknown";
}

// ---- shapes

/** Parts of a turn clockwise from the top, to a point. */
export function polar(radius, turns) {
  const angle = turns * 2 * Math.PI;
  return [radius * Math.sin(angle), -radius * Math.cos(angle)];
}

const point = (radius, turns) =>
  polar(radius, turns)
    .map((n) => n.toFixed(2))
    .join(" ");

/** An arc from one angle to another. */
export function arc(radius, from, to) {
  const end = Math.min(to, from + 0.9999);
  return `M${point(radius, from)}A${radius} ${radius} 0 ${end - from > 0.5 ? 1 : 0} 1 ${point(radius, end)}`;
}

/** A piece of a ring. */
export function sector(inner, outer, from, to) {
  const end = Math.min(to, from + 0.9999);
  const large = end - from > 0.5 ? 1 : 0;
  return `M${point(outer, from)}A${outer} ${outer} 0 ${large} 1 ${point(outer, end)}L${point(inner, end)}A${inner} ${inner} 0 ${large} 0 ${point(inner, from)}Z`;
}

const GLYPHS = {
  callback: "M4 3v14l12-7z",
  visit: "M3 5h14v10H3zM3 9h14",
  task: "M10 2.5 17.5 10 10 17.5 2.5 10z",
  source: "M10 3v14M3 10h14",
  timer: "M10 2.8a7.2 7.2 0 1 0 .01 0M10 6v4.2l3 1.8",
  slow: "M10 2 18.8 17.5H1.2ZM10 8v4.2M10 14.4v.6",
  lost: "M10 2.8a7.2 7.2 0 1 0 .01 0M7.8 8a2.3 2.3 0 1 1 3.2 2.1c-.8.4-1 .8-1 1.7M10 14v.6",
  panic: "M6.5 2.5h7l4 4v7l-4 4h-7l-4-4v-7zM7 7l6 6M13 7l-6 6",
  scope: "M3 10h14M3 6v8M17 6v8",
};

/** A small picture for a kind of work or finding. The word stands beside it. */
export function glyph(kind) {
  return svg("svg", { class: "glyph", viewBox: "0 0 20 20", "aria-hidden": "true" }, svg("path", { d: GLYPHS[kind] ?? GLYPHS.visit }));
}

/** The style sheet's colours, for canvases. */
export class Palette {
  #styles = getComputedStyle(document.documentElement);
  #known = new Map();

  constructor(changed) {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#known.clear();
      changed();
    });
  }

  /** @param {string} name a custom property, without its dashes */
  get(name) {
    let value = this.#known.get(name);
    if (!value) this.#known.set(name, (value = this.#styles.getPropertyValue(`--${name}`).trim() || "#888"));
    return value;
  }

  phase(index) {
    return this.get(`phase-${index % 7}`);
  }
}

/** A canvas as large as its place, sharp on any screen. */
export class Sheet {
  /** @param {() => void} resized */
  constructor(canvas, resized) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.width = 0;
    this.height = 0;
    new ResizeObserver(([{ contentRect }]) => {
      if (contentRect.width === this.width && contentRect.height === this.height) return;
      this.width = contentRect.width;
      this.height = contentRect.height;
      resized();
    }).observe(canvas);
  }

  /** An empty sheet in the page's units. */
  begin() {
    const scale = devicePixelRatio || 1;
    const [width, height] = [Math.round(this.width * scale), Math.round(this.height * scale)];
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    this.context.setTransform(scale, 0, 0, scale, 0, 0);
    this.context.clearRect(0, 0, this.width, this.height);
    return this.context;
  }
}

/** A pattern for each step of a turn, over its colour: lines, dots and crosses are seen without colours too. */
export function weave(context, index, x, y, width, height) {
  if (width < 5) return;
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.beginPath();
  const step = 7;
  const end = Math.min(x + width, 4000);
  const start = Math.max(x, -50);
  const phase = index % 7;
  if (phase === 0 || phase === 6)
    for (let at = start - (start % step) - height; at < end; at += step) (context.moveTo(at, y + height), context.lineTo(at + height, y));
  if (phase === 2 || phase === 6)
    for (let at = start - (start % step) - height; at < end; at += step) (context.moveTo(at, y), context.lineTo(at + height, y + height));
  if (phase === 3) for (let at = start - (start % step); at < end; at += step) (context.moveTo(at, y), context.lineTo(at, y + height));
  if (phase === 5) for (let at = y + 3; at < y + height; at += 5) (context.moveTo(start, at), context.lineTo(end, at));
  context.stroke();
  if (phase === 4) {
    for (let at = start - (start % step); at < end; at += step)
      for (let row = y + 3; row < y + height; row += 6) context.fillRect(at, row, 1.6, 1.6);
  }
  context.restore();
}

/** The drawing's content as a table, made only while somebody looks at it, and not more often than can be read. */
export class DataTable {
  #details;
  #body = el("tbody");
  #columns;
  #rows = () => [];
  #filledAt = 0;
  #calm;

  /**
   * @param {string} caption
   * @param {string[]} columns those that begin with `#` hold numbers
   * @param {() => boolean} calm whether each change is to be shown at once
   */
  constructor(pane, caption, columns, calm) {
    this.#columns = columns;
    this.#calm = calm;
    const head = el(
      "tr",
      {},
      ...columns.map((column) => el("th", { scope: "col", class: column[0] === "#" ? "number" : "" }, column.replace("#", ""))),
    );
    const table = el("table", {}, el("caption", { class: "unseen" }, caption), el("thead", {}, head), this.#body);
    const name = `${caption}, as a table`;
    this.#details = el(
      "details",
      { class: "alt" },
      el("summary", {}, "As a table"),
      el("div", { tabindex: "0", role: "region", "aria-label": name }, table),
    );
    this.#details.firstChild.append(el("span", { class: "unseen" }, `: ${caption}`));
    this.#details.addEventListener("toggle", () => this.#fill());
    pane.append(this.#details);
  }

  /** @param {() => (string | number)[][]} rows asked only when they will be shown */
  show(rows) {
    this.#rows = rows;
    if (this.#details.open && (this.#calm() || performance.now() - this.#filledAt > 1000)) this.#fill();
  }

  #fill() {
    if (!this.#details.open) return;
    this.#filledAt = performance.now();
    fill(
      this.#body,
      this.#rows(),
      () => el("tr", {}, ...this.#columns.map((column) => el("td", { class: column[0] === "#" ? "number" : "" }))),
      (row, cells) => {
        cells.forEach((cell, i) => say(row.children[i], String(cell ?? "–")));
      },
    );
  }
}
