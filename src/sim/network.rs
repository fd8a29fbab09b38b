//! The world's kernel and cables: sockets, ready lists, what is on the road, and the clock.
//!
//! One structure for all hosts of a world, so that everything that happens has one order. Nothing here calls anybody: jobs and
//! scripted actions, which are other people's code, are handed to `World` to be run when no borrow is alive.
//!
//! The model of TCP: what is written waits in the sender's buffer until a delivery moves it, or a piece of it, to the
//! receiver's. Each direction of a connection has at most one delivery under way, which keeps the order. The model of epoll is
//! Linux's: an edge puts a socket on its driver's ready list, once; a poll takes it off and reports what is true *then*.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicBool};
use std::time::{Duration, Instant};

use super::rng::mix;
use super::stream::{Fin, Moved, Phase, Stream};
use super::{Faults, Rng, World};
use crate::event_loop::{BlockingJob, Event, Readiness, Signal, Socket, Token};

/// The network as its world, drivers and clients hold it. Borrowed for the length of one call, never across one.
pub(super) type Shared = Rc<RefCell<Network>>;

/// Scripted by a test, for a later time.
pub(super) type Action = Box<dyn FnOnce(&World)>;

/// As many as one epoll_wait(2) of ours takes.
const EVENTS_MAX: usize = 1024;
/// Linux's first repetition of a SYN that nobody answered.
const SYN_REPEAT: Duration = Duration::from_secs(1);
/// Bounds what [`Faults::stall`] can add to the life of a connection.
const STALLS_MAX: u8 = 3;
/// How near a thing on the road must be to arrive in the middle of a call.
const ARRIVAL_NEAR_NS: u64 = 1_000_000;
/// Tokens of closed sockets kept for [`Faults::stale`].
const STALE_MAX: usize = 16;
/// Log lines kept; older ones are dropped.
const LOG_LINES_MAX: usize = 10_000;
/// Log lines that a failure shows.
pub(super) const LOG_LINES_SHOWN: usize = 80;

