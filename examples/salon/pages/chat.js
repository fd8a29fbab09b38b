// The chat page. What others typed goes into the document through `textContent` alone.

import { Link, header, socketUrl } from "/link.js";

const $ = (id) => document.getElementById(id);
const SHOWN_MAX = 500;
const MESSAGE_CHARS_MAX = 2000;
const RUN_MS = 120_000;
const NAME_KEY = "salon.name";

const room = new URLSearchParams(location.search).get("room")?.trim().slice(0, 64) || "lobby";
let name = recall();
let me = null;
let wasHere = false;
let awaySince = 0;
let last = { user: null, timestamp: 0 };
/** The names of those in the room that have said one. */
const names = new Map();

const bar = header(() => link.retryNow());
const link = new Link(() => socketUrl("/ws", { room, name }), {
  roundTrip: bar.roundTrip,
  state(state, detail) {
    bar.state(state, detail);
    if (state === "waiting" && me) {
      me = null;
      awaySince = Date.now();
      notice("Disconnected. What you write stays in the field until the salon is back.", "lost");
      countUsers(null);
    }
    readiness();
  },
  message(message) {
    said[message?.type]?.(message);
  },
});

const said = {
  welcome({ user_id, users, timestamp }) {
    me = user_id;
    names.clear();
    countUsers(users);
    notice(wasHere ? `Reconnected after ${elapsed(Date.now() - awaySince)}; what was said meanwhile is not shown.` : `You are in ${room}.`, "here", timestamp);
    wasHere = true;
    readiness();
    listRooms();
  },
  user_joined({ user_id, user_name, users, timestamp }) {
    countUsers(users);
    notice(`${called(user_id, user_name)} came in`, "joined", timestamp);
    listRooms();
  },
  user_left({ user_id, user_name, users, timestamp }) {
    countUsers(users);
    notice(`${called(user_id, user_name)} left`, "left", timestamp);
    names.delete(user_id);
    listRooms();
  },
  user_renamed({ user_id, user_name, timestamp }) {
    const before = called(user_id);
    names.set(user_id, user_name);
    notice(user_id === me ? `You are now ${user_name}` : `${before} is now ${user_name}`, "renamed", timestamp);
  },
  new_message({ user_id, user_name, message, timestamp }) {
    const own = user_id === me;
    const who = called(user_id, user_name);
    const run = last.user === who && timestamp - last.timestamp < RUN_MS;
    const item = element("article", `said${own ? " own" : ""}${run ? " run" : ""}`);
    item.dataset.user = user_id;
    const monogram = element("span", `monogram hue-${hue(user_id)}`, initials(user_name));
    monogram.setAttribute("aria-hidden", "true");
    const by = element("p", "by");
    by.append(element("b", "", own ? "You" : who), clock(timestamp));
    const text = element("p", "text", message);
    text.dir = "auto";
    item.append(monogram, by, text);
    show(item);
    last = { user: who, timestamp };
  },
  error({ message }) {
    $("refused").textContent = message;
  },
};

function called(userId, userName = names.get(userId)) {
  if (!userName) return `Guest ${userId}`;
  names.set(userId, userName);
  return userName;
}

function initials(userName) {
  if (!userName) return "·";
  const words = userName.split(/\s+/u).filter(Boolean);
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("");
}

function hue(userId) {
  let sum = 0;
  for (const char of userId) sum = (sum * 31 + char.codePointAt(0)) % 9973;
  return sum % 6;
}

function elapsed(ms) {
  return ms < 90_000 ? `${Math.max(1, Math.round(ms / 1000))} s` : `${Math.round(ms / 60_000)} min`;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function clock(timestamp) {
  const date = new Date(timestamp);
  const made = element("time", "", date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  made.dateTime = date.toISOString();
  return made;
}

function notice(text, kind, timestamp = Date.now()) {
  const item = element("p", "notice");
  item.dataset.kind = kind;
  const words = element("span", "", text);
  words.dir = "auto";
  item.append(words, " ", clock(timestamp));
  show(item);
  last = { user: null, timestamp: 0 };
}

function show(item) {
  const log = $("log");
  const atEnd = isAtEnd(log);
  log.append(item);
  while (log.children.length > SHOWN_MAX) log.firstElementChild.remove();
  if (atEnd || item.classList.contains("own")) log.scrollTop = log.scrollHeight;
  else $("jump").hidden = false;
}

function isAtEnd(log) {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 40;
}

function countUsers(users) {
  $("users").textContent = users ?? "–";
  $("users").dataset.users = users ?? 0;
}

let listing = false;
/** The rooms beside this one. A courtesy: if `/stats` does not answer, the list stays as it was. */
async function listRooms() {
  if (listing || document.hidden) return;
  listing = true;
  try {
    const { rooms } = await (await fetch("/stats")).json();
    const entries = Object.entries(rooms).sort(([a, m], [b, n]) => n - m || a.localeCompare(b));
    $("rooms").replaceChildren(...entries.slice(0, 8).map(([other, users]) => {
      const item = element("li");
      const way = element("a", "", other);
      way.href = `/?room=${encodeURIComponent(other)}`;
      way.dir = "auto";
      if (other === room) way.setAttribute("aria-current", "true");
      item.append(way, element("span", "", users));
      return item;
    }));
    $("room-names").replaceChildren(...entries.map(([other]) => Object.assign(element("option"), { value: other })));
  } catch {
    // The link notices a server that is gone, and says so.
  } finally {
    listing = false;
  }
}

function readiness() {
  $("send").disabled = me === null || $("message").value.trim() === "";
}

function recall() {
  try {
    return localStorage.getItem(NAME_KEY) ?? "";
  } catch {
    return "";
  }
}

function remember(value) {
  try {
    localStorage.setItem(NAME_KEY, value);
  } catch {
    // Storage may be forbidden; the name then lasts as long as the page.
  }
}

function grow() {
  const field = $("message");
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
  const left = MESSAGE_CHARS_MAX - field.value.length;
  $("left").textContent = left <= 200 ? `${left} characters left` : "";
  readiness();
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = $("message");
  if (field.value.trim() === "") return;
  $("refused").textContent = "";
  if (me !== null && link.send({ type: "message", message: field.value })) {
    field.value = "";
    grow();
  } else {
    $("refused").textContent = "Not sent: not connected. ";
  }
  field.focus();
});

$("message").addEventListener("keydown", (event) => {
  // While an input method composes, Enter picks a candidate.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
});
$("message").addEventListener("input", grow);

$("name-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = $("name").value.trim();
  if (wanted === "" || wanted === name) return;
  name = wanted;
  remember(name);
  link.send({ type: "name", name });
  $("message").focus();
});

$("log").addEventListener("scroll", () => {
  if (isAtEnd($("log"))) $("jump").hidden = true;
});
$("jump").addEventListener("click", () => {
  $("log").scrollTop = $("log").scrollHeight;
});

document.title = `${room} · Salon`;
$("room-title").textContent = room;
$("room").value = room;
$("name").value = name;
grow();
if (matchMedia("(pointer: fine)").matches) $("message").focus();
