// The WebSocket to the dial: it comes back, a little later after each failure, and each question gets its answer. What
// the messages mean is in ../PROTOCOL.md.

const RETRY_FIRST_MS = 400;
const RETRY_MAX_MS = 8_000;
const OPEN_WITHIN_MS = 8_000;

/** Half of the wait is drawn, so that many pages do not return in the same instant. */
function retryDelayMs(failures) {
  const ceiling = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** failures);
  return ceiling / 2 + (Math.random() * ceiling) / 2;
}

export class Link {
  #on;
  #socket = null;
  #failures = 0;
  #retryTimer = 0;
  #openTimer = 0;
  #id = 0;
  #asked = new Map();

  /**
   * @param {{
   *   state: (state: "connecting" | "open" | "waiting", delayMs?: number) => void,
   *   message: (message: object) => void,
   * }} on
   */
  constructor(on) {
    this.#on = on;
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
    // A page kept for the Back button must not keep a loop paused.
    addEventListener("pagehide", () => this.#stop());
    addEventListener("pageshow", (event) => event.persisted && this.#start());
    this.#start();
  }

  /** Ask for something. Resolves with the answer, rejects with the dial's words for why not. */
  ask(what, fields = {}) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Error("not connected"));
    this.#id += 1;
    const id = this.#id;
    this.#socket.send(JSON.stringify({ id, do: what, ...fields }));
    return new Promise((resolve, reject) => this.#asked.set(id, { resolve, reject }));
  }

  retryNow() {
    if (this.#retryTimer) this.#start();
  }

  #start() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = 0;
    this.#on.state("connecting");
    const url = new URL("live", location.href);
    url.hash = "";
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#openTimer = setTimeout(() => this.#lost(socket), OPEN_WITHIN_MS);
    socket.onopen = () => {
      clearTimeout(this.#openTimer);
      this.#on.state("open");
    };
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = () => this.#lost(socket);
  }

  #received(data) {
    const message = JSON.parse(data);
    // Not at `open`: a server that accepts and then hangs up has not recovered.
    this.#failures = 0;
    if (message.type !== "answer") return this.#on.message(message);
    const asked = this.#asked.get(message.id);
    this.#asked.delete(message.id);
    if (message.ok) asked?.resolve(message);
    else asked?.reject(new Error(message.error));
  }

  #lost(socket) {
    if (socket !== this.#socket) return;
    this.#stop();
    const delayMs = retryDelayMs(this.#failures);
    this.#failures += 1;
    this.#retryTimer = setTimeout(() => this.#start(), delayMs);
    this.#on.state("waiting", delayMs);
  }

  #stop() {
    clearTimeout(this.#openTimer);
    clearTimeout(this.#retryTimer);
    this.#retryTimer = 0;
    for (const { reject } of this.#asked.values()) reject(new Error("the connection was lost"));
    this.#asked.clear();
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }
}
