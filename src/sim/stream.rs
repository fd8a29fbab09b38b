//! One end of a TCP connection, as a kernel keeps it: what has come and is not read, what is written and not delivered.
//!
//! It answers read, write and "what would epoll say now" as Linux does. It knows neither hosts nor the clock: `network`
//! moves bytes between two ends, and decides when.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;

use crate::event_loop::Readiness;

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// The handshake is not done: neither reads nor writes work, and there is nothing to report.
    Connecting,
    /// Bytes flow. Either side may have ended its half.
    Established,
    /// Reset, refused or aborted. What has come can still be read.
    Dead,
}

/// The end of the bytes we send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fin {
    /// There may be more.
    No,
    /// Behind what still waits.
    Queued,
    /// The peer has it.
    Delivered,
}

/// What has come and was not read.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) data: VecDeque<u8>,
    /// How many bytes stand before the urgent byte. The byte itself is not in `data` (no `SO_OOBINLINE`).
    pub(super) mark: Option<usize>,
    pub(super) capacity: usize,
    /// The peer's FIN has come.
    pub(super) fin: bool,
    /// And the reader was told, by a read of 0 bytes.
    pub(super) end_read: bool,
}

/// What is written and was not delivered. It counts as on its way until the peer has it, so there is one place for each
/// byte, and acknowledgements cost nothing.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) data: VecDeque<u8>,
    pub(super) mark: Option<usize>,
    pub(super) capacity: usize,
    pub(super) fin: Fin,
    /// `SOCK_NOSPACE`: somebody found no room, and gets an edge when there is some.
    pub(super) wanted: bool,
    /// A fault has made the buffer full for a while.
    pub(super) squeezed: bool,
    /// A delivery is under way.
    pub(super) travelling: bool,
    pub(super) stalls: u8,
}

/// One end.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// The other end's number, once it exists.
    pub(super) peer: Option<u32>,
    pub(super) phase: Phase,
    /// `sk_err`: reported once, by whichever call comes first.
    pub(super) error: Option<ErrorKind>,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
}

/// What a delivery changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Moved {
    pub(super) bytes: usize,
    pub(super) urgent: bool,
    pub(super) fin: bool,
}

impl Moved {
    pub(super) fn anything(self) -> bool {
        self.bytes > 0 || self.urgent || self.fin
    }
}

impl Stream {
    pub(super) fn new(
        local: SocketAddr,
        remote: SocketAddr,
        receive_max: usize,
        send_max: usize,
    ) -> Self {
        Self {
            local,
            remote,
            peer: None,
            phase: Phase::Connecting,
            error: None,
            inbound: Inbound {
                data: VecDeque::new(),
                mark: None,
                capacity: receive_max,
                fin: false,
                end_read: false,
            },
            outbound: Outbound {
                data: VecDeque::new(),
                mark: None,
                capacity: send_max,
                fin: Fin::No,
                wanted: false,
                squeezed: false,
                travelling: false,
                stalls: 0,
            },
        }
    }

    /// What epoll_wait(2) would report at this moment, in the bits that the mio driver makes of it.
    pub(super) fn readiness(&self) -> Readiness {
        match self.phase {
            Phase::Connecting => return Readiness::NONE,
            Phase::Dead => return Readiness::READABLE | Readiness::WRITABLE | Readiness::CLOSING,
            Phase::Established => {}
        }
        let mut readiness = Readiness::NONE;
        if !self.inbound.data.is_empty() {
            readiness |= Readiness::READABLE;
        }
        if self.inbound.fin || self.inbound.mark.is_some() {
            readiness |= Readiness::READABLE | Readiness::CLOSING;
        }
        if self.is_writable() {
            readiness |= Readiness::WRITABLE;
        }
        readiness
    }

    /// As `sk_stream_is_writeable`: a third of the buffer is free. Writes take less than that; only reports do not
    /// bother. After our own FIN always, so that whoever waits for room learns of it.
    pub(super) fn is_writable(&self) -> bool {
        let used = self.outbound.data.len();
        self.outbound.fin != Fin::No
            || (!self.outbound.squeezed
                && used + used / 2 <= self.outbound.capacity
                && used < self.outbound.capacity)
    }

