// Tasks as a tree, each under the one that spawned it, with what it waits on and who will wake it.

import { $, el, fill, glyph, place, say, set, span } from "./draw.js";

const TASKS_MAX = 200;

export class Tasks {
  #model;
  #cancel;

  /** @param {(token: string) => void} cancel */
  constructor(model, cancel) {
    this.#model = model;
    this.#cancel = cancel;
  }

  show() {
    const tasks = this.#model.tasks.slice(0, TASKS_MAX);
    const known = new Set(tasks.map(({ token }) => token));
    const children = new Map();
    for (const task of tasks) {
      const parent = known.has(task.parent) && task.parent !== task.token ? task.parent : null;
      children.set(parent, [...(children.get(parent) ?? []), task]);
    }
    $("tasks-empty").hidden = tasks.length > 0;
    this.#branch($("tasks-tree"), children.get(null) ?? [], children);
  }

  #branch(list, tasks, children) {
    fill(
      list,
      tasks,
      () => this.#make(),
      (node, task) => {
        const { token, name, state, waits_on: waitsOn, wakes, since_ns: since, origin } = task;
        const isLost = state === "lost" || task.is_lost;
        set(node, { "data-state": isLost ? "lost" : state });
        node.dataset.token = token;
        const [picture, title, button, waits] = node.firstChild.children;
        const kind = isLost ? "lost" : waitsOn === "timer" || /^timer/.test(waitsOn ?? "") ? "timer" : "task";
        if (picture.dataset.kind !== kind) {
          picture.dataset.kind = kind;
          picture.replaceChildren(...glyph(kind).children);
        }
        say(title.firstChild, name ?? `${task.kind ?? "task"} ${token}`);
        say(title.lastChild, ` ${place(origin)}`);
        button.hidden = !this.#model.mayControl;
        button.setAttribute("aria-label", `Cancel ${name ?? `task ${token}`}`);
        const waited = since ? ` for ${span(Math.max(0, this.#model.nowNs - since))}` : "";
        say(
          waits,
          isLost
            ? `lost: it waits${waited}, and nothing can wake it any more`
            : `${state}${waitsOn ? ` on ${waitsOn}` : ""}${waited}${wakes ? `; woken by ${wakes}` : ""}`,
        );
        this.#branch(node.lastChild, children.get(token) ?? [], children);
      },
    );
  }

  #make() {
    const button = el("button", { type: "button", class: "small" }, "Cancel");
    const node = el(
      "li",
      {},
      el("div", {}, glyph("task"), el("b", {}, el("span"), el("span", { class: "place" })), button, el("p")),
      el("ul"),
    );
    button.addEventListener("click", () => this.#cancel(node.dataset.token));
    return node;
  }
}
