//! The world's kernel and cables: sockets, ready lists, what is on the road, and the clock.
//!
//! One structure for all hosts of a world, so that everything that happens has one order. Nothing here calls anybody:
//! jobs and scripted actions, which are other people's code, are handed to `World` to be run when no borrow is alive.
//!
//! The model of TCP: what is written waits in the sender's buffer until a delivery moves it, or a piece of it, to the
//! receiver's. Each direction of a connection has at most one delivery under way, which keeps the order. The model of
//! epoll is Linux's: an edge puts a socket on its driver's ready list, once; a poll takes it off and reports what is
//! true *then*.

mod calls;
mod traffic;

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicBool};
use std::time::{Duration, Instant};

use super::rng::mix;
use super::stream::Stream;
use super::{Faults, Rng, World};
use crate::event_loop::{BlockingJob, Signal, Socket, Token};

/// The network as its world, drivers and clients hold it. Borrowed for the length of one call, never across one.
pub(super) type Shared = Rc<RefCell<Network>>;

/// Scripted by a test, for a later time.
pub(super) type Action = Box<dyn FnOnce(&World)>;

/// Log lines kept; older ones are dropped.
const LOG_LINES_MAX: usize = 10_000;
/// Log lines that a failure shows.
pub(super) const LOG_LINES_SHOWN: usize = 80;

pub(super) struct Network {
    pub(super) seed: u64,
    pub(super) faults: Faults,
    origin: Instant,
    now_ns: u64,
    rng: Rng,
    schedule: BinaryHeap<Scheduled>,
    /// Breaks ties in `schedule`: first scheduled, first to happen.
    scheduled: u64,
    /// Every socket there ever was; numbers are not used again, so that a call on a closed one is always noticed.
    sockets: Vec<Entry>,
    processes: Vec<Process>,
    hosts: BTreeMap<String, Ipv4Addr>,
    limits: BTreeMap<Ipv4Addr, Option<usize>>,
    listeners: BTreeMap<u16, Vec<u32>>,
    port_next: u16,
    pub(super) violations: Vec<String>,
    trace: u64,
    log: Option<VecDeque<String>>,
}

/// One driver, seen from the kernel's side.
struct Process {
    address: Ipv4Addr,
    ready: VecDeque<u32>,
    /// The sockets it has open.
    open: BTreeSet<u32>,
    notified: Arc<AtomicBool>,
    signals: BTreeMap<Signal, SignalState>,
    jobs_queued: usize,
    entropy: Rng,
    /// For each slot of the loop's slab that was named in a token: its generation and how many open sockets have it.
    slots: BTreeMap<u32, (u32, usize)>,
    gone: VecDeque<Token>,
}

struct SignalState {
    token: Token,
    pending: bool,
    edge: bool,
}

struct Entry {
    owner: Owner,
    token: Option<Token>,
    in_ready: bool,
    kind: Kind,
}

enum Owner {
    /// Index of the process.
    Driver(usize),
    Client(ClientEnd),
    /// Not accepted yet: number of the listener.
    Queue(u32),
    /// Closed; what was written before is still on its way.
    Nobody,
}

/// What a scripted client has seen. Outlives its socket, since tests ask at the end.
#[derive(Default)]
pub(super) struct ClientEnd {
    pub(super) received: Vec<u8>,
    pub(super) paused: bool,
    pub(super) connected: bool,
    pub(super) fin_seen: bool,
    pub(super) error: Option<ErrorKind>,
    pub(super) closed: bool,
}

enum Kind {
    Listener(Listener),
    /// Boxed, since a world keeps the entries of all sockets that are gone.
    Stream(Box<Stream>),
    Gone,
}

struct Listener {
    host: Ipv4Addr,
    bound: SocketAddr,
    queue: VecDeque<u32>,
    /// Handshakes under way, which have a place in the queue already.
    pending: usize,
    backlog_max: usize,
}

