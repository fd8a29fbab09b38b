// The ready queue as cards, the front first, and the border between this turn and the next.

import { $, DataTable, el, fill, glyph, place, plural, say, set, span, title } from "./draw.js";

const CARDS_MAX = 24;

export class Ready {
  #model;
  #line;
  #table;

  /** @param {(origin: string) => string} line what stands there in the source */
  constructor(model, line) {
    this.#model = model;
    this.#line = line;
    this.#table = new DataTable(
      $("ready"),
      "Ready queue, the front first",
      ["#Place", "What", "Created at", "#Waits since", "#Runs in turn"],
      () => model.isPaused,
    );
  }

  show() {
    const { ready, readyMore, turn, nowNs } = this.#model;
    const shown = ready.slice(0, CARDS_MAX);
    fill($("ready-cards"), shown, card, (node, job, i) => {
      const [picture, what, turnNote, origin, waited] = node.children;
      if (node.dataset.what !== job.what) {
        node.dataset.what = job.what;
        picture.replaceChildren(...glyph(job.what).children);
      }
      const isLater = job.turn > turn;
      node.classList.toggle("later", isLater);
      node.classList.toggle("next", i === 0 && this.#model.isPaused);
      turnNote.classList.toggle("later", isLater);
      say(what, title(job));
      say(turnNote, `turn ${job.turn.toLocaleString("en")}`);
      say(origin, [place(job.origin), this.#line(job.origin)].filter(Boolean).join("  "));
      set(origin, { title: job.origin ?? "" });
      say(waited, job.since_ns === null ? "" : `waits ${span(Math.max(0, nowNs - job.since_ns))}`);
    });
    const more = ready.length - shown.length + readyMore;
    $("ready-empty").hidden = shown.length > 0 && more === 0;
    say($("ready-empty"), more > 0 ? `and ${plural(more, "more", "more")} behind them` : "Nothing is ready: the loop may sleep.");
    this.#table.show(() =>
      ready.map((job, i) => [i + 1, title(job), job.origin, job.since_ns === null ? "" : span(nowNs - job.since_ns), job.turn]),
    );
  }
}

function card() {
  return el(
    "li",
    { class: "card-in" },
    glyph("callback"),
    el("b"),
    el("span", { class: "turn" }),
    el("span", { class: "place" }),
    el("span", { class: "waited" }),
  );
}
