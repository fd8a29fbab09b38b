//! One set of topics over several loops: what is said in one of them reaches the members in the others, and through a
//! [`Fanout`] those in other processes.
//!
//! A loop is in the hub as long as somebody in it subscribes to something. What is published goes once to each other
//! loop that has someone for it, encoded already, and is given to the members there by a source of that loop.
//!
//! Of the two locks, `books` is taken first, and neither is held while others' code runs, but for the making of a
//! numbered message.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use slab::Slab;

use super::Posted;
use super::fanout::{Fanout, Inlet, Interest, LinkState, Relayed};
use super::filter::{Filters, Name};
use super::local::{Books, Local};
use crate::event_loop::{Ctx, Handle, Inspection, Next, Readiness, Remote, Source, Token};

/// What [`super::Rooms::spanning`] and [`super::Topics::spanning`] span: all that span one hub are one set. Cheap to
/// clone, and of any thread.
#[derive(Clone, Default)]
pub struct Hub(pub(super) Arc<Shared>);

pub(super) struct Shared {
    state: Mutex<State>,
    books: Mutex<Books>,
    /// Tells this hub's messages from those of others.
    origin: u64,
    uplink: Option<Box<dyn Fanout>>,
}

#[derive(Default)]
struct State {
    loops: Slab<Arc<Mailbox>>,
    members: Filters<Members>,
    /// For the uplink, in order.
    outgoing: VecDeque<Order>,
    /// A thread is at it.
    is_passing: bool,
    unsent: u64,
}

/// How many subscribe to the same.
#[derive(Default)]
struct Members {
    all: usize,
    by_loop: Vec<usize>,
}

/// What the uplink is to be told.
enum Order {
    Subscribe(Interest),
    Unsubscribe(Interest),
    Members(Interest, usize),
    Publish(Relayed),
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            books: Mutex::default(),
            // As random as the keys of hash tables, which come from the system's entropy.
            origin: RandomState::new().hash_one(0_u64),
            uplink: None,
        }
    }
}

impl Hub {
    /// Nobody is in it yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that reaches other processes through a broker.
    pub fn linked(fanout: impl Fanout) -> Self {
        let hub = Self(Arc::new(Shared {
            uplink: Some(Box::new(fanout)),
            ..Shared::default()
        }));
        if let Some(uplink) = &hub.0.uplink {
            uplink.attach(Inlet(Arc::downgrade(&hub.0)));
        }
        hub
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept in common. Whoever says something that is kept holds this until it is in all mailboxes.
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        // A numbered message whose making panics was not begun to be kept.
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop of `handle` is in from here on; what others publish comes to `local`.
    pub(super) fn enter(&self, handle: &Handle, local: &Rc<Local>) -> Seat {
        let mailbox = Arc::new(Mailbox {
            posted: Mutex::new(Some(Vec::new())),
            remote: handle.remote(),
            token: OnceLock::new(),
        });
        handle.start_source(Box::new(Courier {
            mailbox: Arc::clone(&mailbox),
            local: Rc::downgrade(local),
        }));
        let number = self.state().loops.insert(Arc::clone(&mailbox));
        Seat { number, mailbox }
    }

    /// Nobody in the loop of `seat` subscribes to anything any more.
    pub(super) fn leave(&self, seat: &Seat) {
        self.state().loops.remove(seat.number);
        *seat.mailbox.posted() = None;
        seat.mailbox.wake();
    }

    /// Send a message to the members in all loops but that of `own`, and to other processes. All of it under one lock:
    /// the others get the messages of all loops in one order.
    pub(super) fn publish(&self, own: Option<&Seat>, topic: &str, posted: impl FnOnce() -> Posted) {
        let mut state = self.state();
        let own = own.map(|seat| seat.number);
        let others = state.wanting(topic, own);
        if others.is_empty() && self.0.uplink.is_none() {
            return;
        }
        let posted = posted();
        for other in others {
            state.loops[other].post(posted.clone());
        }
        if self.0.uplink.is_some() {
            let relayed = Relayed::from_here(self.0.origin, posted);
            state.outgoing.push_back(Order::Publish(relayed));
        }
    }

    /// What another process published.
    pub(super) fn take_in(&self, message: &Relayed) {
        if message.origin() == self.0.origin {
            return;
        }
        let mut books = self.books();
        books.histories.push(&message.posted);
        let state = self.state();
        for place in state.wanting(message.topic(), None) {
            state.loops[place].post(message.posted.clone());
        }
    }

    pub(super) fn count_in(&self, seat: &Seat, name: Name<'_>) {
        let mut state = self.state();
        let place = state.members.find_or_insert(name);
        let members = state.members.get_mut(place);
        members.all += 1;
        if members.by_loop.len() <= seat.number {
            members.by_loop.resize(seat.number + 1, 0);
        }
        members.by_loop[seat.number] += 1;
        let all = members.all;
        if self.0.uplink.is_some() {
            let interest = Interest::of(name);
            if all == 1 {
                state.outgoing.push_back(Order::Subscribe(interest.clone()));
            }
            state.outgoing.push_back(Order::Members(interest, all));
        }
    }

    pub(super) fn count_out(&self, seat: &Seat, name: Name<'_>, number: usize) {
        let mut state = self.state();
        let Some(place) = state.members.find(name) else {
            return;
        };
        let members = state.members.get_mut(place);
        members.all -= number;
        members.by_loop[seat.number] -= number;
        let all = members.all;
        if all == 0 {
            state.members.remove(place);
        }
        if self.0.uplink.is_some() {
            let interest = Interest::of(name);
            state
                .outgoing
                .push_back(Order::Members(interest.clone(), all));
            if all == 0 {
                state.outgoing.push_back(Order::Unsubscribe(interest));
            }
        }
    }

    /// Tell the uplink what there is to tell; to be called when no lock is held. If another thread is at it, that one
    /// takes ours along.
    pub(super) fn pass_on(&self) {
        /// For a broker that panics.
        struct Passing<'a>(&'a Hub);

        impl Drop for Passing<'_> {
            fn drop(&mut self) {
                if thread::panicking() {
                    self.0.state().is_passing = false;
                }
            }
        }

