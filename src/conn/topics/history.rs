//! What was said, for those who come late: the last messages of each topic, numbered, within bounds.
//!
//! There is one row of numbers for all topics of a set, so that one number says how much a client has heard, whatever
//! it subscribes to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::Arc;

use super::Posted;
use super::filter::{Filters, Name};

/// How much is kept of each topic that a filter matches, see [`super::TopicSettings::history`]. Of what is over a bound
/// the oldest goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct History {
    /// Messages of one topic. Default 100.
    pub messages_max: usize,
    /// Bytes of one topic's messages. Default 64 KiB. Beyond what a member's outbox takes in a turn, more is of no use.
    pub bytes_max: usize,
    /// Topics; of one too many, that goes which was silent for longest. Default 1,000.
    pub topics_max: usize,
}

impl Default for History {
    fn default() -> Self {
        Self {
            messages_max: 100,
            bytes_max: 64 * 1024,
            topics_max: 1000,
        }
    }
}

/// A place in the history of a set of topics, behind a message that was published with a number. As text (`to_string`
/// and `parse`), for messages and for clients that come back with it.
///
/// It says also whose numbers these are: those of another process, or of this one before it was started anew, mean
/// nothing here, and who comes with them hears everything that is kept.
///
/// ```
/// use tourbillon::web::Cursor;
///
/// let cursor: Cursor = "1f.2a".parse().unwrap();
/// assert_eq!(cursor.number(), 0x2a);
/// assert_eq!(cursor.to_string(), "1f.2a");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    epoch: u64,
    number: u64,
}

impl Cursor {
    /// The message's number: each is higher than those before it, in all topics of the set.
    pub fn number(self) -> u64 {
        self.number
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.epoch, self.number)
    }
}

/// A text that is no [`Cursor`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoCursor;

impl fmt::Display for NoCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cursor is two hexadecimal numbers with a dot between them")
    }
}

impl std::error::Error for NoCursor {}

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (epoch, number) = text.split_once('.').ok_or(NoCursor)?;
        let read = |digits| u64::from_str_radix(digits, 16).map_err(|_| NoCursor);
        Ok(Self {
            epoch: read(epoch)?,
            number: read(number)?,
        })
    }
}

/// What of a history a new member gets, before anything new.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Replay {
    /// All that is kept.
    #[default]
    All,
    /// The last so many messages.
    Last(usize),
    /// What came behind this one.
    Since(Cursor),
    /// None of it.
    Nothing,
}

/// A message that is kept.
struct Kept {
    number: u64,
    posted: Posted,
}

/// What a new member gets.
#[derive(Default)]
pub(super) struct Replayed {
    pub(super) messages: Vec<Posted>,
    /// Something that was asked for is not kept any more.
    pub(super) has_gap: bool,
}

/// The histories of a set of topics.
pub(super) struct Histories {
    /// Whose numbers these are.
    epoch: u64,
    /// The last number.
    number: u64,
    rules: Filters<Rule>,
    topics: HashMap<Arc<str>, Ring>,
    /// The last number among the messages of whole topics that are not kept any more.
    forgotten: u64,
}

/// What a filter asks for, and the topics that are kept because of it.
#[derive(Default)]
struct Rule {
    bounds: History,
    /// By the number of its last message.
    topics: BTreeMap<u64, Arc<str>>,
}

/// The last messages of a topic.
struct Ring {
    rule: u32,
    messages: VecDeque<Kept>,
    bytes: usize,
    /// The last number.
    last: u64,
    /// The last number among those that had to go.
    forgotten: u64,
}

impl Default for Histories {
    fn default() -> Self {
        Self {
            // As random as the keys of hash tables, which come from the system's entropy.
            epoch: RandomState::new().hash_one(0_u64),
            number: 0,
            rules: Filters::default(),
            topics: HashMap::new(),
            forgotten: 0,
        }
    }
}