/// Error numbers for which [`ErrorKind`] has no stable name.
mod errno {
    pub(super) const EBADF: i32 = 9;
    pub(super) const ENOMEM: i32 = 12;
    pub(super) const ENFILE: i32 = 23;
    pub(super) const EMFILE: i32 = 24;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) const ENOBUFS: i32 = 105;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(super) const ENOBUFS: i32 = 55;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) const ECONNABORTED: i32 = 103;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(super) const ECONNABORTED: i32 = 53;
}

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
    open: usize,
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
    Stream(Stream),
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
            open: 0,
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
        self.processes[process].open
    }

    pub(super) fn limit_descriptors(&mut self, address: Ipv4Addr, limit: Option<usize>) {
        self.limits.insert(address, limit);
    }

    pub(super) fn descriptor_limit(&self, process: usize) -> Option<usize> {
        let address = self.processes[process].address;
        let of_host = self.limits.get(&address).copied();
        of_host.unwrap_or(self.faults.descriptor_limit)
    }

    fn check_limit(&self, process: usize) -> io::Result<()> {
        match self.descriptor_limit(process) {
            Some(limit) if self.processes[process].open >= limit => Err(os(errno::EMFILE)),
            _ => Ok(()),
        }
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

// What a driver asks for.
impl Network {
    pub(super) fn poll(&mut self, process: usize, events: &mut Vec<Event>) {
        self.processes[process]
            .notified
            .store(false, atomic::Ordering::SeqCst);
        if self.rng.chance(self.faults.empty_poll) {
            return;
        }
        let first = events.len();
        for state in self.processes[process].signals.values_mut() {
            if std::mem::take(&mut state.edge) {
                events.push(Event {
                    token: state.token,
                    readiness: Readiness::READABLE,
                });
            }
        }
        let batch_max = match self.faults.batch_max.clone() {
            Some(range) => self.rng.range(to_u64(range)) as usize,
            None => EVENTS_MAX,
        };
        while events.len() - first < batch_max.min(EVENTS_MAX) {
            let Some(number) = self.processes[process].ready.pop_front() else {
                break;
            };
            if let Some(event) = self.sockets[number as usize].report() {
                events.push(event);
            }
        }
        self.distort(process, events, first);
        for event in &events[first..] {
            let Event { token, readiness } = *event;
            let (index, bits) = (u64::from(token.index()), readiness_bits(readiness));
            self.note(Op::Event, index, bits, || {
                format!("event {token:?} {}", describe_readiness(readiness))
            });
        }
        let count = (events.len() - first) as u64;
        self.note(Op::Poll, process as u64, count, || {
            format!("driver {process} polled: {count} events")
        });
    }

    /// Events that say less than the truth, more than it, or in another order.
    fn distort(&mut self, process: usize, events: &mut Vec<Event>, first: usize) {
        if self.rng.chance(self.faults.spurious)
            && let Some(token) = self.some_token(process)
        {
            let bits = [
                Readiness::READABLE,
                Readiness::WRITABLE,
                Readiness::READABLE | Readiness::WRITABLE,
                Readiness::READABLE | Readiness::CLOSING,
            ];
            let readiness = *self.rng.pick(&bits);
            events.push(Event { token, readiness });
        }
        if self.rng.chance(self.faults.stale) && !self.processes[process].gone.is_empty() {
            let gone = self.processes[process].gone.make_contiguous();
            let token = *self.rng.pick(gone);
            let readiness = Readiness::READABLE | Readiness::WRITABLE | Readiness::CLOSING;
            events.push(Event { token, readiness });
        }
        let both = Readiness::READABLE | Readiness::WRITABLE;
        for index in first..events.len() {
            if events[index].readiness.contains(both) && self.rng.chance(self.faults.split) {
                let token = events[index].token;
                let mut reading = Readiness::READABLE;
                if events[index].readiness.contains(Readiness::CLOSING) {
                    reading |= Readiness::CLOSING;
                }
                events[index].readiness = Readiness::WRITABLE;
                events.push(Event {
                    token,
                    readiness: reading,
                });
            }
        }
        if self.rng.chance(self.faults.shuffled) {
            self.rng.shuffle(&mut events[first..]);
        }
        let last = events.len().min(first + EVENTS_MAX);
        events.truncate(last);
    }

    /// The token of an open socket, if a few tries find one.
    fn some_token(&mut self, process: usize) -> Option<Token> {
        for _ in 0..4 {
            if self.sockets.is_empty() {
                return None;
            }
            let entry = &self.sockets[self.rng.index(self.sockets.len())];
            if matches!(entry.owner, Owner::Driver(owner) if owner == process)
                && entry.token.is_some()
            {
                return entry.token;
            }
        }
        None
    }

    pub(super) fn listen(&mut self, process: usize, address: SocketAddr) -> io::Result<Socket> {
        self.check_limit(process)?;
        let host = self.processes[process].address;
        if !is_local(address.ip(), host) {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        let mut bound = address;
        if bound.port() == 0 {
            bound.set_port(self.free_port());
        }
        let same_port = self.listeners.get(&bound.port()).into_iter().flatten();
        let taken = same_port.clone().any(|&other| {
            matches!(&self.sockets[other as usize].kind, Kind::Listener(other) if other.host == host
                && (other.bound.ip() == bound.ip() || other.bound.ip().is_unspecified() || bound.ip().is_unspecified()))
        });
        if taken {
            return Err(ErrorKind::AddrInUse.into());
        }
        let backlog_max = self.rng.range(to_u64(self.faults.backlog_max.clone())) as usize;
        let listener = Listener {
            host,
            bound,
            queue: VecDeque::new(),
            pending: 0,
            backlog_max,
        };
        let number = self.add(Owner::Driver(process), Kind::Listener(listener));
        self.processes[process].open += 1;
        self.listeners.entry(bound.port()).or_default().push(number);
        self.note(Op::Listen, number.into(), bound.port().into(), || {
            format!("s{number} listens at {bound} of {host}")
        });
        Ok(Socket(number))
    }

    pub(super) fn accept(
        &mut self,
        process: usize,
        socket: Socket,
    ) -> io::Result<(Socket, SocketAddr)> {
        self.arrival_in_call();
        self.own(process, socket, "accept")?;
        if self.rng.chance(self.faults.accept_error) {
            let codes = [
                errno::EMFILE,
                errno::ENFILE,
                errno::ENOBUFS,
                errno::ENOMEM,
                errno::ECONNABORTED,
            ];
            let code = *self.rng.pick(&codes);
            self.note(Op::Accept, socket.0.into(), code as u64, || {
                format!("s{} accept fails: error {code}", socket.0)
            });
            return Err(os(code));
        }
        // Linux looks for a descriptor before it looks for a connection.
        let limited = self.check_limit(process);
        let Kind::Listener(listener) = &mut self.sockets[socket.0 as usize].kind else {
            return Err(ErrorKind::InvalidInput.into());
        };
        if let Err(error) = limited {
            self.note(Op::Accept, socket.0.into(), 0, || {
                format!("s{} accept: at the limit", socket.0)
            });
            return Err(error);
        }
        let Some(number) = listener.queue.pop_front() else {
            self.note(Op::Accept, socket.0.into(), 1, || {
                format!("s{} accept: nobody", socket.0)
            });
            return Err(ErrorKind::WouldBlock.into());
        };
        self.processes[process].open += 1;
        self.sockets[number as usize].owner = Owner::Driver(process);
        let remote = self.stream(number).remote;
        self.note(Op::Accept, socket.0.into(), number.into(), || {
            format!("s{} accept: s{number} from {remote}", socket.0)
        });
        Ok((Socket(number), remote))
    }

    pub(super) fn turn_away(&mut self, process: usize, socket: Socket, limit: usize) -> usize {
        if self.own(process, socket, "turn_away").is_err() {
            return 0;
        }
        let Kind::Listener(listener) = &mut self.sockets[socket.0 as usize].kind else {
            return 0;
        };
        let count = limit.min(listener.queue.len());
        let away: Vec<u32> = listener.queue.drain(..count).collect();
        for number in away {
            self.close_stream(number);
        }
        self.note(Op::Close, socket.0.into(), count as u64, || {
            format!("s{} turns {count} away", socket.0)
        });
        count
    }

    pub(super) fn connect(&mut self, process: usize, to: SocketAddr) -> io::Result<Socket> {
        self.check_limit(process)?;
        let ip = match to.ip().is_loopback() {
            true => to.ip(),
            false => self.processes[process].address.into(),
        };
        let from = SocketAddr::new(ip, self.free_port());
        let send_max = self
            .rng
            .range(to_u64(self.faults.send_buffer_bytes.clone()));
        let number = self.connect_end(Owner::Driver(process), from, to, send_max as usize);
        self.processes[process].open += 1;
        Ok(Socket(number))
    }

    pub(super) fn register(
        &mut self,
        process: usize,
        socket: Socket,
        token: Token,
    ) -> io::Result<()> {
        self.own(process, socket, "register")?;
        let entry = &mut self.sockets[socket.0 as usize];
        if entry.token.is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        entry.token = Some(token);
        self.note(Op::Register, socket.0.into(), token.index().into(), || {
            format!("s{} registered as {token:?}", socket.0)
        });
        let slot = self.processes[process]
            .slots
            .entry(token.index())
            .or_insert((token.generation(), 0));
        let (generation, open) = *slot;
        *slot = (token.generation(), 1);
        if generation == token.generation() {
            slot.1 = open + 1;
        } else if generation > token.generation() {
            self.violation(format!(
                "s{} registered as {token:?}: the slot was at generation {generation} before",
                socket.0
            ));
        } else if open > 0 {
            self.violation(format!(
                "s{} registered as {token:?}: a socket of generation {generation} of that slot is still open",
                socket.0
            ));
        }
        // ep_insert asks what is true already.
        if self.sockets[socket.0 as usize].readiness() != Readiness::NONE {
            self.edge(socket.0);
        }
        Ok(())
    }

    pub(super) fn read(
        &mut self,
        process: usize,
        socket: Socket,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        self.arrival_in_call();
        self.own(process, socket, "read")?;
        self.reset_in_call(socket.0);
        let Kind::Stream(stream) = &mut self.sockets[socket.0 as usize].kind else {
            return Err(ErrorKind::NotConnected.into());
        };
        let result = stream.read(buffer);
        let peer = stream.peer;
        if let Some(peer) = peer {
            self.kick(peer); // the window has opened
        }
        self.note(Op::Read, socket.0.into(), outcome(&result), || {
            format!("s{} read: {}", socket.0, describe(&result))
        });
        result
    }

    pub(super) fn write(
        &mut self,
        process: usize,
        socket: Socket,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        self.arrival_in_call();
        self.own(process, socket, "write")?;
        self.reset_in_call(socket.0);
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        let accept_max = if wanted > 0 && self.rng.chance(self.faults.write_blocked) {
            0
        } else if wanted > 1 && self.rng.chance(self.faults.write_short) {
            self.rng.range(1..=wanted as u64 - 1) as usize
        } else {
            usize::MAX
        };
        let room_in = Duration::from_micros(match accept_max {
            usize::MAX => 0,
            _ => self.rng.range(self.faults.room_us.clone()),
        });
        let Kind::Stream(stream) = &mut self.sockets[socket.0 as usize].kind else {
            return Err(ErrorKind::NotConnected.into());
        };
        let result = stream.write(slices, accept_max);
        if accept_max != usize::MAX
            && !stream.outbound.squeezed
            && stream.phase == Phase::Established
        {
            stream.outbound.squeezed = true;
            self.schedule(room_in, Happening::Room(socket.0));
        }
        self.kick(socket.0);
        self.note(Op::Write, socket.0.into(), outcome(&result), || {
            format!("s{} write of {wanted}: {}", socket.0, describe(&result))
        });
        let mut left = *result.as_ref().unwrap_or(&0);
        for slice in slices {
            self.note_bytes(&slice[..left.min(slice.len())]);
            left -= left.min(slice.len());
        }
        result
    }

    pub(super) fn shutdown_write(&mut self, process: usize, socket: Socket) -> io::Result<()> {
        self.own(process, socket, "shutdown_write")?;
        self.note(Op::Shutdown, socket.0.into(), 0, || {
            format!("s{} shutdown", socket.0)
        });
        let Kind::Stream(stream) = &mut self.sockets[socket.0 as usize].kind else {
            return Err(ErrorKind::NotConnected.into());
        };
        if stream.phase != Phase::Established {
            return Err(ErrorKind::NotConnected.into());
        }
        self.end_stream(socket.0);
        Ok(())
    }

    pub(super) fn take_error(
        &mut self,
        process: usize,
        socket: Socket,
    ) -> io::Result<Option<io::Error>> {
        self.own(process, socket, "take_error")?;
        let error = match &mut self.sockets[socket.0 as usize].kind {
            Kind::Stream(stream) => stream.error.take(),
            _ => None,
        };
        self.note(
            Op::TakeError,
            socket.0.into(),
            error.is_some().into(),
            || format!("s{} pending error: {error:?}", socket.0),
        );
        Ok(error.map(io::Error::from))
    }

    pub(super) fn local_addr(&self, process: usize, socket: Socket) -> io::Result<SocketAddr> {
        let entry = self.sockets.get(socket.0 as usize);
        match entry {
            Some(Entry {
                owner: Owner::Driver(owner),
                kind,
                ..
            }) if *owner == process => match kind {
                Kind::Listener(listener) => Ok(listener.bound),
                Kind::Stream(stream) => Ok(stream.local),
                Kind::Gone => Err(os(errno::EBADF)),
            },
            _ => Err(os(errno::EBADF)),
        }
    }

    pub(super) fn close(&mut self, process: usize, socket: Socket) {
        let Some(entry) = self.sockets.get_mut(socket.0 as usize) else {
            return;
        };
        if !matches!(entry.owner, Owner::Driver(owner) if owner == process) {
            return;
        }
        let token = entry.token.take();
        self.note(Op::Close, socket.0.into(), 0, || {
            format!("s{} closed", socket.0)
        });
        let owner = &mut self.processes[process];
        owner.open -= 1;
        if let Some(token) = token {
            if let Some((generation, open)) = owner.slots.get_mut(&token.index())
                && *generation == token.generation()
            {
                *open -= 1;
            }
            if owner.gone.len() == STALE_MAX {
                owner.gone.pop_front();
            }
            owner.gone.push_back(token);
        }
        match std::mem::replace(&mut self.sockets[socket.0 as usize].kind, Kind::Gone) {
            Kind::Listener(listener) => {
                self.sockets[socket.0 as usize].owner = Owner::Nobody;
                if let Some(same_port) = self.listeners.get_mut(&listener.bound.port()) {
                    same_port.retain(|&number| number != socket.0);
                }
                for number in listener.queue {
                    self.abort(number);
                }
            }
            kind => {
                self.sockets[socket.0 as usize].kind = kind;
                self.close_stream(socket.0);
            }
        }
    }

    pub(super) fn close_process(&mut self, process: usize) {
        for number in 0..self.sockets.len() as u32 {
            self.close(process, Socket(number));
        }
    }

    /// Every call that names a socket passes here: one that is closed, or another driver's, is a bug of the caller.
    fn own(&mut self, process: usize, socket: Socket, call: &str) -> io::Result<()> {
        match self.sockets.get(socket.0 as usize) {
            Some(Entry {
                owner: Owner::Driver(owner),
                ..
            }) if *owner == process => Ok(()),
            _ => {
                self.violation(format!(
                    "{call} on s{}, which driver {process} does not have open",
                    socket.0
                ));
                Err(os(errno::EBADF))
            }
        }
    }

    /// Something on the road arrives in the middle of a turn, as it does with a kernel that runs beside us.
    fn arrival_in_call(&mut self) {
        if !self.rng.chance(self.faults.arrival_in_call) {
            return;
        }
        let near = |next: &Scheduled| {
            next.at_ns <= self.now_ns.saturating_add(ARRIVAL_NEAR_NS)
                && !matches!(next.what, Happening::Job(..) | Happening::Action(_))
        };
        if self.schedule.peek().is_some_and(near)
            && let Some(next) = self.schedule.pop()
        {
            self.now_ns = self.now_ns.max(next.at_ns);
            self.happen(next.what);
        }
    }

    fn reset_in_call(&mut self, number: u32) {
        let is_open = matches!(&self.sockets[number as usize].kind, Kind::Stream(stream) if stream.phase == Phase::Established);
        if is_open && self.rng.chance(self.faults.call_reset) {
            self.break_connection(number);
        }
    }
}

// What a client asks for.
impl Network {
    pub(super) fn connect_client(&mut self, from: Option<SocketAddr>, to: SocketAddr) -> u32 {
        let from = from.unwrap_or_else(|| {
            // TEST-NET-1 (RFC 5737): an address that no host of a world has.
            SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), self.free_port())
        });
        let owner = Owner::Client(ClientEnd::default());
        self.connect_end(owner, from, to, usize::MAX)
    }

    pub(super) fn client(&mut self, number: u32) -> &mut ClientEnd {
        match &mut self.sockets[number as usize].owner {
            Owner::Client(end) => end,
            _ => unreachable!("a client's socket stays a client's"),
        }
    }

    /// Whether everything the client sent was delivered.
    pub(super) fn client_has_unsent(&self, number: u32) -> bool {
        matches!(&self.sockets[number as usize].kind, Kind::Stream(stream) if stream.has_unsent())
    }

    pub(super) fn client_send(&mut self, number: u32, bytes: &[u8], urgent: bool) {
        self.note(Op::Client, number.into(), bytes.len() as u64, || {
            format!("client s{number} sends {}", bytes.len())
        });
        let closed = self.client(number).closed;
        if let Kind::Stream(stream) = &mut self.sockets[number as usize].kind
            && stream.phase != Phase::Dead
            && stream.outbound.fin == Fin::No
            && !closed
        {
            if urgent {
                stream.outbound.mark = Some(stream.outbound.data.len());
            }
            stream.outbound.data.extend(bytes);
            self.kick(number);
        }
    }

    pub(super) fn client_shutdown(&mut self, number: u32) {
        self.note(Op::Client, number.into(), 1 << 40, || {
            format!("client s{number} ends its half")
        });
        self.end_stream(number);
    }

    pub(super) fn client_close(&mut self, number: u32, reset: bool) {
        self.note(Op::Client, number.into(), 2 << 40, || {
            let how = if reset { "resets" } else { "closes" };
            format!("client s{number} {how}")
        });
        match reset {
            true => self.abort(number),
            false => self.close_stream(number),
        }
    }

    pub(super) fn client_pause(&mut self, number: u32, paused: bool) {
        self.client(number).paused = paused;
        self.absorb(number);
    }

    /// A client reads at once whatever comes, unless it was told not to.
    fn absorb(&mut self, number: u32) {
        let Entry {
            owner: Owner::Client(end),
            kind: Kind::Stream(stream),
            ..
        } = &mut self.sockets[number as usize]
        else {
            return;
        };
        end.connected |= stream.phase == Phase::Established;
        if let Some(kind) = stream.error.take() {
            end.error = Some(kind);
        }
        if end.paused {
            return;
        }
        let (first, second) = stream.inbound.data.as_slices();
        end.received.extend_from_slice(first);
        end.received.extend_from_slice(second);
        stream.inbound.data.clear();
        stream.inbound.mark = None;
        stream.inbound.end_read = stream.inbound.fin;
        end.fin_seen |= stream.inbound.fin;
        if let Some(peer) = stream.peer {
            self.kick(peer);
        }
    }
}