/// Something that will happen.
pub(super) enum Happening {
    /// An attempt to connect arrives at the host it is for.
    Syn(u32),
    /// The answer of this end arrives at the one that connects.
    SynAck(u32),
    /// The end that was connected to learns that the handshake is done.
    Ack(u32),
    /// Bytes, or the end of the stream, of this sender arrive.
    Delivery(u32),
    /// A reset arrives at this end.
    Reset(u32),
    /// A fault that kept this end from writing is over.
    Room(u32),
    /// A worker of this process begins a job.
    Job(usize, BlockingJob),
    /// A test's own.
    Action(Action),
}

struct Scheduled {
    at_ns: u64,
    sequence: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    /// Turned round, since the heap gives its largest and we want the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ns, other.sequence).cmp(&(self.at_ns, self.sequence))
    }
}

/// What is counted in the trace; the numbers only have to differ.
#[derive(Clone, Copy)]
enum Op {
    Poll = 1,
    Event,
    Listen,
    Accept,
    Connect,
    Register,
    Read,
    Write,
    Shutdown,
    TakeError,
    Close,
    Arrival,
    Reset,
    Clock,
    Client,
    Submit,
    Signal,
}

// The clock, the schedule and the record.
impl Network {
    pub(super) fn shared(seed: u64, faults: Faults, logged: bool) -> Shared {
        Rc::new(RefCell::new(Self {
            seed,
            faults,
            origin: Instant::now(),
            now_ns: 0,
            rng: Rng::for_purpose(seed, 1),
            schedule: BinaryHeap::new(),
            scheduled: 0,
            sockets: Vec::new(),
            processes: Vec::new(),
            hosts: BTreeMap::new(),
            limits: BTreeMap::new(),
            listeners: BTreeMap::new(),
            port_next: 20_000,
            violations: Vec::new(),
            trace: mix(seed),
            log: logged.then(VecDeque::new),
        }))
    }

    pub(super) fn now(&self) -> Instant {
        self.origin + self.elapsed()
    }

    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now_ns)
    }

    pub(super) fn advance_to(&mut self, to: Instant) {
        let to_ns = nanos(to.saturating_duration_since(self.origin));
        if to_ns > self.now_ns {
            self.now_ns = to_ns;
            self.note(Op::Clock, to_ns, 0, || "clock".to_owned());
        }
    }

    pub(super) fn next_time(&self) -> Option<Instant> {
        let next = self.schedule.peek()?;
        Some(self.origin + Duration::from_nanos(next.at_ns))
    }

    pub(super) fn is_due(&self) -> bool {
        self.schedule
            .peek()
            .is_some_and(|next| next.at_ns <= self.now_ns)
    }

    /// The next thing that is due. Of the rest, [`Network::happen`] does what is the network's.
    pub(super) fn take_due(&mut self) -> Option<Happening> {
        if !self.is_due() {
            return None;
        }
        self.schedule.pop().map(|next| next.what)
    }

    pub(super) fn schedule(&mut self, delay: Duration, what: Happening) {
        self.scheduled += 1;
        self.schedule.push(Scheduled {
            at_ns: self.now_ns.saturating_add(nanos(delay)),
            sequence: self.scheduled,
            what,
        });
    }

    /// Forget everything that would have happened. Whoever gets it drops it after the borrow.
    pub(super) fn take_schedule(&mut self) -> Vec<Happening> {
        let schedule = std::mem::take(&mut self.schedule);
        schedule.into_iter().map(|next| next.what).collect()
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(self.rng.range(self.faults.latency_us.clone()))
    }

    pub(super) fn start_log(&mut self) {
        self.log.get_or_insert_default();
    }

    pub(super) fn log_lines(&self, last: usize) -> Vec<String> {
        let lines = self.log.iter().flatten();
        let skipped = lines.clone().count().saturating_sub(last);
        lines.skip(skipped).cloned().collect()
    }

    pub(super) fn trace_hash(&self) -> u64 {
        self.trace
    }

    /// Count something into the trace, and write it to the log when there is one.
    fn note(&mut self, op: Op, first: u64, second: u64, line: impl FnOnce() -> String) {
        let word = mix((op as u64) << 56 ^ first << 32 ^ second ^ self.now_ns.rotate_left(20));
        self.trace = mix(self.trace ^ word);
        if let Some(log) = &mut self.log {
            if log.len() == LOG_LINES_MAX {
                log.pop_front();
            }
            log.push_back(format!("{:>14.6} {}", self.now_ns as f64 / 1e9, line()));
        }
    }

    fn note_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.trace = (self.trace ^ u64::from_le_bytes(word))
                .wrapping_mul(0x2127_599b_f432_5c37)
                .rotate_left(29);
        }
    }

    fn violation(&mut self, message: String) {
        self.note(Op::Event, 0, 0, || format!("VIOLATION {message}"));
        self.violations.push(message);
    }
}

