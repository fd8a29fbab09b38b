// What the page knows of the loop: the last of each thing that it was told, and the turns of the last while.

const TURNS_MAX = 600;
const FINDINGS_MAX = 60;
const RATE_OVER_MS = 2_000;
/** A loop that serves sleeps between any two events. One that has turned so lately is not called asleep. */
const TURNED_LATELY_MS = 1_000;

export class Model {
  hello = null;
  /** `running`, `asleep`, `paused`; `unknown` while there is no connection. */
  state = "unknown";
  turn = 0;
  nowNs = 0;
  phase = null;
  next = null;
  stats = null;
  /** The newest last. */
  turns = [];
  ready = [];
  readyMore = 0;
  wheel = null;
  slab = null;
  poll = null;
  tasks = [];
  findings = [];
  stopped = null;
  /** Of a turn that was stopped in its middle, what has run so far; like the others in `turns`. */
  openTurn = null;
  journey = null;
  mayControl = false;
  turnsPerSecond = 0;
  #seen = [];
  #turnedAt = -Infinity;

  get isPaused() {
    return this.state === "paused";
  }

  get phases() {
    return this.hello?.phases ?? [];
  }

  /** The number that a step has in the source's comments: to park is 1 and 2. */
  stepNumber(phase) {
    return phase === 0 ? "1·2" : String(phase + 2);
  }

  /** @returns {boolean} whether it was about the loop */
  take(message) {
    switch (message.type) {
      case "hello":
        this.#begin(message);
        return true;
      case "tick":
        this.#tick(message);
        return true;
      case "stopped":
        this.#stop(message);
        return true;
      case "resumed":
        this.stopped = null;
        this.openTurn = null;
        this.state = "running";
        return true;
      case "finding":
        this.findings.unshift({ ...message, at: new Date() });
        this.findings.length = Math.min(this.findings.length, FINDINGS_MAX);
        return true;
      case "journey":
        this.journey = message;
        return true;
      default:
        return false;
    }
  }

  lost() {
    this.state = "unknown";
    this.mayControl = false;
    this.stopped = null;
    this.openTurn = null;
  }