// What happens by itself.
impl Network {
    /// Do what is the network's to do. Jobs and actions are the caller's.
    pub(super) fn happen(&mut self, what: Happening) {
        match what {
            Happening::Syn(number) => self.syn(number),
            Happening::SynAck(number) => self.syn_ack(number),
            Happening::Ack(number) => self.ack(number),
            Happening::Delivery(number) => self.delivery(number),
            Happening::Reset(number) => self.reset(number, ErrorKind::ConnectionReset),
            Happening::Room(number) => self.room(number),
            Happening::Job(..) | Happening::Action(_) => {
                unreachable!("other people's code runs outside of the network's borrow")
            }
        }
    }

    fn connect_end(
        &mut self,
        owner: Owner,
        from: SocketAddr,
        to: SocketAddr,
        send_max: usize,
    ) -> u32 {
        let stream = self.new_stream(from, to, send_max);
        let number = self.add(owner, Kind::Stream(stream));
        self.note(Op::Connect, number.into(), to.port().into(), || {
            format!("s{number} connects from {from} to {to}")
        });
        let longer = self.rng.range(self.faults.connect_delay_ms.clone());
        let delay = self.latency() + Duration::from_millis(longer);
        self.schedule(delay, Happening::Syn(number));
        number
    }

    fn syn(&mut self, number: u32) {
        let Kind::Stream(client) = &self.sockets[number as usize].kind else {
            return;
        };
        let (from, to) = (client.local, client.remote);
        let refused = self.rng.chance(self.faults.connect_refused);
        let Some(at) = self.listener_for(number, to).filter(|_| !refused) else {
            self.reset(number, ErrorKind::ConnectionRefused);
            return;
        };
        let Kind::Listener(listener) = &mut self.sockets[at as usize].kind else {
            unreachable!("the table of ports holds listeners");
        };
        if listener.queue.len() + listener.pending >= listener.backlog_max {
            self.schedule(SYN_REPEAT, Happening::Syn(number));
            return;
        }
        listener.pending += 1;
        let send_max = self
            .rng
            .range(to_u64(self.faults.send_buffer_bytes.clone()));
        let mut server = self.new_stream(to, from, send_max as usize);
        server.peer = Some(number);
        let server = self.add(Owner::Queue(at), Kind::Stream(server));
        self.stream(number).peer = Some(server);
        self.note(Op::Arrival, number.into(), at.into(), || {
            format!("s{number} finds the listener s{at}; its other end is s{server}")
        });
        let delay = self.latency();
        self.schedule(delay, Happening::SynAck(server));
    }

