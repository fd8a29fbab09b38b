//! What the loop visits: a listener, a connection, a task, a signal. The loop knows nothing else about them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::{Ctx, Origin, Readiness, Socket, Token, WaitsOn};

/// What a source wants next, as the answer to a visit. A source never registers or removes itself behind the loop's
/// back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Next {
    /// Nothing until something happens.
    Wait,
    /// Another visit in the next turn: the visit's budget was used up and there is more to do. No edge will come for
    /// it.
    Again,
    /// The end. [`Source::closed`] follows in step 8 of this turn, and nothing after it.
    Close,
    /// Another source stands here from now on: the one that was given to [`Ctx::become_source`], whose answer this is.
    /// Without it, the end.
    Become,
}

/// Something the loop visits when there is a reason to.
///
/// The loop takes the source out of its slab for the visit, lends it a [`Ctx`], and puts it back by the answer. So a
/// source cannot be visited while it is being visited, and needs no lock or cell around itself.
pub trait Source: 'static {
    /// A visit: do what can be done now, without blocking, within a budget.
    ///
    /// A panic closes the source as [`Next::Close`] does, is reported, and leaves the loop turning.
    fn ready(&mut self, ctx: &mut Ctx<'_>, readiness: Readiness) -> Next;

    /// The last call: close the sockets, give back what is held. Runs once, also after a panic.
    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        let _ = ctx;
    }

    /// What this is, for the people who look at the loop and for the simulator's oracles.
    fn inspect(&self) -> Inspection {
        Inspection::default()
    }
}

/// A source, described.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The kind: `listener`, `http`, `websocket`, `task`, …
    pub kind: &'static str,
    /// Where it is in its life, in a word or two.
    pub state: &'static str,
    /// What it waits for its peer to do, or does for it, in a word or two: which of its deadlines runs. Empty when it
    /// has none of several.
    pub phase: &'static str,
    /// What it works on now, if somebody has said so: the path of a request's route.
    pub purpose: Option<Arc<str>>,
    /// Who is at the other end of its socket.
    pub peer: Option<SocketAddr>,
    /// What whoever made it called it.
    pub name: Option<Arc<str>>,
    /// Where it was created, if it knows.
    pub origin: Option<Origin>,
    /// The task that has spawned it, if one has. It may have ended.
    pub parent: Option<Token>,
    /// When it was created, if it knows.
    pub created: Option<Instant>,
    /// What it waits on, as far as its futures have said. Of several things the last one that was polled.
    pub waits_on: Option<WaitsOn>,
    /// For how many things it waits.
    pub waits: u32,
    /// Since when.
    pub since: Option<Instant>,
    /// It waits, and nothing is left that could wake it: the last waker was dropped and had not been used.
    pub is_lost: bool,
    /// It believes that nothing is left to read until an event says otherwise.
    pub read_drained: bool,
    /// It does not read now although it could: its peer does not take the answers, or a handler has not finished.
    pub paused: bool,
    /// Bytes taken in or made and not yet passed on.
    pub bytes_held: usize,
    /// The socket it stands behind, if it does.
    pub socket: Option<Socket>,
    /// When it gives up what it waits for, in ticks of the loop: whole milliseconds since the loop was made.
    pub deadline_tick: Option<u64>,
    /// Set for a connection that does nothing for its peer and may be closed when descriptors run out; those with the
    /// lowest rank go first.
    pub idle_rank: Option<u64>,
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        if let Some(origin) = self.origin {
            write!(f, " created at {origin}")?;
        }
        write!(f, ", {}", self.state)?;
        if let Some(waits_on) = self.waits_on {
            write!(f, " on {waits_on}")?;
        }
        match self.waits {
            0 | 1 => Ok(()),
            waits => write!(f, " and {} more", waits - 1),
        }
    }
}