  #stop(stopped) {
    const { turn, phase } = stopped;
    // Of a turn that goes on the recorder does not know yet which step a block was in: it is the one of the stop before.
    const before = this.stopped?.turn === turn ? this.stopped.phase : phase;
    for (const block of stopped.ran) block.phase ??= before;
    const ran = stopped.ran.filter((block) => block.turn === turn);
    const soFar = this.openTurn?.n === turn ? this.openTurn.blocks : [];
    this.openTurn = phase === null || soFar.length + ran.length === 0 ? null : join(turn, soFar, ran);
    this.stopped = stopped;
    this.state = "paused";
    this.turn = turn;
    this.phase = phase;
    this.next = stopped.next;
  }

  /** Begins anew: after a restart the turns are those of another loop. */
  #begin(hello) {
    if (this.hello && (hello.process.pid !== this.hello.process.pid || hello.now_ns < this.nowNs)) {
      this.turns = [];
      this.findings = [];
      this.journey = null;
    }
    this.hello = hello;
    this.stopped = null;
    this.mayControl = hello.may_control;
    this.state = hello.state;
    this.turn = hello.turn;
    this.nowNs = hello.now_ns;
    this.#seen = [];
  }

  #tick(tick) {
    const now = performance.now();
    if (tick.turn > this.turn) this.#turnedAt = now;
    this.state = tick.state === "asleep" && now - this.#turnedAt < TURNED_LATELY_MS ? "running" : tick.state;
    // Between two turns a stop tells the one that is to come.
    this.turn = Math.max(tick.turn, this.stopped?.turn ?? 0);
    this.nowNs = tick.now_ns;
    this.#measure(now);
    // A loop that sleeps has nothing else to say: all is as it was.
    if (!tick.stats) return;
    this.phase = tick.phase ?? null;
    this.next = tick.next ?? null;
    this.stats = tick.stats;
    const newest = this.turns.at(-1)?.n ?? 0;
    // A turn that is stopped in its middle is told again when it is complete.
    const first = tick.turns[0]?.n ?? Infinity;
    if (first <= newest) this.turns = this.turns.filter(({ n }) => n < first);
    this.turns.push(...tick.turns.map(fold));
    if (this.turns.length > TURNS_MAX) this.turns.splice(0, this.turns.length - TURNS_MAX);
    this.ready = tick.ready;
    this.readyMore = tick.ready_more ?? 0;
    this.wheel = tick.wheel;
    this.slab = tick.slab;
    this.poll = tick.poll;
    this.tasks = tick.tasks;
  }

  #measure(now) {
    this.#seen.push({ at: now, turn: this.turn });
    while (this.#seen.length > 2 && now - this.#seen[0].at > RATE_OVER_MS) this.#seen.shift();
    const first = this.#seen[0];
    this.turnsPerSecond = now - first.at < 200 ? 0 : Math.max(0, ((this.turn - first.turn) * 1000) / (now - first.at));
  }

  /** How much of the last while the loop was awake, 0 to 1, and the while, by the turns that were recorded. */
  awakeShare(overNs = 1e9) {
    let [awake, whole] = [0, 0];
    for (let i = this.turns.length - 1; i >= 0 && whole < overNs; i--) {
      whole += this.turns[i].took_ns;
      awake += this.turns[i].took_ns - this.turns[i].asleep_ns;
    }
    const last = this.turns.at(-1);
    if (this.state === "asleep" && last) whole += Math.max(0, this.nowNs - last.from_ns - last.took_ns);
    return whole > 0 ? awake / whole : 0;
  }

  /** How long each step of a turn took, its sleep left out. */
  static phaseTimes(turn, number) {
    const times = new Array(number).fill(0);
    for (const [phase, , took] of turn.phases) if (phase < number) times[phase] += took;
    times[0] = Math.max(0, times[0] - turn.asleep_ns);
    return times;
  }

  slot(token) {
    const [index, generation] = String(token).split(".").map(Number);
    return this.slab?.slots.find((slot) => slot.i === index && slot.g === generation);
  }
}

/** A turn without the time in which it stood still because somebody had stopped it: what is left is what it did. */
function fold(turn) {
  if (!turn.pauses?.length) return turn;
  const stood = (until) => turn.pauses.reduce((sum, [from, took]) => sum + Math.min(took, Math.max(0, until - from)), 0);
  const [at, length] = [(from) => from - stood(from), (from, took) => took - stood(from + took) + stood(from)];
  return {
    ...turn,
    took_ns: length(turn.from_ns, turn.took_ns),
    phases: turn.phases.map(([phase, from, took]) => [phase, at(from), length(from, took)]),
    blocks: turn.blocks.map((block) => ({ ...block, from_ns: at(block.from_ns), took_ns: length(block.from_ns, block.took_ns) })),
  };
}

/** What has run of a turn that was stopped several times: each right behind the one before. */
function join(n, soFar, ran) {
  const blocks = [...soFar];
  const endOf = ({ from_ns: from, took_ns: took }) => from + took;
  let [end, shift, told] = [blocks.length ? Math.max(...blocks.map(endOf)) : ran[0].from_ns, 0, -Infinity];
  for (const block of ran) {
    // One inside another one keeps its place in it.
    if (block.from_ns >= told) {
      shift = end - block.from_ns;
      told = endOf(block);
      end += block.took_ns;
    }
    blocks.push({ ...block, from_ns: block.from_ns + shift });
  }
  return {
    n,
    from_ns: blocks[0].from_ns,
    asleep_ns: 0,
    took_ns: end - blocks[0].from_ns,
    events: 0,
    phases: stepsOf(blocks),
    blocks,
    cut: 0,
    isOpen: true,
  };
}

/** The steps that these blocks were in, as far as the blocks reach. */
function stepsOf(blocks) {
  const steps = [];
  for (const { phase, from_ns: from, took_ns: took } of blocks) {
    const last = steps.at(-1);
    if (last?.[0] === phase) last[2] = Math.max(last[2], from + took - last[1]);
    else steps.push([phase, from, took]);
  }
  return steps;
}
