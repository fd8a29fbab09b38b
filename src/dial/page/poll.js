// The poll pane: how long the loop asked to sleep and how long it did, who is registered, and whom the kernel named.

import { $, DataTable, el, fill, plural, say, span } from "./draw.js";

const ROWS_MAX = 14;
const FLAGS = { r: ["r", "read"], w: ["w", "write"], hup: ["hup", "hung up"] };

export class Poll {
  #model;
  #table;
  #bar = el("i");
  #words = el("span");
  #head = el("p", { class: "note" });
  #body = el("tbody");

  constructor(model) {
    this.#model = model;
    $("poll-sleep").append(el("div", { class: "sleep-bar" }, this.#bar, this.#words), this.#head);
    const columns = ["Who", "Descriptor", "Interest", "Event", "Drained"].map((name) => el("th", { scope: "col" }, name));
    $("poll-list").append(
      el(
        "table",
        {},
        el("caption", { class: "unseen" }, "Who is registered, those with events first"),
        el("thead", {}, el("tr", {}, ...columns)),
        this.#body,
      ),
    );
    this.#table = new DataTable(
      $("poll"),
      "All that are registered",
      ["Token", "#Descriptor", "Interest", "Event", "Drained"],
      () => model.isPaused,
    );
  }

  show() {
    const { poll } = this.#model;
    if (!poll) return;
    const { asked_ns: asked, slept_ns: slept } = poll;
    const share = asked === null ? (slept > 0 ? 1 : 0) : asked > 0 ? Math.min(1, slept / asked) : 0;
    this.#bar.style.width = `${(share * 100).toFixed(1)}%`;
    say(
      this.#words,
      asked === 0
        ? "asked not to sleep: there was work left"
        : `asked for ${asked === null ? "as long as it takes" : `${span(asked)} at most`}, slept ${span(slept)}`,
    );
    const events = new Map(poll.events.map(({ token, ready }) => [token, ready]));
    const rows = poll.interests
      .map((row) => ({ ...row, event: events.get(row.token) }))
      .sort((a, b) => Boolean(b.event) - Boolean(a.event));
    say(
      this.#head,
      `${plural(poll.events.length, "event")} for ${plural(rows.length, "registration")}.${rows.length > ROWS_MAX ? ` The first ${ROWS_MAX}:` : ""}`,
    );
    fill(this.#body, rows.slice(0, ROWS_MAX), row, (node, { token, fd, interest, event }) => {
      const [who, descriptor, wants, got, drained] = node.children;
      const slot = this.#model.slot(token);
      say(who, `${slot?.name ?? slot?.kind ?? "source"} ${token}`);
      say(descriptor, fd === null ? "–" : String(fd));
      flags(wants, interest);
      flags(got, event);
      const word = { true: "drained", false: "more left" }[poll.drained[token]];
      say(drained, word ?? "");
      drained.className = word === undefined ? "" : poll.drained[token] ? "yes" : "no";
    });
    this.#table.show(() =>
      rows.map(({ token, fd, interest, event }) => [
        token,
        fd,
        long(interest),
        event ? long(event) : "",
        poll.drained[token] === undefined ? "" : poll.drained[token] ? "yes" : "no",
      ]),
    );
  }
}

const row = () => el("tr", {}, ...Array.from({ length: 5 }, () => el("td")));
const split = (set) => (set ? (set.match(/hup|r|w/g) ?? []) : []);
const long = (set) =>
  split(set)
    .map((flag) => FLAGS[flag][1])
    .join(", ");

function flags(cell, set) {
  if (cell.dataset.set === (set ?? "")) return;
  cell.dataset.set = set ?? "";
  cell.replaceChildren(
    ...split(set).flatMap((flag) => [el("span", { class: `flag ${flag}`, title: FLAGS[flag][1] }, FLAGS[flag][0]), " "]),
  );
}
