// The controls and their keys: pause, step, slow motion, breaks; and the token without which they stay still.

import { $, announce, count, place, say, span, state, title } from "./draw.js";

export class Controls {
  #model;
  #act;
  #lesson;
  #told = "";
  #stops = 0;
  #states = new Set();

  /**
   * @param {{ ask(what: string, fields?: object): Promise<object>, follow(): void, pin(step: number | null): void, unlock(token: string): Promise<void> }} act
   * @param {{ isOn: boolean, isLocked: boolean, toggle(): void }} lesson
   */
  constructor(model, act, lesson) {
    this.#model = model;
    this.#act = act;
    this.#lesson = lesson;
    $("pause").addEventListener("click", () => this.#pauseOrResume());
    $("step-turn").addEventListener("click", () => this.#do("step_turn"));
    $("step-callback").addEventListener("click", () => this.#do("step_callback"));
    $("slow-motion").addEventListener("change", ({ target }) => this.#do("slow_motion", { ms: Number(target.value) }));
    $("lesson-toggle").addEventListener("click", () => this.#lesson.toggle());
    $("help-open").addEventListener("click", () => $("help").showModal());
    $("unlock").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#act.unlock($("token").value.trim()).catch((error) => say($("unlock-error"), error.message));
    });
    for (const box of breakBoxes()) {
      box.addEventListener("change", () => this.#setBreak(box));
      valueField(box)?.addEventListener("change", () => box.checked && this.#setBreak(box));
    }
    // A menu that stays open hides what is below it.
    document.addEventListener("click", ({ target }) => $("breaks").contains(target) || $("breaks").removeAttribute("open"));
    $("breaks").addEventListener("keydown", ({ key }) => {
      if (key !== "Escape") return;
      $("breaks").removeAttribute("open");
      $("breaks").firstElementChild.focus();
    });
    document.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    const isTyping = event.target.closest("input:not([type=checkbox], [type=radio]), select, textarea, dialog");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const keys = { p: "pause", t: "step-turn", c: "step-callback", l: "lesson-toggle", "?": "help-open", f: "timeline-follow" };
    const button = $(keys[event.key.toLowerCase()]);
    if (button) {
      event.preventDefault();
      if (!button.disabled) button.click();
    } else if (/^[0-8]$/.test(event.key)) {
      // To park is 1 and 2, the others have a number each.
      this.#act.pin(event.key === "0" ? null : Math.max(0, Number(event.key) - 2));
    }
  }

  #pauseOrResume() {
    return this.#do(this.#model.isPaused ? "resume" : "pause");
  }

  async #do(what, fields) {
    try {
      await this.#act.ask(what, fields);
      return true;
    } catch (error) {
      this.tell(`Not done: ${error.message}.`);
      return false;
    }
  }

  async #setBreak(box) {
    const field = valueField(box);
    const value = field && (field.type === "number" ? field.valueAsNumber : field.value.trim());
    if (box.checked && field && !value) {
      box.checked = false;
      field.focus();
      return;
    }
    const isDone = await this.#do("break_on", { what: box.dataset.break, ...(field ? { value } : {}), on: box.checked });
    if (!isDone) box.checked = !box.checked;
    this.#countBreaks();
  }

  #countBreaks() {
    const set = breakBoxes().filter(({ checked }) => checked).length;
    say($("breaks-set"), set > 0 ? String(set) : "");
  }

  /** After a connection was made: what is in force there, whoever has set it. */
  begin() {
    const { breaks = [], slow_motion_ms: ms = 0 } = this.#model.hello;
    for (const box of breakBoxes()) {
      const set = breaks.find(({ what }) => what === box.dataset.break);
      box.checked = Boolean(set);
      if (set?.value) valueField(box).value = set.value;
    }
    this.#countBreaks();
    const select = $("slow-motion");
    if (![...select.options].some(({ value }) => Number(value) === ms)) select.add(new Option(`${ms} ms each`, ms));
    select.value = String(ms);
  }

  /** Said aloud, and shown while nothing more important is. */
  tell(text) {
    this.#told = text;
    announce(text);
    this.show();
  }

  /** What a stop is about, in a sentence. */
  tellStop(stopped) {
    this.#stops += 1;
    $("standing").dataset.stops = this.#stops;
    const { why, break: broke } = stopped;
    const cause = { pause: "Paused", step: `Stepped: ${whatRan(stopped)}`, break: `Stopped on ${broke}` }[why] ?? "Stopped";
    this.tell(`${cause}. ${this.#standing()}`);
  }

  #standing() {
    const { phase, phases, next, turn } = this.#model;
    const where =
      phase === null
        ? `Between two turns; the next is turn ${count(turn)}`
        : `In step ${this.#model.stepNumber(phase)}, ${phases[phase]?.name}, of turn ${count(turn)}`;
    // In a lesson that is the question.
    return next && !this.#lesson.isOn ? `${where}. Next: ${title(next)}${next.origin ? ` of ${place(next.origin)}` : ""}.` : `${where}.`;
  }