    fn syn_ack(&mut self, server: u32) {
        let Kind::Stream(Stream {
            peer: Some(number), ..
        }) = self.sockets[server as usize].kind
        else {
            return;
        };
        if let Kind::Stream(client) = &mut self.sockets[number as usize].kind
            && client.phase == Phase::Connecting
        {
            client.phase = Phase::Established;
            self.note(Op::Arrival, number.into(), 0, || {
                format!("s{number} is connected")
            });
            self.edge(number);
        } else {
            // It has given up meanwhile.
            self.reset(server, ErrorKind::ConnectionReset);
        }
        let delay = self.latency();
        self.schedule(delay, Happening::Ack(server));
    }

    fn ack(&mut self, number: u32) {
        let Owner::Queue(at) = self.sockets[number as usize].owner else {
            return;
        };
        let alive = match &mut self.sockets[number as usize].kind {
            Kind::Stream(stream) if stream.phase == Phase::Connecting => {
                stream.phase = Phase::Established;
                true
            }
            _ => false,
        };
        let Kind::Listener(listener) = &mut self.sockets[at as usize].kind else {
            self.abort(number);
            return;
        };
        listener.pending -= 1;
        if !alive {
            self.sockets[number as usize].kind = Kind::Gone;
            return;
        }
        listener.queue.push_back(number);
        self.note(Op::Arrival, at.into(), number.into(), || {
            format!("s{number} waits to be accepted by s{at}")
        });
        self.edge(at);
        if let Some(client) = self.stream(number).peer {
            self.kick(client);
        }
    }