// Hosts and their drivers.
impl Network {
    /// The address of the host called `name`; a name that is an address is its own.
    pub(super) fn address(&mut self, name: &str) -> Ipv4Addr {
        if let Ok(address) = name.parse() {
            return address;
        }
        if let Some(address) = self.hosts.get(name) {
            return *address;
        }
        let number = self.hosts.len() as u32 + 1;
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + number);
        self.hosts.insert(name.to_owned(), address);
        address
    }

    pub(super) fn add_process(&mut self, address: Ipv4Addr) -> usize {
        let number = self.processes.len();
        self.processes.push(Process {
            address,
            ready: VecDeque::new(),
            open: BTreeSet::new(),
            notified: Arc::new(AtomicBool::new(false)),
            signals: BTreeMap::new(),
            jobs_queued: 0,
            entropy: Rng::for_purpose(self.seed, 1_000 + number as u64),
            slots: BTreeMap::new(),
            gone: VecDeque::new(),
        });
        number
    }

    pub(super) fn process_count(&self) -> usize {
        self.processes.len()
    }

    pub(super) fn processes_at(&self, address: Ipv4Addr) -> impl Iterator<Item = usize> + '_ {
        (0..self.processes.len()).filter(move |&number| self.processes[number].address == address)
    }

    pub(super) fn open_sockets(&self, process: usize) -> usize {
        self.processes[process].open.len()
    }

    pub(super) fn limit_descriptors(&mut self, address: Ipv4Addr, limit: Option<usize>) {
        self.limits.insert(address, limit);
    }

    pub(super) fn descriptor_limit(&self, process: usize) -> Option<usize> {
        let address = self.processes[process].address;
        let of_host = self.limits.get(&address).copied();
        of_host.unwrap_or(self.faults.descriptor_limit)
    }

    pub(super) fn notified(&self, process: usize) -> Arc<AtomicBool> {
        Arc::clone(&self.processes[process].notified)
    }

    pub(super) fn entropy(&mut self, process: usize) -> u64 {
        self.processes[process].entropy.next_u64()
    }

    /// Whether a poll of this driver would find something, or was asked to return.
    pub(super) fn has_events(&self, process: usize) -> bool {
        let process = &self.processes[process];
        !process.ready.is_empty()
            || process.notified.load(atomic::Ordering::SeqCst)
            || process.signals.values().any(|signal| signal.edge)
    }

    pub(super) fn watch_signal(&mut self, process: usize, signal: Signal, token: Token) {
        let state = SignalState {
            token,
            pending: false,
            edge: false,
        };
        self.processes[process].signals.insert(signal, state);
    }

    /// Returns whether anybody on the host watches it.
    pub(super) fn raise(&mut self, address: Ipv4Addr, signal: Signal) -> bool {
        self.note(Op::Signal, signal as u64, 0, || {
            format!("{signal:?} to {address}")
        });
        let mut watched = false;
        for process in &mut self.processes {
            if process.address == address
                && let Some(state) = process.signals.get_mut(&signal)
            {
                (state.pending, state.edge, watched) = (true, true, true);
            }
        }
        watched
    }

    pub(super) fn take_signal(&mut self, process: usize, signal: Signal) -> bool {
        let state = self.processes[process].signals.get_mut(&signal);
        state.is_some_and(|state| std::mem::take(&mut state.pending))
    }

    pub(super) fn submit(&mut self, process: usize, job: BlockingJob) -> io::Result<()> {
        if self.rng.chance(self.faults.executor_full) {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.processes[process].jobs_queued += 1;
        self.note(Op::Submit, process as u64, 0, || "job queued".to_owned());
        let delay = Duration::from_micros(self.rng.range(self.faults.worker_us.clone()));
        self.schedule(delay, Happening::Job(process, job));
        Ok(())
    }

    pub(super) fn jobs_queued(&self, process: usize) -> usize {
        self.processes[process].jobs_queued
    }

    /// A worker takes up a job; false when a fault ends the worker first.
    pub(super) fn begin_job(&mut self, process: usize) -> bool {
        self.processes[process].jobs_queued -= 1;
        let lost = self.rng.chance(self.faults.worker_lost);
        self.note(Op::Submit, process as u64, 1 + u64::from(lost), || {
            let what = if lost { "job lost" } else { "job runs" };
            what.to_owned()
        });
        !lost
    }

    pub(super) fn turn_time(&mut self) -> Duration {
        Duration::from_micros(self.rng.range(self.faults.turn_us.clone()))
    }

    /// How much longer than needed the machine is suspended.
    pub(super) fn clock_jump(&mut self) -> Option<Duration> {
        self.rng
            .chance(self.faults.clock_jump)
            .then(|| Duration::from_secs(self.rng.range(self.faults.clock_jump_s.clone())))
    }

    pub(super) fn pick(&mut self, choices: usize) -> usize {
        self.rng.index(choices)
    }
}

