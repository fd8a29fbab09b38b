//! Who is there: those who subscribed to one topic with a text that others may see.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use crate::proto::ws::OwnedMessage;

/// The longest text that a member is present with, in bytes. Of a longer one the rest is cut off.
pub const PRESENCE_BYTES_MAX: usize = 256;

/// Somebody who is in a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Present {
    /// A name for this stay in this topic, never given twice in a set of topics.
    pub id: u64,
    /// What it came in with: a name, or anything else that is short.
    pub text: Arc<str>,
}

/// Somebody came or went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PresenceEvent<'a> {
    /// Who is in from now on.
    Joined {
        /// The topic or room.
        topic: &'a str,
        /// Who.
        who: &'a Present,
    },
    /// Who has left, or whose connection has closed.
    Left {
        /// The topic or room.
        topic: &'a str,
        /// Who.
        who: &'a Present,
    },
}

impl PresenceEvent<'_> {
    /// The topic or room in which it happened.
    pub fn topic(&self) -> &str {
        match self {
            Self::Joined { topic, .. } | Self::Left { topic, .. } => topic,
        }
    }
}

/// Whether it is known who is in a topic, see [`super::TopicSettings::presence`].
#[derive(Clone, Default)]
pub enum Presence {
    /// It is not: a text that members come with is thrown away.
    Off,
    /// There is a list of those who came with a text.
    #[default]
    Listed,
    /// And the members hear of it: this makes the message that is published in the topic, to all but who has just
    /// joined; or none. It is called on the loop of who joined or left, while that happens, so it may not use these
    /// topics itself.
    Announced(Announce),
}

/// Makes a message of an event, see [`Presence::Announced`].
pub type Announce = Rc<dyn Fn(PresenceEvent<'_>) -> Option<OwnedMessage>>;

impl Presence {
    /// [`Presence::Announced`] by a function.
    pub fn announced(
        announce: impl Fn(PresenceEvent<'_>) -> Option<OwnedMessage> + 'static,
    ) -> Self {
        Self::Announced(Rc::new(announce))
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "Off",
            Self::Listed => "Listed",
            Self::Announced(_) => "Announced",
        })
    }
}

/// Who is where, in all topics of a set.
#[derive(Default)]
pub(super) struct Attendance {
    /// Texts by id, for each topic.
    topics: HashMap<Arc<str>, BTreeMap<u64, Arc<str>>>,
    last_id: u64,
}

impl Attendance {
    pub(super) fn enter(&mut self, topic: &str, text: &str) -> Present {
        let mut end = text.len().min(PRESENCE_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.last_id += 1;
        let present = Present {
            id: self.last_id,
            text: text[..end].into(),
        };
        let here = match self.topics.get_mut(topic) {
            Some(here) => here,
            None => self.topics.entry(topic.into()).or_default(),
        };
        here.insert(present.id, Arc::clone(&present.text));
        present
    }

    pub(super) fn leave(&mut self, topic: &str, id: u64) -> Option<Present> {
        let here = self.topics.get_mut(topic)?;
        let text = here.remove(&id)?;
        if here.is_empty() {
            self.topics.remove(topic);
        }
        Some(Present { id, text })
    }

    /// In the order in which they came.
    pub(super) fn list(&self, topic: &str) -> Vec<Present> {
        let here = self.topics.get(topic).into_iter().flatten();
        here.map(|(id, text)| Present {
            id: *id,
            text: Arc::clone(text),
        })
        .collect()
    }
}
