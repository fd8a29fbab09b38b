// One source across its turns, as a line with stations: what was done, and between two, what was waited for.

import { $, el, fill, say, span } from "./draw.js";

const CHOICES_MAX = 200;
const LONG_NS = 50e6;

export class Journey {
  #model;
  #ask;
  #choices = "";

  /** @param {(token: string) => void} ask for the journey of a source */
  constructor(model, ask) {
    this.#model = model;
    this.#ask = ask;
    $("journey-of").addEventListener("change", ({ target }) => this.follow(target.value));
    $("journey-again").addEventListener("click", () => this.follow($("journey-of").value));
  }

  follow(token) {
    if (!token) return;
    this.#offer(token);
    $("journey-of").value = token;
    this.#ask(token);
  }

  show() {
    if (document.activeElement !== $("journey-of")) this.#offer($("journey-of").value);
    const { journey } = this.#model;
    if (!journey) return;
    const items = journey.steps.flatMap((step) => [...(step.gap_ns > 0 ? [{ gap: step }] : []), { step }]);
    $("journey-empty").hidden = items.length > 0;
    if (items.length === 0) say($("journey-empty"), `The recorder knows nothing of ${journey.token} any more, or not yet.`);
    fill(
      $("journey-line"),
      items,
      () => el("li", {}, el("span", { class: "turn" }), el("span")),
      (node, { gap, step }) => {
        const [turn, words] = node.children;
        node.className = gap ? `gap${gap.gap_ns > LONG_NS ? " long" : ""}` : "step";
        say(turn, gap ? "" : `turn ${step.turn.toLocaleString("en")}`);
        say(words, gap ? `${span(gap.gap_ns)}, for ${gap.gap_is || "something else"}` : `${step.what}, ${span(step.took_ns)}`);
      },
    );
  }

  /** The connections that are there, and the one that is followed even when it has gone. */
  #offer(chosen) {
    const slots = (this.#model.slab?.slots ?? []).filter(({ kind }) => kind !== "listener" && kind !== "signal").slice(0, CHOICES_MAX);
    const names = new Map(slots.map((slot) => [`${slot.i}.${slot.g}`, `${slot.name ?? slot.kind} ${slot.i}.${slot.g}`]));
    if (chosen && !names.has(chosen)) names.set(chosen, `${chosen}, has gone`);
    const offered = [...names.keys()].join();
    if (offered === this.#choices) return;
    this.#choices = offered;
    const select = $("journey-of");
    select.replaceChildren(select.firstElementChild, ...[...names].map(([token, name]) => el("option", { value: token }, name)));
    select.value = chosen;
    $("tokens").replaceChildren(...[...names.keys()].map((token) => el("option", { value: token })));
  }
}
