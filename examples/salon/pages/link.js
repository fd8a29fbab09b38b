// A WebSocket that comes back: it notices a dead peer by pings, waits a little longer after each failure, and says what
// it is doing. What the messages mean is the pages' business; the protocol is in ../PROTOCOL.md.

const PING_EVERY_MS = 20_000;
/** A page that still loads would measure itself. */
const PING_FIRST_MS = 1_000;
const PONG_WITHIN_MS = 10_000;
const OPEN_WITHIN_MS = 8_000;
const RETRY_FIRST_MS = 400;
const RETRY_MAX_MS = 10_000;

/** Half of the wait is drawn, so that a thousand pages do not return to a restarted server in the same instant. */
function retryDelayMs(failures) {
  const ceiling = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** failures);
  return ceiling / 2 + (Math.random() * ceiling) / 2;
}

export class Link {
  #url;
  #on;
  #socket = null;
  #failures = 0;
  #retryTimer = 0;
  #openTimer = 0;
  #pingTimer = 0;
  #pongTimer = 0;
  #pingedAt = 0;

  /**
   * @param {() => string} url asked anew for each attempt
   * @param {{
   *   state: (state: "connecting" | "open" | "waiting", detail?: { delayMs: number, code: number }) => void,
   *   message: (message: object) => void,
   *   roundTrip: (ms: number) => void,
   * }} on
   */
  constructor(url, on) {
    this.#url = url;
    this.#on = on;
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
    // A page kept for the Back button must not hold a place in a room.
    addEventListener("pagehide", () => this.#stop());
    addEventListener("pageshow", (event) => event.persisted && this.#start());
    this.#start();
  }

  /** True if the message went to an open connection. */
  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  retryNow() {
    if (this.#retryTimer) this.#start();
  }

  #start() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = 0;
    this.#on.state("connecting");
    const socket = new WebSocket(this.#url());
    this.#socket = socket;
    this.#openTimer = setTimeout(() => this.#lost(socket, 1006), OPEN_WITHIN_MS);
    socket.onopen = () => {
      clearTimeout(this.#openTimer);
      this.#on.state("open");
      this.#pingTimer = setTimeout(() => this.#ping(socket), PING_FIRST_MS);
    };
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = ({ code }) => this.#lost(socket, code);
  }

  #received(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    // Not at `open`: a server that accepts and then hangs up has not recovered.
    this.#failures = 0;
    if (message?.type === "pong" && this.#pongTimer) {
      clearTimeout(this.#pongTimer);
      this.#pongTimer = 0;
      this.#on.roundTrip(performance.now() - this.#pingedAt);
    }
    this.#on.message(message);
  }

  #ping(socket) {
    this.#pingTimer = setTimeout(() => this.#ping(socket), PING_EVERY_MS);
    this.#pingedAt = performance.now();
    this.send({ type: "ping" });
    this.#pongTimer = setTimeout(() => this.#lost(socket, 1006), PONG_WITHIN_MS);
  }

  #lost(socket, code) {
    if (socket !== this.#socket) return;
    this.#stop();
    const delayMs = retryDelayMs(this.#failures);
    this.#failures += 1;
    this.#retryTimer = setTimeout(() => this.#start(), delayMs);
    this.#on.state("waiting", { delayMs, code });
  }

  #stop() {
    clearTimeout(this.#openTimer);
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#pingTimer);
    clearTimeout(this.#pongTimer);
    this.#retryTimer = 0;
    this.#pongTimer = 0;
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }
}

/** The address of one of the server's WebSockets, seen from this page. */
export function socketUrl(path, query = {}) {
  const url = new URL(path, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  for (const [key, value] of Object.entries(query)) if (value) url.searchParams.set(key, value);
  return url.href;
}

const WHY = { 1001: "The server is going away", 1009: "The message was too long", 1012: "The server restarts" };

/** Shows a link's state in the header that both pages have. Returns the `state` and `roundTrip` of `Link`'s second argument. */
export function header(retry) {
  const text = document.getElementById("link-state");
  const roundTrip = document.getElementById("round-trip");
  const button = document.getElementById("retry");
  button.addEventListener("click", retry);
  return {
    state(state, { delayMs, code } = {}) {
      document.body.dataset.link = state;
      button.hidden = state !== "waiting" || delayMs < 2000;
      if (state !== "open") roundTrip.textContent = "";
      text.textContent = {
        connecting: () => "Connecting…",
        open: () => "Connected",
        waiting: () => `${WHY[code] ?? "Connection lost"}, trying again in ${Math.max(1, Math.round(delayMs / 1000))} s`,
      }[state]();
    },
    roundTrip(ms) {
      roundTrip.textContent = `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
      roundTrip.dataset.ms = ms.toFixed(2);
    },
  };
}
