//! One set of rooms over several loops: what is said in one of them reaches the members in the others.
//!
//! A loop is in the hub as long as somebody in it is in a room. What is published goes once to each other loop, encoded
//! already, and is given to the members there by a source of that loop.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::rooms::Local;
use super::websocket::Frame;
use crate::event_loop::{Ctx, Handle, Inspection, Next, Readiness, Remote, Source, Token};

/// What [`super::Rooms::spanning`] spans. Cheap to clone, and of any thread.
#[derive(Clone, Default)]
pub struct Hub(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    loops: Vec<Arc<Mailbox>>,
    /// Members in all loops, by room.
    counts: BTreeMap<String, usize>,
}

impl Hub {
    /// Nobody is in it yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop of `handle` is in from here on; what others publish comes to `local`.
    pub(super) fn enter(&self, handle: &Handle, local: &Rc<Local>) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox {
            posted: Mutex::new(Some(Vec::new())),
            remote: handle.remote(),
            token: OnceLock::new(),
        });
        handle.start_source(Box::new(Delivery {
            mailbox: Arc::clone(&mailbox),
            local: Rc::downgrade(local),
        }));
        self.state().loops.push(Arc::clone(&mailbox));
        mailbox
    }

    /// Nobody in the loop of `mailbox` is in a room any more.
    pub(super) fn leave(&self, mailbox: &Arc<Mailbox>) {
        let mut state = self.state();
        state.loops.retain(|other| !Arc::ptr_eq(other, mailbox));
        drop(state);
        *mailbox.posted() = None;
        mailbox.wake();
    }

    /// Send a frame to a room's members in all loops but that of `own`. All of it under one lock: the others get the
    /// messages of all loops in one order.
    pub(super) fn publish(&self, own: Option<&Arc<Mailbox>>, room: &str, frame: &[u8]) {
        let state = self.state();
        if !state.counts.contains_key(room) {
            return;
        }
        let is_own = |other: &&Arc<Mailbox>| own.is_some_and(|own| Arc::ptr_eq(own, other));
        let mut others = state.loops.iter().filter(|other| !is_own(other)).peekable();
        if others.peek().is_none() {
            return;
        }
        let (room, frame) = (Arc::<str>::from(room), Arc::<[u8]>::from(frame));
        for other in others {
            other.post(Posted {
                room: Arc::clone(&room),
                frame: Arc::clone(&frame),
            });
        }
    }

    pub(super) fn count_in(&self, room: &str) {
        let mut state = self.state();
        match state.counts.get_mut(room) {
            Some(count) => *count += 1,
            None => drop(state.counts.insert(room.to_owned(), 1)),
        }
    }

    pub(super) fn count_out(&self, room: &str, members: usize) {
        let mut state = self.state();
        if let Some(count) = state.counts.get_mut(room) {
            *count -= members;
            if *count == 0 {
                state.counts.remove(room);
            }
        }
    }

    /// How many are in a room, in all loops.
    pub fn count(&self, room: &str) -> usize {
        self.state().counts.get(room).copied().unwrap_or_default()
    }

    /// Every room with how many are in it, by name.
    pub fn counts(&self) -> Vec<(String, usize)> {
        let state = self.state();
        let counts = state.counts.iter();
        counts.map(|(room, count)| (room.clone(), *count)).collect()
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.counts()).finish()
    }
}

/// What other loops published for one of them.
pub(super) struct Mailbox {
    /// `None` when nobody will come for it any more.
    posted: Mutex<Option<Vec<Posted>>>,
    remote: Remote,
    /// Known from its source's first visit on, which comes by itself.
    token: OnceLock<Token>,
}

struct Posted {
    room: Arc<str>,
    frame: Arc<[u8]>,
}

impl Mailbox {
    fn posted(&self) -> MutexGuard<'_, Option<Vec<Posted>>> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, message: Posted) {
        let is_first = self.posted().as_mut().is_some_and(|posted| {
            posted.push(message);
            posted.len() == 1
        });
        // Those behind the first are found with it.
        if is_first {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(token) = self.token.get() {
            self.remote.wake(*token);
        }
    }
}

/// The source that gives the members of its loop what comes in the mailbox.
struct Delivery {
    mailbox: Arc<Mailbox>,
    local: Weak<Local>,
}

impl Source for Delivery {
    fn ready(&mut self, ctx: &mut Ctx<'_>, _: Readiness) -> Next {
        // Before the look into the mailbox: whoever posts after it finds the token.
        self.mailbox.token.get_or_init(|| ctx.token());
        let posted = match &mut *self.mailbox.posted() {
            Some(posted) => std::mem::take(posted),
            None => return Next::Close,
        };
        let Some(local) = self.local.upgrade() else {
            return Next::Close;
        };
        for Posted { room, frame } in posted {
            local.deliver(&room, Frame::from_plain(Rc::from(&*frame)), |_| true);
        }
        Next::Wait
    }

    fn inspect(&self) -> Inspection {
        Inspection {
            kind: "hub",
            read_drained: true,
            ..Inspection::default()
        }
    }
}
