// Lesson mode: the step buttons work once one has said what will run next. The loop is the judge: what counts is what
// its recorder says that ran. The reasons are the rules of event_loop/mod.rs.

import { $, el, place, say, set, span, title } from "./draw.js";
import { all } from "./wheel.js";

const QUEUED_MAX = 5;
/** The step in which timers join the ready queue. */
const FIRE_TIMERS = 3;
const RULES = {
  R1: "R1: There is one ready queue, and it is first in, first out. Its order inside a turn: what was left over, what I/O woke, what other threads sent, what came due.",
  R2: "R2: What is scheduled before step 6 runs in this turn; what is scheduled in step 6 or after it, in the next one, after its poll.",
  R5: "R5: A timer is never early, never runs in the turn that set it, and those of one tick run in the order they were set.",
};

export class Lesson {
  #model;
  #act;
  #isOn = false;
  #question = null;
  #key = "";
  /** The choice and its question, from when the step is asked for until the loop has answered. */
  #prediction = null;
  #score = { right: 0, asked: 0, row: 0 };

  /**
   * @param {{
   *   ask(what: string, fields?: object): Promise<object>, tell(text: string): void, changed(): void,
   *   line(origin: string): string,
   * }} act
   */
  constructor(model, act) {
    this.#model = model;
    this.#act = act;
    $("lesson-choices").addEventListener("change", () => this.#act.changed());
    $("lesson-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#go();
    });
    $("lesson-feed").addEventListener("click", () => this.#feed());
  }

  get isOn() {
    return this.#isOn;
  }

  /** Whether the step buttons have to wait for a prediction. */
  get isLocked() {
    return this.#isOn && this.#chosen() === null;
  }

  toggle() {
    this.#isOn = !this.#isOn;
    $("lesson").hidden = !this.#isOn;
    document.body.toggleAttribute("data-lesson", this.#isOn);
    set($("lesson-toggle"), { "aria-pressed": String(this.#isOn) });
    this.#key = "";
    this.#act.changed();
    if (this.#isOn) $("lesson").scrollIntoView({ block: "nearest" });
  }

  #chosen() {
    const box = $("lesson-choices").querySelector(":checked");
    return box && this.#question ? this.#question.choices[Number(box.value)] : null;
  }

  /** A step is asked for, by whichever button or key. */
  predict() {
    const choice = this.#chosen();
    if (this.#isOn && choice !== null) this.#prediction ??= { choice, question: this.#question };
  }

  /** The step did not come about, or the loop goes on without it. */
  forget() {
    this.#prediction = null;
  }

  #go() {
    if (!this.#model.isPaused) return this.#send("pause");
    if (this.#chosen() !== null) this.#send("step_callback");
    else this.#act.tell("Choose first what you think will run.");
  }

  /** Callbacks with an order worth predicting; paused first, so that none of them has run by then. */
  async #feed() {
    if (!this.#model.isPaused) await this.#send("pause");
    await this.#send("inject", { what: "lesson" });
  }

  #send(what, fields) {
    return this.#act.ask(what, fields).catch((error) => this.#act.tell(`Not done: ${error.message}.`));
  }

  show() {
    if (!this.#isOn) return;
    const { isPaused, mayControl, hello } = this.#model;
    say($("lesson-go"), isPaused ? "Predict, and step" : "Pause the loop");
    $("lesson-go").disabled = !mayControl;
    $("lesson-feed").disabled = !mayControl || !hello?.injections.includes("lesson");
    const fieldset = $("lesson-form").firstElementChild;
    fieldset.hidden = !isPaused;
    const hint = $("lesson-result").querySelector(".empty");
    if (hint) say(hint, isPaused ? "Choose, and the loop will show whether it is so." : "Pause the loop, and the first question appears.");
    if (!isPaused || this.#prediction) return;
    const question = this.#ask();
    // The times in the words go on, and others may come; a choice that was made stays made.
    const name = ({ is, at, job }) => [is, at, job?.token].join();
    const key = question.choices.map(name).join("\n");
    if (key !== this.#key) {
      this.#key = key;
      const chosen = this.#chosen();
      const make = (i) =>
        el("label", {}, el("input", { type: "radio", name: "lesson", value: i }), el("span"), el("span", { class: "place" }));
      $("lesson-choices").replaceChildren(...question.choices.map((_, i) => make(i)));
      const kept = chosen ? question.choices.findIndex((choice) => name(choice) === name(chosen)) : -1;
      if (kept >= 0) $("lesson-choices").children[kept].firstElementChild.checked = true;
      this.#act.changed();
    }
    this.#question = question;
    say($("lesson-question"), question.text);
    question.choices.forEach(({ label, at }, i) => {
      const [, words, origin] = $("lesson-choices").children[i].children;
      say(words, label);
      say(origin, at ? `${place(at)}  ${this.#act.line(at)}` : "");
    });
  }

  /** The question that this stop puts. Whatever can be seen of the loop may be the answer. */
  #ask() {
    const { ready, wheel, phase, phases, turn, nowNs } = this.#model;
    const where =
      phase === null
        ? `The loop stands before turn ${turn.toLocaleString("en")}`
        : `It stands in step ${this.#model.stepNumber(phase)} (${phases[phase]?.name}) of turn ${turn.toLocaleString("en")}`;
    // By the place in the source: the order of the queue is to be found out.
    const queued = distinct(ready)
      .slice(0, QUEUED_MAX)
      .sort((a, b) => (a.origin < b.origin ? -1 : 1))
      .map((job) => ({ is: "queued", job, at: job.origin, label: `${title(job)}, from the ready queue` }));
    const [timer] = wheel ? all(wheel) : [];
    const choices = [...queued];
    if (timer)
      choices.push({
        is: "timer",
        timer,
        at: timer.origin,
        label: `the first timer of the wheel (${timer.what}), due ${timer.due_ns <= nowNs ? "since" : "in"} ${span(Math.abs(timer.due_ns - nowNs))}`,
      });
    choices.push(
      { is: "visit", label: "a visit to a source that has news, or was carried over" },
      { is: "nothing", label: "nothing: this turn finds no work" },
    );
    return { text: `${where}. What will run next?`, choices, ready, timers: wheel ? all(wheel) : [], phase, turn, nowNs };
  }

  /** The loop has stopped: if it was asked to by a step that was predicted, see who was right. */
  judge(stopped) {
    if (!this.#prediction) return;
    const { choice, question } = this.#prediction;
    const [ran = null] = stopped.ran;
    // Before its first visit or callback a turn stops once: that is no answer yet.
    if (!ran && stopped.phase !== null) return this.#send("step_callback");
    const truth = whatItWas(ran, question);
    const isRight = truth.is === choice.is && (choice.is !== "queued" || isSame(choice.job, ran));
    this.#score.asked += 1;
    this.#score.right += isRight ? 1 : 0;
    this.#score.row = isRight ? this.#score.row + 1 : 0;
    for (const [key, value] of Object.entries(this.#score)) say($(`score-${key}`), String(value));
    const { words, rule } = reason(truth, choice, question, ran);
    $("lesson-result").replaceChildren(
      el("p", { class: `verdict ${isRight ? "right" : "wrong"}` }, isRight ? "✓ Right." : "✗ Not this time."),
      el("p", {}, ...(ran ? this.#whatRan(ran) : ["Nothing ran. "]), words),
      el("blockquote", {}, RULES[rule]),
    );
    $("lesson-choices").replaceChildren();
    this.#question = null;
    this.#prediction = null;
    this.#key = "";
  }

  #whatRan(ran) {
    const line = this.#act.line(ran.origin);
    return [
      `It was the ${title(ran)}, created at ${place(ran.origin)}`,
      ...(line ? [": ", el("code", {}, line), " "] : [". "]),
      `It ran in step ${this.#model.stepNumber(ran.phase)}. `,
    ];
  }
}

/** Each job once: those of one origin cannot be told apart before they run. */
function distinct(ready) {
  return ready.filter((job, i) => ready.findIndex((other) => isSame(other, job)) === i);
}

function isSame(job, ran) {
  return Boolean(ran) && job.origin === ran.origin && (job.token ?? null) === (ran.token ?? null);
}

/** Which of the choices has come true. */
function whatItWas(ran, { ready, timers }) {
  if (!ran) return { is: "nothing" };
  const place = ready.findIndex((job) => isSame(job, ran));
  if (place >= 0) return { is: "queued", place, job: ready[place] };
  if (ran.kind === "visit" && ran.phase !== 4) return { is: "visit" };
  const timer = timers.find((set) => set.origin && set.origin === ran.origin);
  return timer ? { is: "timer", timer } : { is: ran.kind === "visit" ? "visit" : "new" };
}

function reason(truth, choice, { turn, phase, nowNs }, ran) {
  switch (truth.is) {
    case "nothing":
      return {
        words:
          "No source had news, nothing stood in the ready queue, and no timer was due: left alone, the loop would now sleep until its next deadline.",
        rule: choice.is === "timer" ? "R5" : "R1",
      };
    case "visit":
      return {
        words:
          ran.phase === 5
            ? "Callbacks had given it bytes, and step 7 sends them with one write."
            : "Sources are visited in step 3, and callbacks run in step 6: whoever has news is heard first.",
        rule: "R1",
      };
    case "timer":
      return { words: "It had come due, joined the end of the queue in step 5, and nobody stood before it.", rule: "R5" };
    case "new":
      return {
        words: "It was not to be seen when you were asked: a visit or another thread scheduled it meanwhile, before step 6 counted.",
        rule: "R2",
      };
    default:
      if (choice.is === "timer" && choice.timer.due_ns <= nowNs && phase > FIRE_TIMERS)
        return { words: "The timer is due, but timers join the queue in step 5, and that of this turn was over.", rule: "R5" };
      if (choice.is === "timer")
        return { words: "It stood in the queue already. A timer joins behind what is there, and not before it is due.", rule: "R5" };
      if (choice.is === "queued" && choice.job.turn > turn)
        return { words: "The one you chose was scheduled by a callback, so it waits for the next turn.", rule: "R2" };
      return { words: truth.place === 0 ? "It stood at the front." : "Those before it had been cancelled.", rule: "R1" };
  }
}
