// A line chart over time and a gauge, in SVG. Colours and dashes are the style sheet's; here are scales and shapes.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { top: 12, right: 56, bottom: 24, left: 48 };
const LINES_Y = 4;

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  set(made, attributes);
  made.append(...children);
  return made;
}

function set(node, attributes) {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
}

/** The least of 1, 2, 4, 5, 10, 20, … at or above `value`: each divides into four or five readable steps. */
export function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((step) => step * power).find((step) => step >= value * (1 - 1e-9));
}

function brief(value) {
  return String(Number(value.toPrecision(3)));
}

/** "now", "−30 s", "−2 min" */
function ago(ms) {
  if (ms === 0) return "now";
  return ms % 60_000 === 0 ? `−${ms / 60_000} min` : `−${ms / 1000} s`;
}

/**
 * One or two lines over the same time. The first has its scale on the left, the second on the right. The figure's
 * `data-points` is the number of points drawn.
 */
export class LineChart {
  #figure;
  #series;
  #points = [];
  #pointsMax;
  #spanMsMin;
  #gapMs;
  #root = svg("svg", { role: "img" });
  #width = 0;
  #height = 0;
  #pending = false;
  #pointerX = null;

  /**
   * @param {HTMLElement} figure
   * @param {{
   *   series: { key: string, name: string, unit: string, ceilingMin: number, format: (value: number) => string }[],
   *   pointsMax: number, spanMsMin: number, gapMs: number,
   * }} options points more than `gapMs` apart are not joined
   */
  constructor(figure, { series, pointsMax, spanMsMin, gapMs }) {
    this.#figure = figure;
    this.#series = series;
    this.#pointsMax = pointsMax;
    this.#spanMsMin = spanMsMin;
    this.#gapMs = gapMs;
    const legend = document.createElement("figcaption");
    for (const { key, name, unit } of series) {
      const item = document.createElement("span");
      item.className = `key ${key}`;
      item.append(svg("svg", { viewBox: "0 0 24 8", "aria-hidden": "true" }, svg("path", { class: `line ${key}`, d: "M0 4H24" })), `${name}, ${unit}`);
      legend.append(item);
    }
    figure.append(legend, this.#root);
    new ResizeObserver(([{ contentRect }]) => {
      this.#width = contentRect.width;
      this.#height = contentRect.height;
      this.#redraw();
    }).observe(this.#root);
    this.#root.addEventListener("pointermove", (event) => {
      this.#pointerX = event.offsetX;
      this.#redraw();
    });
    this.#root.addEventListener("pointerleave", () => {
      this.#pointerX = null;
      this.#redraw();
    });
  }

  /** @param {{ timestamp: number } & Record<string, number | null>} point */
  push(point) {
    if (point.timestamp <= (this.#points.at(-1)?.timestamp ?? -Infinity)) return;
    this.#points.push(point);
    if (this.#points.length > this.#pointsMax) this.#points.shift();
    this.#redraw();
  }

  // Animation frames do not come to a hidden page, so that it gathers points and draws none.
  #redraw() {
    if (this.#pending) return;
    this.#pending = true;
    requestAnimationFrame(() => {
      this.#pending = false;
      if (this.#points.length > 0 && this.#width > 0) this.#draw();
    });
  }

  #draw() {
    const right = this.#width - (this.#series.length > 1 ? MARGIN.right : 12);
    const bottom = this.#height - MARGIN.bottom;
    const end = this.#points.at(-1).timestamp;
    const spanMs = Math.max(this.#spanMsMin, end - this.#points[0].timestamp);
    const x = (timestamp) => right - ((end - timestamp) / spanMs) * (right - MARGIN.left);
    const scales = this.#series.map(({ key, ceilingMin }) => {
      const ceiling = niceCeiling(Math.max(ceilingMin, ...this.#points.map((point) => (point[key] ?? 0) * 1.1)));
      return { ceiling, y: (value) => bottom - (value / ceiling) * (bottom - MARGIN.top) };
    });

    const parts = [...this.#axes(right, bottom, spanMs, scales)];
    this.#series.forEach(({ key }, i) => {
      const path = this.#path(key, x, scales[i].y);
      if (i === 0) parts.push(svg("path", { class: `area ${key}`, d: this.#area(key, x, scales[i].y, bottom) }));
      parts.push(svg("path", { class: `line ${key}`, d: path }));
      const last = this.#points.at(-1)[key];
      if (last !== null) parts.push(svg("circle", { class: `dot ${key}`, cx: x(end), cy: scales[i].y(last), r: 3.5 }));
    });
    if (this.#pointerX !== null) parts.push(...this.#reading(x, right, bottom, scales));

    set(this.#root, { viewBox: `0 0 ${this.#width} ${this.#height}`, "aria-label": this.#summary() });
    this.#root.replaceChildren(...parts);
    this.#figure.dataset.points = this.#points.length;
  }

  *#axes(right, bottom, spanMs, scales) {
    for (let i = 0; i <= LINES_Y; i++) {
      const y = bottom - (i / LINES_Y) * (bottom - MARGIN.top);
      yield svg("path", { class: "grid", d: `M${MARGIN.left} ${y}H${right}` });
      yield svg("text", { class: `tick ${this.#series[0].key}`, x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, brief((scales[0].ceiling * i) / LINES_Y));
      if (scales[1]) yield svg("text", { class: `tick ${this.#series[1].key}`, x: right + 10, y: y + 4 }, brief((scales[1].ceiling * i) / LINES_Y));
    }
    const stepMs = [10_000, 30_000, 60_000].find((step) => spanMs / step <= 6) ?? 120_000;
    for (let ms = 0; ms <= spanMs; ms += stepMs) {
      const at = right - (ms / spanMs) * (right - MARGIN.left);
      yield svg("text", { class: "tick time", x: at, y: bottom + 18, "text-anchor": ms === 0 ? "end" : "middle" }, ago(ms));
    }
  }

  /** The stretches of points that belong together: a lost connection leaves a gap. */
  #stretches(key) {
    const stretches = [];
    let before = null;
    for (const point of this.#points) {
      if (point[key] === null) continue;
      if (before === null || point.timestamp - before > this.#gapMs) stretches.push([]);
      stretches.at(-1).push(point);
      before = point.timestamp;
    }
    return stretches;
  }

  #path(key, x, y) {
    return this.#stretches(key).map((stretch) => "M" + stretch.map((point) => `${x(point.timestamp).toFixed(1)} ${y(point[key]).toFixed(1)}`).join("L")).join("");
  }

  #area(key, x, y, bottom) {
    return this.#stretches(key).map((stretch) => {
      const top = stretch.map((point) => `${x(point.timestamp).toFixed(1)} ${y(point[key]).toFixed(1)}`).join("L");
      return `M${x(stretch[0].timestamp).toFixed(1)} ${bottom}L${top}V${bottom}Z`;
    }).join("");
  }

  #reading(x, right, bottom, scales) {
    const point = this.#points.reduce((a, b) => (Math.abs(x(b.timestamp) - this.#pointerX) < Math.abs(x(a.timestamp) - this.#pointerX) ? b : a));
    const at = x(point.timestamp);
    const words = [new Date(point.timestamp).toLocaleTimeString(), ...this.#series.map(({ key, name, format }) => `${name} ${point[key] === null ? "–" : format(point[key])}`)];
    const onLeft = at > (MARGIN.left + right) / 2;
    const width = 10 + 7 * Math.max(...words.map((word) => word.length));
    const box = svg("g", { class: "reading", transform: `translate(${onLeft ? at - width - 10 : at + 10} ${MARGIN.top + 4})` }, svg("rect", { width, height: 10 + 17 * words.length, rx: 5 }));
    words.forEach((word, i) => box.append(svg("text", { x: 8, y: 19 + 17 * i }, word)));
    const dots = this.#series.flatMap(({ key }, i) => (point[key] === null ? [] : [svg("circle", { class: `dot ${key}`, cx: at, cy: scales[i].y(point[key]), r: 3.5 })]));
    return [svg("path", { class: "cursor", d: `M${at} ${MARGIN.top}V${bottom}` }), ...dots, box];
  }

  #summary() {
    const last = this.#points.at(-1);
    const now = this.#series.map(({ key, name, format }) => `${name} ${last[key] === null ? "unknown" : format(last[key])}`);
    return `Line chart, ${this.#points.length} points. Now: ${now.join(", ")}.`;
  }
}

const SWEEP = 240;
const DIVISIONS = 20;

/** A dial of 240 degrees with a hand, its scale growing with what it has seen. */
export class Gauge {
  #scaleMax = 0;
  #peak = 0;
  #root = svg("svg", { role: "img", viewBox: "-108 -98 216 166" });
  #dial = svg("g");
  #arc = svg("path", { class: "reach", d: arc(76), pathLength: 100, "stroke-dasharray": "0 100" });
  #hand = svg("path", { class: "hand", d: "M-2.5 14-1-58 0-64 1-58 2.5 14Z" });
  #value = svg("text", { class: "value", y: 44, "text-anchor": "middle" }, "–");
  #most = svg("text", { class: "most", y: 61, "text-anchor": "middle" });

  constructor(figure) {
    this.#root.append(svg("path", { class: "track", d: arc(76) }), this.#arc, this.#dial, this.#hand, svg("circle", { class: "pivot", r: 5 }), this.#value, this.#most);
    figure.append(this.#root);
    this.show(null);
  }

  show(value) {
    this.#peak = Math.max(this.#peak, value ?? 0);
    const scaleMax = Math.max(10, niceCeiling(Math.max(1, this.#peak * 1.2)));
    if (scaleMax !== this.#scaleMax) this.#rule(scaleMax);
    const part = (value ?? 0) / this.#scaleMax;
    this.#arc.setAttribute("stroke-dasharray", `${part * 100} 100`);
    this.#hand.style.transform = `rotate(${(part - 0.5) * SWEEP}deg)`;
    this.#value.textContent = value ?? "–";
    this.#most.textContent = this.#peak ? `most ${this.#peak}` : "";
    this.#root.setAttribute("aria-label", `${value ?? "unknown"} connections on a scale to ${this.#scaleMax}; most so far ${this.#peak}`);
  }

  #rule(scaleMax) {
    this.#scaleMax = scaleMax;
    this.#dial.replaceChildren();
    for (let i = 0; i <= DIVISIONS; i++) {
      const degrees = (i / DIVISIONS - 0.5) * SWEEP;
      const whole = i % 5 === 0;
      this.#dial.append(svg("path", { class: "tick", d: `M0-${whole ? 60 : 64}V-69`, transform: `rotate(${degrees})` }));
      if (!whole) continue;
      const radians = (degrees * Math.PI) / 180;
      this.#dial.append(svg("text", { x: 91 * Math.sin(radians), y: 4 - 91 * Math.cos(radians), "text-anchor": "middle" }, brief((scaleMax * i) / DIVISIONS)));
    }
  }
}

function arc(radius) {
  const half = ((SWEEP / 2) * Math.PI) / 180;
  const x = (radius * Math.sin(half)).toFixed(2);
  const y = (-radius * Math.cos(half)).toFixed(2);
  return `M-${x} ${y}A${radius} ${radius} 0 1 1 ${x} ${y}`;
}
