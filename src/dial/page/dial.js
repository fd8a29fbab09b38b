// The dial: joins the link, what is known of the loop, and the panes. Each message is taken at once; drawing waits for the
// next frame, and a page that nobody sees draws nothing.

import { Controls } from "./controls.js";
import { $, Palette, say } from "./draw.js";
import { Inject } from "./inject.js";
import { Journey } from "./journey.js";
import { Lesson } from "./lesson.js";
import { Link } from "./link.js";
import { Model } from "./model.js";
import { Movement } from "./movement.js";
import { Poll } from "./poll.js";
import { Ready } from "./ready.js";
import { Slab } from "./slab.js";
import { Source } from "./source.js";
import { Tasks } from "./tasks.js";
import { Timeline } from "./timeline.js";
import { Wheel } from "./wheel.js";

/** Who asks for little motion gets a calmer page as well. */
const CALM_HZ = 2;

const model = new Model();
const palette = new Palette(() => {
  slab.recolour();
  draw();
});
function ask(what, fields) {
  if (!what.startsWith("step_")) return link.ask(what, fields);
  lesson.predict();
  return link.ask(what, fields).catch((error) => {
    lesson.forget();
    throw error;
  });
}
const attempt = (what, fields, done = () => {}) => ask(what, fields).then(done, (error) => controls.tell(`Not done: ${error.message}.`));

const source = new Source(model);
const movement = new Movement(model, (step) => source.follow(step));
const timeline = new Timeline(model, palette, (origin) => source.reveal(origin));
const journey = new Journey(model, (token) => {
  slab.choose(token);
  attempt("journey", { token });
});
const close = (token) => attempt(model.slot(token)?.kind === "task" ? "cancel" : "close", { token });
const slab = new Slab(model, palette, { follow: (token) => journey.follow(token), close });
const inject = new Inject(model, {
  inject: (what, fields, name) => attempt("inject", { what, ...fields }, () => controls.tell(`${name}: it is under way.`)),
  timeline: (finding) => timeline.select(finding),
  source: (origin) => source.reveal(origin),
});
const lesson = new Lesson(model, {
  ask,
  tell: (text) => controls.tell(text),
  changed: () => draw(),
  line: (origin) => source.line(origin),
});
const controls = new Controls(model, { ask, pin: (step) => source.pin(step), unlock }, lesson);
const panes = [
  movement,
  timeline,
  new Ready(model, (origin) => source.line(origin)),
  source,
  new Wheel(model),
  slab,
  new Poll(model),
  new Tasks(model, close),
  journey,
  inject,
  lesson,
  controls,
];

let isDue = false;
function draw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    for (const pane of panes) pane.show();
  });
}

const link = new Link({
  state(word, delayMs) {
    document.body.dataset.link = word;
    $("retry").hidden = word !== "waiting" || delayMs < 2000;
    say(
      $("link-state"),
      {
        connecting: "Connecting…",
        open: "Connected",
        waiting: `Connection lost, trying again in ${Math.max(1, Math.round(delayMs / 1000))} s`,
      }[word],
    );
    if (word !== "open") model.lost();
    draw();
  },
  message(message) {
    if (!model.take(message)) return;
    if (message.type === "hello") begin();
    if (message.type === "stopped") {
      lesson.judge(message);
      controls.tellStop(message);
    }
    if (message.type === "resumed") {
      lesson.forget();
      controls.resumed();
    }
    if (message.type === "finding") controls.tell(message.text);
    draw();
  },
});
$("retry").addEventListener("click", () => link.retryNow());

function begin() {
  const { name, pid } = model.hello.process;
  say($("process"), `the loop of ${name}, process ${pid}`);
  document.title = `Dial: ${name}`;
  lesson.forget();
  source.begin();
  timeline.begin();
  controls.begin();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) attempt("rate", { hz: CALM_HZ });
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token && !model.mayControl && !model.hello.why_not)
    unlock(token).catch((error) => controls.tell(`You may watch, but not control: ${error.message}.`));
}

async function unlock(token) {
  await ask("control", { token });
  model.mayControl = true;
  // For the next time that the page is loaded.
  history.replaceState(null, "", `#${new URLSearchParams({ token })}`);
  draw();
}
