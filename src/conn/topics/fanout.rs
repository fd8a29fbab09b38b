//! The way to other processes: what a broker has to do for topics that span several of them, and what it is given.

use std::fmt;
use std::sync::{Arc, Weak};

use super::Posted;
use super::filter::Name;
use super::hub::{self, Hub};
use crate::proto::ws::{Message, encode_binary, encode_text, encoded_message};

/// A broker, as a [`Hub`] uses it: it carries messages between the hubs of several processes.
///
/// A hub calls it from the threads of its loops, one call at a time and in the order in which things happened. So it
/// must not wait: what takes time goes to a thread or a task of its own. It may be down, and come back; meanwhile the
/// hub's own members hear each other as before.
///
/// What is promised beyond a process: what one of them publishes comes to each other in its order, as far as the broker
/// keeps it. There is no one order of what several publish, and what is lost on the way is lost.
pub trait Fanout: Send + Sync + 'static {
    /// Called once, before everything else: what others publish goes into `inlet`, from any thread.
    fn attach(&self, inlet: Inlet);

    /// The first one of this process subscribed: what others publish there is wanted from now on. A broker that comes
    /// back asks for all of these with [`Inlet::interests`].
    fn subscribe(&self, interest: &Interest);

    /// The last one left. What still comes is thrown away.
    fn unsubscribe(&self, interest: &Interest);

    /// Take a message for the other processes. If it comes back to this one, that is noticed by its origin.
    ///
    /// # Errors
    /// When it cannot be taken. The hub counts it and forgets it, see [`Hub::unsent`].
    fn publish(&self, message: &Relayed) -> Result<(), LinkDown>;

    /// Whether the others can be reached, as far as is known.
    fn is_up(&self) -> bool;

    /// So many of this process are there now. For [`Fanout::members_elsewhere`] of the others.
    fn members_here(&self, interest: &Interest, members: usize) {
        let _ = (interest, members);
    }

    /// How many are there in all other processes, as far as is known.
    fn members_elsewhere(&self, interest: &Interest) -> usize {
        let _ = interest;
        0
    }
}

/// A message could not be passed on: there is no way to the other processes now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkDown;

impl fmt::Display for LinkDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no way to the other processes")
    }
}

impl std::error::Error for LinkDown {}

/// How a hub is linked to other processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkState {
    /// It is not, and is not meant to be.
    Alone,
    /// What is published here reaches them.
    Up,
    /// It does not; the members here hear each other as before.
    Down,
}

/// What somebody subscribed to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Interest {
    /// One topic or room of exactly this name, whatever signs are in it.
    Topic(Arc<str>),
    /// The topics that match this filter, which has wildcards.
    Filter(Arc<str>),
}

impl Interest {
    pub(super) fn of(name: Name<'_>) -> Self {
        let text = name.text.into();
        match name.is_wild {
            true => Self::Filter(text),
            false => Self::Topic(text),
        }
    }

    fn name(&self) -> Name<'_> {
        Name {
            text: self.as_str(),
            is_wild: matches!(self, Self::Filter(_)),
        }
    }

    /// The name or the filter.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Topic(text) | Self::Filter(text) => text,
        }
    }

    /// Whether what is published in `topic` is wanted.
    pub fn matches(&self, topic: &str) -> bool {
        self.name().matches(topic)
    }
}

/// A message between two processes.
#[derive(Clone, Debug)]
pub struct Relayed {
    origin: u64,
    pub(super) posted: Posted,
}

impl Relayed {
    pub(super) fn from_here(origin: u64, posted: Posted) -> Self {
        Self { origin, posted }
    }

    /// A message as it came from the broker.
    pub fn new<'m>(
        origin: u64,
        topic: &str,
        key: Option<&str>,
        message: impl Into<Message<'m>>,
    ) -> Self {
        let frame = match message.into() {
            Message::Text(text) => encode_text(text),
            Message::Binary(bytes) => encode_binary(bytes),
        };
        Self {
            origin,
            posted: Posted {
                topic: topic.into(),
                key: key.map(Arc::from),
                frame: frame.into(),
            },
        }
    }

    /// Which hub published it: a random number.
    pub fn origin(&self) -> u64 {
        self.origin
    }

    /// Where it was published.
    pub fn topic(&self) -> &str {
        &self.posted.topic
    }

    /// Its key, if it replaces those before that have the same.
    pub fn key(&self) -> Option<&str> {
        self.posted.key.as_deref()
    }

    /// What was said.
    pub fn message(&self) -> Message<'_> {
        encoded_message(&self.posted.frame)
    }
}

/// The way into a hub, for its broker. It does not keep the hub.
#[derive(Clone)]
pub struct Inlet(pub(super) Weak<hub::Shared>);

impl Inlet {
    /// Give a message to those who subscribed in this process, in their loops' next turns. One that comes from this
    /// hub itself is ignored, for its members have had it; and so is one that nobody wants. Each must come once.
    pub fn deliver(&self, message: &Relayed) {
        if let Some(hub) = self.hub() {
            hub.take_in(message);
        }
    }

    /// All that is wanted here, with how many want it: for a broker that has lost its link, and has it again.
    pub fn interests(&self) -> Vec<(Interest, usize)> {
        self.hub().map_or_else(Vec::new, |hub| hub.interests())
    }

    fn hub(&self) -> Option<Hub> {
        self.0.upgrade().map(Hub)
    }
}

impl fmt::Debug for Inlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inlet").field(&self.hub()).finish()
    }
}