        let Some(uplink) = &self.0.uplink else { return };
        let mut next = self.next_order(false);
        let _passing = Passing(self);
        while let Some(order) = next {
            match order {
                Order::Subscribe(interest) => uplink.subscribe(&interest),
                Order::Unsubscribe(interest) => uplink.unsubscribe(&interest),
                Order::Members(interest, members) => uplink.members_here(&interest, members),
                Order::Publish(message) => {
                    if uplink.publish(&message).is_err() {
                        self.state().unsent += 1;
                    }
                }
            }
            next = self.next_order(true);
        }
    }

    /// The next thing to tell the uplink, for the thread that is at it, or for one that begins if none is.
    fn next_order(&self, is_passing: bool) -> Option<Order> {
        let mut state = self.state();
        if state.is_passing != is_passing {
            return None;
        }
        let order = state.outgoing.pop_front();
        // In the same breath: who adds one from here on begins.
        state.is_passing = order.is_some();
        order
    }

    /// Whether what is published here reaches other processes.
    pub fn link(&self) -> LinkState {
        match &self.0.uplink {
            None => LinkState::Alone,
            Some(uplink) if uplink.is_up() => LinkState::Up,
            Some(_) => LinkState::Down,
        }
    }

    /// How many messages could not be passed on to other processes so far.
    pub fn unsent(&self) -> u64 {
        self.state().unsent
    }

    pub(super) fn count_of(&self, name: Name<'_>) -> usize {
        let state = self.state();
        let here = state
            .members
            .find(name)
            .map(|place| state.members.get(place));
        let here = here.map_or(0, |entry| entry.value.all);
        drop(state);
        here + self.elsewhere(&Interest::of(name))
    }

    fn elsewhere(&self, interest: &Interest) -> usize {
        let uplink = self.0.uplink.as_ref();
        uplink.map_or(0, |uplink| uplink.members_elsewhere(interest))
    }

    /// How many are in the room, or subscribe to the topic of that name: in all loops, and in other processes as far as
    /// is known.
    pub fn count(&self, name: &str) -> usize {
        self.count_of(Name::plain(name))
    }

    /// Every room, topic and filter that somebody in this process is in, with how many in all, by name.
    pub fn counts(&self) -> Vec<(String, usize)> {
        let mut counts = BTreeMap::new();
        for (interest, here) in self.interests() {
            let all = here + self.elsewhere(&interest);
            *counts.entry(interest.as_str().to_owned()).or_default() += all;
        }
        counts.into_iter().collect()
    }

    pub(super) fn interests(&self) -> Vec<(Interest, usize)> {
        let state = self.state();
        let members = state.members.iter();
        members
            .map(|entry| (Interest::of(entry.name()), entry.value.all))
            .collect()
    }
}

impl State {
    /// The loops with members for what is published in `topic`.
    fn wanting(&self, topic: &str, except: Option<usize>) -> Vec<usize> {
        let matches = self.members.matches(topic);
        let has_members = |place: usize| {
            matches.iter().any(|members| {
                let by_loop = &self.members.get(members).value.by_loop;
                by_loop.get(place).is_some_and(|members| *members > 0)
            })
        };
        let loops = self.loops.iter().map(|(place, _)| place);
        loops
            .filter(|place| Some(*place) != except && has_members(*place))
            .collect()
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.counts()).finish()
    }
}

/// A loop's place in a hub.
pub(super) struct Seat {
    number: usize,
    mailbox: Arc<Mailbox>,
}

impl Seat {
    /// What others posted since.
    pub(super) fn take_posted(&self) -> Vec<Posted> {
        let mut posted = self.mailbox.posted();
        posted.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

/// What other loops published for one of them.
struct Mailbox {
    /// `None` when nobody will come for it any more.
    posted: Mutex<Option<Vec<Posted>>>,
    remote: Remote,
    /// Known from its source's first visit on, which comes by itself.
    token: OnceLock<Token>,
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
struct Courier {
    mailbox: Arc<Mailbox>,
    local: Weak<Local>,
}

impl Source for Courier {
    fn ready(&mut self, ctx: &mut Ctx<'_>, _: Readiness) -> Next {
        // Before the look into the mailbox: whoever posts after it finds the token.
        self.mailbox.token.get_or_init(|| ctx.token());
        if self.mailbox.posted().is_none() {
            return Next::Close;
        }
        let Some(local) = self.local.upgrade() else {
            return Next::Close;
        };
        local.catch_up();
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
