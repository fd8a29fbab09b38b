//! The messages that wait to be written to one WebSocket, and what becomes of them when they are too many.
//!
//! Only whole messages are here. One whose first byte may have been written has left, so whatever is dropped here, no
//! frame is cut. And where a peer keeps a context for compression, its messages are compressed when they leave, so that
//! none refers to one that was dropped.

use std::collections::VecDeque;
use std::ops::Add;
use std::rc::Rc;

use super::websocket_settings::WhenFull;

/// What was not sent to a peer because its outbox was full, or replaced by what is newer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dropped {
    /// How many messages.
    pub messages: u64,
    /// Their bytes, as frames.
    pub bytes: u64,
}

impl Dropped {
    pub(super) fn count(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }
}

impl Add for Dropped {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            messages: self.messages + more.messages,
            bytes: self.bytes + more.bytes,
        }
    }
}

/// A message that waits.
struct Waiting {
    frame: Rc<[u8]>,
    key: Option<Rc<str>>,
    /// It was sent by a policy under which it may be dropped for those behind it.
    may_go: bool,
}

/// How a message is to be taken in.
pub(super) struct Terms<'a> {
    pub(super) key: Option<&'a Rc<str>>,
    pub(super) when_full: WhenFull,
    /// It is accepted while no more than so much is before it.
    pub(super) bytes_max: usize,
    /// Bytes that are before all that waits here.
    pub(super) ahead: usize,
}

impl Terms<'_> {
    /// What happens to this message when the outbox is full.
    fn when_full(&self) -> WhenFull {
        match (self.when_full, self.key) {
            (WhenFull::KeepLatest, None) => WhenFull::DropNewest,
            (when_full, _) => when_full,
        }
    }
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Put {
    /// It waits.
    Waits,
    /// It waits, and the outbox was full: others were dropped for it, if any could be.
    MadeRoom,
    /// It was dropped.
    Dropped,
    /// It has no room, and the peer is to be closed.
    Close,
}

#[derive(Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl Outbox {
    /// Bytes of all that waits.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Take a message in that has no key, and room: as [`Outbox::put`] would, by the short way.
    #[inline]
    pub(super) fn push(&mut self, frame: Rc<[u8]>, when_full: WhenFull) {
        self.bytes += frame.len();
        self.waiting.push_back(Waiting {
            frame,
            key: None,
            may_go: when_full == WhenFull::DropOldest,
        });
    }

    /// Take a message in, which is made if it is taken. What is dropped for it is added to `dropped`.
    pub(super) fn put(
        &mut self,
        frame: impl FnOnce() -> Rc<[u8]>,
        terms: &Terms<'_>,
        dropped: &mut Dropped,
    ) -> Put {
        let when_full = terms.when_full();
        let keyed = terms.key.filter(|_| when_full == WhenFull::KeepLatest);
        let of_key = |one: &Waiting| one.key.as_ref() == keyed;
        if keyed.is_some()
            && let Some(waiting) = self.waiting.iter_mut().find(|one| of_key(one))
        {
            let newer = frame();
            self.bytes = self.bytes - waiting.frame.len() + newer.len();
            dropped.count(waiting.frame.len());
            waiting.frame = newer;
            return self.make_room(terms, dropped);
        }
        let is_full = terms.ahead + self.bytes > terms.bytes_max;
        let put = match when_full {
            WhenFull::Close if is_full => return Put::Close,
            WhenFull::DropNewest if is_full => return Put::Dropped,
            WhenFull::Close | WhenFull::DropNewest => Put::Waits,
            WhenFull::DropOldest | WhenFull::KeepLatest => self.make_room(terms, dropped),
        };
        let frame = frame();
        self.bytes += frame.len();
        self.waiting.push_back(Waiting {
            frame,
            key: keyed.cloned(),
            may_go: matches!(when_full, WhenFull::DropOldest | WhenFull::KeepLatest),
        });
        put
    }

    /// Drop those that wait longest and may be, but none with the key at hand, until no more waits than may.
    pub(super) fn make_room(&mut self, terms: &Terms<'_>, dropped: &mut Dropped) -> Put {
        let is_full = |bytes: usize| terms.ahead + bytes > terms.bytes_max;
        if !is_full(self.bytes) {
            return Put::Waits;
        }
        let may_go = |one: &Waiting| match terms.when_full {
            WhenFull::DropOldest => one.may_go,
            WhenFull::KeepLatest => one.key.is_some() && one.key.as_ref() != terms.key,
            WhenFull::Close | WhenFull::DropNewest => false,
        };
        // Nearly always it is the first.
        while is_full(self.bytes)
            && let Some(first) = self.waiting.pop_front_if(|one| may_go(one))
        {
            self.bytes -= first.frame.len();
            dropped.count(first.frame.len());
        }
        if is_full(self.bytes) {
            let bytes = &mut self.bytes;
            self.waiting.retain(|one| {
                let goes = is_full(*bytes) && may_go(one);
                if goes {
                    *bytes -= one.frame.len();
                    dropped.count(one.frame.len());
                }
                !goes
            });
        }
        Put::MadeRoom
    }

    /// The next to be written.
    pub(super) fn take(&mut self) -> Option<Rc<[u8]>> {
        let Waiting { frame, .. } = self.waiting.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }
}

#[cfg(test)]
mod tests;