    fn delivery(&mut self, number: u32) {
        let Kind::Stream(sender) = &mut self.sockets[number as usize].kind else {
            return;
        };
        sender.outbound.travelling = false;
        let Some(peer) = sender.peer else {
            return;
        };
        if sender.phase != Phase::Established || !sender.has_unsent() {
            return;
        }
        if sender.outbound.stalls < STALLS_MAX && self.rng.chance(self.faults.stall) {
            sender.outbound.stalls += 1;
            sender.outbound.travelling = true;
            let delay = Duration::from_millis(self.rng.range(self.faults.stall_ms.clone()));
            self.schedule(delay, Happening::Delivery(number));
            return;
        }
        if self.rng.chance(self.faults.reset) {
            self.reset(peer, ErrorKind::ConnectionReset);
            self.reset(number, ErrorKind::ConnectionReset);
            return;
        }
        if self.is_closed(peer) {
            self.delivery_to_nobody(number, peer);
            return;
        }
        let piece = match self.faults.piece_bytes.clone() {
            Some(range) => self.rng.range(to_u64(range)) as usize,
            None => usize::MAX,
        };
        let fin_apart = self.rng.chance(self.faults.fin_apart);
        let urgent = self.rng.chance(self.faults.urgent);
        let Ok([sender, receiver]) = self
            .sockets
            .get_disjoint_mut([number as usize, peer as usize])
        else {
            unreachable!("a connection has two ends");
        };
        let (Kind::Stream(sender), Kind::Stream(receiver)) = (&mut sender.kind, &mut receiver.kind)
        else {
            unreachable!("both ends are there");
        };
        if receiver.phase != Phase::Established {
            return;
        }
        if urgent && sender.outbound.mark.is_none() {
            let amid = sender.outbound.data.len().min(piece) as u64;
            sender.outbound.mark = Some(self.rng.range(0..=amid) as usize);
        }
        let moved = sender.deliver(receiver, piece, fin_apart);
        let room = sender.take_room_edge();
        let more = sender.has_unsent();
        let Moved { bytes, urgent, fin } = moved;
        let flags = u64::from(urgent) << 32 | u64::from(fin) << 33;
        self.note(Op::Arrival, peer.into(), bytes as u64 | flags, || {
            let urgent = if urgent { ", an urgent byte" } else { "" };
            let fin = if fin { ", the end" } else { "" };
            format!("s{number} -> s{peer}: {bytes} bytes{urgent}{fin}")
        });
        if moved.anything() {
            self.edge(peer);
        }
        if room {
            self.edge(number);
        }
        match more {
            // Else the window is shut, and reading will open it.
            true if moved.anything() => self.kick(number),
            true => {}
            false => self.forget_if_done(number),
        }
    }