// What the oracles and the people ask.
impl Network {
    /// Registered sockets of a driver with something that its loop was told of and did not take.
    pub(super) fn undrained(&self, process: usize) -> Vec<(Socket, Token)> {
        let mut undrained = Vec::new();
        for &number in &self.processes[process].open {
            let entry = &self.sockets[number as usize];
            let waits = match &entry.kind {
                Kind::Stream(stream) => stream.has_unread(),
                Kind::Listener(listener) => !listener.queue.is_empty(),
                Kind::Gone => false,
            };
            if let Some(token) = entry.token.filter(|_| waits) {
                undrained.push((Socket(number), token));
            }
        }
        undrained
    }

    /// Every socket that is open, a line each.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        for (number, entry) in self.sockets.iter().enumerate() {
            let who = match &entry.owner {
                Owner::Driver(process) => {
                    let token = entry.token.map_or("not registered".to_owned(), |token| {
                        format!("{}/{}", token.index(), token.generation())
                    });
                    format!("driver {process} ({token})")
                }
                Owner::Client(end) => {
                    let paused = if end.paused { ", not reading" } else { "" };
                    format!("client with {} bytes received{paused}", end.received.len())
                }
                Owner::Queue(at) => format!("not accepted by s{at}"),
                Owner::Nobody => "closed".to_owned(),
            };
            let what = match &entry.kind {
                Kind::Gone => continue,
                Kind::Listener(listener) => format!(
                    "listens at {}, {} wait",
                    listener.bound,
                    listener.queue.len()
                ),
                Kind::Stream(stream) => {
                    let ended = if stream.inbound.fin {
                        " and the end"
                    } else {
                        ""
                    };
                    format!(
                        "{:?}, unread {}{ended}, unsent {} ({:?})",
                        stream.phase,
                        stream.inbound.data.len(),
                        stream.outbound.data.len(),
                        stream.outbound.fin,
                    )
                }
            };
            let _ = writeln!(text, "  s{number} {who}: {what}");
        }
        text
    }
}

impl Drop for Network {
    /// A test that panics cannot print the log any more, so the world does.
    fn drop(&mut self) {
        if self.log.is_some() && std::thread::panicking() {
            let lines = self.log_lines(LOG_LINES_SHOWN).join("\n");
            eprintln!("SEED={}, what happened last:\n{lines}", self.seed);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn to_u64(range: std::ops::RangeInclusive<usize>) -> std::ops::RangeInclusive<u64> {
    *range.start() as u64..=*range.end() as u64
}
