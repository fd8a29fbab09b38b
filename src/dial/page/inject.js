// What can be done to the loop, and what the loop said of it.

import { $, el, fill, glyph, say } from "./draw.js";

const INJECTIONS = {
  block: {
    name: "Block the loop",
    fields: [["ms", "ms", 200, 1, 2000]],
    watch: "A callback computes and does not return. Watch the hand stand still, the ready queue grow, and the loop name the line.",
  },
  slow_reader: {
    name: "A slow reader",
    fields: [["ms", "ms", 3000, 100, 10000]],
    watch: "A client asks and asks, and reads nothing. Watch its slot fill with bytes and be held back, while the others go on.",
  },
  slow_headers: {
    name: "Slow headers",
    fields: [
      ["count", "clients", 5, 1, 50],
      ["ms", "ms", 3000, 100, 10000],
    ],
    watch: "Clients send their heads byte by byte. Watch their deadlines in the wheel: each byte costs a visit, and time runs out.",
  },
  connections: {
    name: "Many connections",
    fields: [
      ["count", "connections", 500, 1, 500],
      ["ms", "ms", 3000, 100, 10000],
    ],
    watch: "They all come at once. Watch the listener wait until the others were visited, and the slab fill.",
  },
  reset: {
    name: "A reset",
    fields: [],
    watch: "A client breaks off in the middle of its request. Watch its slot come free with the next generation.",
  },
};

export class Inject {
  #model;
  #act;
  #offered = "";

  /** @param {{ inject(what: string, fields: object, name: string): void, timeline(finding: object): boolean, source(origin: string): boolean }} act */
  constructor(model, act) {
    this.#model = model;
    this.#act = act;
  }

  show() {
    const { hello, mayControl } = this.#model;
    if (!hello) return;
    const offered = Object.keys(INJECTIONS).filter((what) => hello.injections.includes(what));
    if (offered.join() !== this.#offered) {
      this.#offered = offered.join();
      $("inject-list").replaceChildren(...offered.map((what) => this.#card(what, INJECTIONS[what])));
    }
    for (const button of $("inject-list").querySelectorAll("button")) button.disabled = !mayControl;
    this.#findings();
  }

  #card(what, { name, fields, watch }) {
    const inputs = fields.map(([key, unit, value, min, max]) => ({
      key,
      unit,
      input: el("input", { type: "number", value, min, max, "aria-label": `${name}: ${unit}` }),
    }));
    const button = el("button", { type: "button" }, name);
    button.addEventListener("click", () => {
      if (inputs.every(({ input }) => input.reportValidity()))
        this.#act.inject(what, Object.fromEntries(inputs.map(({ key, input }) => [key, input.valueAsNumber])), name);
    });
    return el(
      "li",
      {},
      el("div", { class: "row" }, button, ...inputs.map(({ input, unit }) => el("label", {}, input, ` ${unit}`))),
      el("p", {}, watch),
    );
  }

  #findings() {
    const { findings } = this.#model;
    $("findings-empty").hidden = findings.length > 0;
    fill(
      $("findings"),
      findings,
      () => this.#finding(),
      (node, finding) => {
        node.found = finding;
        if (node.dataset.kind !== finding.kind) {
          node.dataset.kind = finding.kind;
          node.firstChild.replaceChildren(...glyph(finding.kind).children);
        }
        const [kind, text, time] = node.children[1].children;
        say(kind, finding.kind);
        say(text, ` ${finding.text.replace(/^\w+: /, "")} `);
        say(time, `${finding.at.toLocaleTimeString()}, turn ${finding.turn}`);
      },
    );
  }

  #finding() {
    const button = (text, act) => {
      const made = el("button", { type: "button", class: "small" }, text);
      made.addEventListener("click", () => {
        const gone = act(node.found) ? "" : "no longer known";
        made.title = gone;
        if (gone) say(made, gone);
      });
      return made;
    };
    const node = el("li", {}, glyph("slow"), el("p", {}, el("b"), el("span"), el("span", { class: "note" })));
    node.append(
      el(
        "div",
        { class: "row" },
        button("Show in the timeline", (finding) => this.#act.timeline(finding)),
        button("Show the line", ({ work }) => this.#act.source(work?.origin)),
      ),
    );
    return node;
  }
}