    /// Data for a closed socket is answered with a reset (RFC 9293, 3.10.7.1); the end of a stream goes unnoticed.
    fn delivery_to_nobody(&mut self, number: u32, peer: u32) {
        let stream = self.stream(number);
        let had_data = !stream.outbound.data.is_empty() || stream.outbound.mark.is_some();
        stream.outbound.data = VecDeque::new();
        stream.outbound.mark = None;
        if stream.outbound.fin == Fin::Queued {
            stream.outbound.fin = Fin::Delivered;
        }
        self.note(Op::Arrival, peer.into(), u64::from(had_data), || {
            format!("s{number} -> s{peer}: nobody there")
        });
        if had_data {
            let delay = self.latency();
            self.schedule(delay, Happening::Reset(number));
        }
        self.forget_if_done(number);
    }

    fn room(&mut self, number: u32) {
        let Kind::Stream(stream) = &mut self.sockets[number as usize].kind else {
            return;
        };
        stream.outbound.squeezed = false;
        if stream.take_room_edge() {
            self.edge(number);
        }
    }

    /// A reset, or a refusal, arrives at an end.
    fn reset(&mut self, number: u32, kind: ErrorKind) {
        let discards = self.rng.chance(self.faults.reset_discards);
        let closed = self.is_closed(number);
        let entry = &mut self.sockets[number as usize];
        let Kind::Stream(stream) = &mut entry.kind else {
            return;
        };
        if stream.phase == Phase::Dead {
            return;
        }
        stream.be_reset(kind, discards);
        if closed {
            entry.kind = Kind::Gone;
        }
        self.note(Op::Reset, number.into(), kind as u64, || {
            format!("s{number}: {kind}")
        });
        self.edge(number);
    }