    /// Whether the reader has not yet been told all there is to tell.
    pub(super) fn has_unread(&self) -> bool {
        self.phase != Phase::Connecting
            && (!self.inbound.data.is_empty()
                || self.error.is_some()
                || (self.inbound.fin && !self.inbound.end_read))
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.inbound.mark == Some(0) {
            self.inbound.mark = None;
        }
        if !self.inbound.data.is_empty() {
            let up_to = self.inbound.mark.unwrap_or(self.inbound.data.len());
            let length = up_to.min(buffer.len());
            io::Read::read_exact(&mut self.inbound.data, &mut buffer[..length])?;
            if let Some(mark) = &mut self.inbound.mark {
                *mark -= length;
            }
            return Ok(length);
        }
        match self.phase {
            Phase::Connecting => return Err(ErrorKind::WouldBlock.into()),
            Phase::Dead => {
                if let Some(kind) = self.error.take() {
                    return Err(kind.into());
                }
            }
            Phase::Established if !self.inbound.fin => return Err(ErrorKind::WouldBlock.into()),
            Phase::Established => {}
        }
        self.inbound.end_read = true;
        Ok(0)
    }

    /// Take what fits of `slices`, at most `accept_max` bytes of it.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>], accept_max: usize) -> io::Result<usize> {
        if self.phase == Phase::Connecting {
            return Err(ErrorKind::WouldBlock.into());
        }
        if let Some(kind) = self.error.take() {
            return Err(kind.into());
        }
        if self.phase == Phase::Dead || self.outbound.fin != Fin::No {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        let room = match self.outbound.squeezed {
            true => 0,
            false => self.outbound.capacity - self.outbound.data.len().min(self.outbound.capacity),
        };
        let taken = wanted.min(room).min(accept_max);
        if taken < wanted {
            self.outbound.wanted = true;
        }
        if taken == 0 && wanted > 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut left = taken;
        for slice in slices {
            let part = left.min(slice.len());
            self.outbound.data.extend(&slice[..part]);
            left -= part;
        }
        Ok(taken)
    }

    /// Whether somebody who found no room should be told that there is some again.
    pub(super) fn take_room_edge(&mut self) -> bool {
        let edge = self.outbound.wanted && self.is_writable();
        if edge {
            self.outbound.wanted = false;
        }
        edge
    }

    /// Whether anything waits to be delivered.
    pub(super) fn has_unsent(&self) -> bool {
        !self.outbound.data.is_empty()
            || self.outbound.mark.is_some()
            || self.outbound.fin == Fin::Queued
    }

    /// Deliver at most `piece` bytes to `receiver`, as far as its window goes. The end travels with the last of them
    /// unless it goes `fin_apart`.
    pub(super) fn deliver(&mut self, receiver: &mut Self, piece: usize, fin_apart: bool) -> Moved {
        let (from, to) = (&mut self.outbound, &mut receiver.inbound);
        let window = to.capacity - to.data.len().min(to.capacity);
        let bytes = from.data.len().min(piece).min(window);
        let before = to.data.len();
        move_front(&mut from.data, &mut to.data, bytes);

        let urgent = from.mark.is_some_and(|mark| mark <= bytes);
        if urgent {
            // An urgent byte that nobody has read past loses its place to the next one (RFC 6093, 3.2).
            to.mark = from.mark.take().map(|mark| before + mark);
        } else if let Some(mark) = &mut from.mark {
            *mark -= bytes;
        }

        let fin = from.fin == Fin::Queued && from.data.is_empty() && !(fin_apart && bytes > 0);
        if fin {
            from.fin = Fin::Delivered;
            to.fin = true;
        }
        Moved { bytes, urgent, fin }
    }

    /// What a RST does to the end it reaches.
    pub(super) fn be_reset(&mut self, kind: ErrorKind, discards: bool) {
        // tcp_reset: who had the peer's FIN already gets EPIPE.
        let after_fin = self.inbound.fin && kind == ErrorKind::ConnectionReset;
        self.error = Some(if after_fin {
            ErrorKind::BrokenPipe
        } else {
            kind
        });
        self.phase = Phase::Dead;
        self.outbound.data = VecDeque::new();
        self.outbound.mark = None;
        if discards {
            self.inbound.data = VecDeque::new();
            self.inbound.mark = None;
        }
    }
}

