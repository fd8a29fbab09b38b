//! What drivers and clients ask of the kernel: the system calls of the model.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic;
use std::time::Duration;

use super::{ClientEnd, Entry, Happening, Kind, Listener, Network, Op, Owner, Scheduled, to_u64};
use crate::event_loop::{Event, Readiness, Socket, Token};
use crate::sim::stream::{Fin, Phase};

/// As many as one epoll_wait(2) of ours takes.
const EVENTS_MAX: usize = 1024;
/// How near a thing on the road must be to arrive in the middle of a call.
const ARRIVAL_NEAR_NS: u64 = 1_000_000;
/// Tokens of closed sockets kept for [`Faults::stale`].
const STALE_MAX: usize = 16;

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

// What a driver asks for.
impl Network {
    pub(in crate::sim) fn poll(&mut self, process: usize, events: &mut Vec<Event>) {
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
    pub(super) fn distort(&mut self, process: usize, events: &mut Vec<Event>, first: usize) {
        if self.rng.chance(self.faults.spurious) {
            events.extend(self.untrue_event(process));
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

    /// An event for a socket that has nothing to report, or something else.
    fn untrue_event(&mut self, process: usize) -> Option<Event> {
        let open = &self.processes[process].open;
        if open.is_empty() {
            return None;
        }
        let nth = self.rng.index(open.len());
        let entry = &self.sockets[*open.iter().nth(nth)? as usize];
        let token = entry.token?;
        let readiness = match &entry.kind {
            // Here "writable" would mean that the connection is made.
            Kind::Stream(stream) if stream.phase == Phase::Connecting => return None,
            Kind::Stream(_) => *self.rng.pick(&[
                Readiness::READABLE,
                Readiness::WRITABLE,
                Readiness::READABLE | Readiness::WRITABLE,
                Readiness::READABLE | Readiness::CLOSING,
            ]),
            Kind::Listener(_) | Kind::Gone => Readiness::READABLE,
        };
        Some(Event { token, readiness })
    }

    pub(in crate::sim) fn listen(
        &mut self,
        process: usize,
        address: SocketAddr,
    ) -> io::Result<Socket> {
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
        self.processes[process].open.insert(number);
        self.listeners.entry(bound.port()).or_default().push(number);
        self.note(Op::Listen, number.into(), bound.port().into(), || {
            format!("s{number} listens at {bound} of {host}")
        });
        Ok(Socket(number))
    }

    pub(in crate::sim) fn accept(
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
        self.processes[process].open.insert(number);
        self.sockets[number as usize].owner = Owner::Driver(process);
        let remote = self.stream(number).remote;
        self.note(Op::Accept, socket.0.into(), number.into(), || {
            format!("s{} accept: s{number} from {remote}", socket.0)
        });
        Ok((Socket(number), remote))
    }

    pub(in crate::sim) fn turn_away(
        &mut self,
        process: usize,
        socket: Socket,
        limit: usize,
    ) -> usize {
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

    pub(in crate::sim) fn connect(
        &mut self,
        process: usize,
        from: Option<SocketAddr>,
        to: SocketAddr,
    ) -> io::Result<Socket> {
        self.check_limit(process)?;
        let host = self.processes[process].address;
        let mut from = from.unwrap_or_else(|| match to.ip().is_loopback() {
            true => SocketAddr::new(to.ip(), 0),
            false => SocketAddr::new(host.into(), 0),
        });
        if !is_local(from.ip(), host) {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        if from.port() == 0 {
            from.set_port(self.free_port());
        }
        let send_max = self
            .rng
            .range(to_u64(self.faults.send_buffer_bytes.clone()));
        let number = self.connect_end(Owner::Driver(process), from, to, send_max as usize);
        self.processes[process].open.insert(number);
        Ok(Socket(number))
    }

    pub(in crate::sim) fn register(
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

    pub(in crate::sim) fn read(
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

    pub(in crate::sim) fn write(
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

    pub(in crate::sim) fn shutdown_write(
        &mut self,
        process: usize,
        socket: Socket,
    ) -> io::Result<()> {
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

    pub(in crate::sim) fn take_error(
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

    pub(in crate::sim) fn local_addr(
        &self,
        process: usize,
        socket: Socket,
    ) -> io::Result<SocketAddr> {
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

    pub(in crate::sim) fn close(&mut self, process: usize, socket: Socket) {
        self.give_up(process, socket, Self::close_stream);
    }

    pub(in crate::sim) fn close_with_reset(&mut self, process: usize, socket: Socket) {
        self.give_up(process, socket, Self::abort);
    }

    /// The driver no longer has the socket open; a connection is ended by `end`.
    fn give_up(&mut self, process: usize, socket: Socket, end: fn(&mut Self, u32)) {
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
        owner.open.remove(&socket.0);
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
                end(self, socket.0);
            }
        }
    }

    pub(in crate::sim) fn close_process(&mut self, process: usize) {
        while let Some(&number) = self.processes[process].open.first() {
            self.close(process, Socket(number));
        }
    }

    fn check_limit(&self, process: usize) -> io::Result<()> {
        match self.descriptor_limit(process) {
            Some(limit) if self.open_sockets(process) >= limit => Err(os(errno::EMFILE)),
            _ => Ok(()),
        }
    }

    /// Every call that names a socket passes here: one that is closed, or another driver's, is a bug of the caller.
    pub(super) fn own(&mut self, process: usize, socket: Socket, call: &str) -> io::Result<()> {
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
    pub(super) fn arrival_in_call(&mut self) {
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

    pub(super) fn reset_in_call(&mut self, number: u32) {
        let kind = &self.sockets[number as usize].kind;
        let is_open = matches!(kind, Kind::Stream(stream) if stream.phase == Phase::Established);
        if is_open && self.rng.chance(self.faults.call_reset) {
            self.break_connection(number);
        }
    }
}

// What a client asks for.
impl Network {
    pub(in crate::sim) fn connect_client(
        &mut self,
        from: Option<SocketAddr>,
        to: SocketAddr,
    ) -> u32 {
        let from = from.unwrap_or_else(|| {
            // TEST-NET-1 (RFC 5737): an address that no host of a world has.
            SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), self.free_port())
        });
        let owner = Owner::Client(ClientEnd::default());
        self.connect_end(owner, from, to, usize::MAX)
    }

    pub(in crate::sim) fn client(&mut self, number: u32) -> &mut ClientEnd {
        match &mut self.sockets[number as usize].owner {
            Owner::Client(end) => end,
            _ => unreachable!("a client's socket stays a client's"),
        }
    }

    /// Whether everything the client sent was delivered.
    pub(in crate::sim) fn client_has_unsent(&self, number: u32) -> bool {
        matches!(&self.sockets[number as usize].kind, Kind::Stream(stream) if stream.has_unsent())
    }

    pub(in crate::sim) fn client_send(&mut self, number: u32, bytes: &[u8], urgent: bool) {
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

    pub(in crate::sim) fn client_shutdown(&mut self, number: u32) {
        self.note(Op::Client, number.into(), 1 << 40, || {
            format!("client s{number} ends its half")
        });
        self.end_stream(number);
    }

    pub(in crate::sim) fn client_close(&mut self, number: u32, reset: bool) {
        self.note(Op::Client, number.into(), 2 << 40, || {
            let how = if reset { "resets" } else { "closes" };
            format!("client s{number} {how}")
        });
        match reset {
            true => self.abort(number),
            false => self.close_stream(number),
        }
    }

    pub(in crate::sim) fn client_pause(&mut self, number: u32, paused: bool) {
        self.client(number).paused = paused;
        self.absorb(number);
    }

    /// A client reads at once whatever comes, unless it was told not to.
    pub(super) fn absorb(&mut self, number: u32) {
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