  show() {
    const { mayControl, isPaused, slab, state: word } = this.#model;
    const isThere = word !== "unknown";
    document.body.dataset.state = word;
    say($("pause-word"), isPaused ? "Resume" : "Pause");
    $("pause").disabled = !mayControl || !isThere;
    for (const id of ["step-turn", "step-callback"]) $(id).disabled = !mayControl || !isPaused || this.#lesson.isLocked;
    $("slow-motion").disabled = !mayControl;
    for (const box of breakBoxes()) box.disabled = !mayControl;
    $("standing").classList.toggle("hint", !this.#told && !isPaused);
    say(
      $("standing"),
      this.#told
        ? this.#told
        : isPaused
          ? this.#standing()
          : mayControl
            ? "Pause the loop to look closely: its sockets stay open, and its timers wait."
            : "",
    );
    this.#offerStates(slab?.slots ?? []);
    this.#showFigures();
    this.#showAccess();
  }

  /** The words that the sources have for their states, as far as they were seen. */
  #offerStates(slots) {
    for (const { state: word } of slots) {
      if (!word || this.#states.has(word)) continue;
      this.#states.add(word);
      $("states").append(new Option(word));
    }
  }

  /** After `resumed`, the words about the stop are no longer true. */
  resumed() {
    this.tell("The loop goes on.");
  }

  #showFigures() {
    const { stats, turn, turnsPerSecond, state: word } = this.#model;
    say($("state-word"), word === "unknown" ? "–" : state(word));
    $("state-word").dataset.state = word;
    say($("figure-turn"), count(turn));
    say($("figure-rate"), word === "paused" ? "0" : count(Math.round(turnsPerSecond)));
    const awake = this.#model.awakeShare() * 100;
    say($("figure-awake"), awake > 0 && awake < 1 ? "< 1 %" : `${Math.round(awake)} %`);
    say($("figure-lag"), span(stats?.lag_max_ns));
  }

  #showAccess() {
    const { hello, mayControl, state: word } = this.#model;
    $("watch-only").hidden = !hello || mayControl || word === "unknown";
    if ($("watch-only").hidden) return;
    $("unlock").hidden = Boolean(hello.why_not);
    say(
      $("watch-only-why"),
      hello.why_not ??
        "To pause, step or inject, open the address that the program printed, which ends in #token=…, or say the token here.",
    );
  }
}

function whatRan({ phase, ran, ran_more: more }) {
  const [first] = ran;
  if (!first) return phase === null ? "nothing ran" : "the turn has begun";
  return ran.length === 1 ? `${title(first)} ran for ${span(first.took_ns)}` : `${count(ran.length + more)} pieces of work ran`;
}

const breakBoxes = () => [...document.querySelectorAll("[data-break]")];
const valueField = (box) => box.closest("div").querySelector("input:not([type=checkbox])");
