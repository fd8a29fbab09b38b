//! What happens by itself: handshakes, deliveries, resets, and the edges that they raise.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Entry, Happening, Kind, Network, Op, Owner, to_u64};
use crate::sim::stream::{Fin, Moved, Phase, Stream};

/// Linux's first repetition of a SYN that nobody answered.
const SYN_REPEAT: Duration = Duration::from_secs(1);
/// Bounds what [`Faults::stall`] can add to the life of a connection.
const STALLS_MAX: u8 = 3;

// What happens by itself.
impl Network {
    /// Do what is the network's to do. Jobs and actions are the caller's.
    pub(in crate::sim) fn happen(&mut self, what: Happening) {
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

    pub(super) fn connect_end(
        &mut self,
        owner: Owner,
        from: SocketAddr,
        to: SocketAddr,
        send_max: usize,
    ) -> u32 {
        let stream = self.new_stream(from, to, send_max);
        let number = self.add(owner, Kind::Stream(Box::new(stream)));
        self.note(Op::Connect, number.into(), to.port().into(), || {
            format!("s{number} connects from {from} to {to}")
        });
        let longer = self.rng.range(self.faults.connect_delay_ms.clone());
        let delay = self.latency() + Duration::from_millis(longer);
        self.schedule(delay, Happening::Syn(number));
        number
    }

    pub(super) fn syn(&mut self, number: u32) {
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
        let server = self.add(Owner::Queue(at), Kind::Stream(Box::new(server)));
        self.stream(number).peer = Some(server);
        self.note(Op::Arrival, number.into(), at.into(), || {
            format!("s{number} finds the listener s{at}; its other end is s{server}")
        });
        let delay = self.latency();
        self.schedule(delay, Happening::SynAck(server));
    }

    pub(super) fn syn_ack(&mut self, server: u32) {
        let Kind::Stream(stream) = &self.sockets[server as usize].kind else {
            return;
        };
        let Some(number) = stream.peer else {
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

    pub(super) fn ack(&mut self, number: u32) {
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

    pub(super) fn delivery(&mut self, number: u32) {
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
    pub(super) fn delivery_to_nobody(&mut self, number: u32, peer: u32) {
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

    pub(super) fn room(&mut self, number: u32) {
        let Kind::Stream(stream) = &mut self.sockets[number as usize].kind else {
            return;
        };
        stream.outbound.squeezed = false;
        if stream.take_room_edge() {
            self.edge(number);
        }
    }

    /// A reset, or a refusal, arrives at an end.
    pub(super) fn reset(&mut self, number: u32, kind: ErrorKind) {
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
    pub(super) fn break_connection(&mut self, number: u32) {
        if let Some(peer) = self.stream(number).peer {
            let delay = self.latency();
            self.schedule(delay, Happening::Reset(peer));
        }
        self.reset(number, ErrorKind::ConnectionReset);
    }

    /// FIN, behind whatever still waits.
    pub(super) fn end_stream(&mut self, number: u32) {
        if let Kind::Stream(stream) = &mut self.sockets[number as usize].kind
            && stream.outbound.fin == Fin::No
            && stream.phase != Phase::Dead
        {
            stream.outbound.fin = Fin::Queued;
            self.kick(number);
        }
    }

    /// close(2) of a connection: a reset if something is unread, else what is written still goes out, and then the end.
    pub(super) fn close_stream(&mut self, number: u32) {
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
    pub(super) fn abort(&mut self, number: u32) {
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

    pub(super) fn disown(&mut self, number: u32) {
        match &mut self.sockets[number as usize].owner {
            Owner::Client(end) => end.closed = true,
            owner => *owner = Owner::Nobody,
        }
    }

    pub(super) fn is_closed(&self, number: u32) -> bool {
        let entry = &self.sockets[number as usize];
        match (&entry.kind, &entry.owner) {
            (Kind::Gone, _) | (_, Owner::Nobody) => true,
            (_, Owner::Client(end)) => end.closed,
            (_, Owner::Driver(_) | Owner::Queue(_)) => false,
        }
    }

    /// Give back the memory of a closed socket that has nothing left to send.
    pub(super) fn forget_if_done(&mut self, number: u32) {
        let entry = &self.sockets[number as usize];
        if self.is_closed(number)
            && matches!(&entry.kind, Kind::Stream(stream) if !stream.has_unsent())
        {
            self.sockets[number as usize].kind = Kind::Gone;
        }
    }

    /// Let a delivery of this sender set out, unless one is under way or there is nothing to deliver.
    pub(super) fn kick(&mut self, number: u32) {
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
    pub(super) fn edge(&mut self, number: u32) {
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

    pub(super) fn listener_for(&self, from: u32, to: SocketAddr) -> Option<u32> {
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

    pub(super) fn free_port(&mut self) -> u16 {
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

    pub(super) fn new_stream(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        send_max: usize,
    ) -> Stream {
        let receive_max = self
            .rng
            .range(to_u64(self.faults.receive_buffer_bytes.clone()));
        Stream::new(local, remote, receive_max as usize, send_max)
    }

    pub(super) fn add(&mut self, owner: Owner, kind: Kind) -> u32 {
        let number = self.sockets.len() as u32;
        self.sockets.push(Entry {
            owner,
            token: None,
            in_ready: false,
            kind,
        });
        number
    }

    pub(super) fn stream(&mut self, number: u32) -> &mut Stream {
        match &mut self.sockets[number as usize].kind {
            Kind::Stream(stream) => stream,
            _ => unreachable!("s{number} is a connection"),
        }
    }
}