impl Histories {
    /// Keep what is said in topics that `filter` matches, from now on. Of several filters that match a topic, the one
    /// that was given first holds.
    pub(super) fn keep(&mut self, filter: Name<'_>, bounds: History) {
        let rule = self.rules.find_or_insert(filter);
        self.rules.get_mut(rule).bounds = bounds;
    }

    /// The next message's place.
    pub(super) fn next_cursor(&self) -> Cursor {
        Cursor {
            epoch: self.epoch,
            number: self.number + 1,
        }
    }

    /// Whether what is said in `topic` is kept.
    pub(super) fn keeps(&self, topic: &str) -> bool {
        !self.rules.is_empty() && self.rules.matches(topic).len() > 0
    }

    /// A message was published: it gets [`Histories::next_cursor`], and is kept if its topic's are. One that has a key
    /// takes the place of the one before that had it.
    pub(super) fn push(&mut self, posted: &Posted) {
        self.number += 1;
        let number = self.number;
        let topic = &posted.topic;
        let Some(rule) = self.rules.matches(topic).iter().min() else {
            return;
        };
        let ring = self
            .topics
            .entry(Arc::clone(topic))
            .or_insert_with(|| Ring {
                rule,
                messages: VecDeque::new(),
                bytes: 0,
                last: 0,
                forgotten: 0,
            });
        let Rule { bounds, topics } = self.rules.get_mut(ring.rule);
        topics.remove(&ring.last);
        topics.insert(number, Arc::clone(topic));
        ring.last = number;
        ring.push(number, posted, bounds);
        if topics.len() > bounds.topics_max
            && let Some((_, silent)) = topics.pop_first()
            && let Some(ring) = self.topics.remove(&silent)
        {
            self.forgotten = self.forgotten.max(ring.last);
        }
    }

    /// What a new member under `name` gets, in the order of the numbers.
    pub(super) fn replay(&self, name: Name<'_>, replay: Replay) -> Replayed {
        let mut replayed = Replayed::default();
        let mut since = 0;
        match replay {
            Replay::Nothing | Replay::Last(0) => return replayed,
            Replay::All | Replay::Last(_) => {}
            Replay::Since(cursor) if cursor.epoch == self.epoch => since = cursor.number,
            Replay::Since(_) => replayed.has_gap = true,
        }
        let rings: Vec<_> = if name.is_wild {
            let all = self.topics.iter();
            all.filter(|(topic, _)| name.matches(topic)).collect()
        } else {
            self.topics.get_key_value(name.text).into_iter().collect()
        };
        let mut messages: Vec<_> = rings
            .iter()
            .flat_map(|(_, ring)| &ring.messages)
            .filter(|kept| kept.number > since)
            .collect();
        messages.sort_unstable_by_key(|kept| kept.number);
        if let Replay::Since(_) = replay {
            let forgotten = rings.iter().map(|(_, ring)| ring.forgotten);
            let forgotten = forgotten.fold(self.forgotten, u64::max);
            replayed.has_gap |= forgotten > since;
        }
        let skipped = match replay {
            Replay::Last(count) => messages.len().saturating_sub(count),
            _ => 0,
        };
        replayed.messages = messages[skipped..]
            .iter()
            .map(|kept| kept.posted.clone())
            .collect();
        replayed
    }
}

impl Ring {
    fn push(&mut self, number: u64, posted: &Posted, bounds: &History) {
        let has_its_key = |kept: &Kept| kept.posted.key == posted.key;
        if posted.key.is_some()
            && let Some(place) = self.messages.iter().position(has_its_key)
        {
            self.take(place);
        }
        self.bytes += posted.frame.len();
        self.messages.push_back(Kept {
            number,
            posted: posted.clone(),
        });
        while (self.messages.len() > bounds.messages_max || self.bytes > bounds.bytes_max)
            && let Some(oldest) = self.take(0)
        {
            self.forgotten = oldest.number;
        }
    }

    fn take(&mut self, place: usize) -> Option<Kept> {
        let kept = self.messages.remove(place)?;
        self.bytes -= kept.posted.frame.len();
        Some(kept)
    }
}