    /// A reset that both ends learn of: `number` now, the other one later.
    fn break_connection(&mut self, number: u32) {
        if let Some(peer) = self.stream(number).peer {
            let delay = self.latency();
            self.schedule(delay, Happening::Reset(peer));
        }
        self.reset(number, ErrorKind::ConnectionReset);
    }

    /// FIN, behind whatever still waits.
    fn end_stream(&mut self, number: u32) {
        if let Kind::Stream(stream) = &mut self.sockets[number as usize].kind
            && stream.outbound.fin == Fin::No
            && stream.phase != Phase::Dead
        {
            stream.outbound.fin = Fin::Queued;
            self.kick(number);
        }
    }

    /// close(2) of a connection: a reset if something is unread, else what is written still goes out, and then the end.
    fn close_stream(&mut self, number: u32) {
        match &self.sockets[number as usize].kind {
            Kind::Stream(stream) if stream.phase == Phase::Established => {
                if !stream.inbound.data.is_empty() {
                    self.abort(number);
                    return;
                }
                self.disown(number);
                self.end_stream(number);
                self.forget_if_done(number);
            }
            _ => {
                self.disown(number);
                self.sockets[number as usize].kind = Kind::Gone;
            }
        }
    }

    /// Close at once: the peer gets a reset, and what it has not been sent by now it never gets.
    fn abort(&mut self, number: u32) {
        self.disown(number);
        let kind = std::mem::replace(&mut self.sockets[number as usize].kind, Kind::Gone);
        if let Kind::Stream(stream) = kind
            && stream.phase != Phase::Dead
            && let Some(peer) = stream.peer
        {
            let delay = self.latency();
            self.schedule(delay, Happening::Reset(peer));
        }
    }

    fn disown(&mut self, number: u32) {
        match &mut self.sockets[number as usize].owner {
            Owner::Client(end) => end.closed = true,
            owner => *owner = Owner::Nobody,
        }
    }

    fn is_closed(&self, number: u32) -> bool {
        let entry = &self.sockets[number as usize];
        match (&entry.kind, &entry.owner) {
            (Kind::Gone, _) | (_, Owner::Nobody) => true,
            (_, Owner::Client(end)) => end.closed,
            (_, Owner::Driver(_) | Owner::Queue(_)) => false,
        }
    }

    /// Give back the memory of a closed socket that has nothing left to send.
    fn forget_if_done(&mut self, number: u32) {
        let entry = &self.sockets[number as usize];
        if self.is_closed(number)
            && matches!(&entry.kind, Kind::Stream(stream) if !stream.has_unsent())
        {
            self.sockets[number as usize].kind = Kind::Gone;
        }
    }

    /// Let a delivery of this sender set out, unless one is under way or there is nothing to deliver.
    fn kick(&mut self, number: u32) {
        let Kind::Stream(sender) = &self.sockets[number as usize].kind else {
            return;
        };
        let ready = sender.phase == Phase::Established
            && sender.has_unsent()
            && !sender.outbound.travelling;
        let Some(peer) = sender.peer.filter(|_| ready) else {
            return;
        };
        if let Kind::Stream(receiver) = &self.sockets[peer as usize].kind
            && receiver.phase == Phase::Connecting
        {
            return; // its handshake will kick us
        }
        self.stream(number).outbound.travelling = true;
        let delay = self.latency();
        self.schedule(delay, Happening::Delivery(number));
    }

    /// Something has changed for this socket: whoever has it is told.
    fn edge(&mut self, number: u32) {
        let entry = &mut self.sockets[number as usize];
        match entry.owner {
            Owner::Driver(process) if entry.token.is_some() && !entry.in_ready => {
                entry.in_ready = true;
                self.processes[process].ready.push_back(number);
            }
            Owner::Client(_) => self.absorb(number),
            _ => {}
        }
    }