/// Move `count` bytes from the front of one queue to the back of another.
fn move_front(from: &mut VecDeque<u8>, to: &mut VecDeque<u8>, count: usize) {
    if to.is_empty() && count == from.len() {
        std::mem::swap(from, to);
        return;
    }
    let (first, second) = from.as_slices();
    let split = count.min(first.len());
    to.extend(&first[..split]);
    to.extend(&second[..count - split]);
    from.drain(..count);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(receive_max: usize, send_max: usize) -> (Stream, Stream) {
        let here = "10.0.0.1:1".parse().unwrap();
        let there = "10.0.0.2:2".parse().unwrap();
        let mut first = Stream::new(here, there, receive_max, send_max);
        let mut second = Stream::new(there, here, receive_max, send_max);
        first.phase = Phase::Established;
        second.phase = Phase::Established;
        (first, second)
    }

    fn write(stream: &mut Stream, bytes: &[u8]) -> io::Result<usize> {
        stream.write(&[IoSlice::new(bytes)], usize::MAX)
    }

    fn read(stream: &mut Stream) -> String {
        let mut buffer = [0; 64];
        match stream.read(&mut buffer) {
            Ok(length) => String::from_utf8_lossy(&buffer[..length]).into_owned(),
            Err(error) => format!("{:?}", error.kind()),
        }
    }

    #[test]
    fn a_read_stops_at_the_urgent_mark_with_data_behind_it() {
        let (mut sender, mut receiver) = pair(100, 100);
        write(&mut sender, b"AAAABBBB").unwrap();
        sender.outbound.mark = Some(4);
        let moved = sender.deliver(&mut receiver, usize::MAX, false);
        assert!(moved.urgent && moved.bytes == 8);
        assert!(receiver.readiness().contains(Readiness::CLOSING));
        assert_eq!(read(&mut receiver), "AAAA");
        assert!(receiver.readiness().contains(Readiness::CLOSING));
        assert_eq!(read(&mut receiver), "BBBB");
        assert_eq!(read(&mut receiver), "WouldBlock");
        assert_eq!(receiver.readiness(), Readiness::WRITABLE);
    }

    #[test]
    fn an_urgent_mark_survives_every_cut_of_its_delivery() {
        for piece in 1..9 {
            let (mut sender, mut receiver) = pair(100, 100);
            write(&mut sender, b"AAAABBBB").unwrap();
            sender.outbound.mark = Some(4);
            while sender.has_unsent() {
                sender.deliver(&mut receiver, piece, false);
            }
            assert_eq!(
                [read(&mut receiver), read(&mut receiver)],
                ["AAAA", "BBBB"],
                "{piece}"
            );
        }
    }

    #[test]
    fn the_window_and_the_send_buffer_bound_what_is_taken() {
        let (mut sender, mut receiver) = pair(3, 5);
        assert_eq!(write(&mut sender, b"abcdefgh").unwrap(), 5);
        assert_eq!(
            write(&mut sender, b"f").unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        assert_eq!(
            sender.deliver(&mut receiver, usize::MAX, false),
            Moved {
                bytes: 3,
                urgent: false,
                fin: false
            }
        );
        assert!(sender.take_room_edge());
        assert!(!sender.take_room_edge(), "one edge for one refusal");
        assert!(!sender.deliver(&mut receiver, usize::MAX, false).anything());
        assert_eq!(read(&mut receiver), "abc");
        sender.deliver(&mut receiver, usize::MAX, false);
        assert_eq!(read(&mut receiver), "de");
    }

    #[test]
    fn the_end_travels_with_the_last_bytes_or_after_them() {
        for fin_apart in [false, true] {
            let (mut sender, mut receiver) = pair(100, 100);
            write(&mut sender, b"bye").unwrap();
            sender.outbound.fin = Fin::Queued;
            assert_eq!(
                sender.deliver(&mut receiver, usize::MAX, fin_apart).fin,
                !fin_apart
            );
            if fin_apart {
                assert!(sender.deliver(&mut receiver, usize::MAX, true).fin);
            }
            assert_eq!(read(&mut receiver), "bye");
            assert!(receiver.has_unread());
            assert_eq!(read(&mut receiver), "");
            assert!(!receiver.has_unread());
        }
    }

    #[test]
    fn after_a_reset_what_came_is_read_then_one_error_then_the_end() {
        let (mut sender, mut receiver) = pair(100, 100);
        write(&mut sender, b"left").unwrap();
        sender.deliver(&mut receiver, usize::MAX, false);
        receiver.be_reset(ErrorKind::ConnectionReset, false);
        let reads: Vec<String> = (0..3).map(|_| read(&mut receiver)).collect();
        assert_eq!(reads, ["left", "ConnectionReset", ""]);
        assert_eq!(
            write(&mut receiver, b"x").unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
    }

    #[test]
    fn a_write_after_a_reset_gets_the_error_first() {
        let (_, mut end) = pair(100, 100);
        end.be_reset(ErrorKind::ConnectionReset, false);
        assert_eq!(
            write(&mut end, b"x").unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        assert_eq!(
            write(&mut end, b"x").unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        assert_eq!(read(&mut end), "");
    }
}