    fn listener_for(&self, from: u32, to: SocketAddr) -> Option<u32> {
        let from_host = match self.sockets[from as usize].owner {
            Owner::Driver(process) => Some(self.processes[process].address),
            _ => None,
        };
        let same_port = self.listeners.get(&to.port())?;
        same_port.iter().copied().find(|&number| {
            let Kind::Listener(listener) = &self.sockets[number as usize].kind else {
                return false;
            };
            let bound = listener.bound.ip();
            if to.ip().is_loopback() {
                // A client has no host of its own, so to it every loopback is the one meant.
                let same_host = from_host.is_none_or(|host| host == listener.host);
                same_host && (bound.is_loopback() || bound.is_unspecified())
            } else {
                to.ip() == IpAddr::V4(listener.host) && (bound == to.ip() || bound.is_unspecified())
            }
        })
    }

    fn free_port(&mut self) -> u16 {
        loop {
            // Above what is usually asked for by number, so that a port is not taken away from a later listen.
            self.port_next = self.port_next.checked_add(1).unwrap_or(20_001);
            if self
                .listeners
                .get(&self.port_next)
                .is_none_or(Vec::is_empty)
            {
                return self.port_next;
            }
        }
    }

    fn new_stream(&mut self, local: SocketAddr, remote: SocketAddr, send_max: usize) -> Stream {
        let receive_max = self
            .rng
            .range(to_u64(self.faults.receive_buffer_bytes.clone()));
        Stream::new(local, remote, receive_max as usize, send_max)
    }

    fn add(&mut self, owner: Owner, kind: Kind) -> u32 {
        let number = self.sockets.len() as u32;
        self.sockets.push(Entry {
            owner,
            token: None,
            in_ready: false,
            kind,
        });
        number
    }

    fn stream(&mut self, number: u32) -> &mut Stream {
        match &mut self.sockets[number as usize].kind {
            Kind::Stream(stream) => stream,
            _ => unreachable!("s{number} is a connection"),
        }
    }
}

// What the oracles and the people ask.
impl Network {
    /// Registered sockets of a driver with something that its loop was told of and did not take.
    pub(super) fn undrained(&self, process: usize) -> Vec<(Socket, Token)> {
        let mut undrained = Vec::new();
        for (number, entry) in self.sockets.iter().enumerate() {
            let waits = match &entry.kind {
                Kind::Stream(stream) => stream.has_unread(),
                Kind::Listener(listener) => !listener.queue.is_empty(),
                Kind::Gone => false,
            };
            if waits
                && let Some(token) = entry.token
                && matches!(entry.owner, Owner::Driver(owner) if owner == process)
            {
                undrained.push((Socket(number as u32), token));
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

impl Entry {
    fn readiness(&self) -> Readiness {
        match &self.kind {
            Kind::Stream(stream) => stream.readiness(),
            Kind::Listener(listener) if !listener.queue.is_empty() => Readiness::READABLE,
            Kind::Listener(_) | Kind::Gone => Readiness::NONE,
        }
    }

    /// Leave the ready list: what is true now is what the loop is told. Nothing, if the socket was closed meanwhile.
    fn report(&mut self) -> Option<Event> {
        self.in_ready = false;
        let token = self.token?;
        let readiness = self.readiness();
        if let Kind::Stream(stream) = &mut self.kind
            && !readiness.contains(Readiness::WRITABLE)
        {
            stream.outbound.wanted = true; // tcp_poll sets SOCK_NOSPACE
        }
        (readiness != Readiness::NONE).then_some(Event { token, readiness })
    }
}

fn is_local(ip: IpAddr, host: Ipv4Addr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || ip == IpAddr::V4(host)
}

fn os(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn to_u64(range: std::ops::RangeInclusive<usize>) -> std::ops::RangeInclusive<u64> {
    *range.start() as u64..=*range.end() as u64
}

fn outcome(result: &io::Result<usize>) -> u64 {
    match result {
        Ok(count) => *count as u64,
        Err(error) => 1 << 31 | error.kind() as u64,
    }
}

fn describe(result: &io::Result<usize>) -> String {
    match result {
        Ok(count) => count.to_string(),
        Err(error) => error.kind().to_string(),
    }
}

const BITS: [(Readiness, &str); 3] = [
    (Readiness::READABLE, "readable"),
    (Readiness::WRITABLE, "writable"),
    (Readiness::CLOSING, "closing"),
];

fn readiness_bits(readiness: Readiness) -> u64 {
    let set = BITS.iter().enumerate();
    set.map(|(bit, (flag, _))| u64::from(readiness.contains(*flag)) << bit)
        .sum()
}

fn describe_readiness(readiness: Readiness) -> String {
    let names: Vec<&str> = BITS
        .iter()
        .filter(|(flag, _)| readiness.contains(*flag))
        .map(|(_, name)| *name)
        .collect();
    names.join("+")
}
