//! Names and filters: what may be written, what a filter matches, and how those that match a name are found without
//! asking all of them.
//!
//! Both are MQTT's (version 5.0, 4.7): levels with slashes between them, `+` for any one level, and `#` at the end for
//! all that come, none included. Names that begin with `$` are names like any other here.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use slab::Slab;

use crate::parts::high_water::HighWater;

/// The longest name or filter that [`super::Topics`] takes, in bytes.
pub const TOPIC_BYTES_MAX: usize = 1024;

/// How many levels a name or filter may have. What a publish looks at can double with each level at worst: by the
/// literal filters, and by those with a `+` there.
pub const TOPIC_LEVELS_MAX: usize = 16;

/// What is wrong with the name or the filter of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicError {
    /// It has no characters.
    Empty,
    /// It has more than [`TOPIC_BYTES_MAX`] bytes.
    TooLong,
    /// It has more than [`TOPIC_LEVELS_MAX`] levels.
    TooDeep,
    /// There is a NUL in it (MQTT 5.0, 4.7.3).
    Nul,
    /// There is a `#` that is not its last level, such as in `a/#/b`.
    HashNotLast,
    /// There is a `+` or `#` beside others in one level, such as in `a/b+`.
    NotAWholeLevel,
    /// There is a `+` or `#` where the name of one topic is wanted: who publishes does so in one.
    Wildcard,
    /// The connection has as many subscriptions as it may, see [`super::Topics::subscriptions_max`].
    TooMany,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a topic has a name of at least one character"),
            Self::TooLong => write!(f, "a topic's name has at most {TOPIC_BYTES_MAX} bytes"),
            Self::TooDeep => write!(f, "a topic's name has at most {TOPIC_LEVELS_MAX} levels"),
            Self::Nul => f.write_str("a topic's name has no NUL in it"),
            Self::HashNotLast => f.write_str("a # in a filter is its last level"),
            Self::NotAWholeLevel => f.write_str("a + or # in a filter is a whole level"),
            Self::Wildcard => f.write_str("the name of one topic has no + and no # in it"),
            Self::TooMany => f.write_str("there are too many subscriptions on this connection"),
        }
    }
}

impl std::error::Error for TopicError {}

/// What members are filed under: a name that stands for itself, or a filter with wildcards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Name<'a> {
    pub(super) text: &'a str,
    pub(super) is_wild: bool,
}

impl<'a> Name<'a> {
    /// Whatever it says, it means that: the name of a room.
    pub(super) fn plain(text: &'a str) -> Self {
        Self {
            text,
            is_wild: false,
        }
    }

    /// The name of one topic.
    pub(super) fn topic(text: &'a str) -> Result<Self, TopicError> {
        let name = Self::filter(text)?;
        if name.is_wild {
            return Err(TopicError::Wildcard);
        }
        Ok(name)
    }

    /// The name of one topic, or a filter for several.
    pub(super) fn filter(text: &'a str) -> Result<Self, TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.len() > TOPIC_BYTES_MAX {
            return Err(TopicError::TooLong);
        }
        if text.contains('\0') {
            return Err(TopicError::Nul);
        }
        let mut levels = text.split('/').enumerate().peekable();
        let mut is_wild = false;
        while let Some((number, level)) = levels.next() {
            if number == TOPIC_LEVELS_MAX {
                return Err(TopicError::TooDeep);
            }
            match level {
                "#" if levels.peek().is_some() => return Err(TopicError::HashNotLast),
                "+" | "#" => is_wild = true,
                _ if level.contains(['+', '#']) => return Err(TopicError::NotAWholeLevel),
                _ => {}
            }
        }
        Ok(Self { text, is_wild })
    }

    /// Whether what is published to `topic` is for those under this name.
    pub(super) fn matches(self, topic: &str) -> bool {
        if !self.is_wild {
            return self.text == topic;
        }
        let mut levels = topic.split('/');
        for wanted in self.text.split('/') {
            if wanted == "#" {
                return true;
            }
            match levels.next() {
                Some(level) if wanted == "+" || wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

/// Values by name, found by what is published: names in a hash table, filters in a trie of their levels.
pub(super) struct Filters<T> {
    entries: Slab<Entry<T>>,
    plain: HashMap<Arc<str>, u32>,
    wild: Node,
    high_water: HighWater,
}

pub(super) struct Entry<T> {
    pub(super) name: Arc<str>,
    pub(super) is_wild: bool,
    pub(super) value: T,
}

impl<T> Entry<T> {
    pub(super) fn name(&self) -> Name<'_> {
        Name {
            text: &self.name,
            is_wild: self.is_wild,
        }
    }
}

impl<T> Default for Filters<T> {
    fn default() -> Self {
        Self {
            entries: Slab::new(),
            plain: HashMap::new(),
            wild: Node::default(),
            high_water: HighWater::default(),
        }
    }
}

impl<T> Filters<T> {
    /// Where the value under a name is.
    pub(super) fn find(&self, name: Name<'_>) -> Option<u32> {
        if name.is_wild {
            self.wild.find(name.text)
        } else {
            self.plain.get(name.text).copied()
        }
    }

    /// Where the value under a name is; a default one is put there if none is.
    pub(super) fn find_or_insert(&mut self, name: Name<'_>) -> u32
    where
        T: Default,
    {
        if let Some(place) = self.find(name) {
            return place;
        }
        let text = Arc::<str>::from(name.text);
        let place = self.entries.insert(Entry {
            name: Arc::clone(&text),
            is_wild: name.is_wild,
            value: T::default(),
        }) as u32;
        if name.is_wild {
            self.wild.insert(name.text, place);
        } else {
            self.plain.insert(text, place);
        }
        self.high_water.rose_to(self.entries.len());
        place
    }

    pub(super) fn get(&self, place: u32) -> &Entry<T> {
        &self.entries[place as usize]
    }

    pub(super) fn get_mut(&mut self, place: u32) -> &mut T {
        &mut self.entries[place as usize].value
    }

    pub(super) fn remove(&mut self, place: u32) -> Entry<T> {
        let entry = self.entries.remove(place as usize);
        if entry.is_wild {
            self.wild.remove(&entry.name);
        } else {
            self.plain.remove(&entry.name);
        }
        let places = self.entries.capacity();
        if self.high_water.fell_to(self.entries.len(), places) {
            self.entries.shrink_to_fit();
            self.plain.shrink_to_fit();
        }
        entry
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Nothing is left of those that were taken out either.
    #[cfg(test)]
    pub(super) fn is_empty_to_the_root(&self) -> bool {
        self.is_empty() && self.plain.is_empty() && self.wild.is_empty()
    }

    /// Every name with its value, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    /// Where the values are under which a message to `topic` goes: the name itself first, then the filters.
    pub(super) fn matches(&self, topic: &str) -> Matches {
        let mut filters = Vec::new();
        if !self.wild.is_empty() {
            self.wild.matches(Some(topic), &mut filters);
        }
        Matches {
            plain: self.plain.get(topic).copied(),
            filters,
        }
    }
}

/// Without memory of its own as long as no filter matches, as in rooms.
pub(super) struct Matches {
    plain: Option<u32>,
    filters: Vec<u32>,
}

impl Matches {
    pub(super) fn len(&self) -> usize {
        usize::from(self.plain.is_some()) + self.filters.len()
    }

    /// Where it is, if there is no other.
    pub(super) fn only(&self) -> Option<u32> {
        match (self.plain, &self.filters[..]) {
            (Some(place), []) | (None, &[place]) => Some(place),
            _ => None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.plain.iter().chain(&self.filters).copied()
    }
}

/// A place in the trie: the filters that begin with the levels that lead here.
#[derive(Default)]
struct Node {
    levels: HashMap<Box<str>, Node>,
    /// Behind a `+`.
    any: Option<Box<Node>>,
    /// Whose last level leads here.
    here: Option<u32>,
    /// Those that go on with a `#`.
    rest: Option<u32>,
}

impl Node {
    fn find(&self, filter: &str) -> Option<u32> {
        let (level, behind) = split(filter);
        let next = match level {
            "#" => return self.rest,
            "+" => self.any.as_deref()?,
            _ => self.levels.get(level)?,
        };
        behind.map_or(next.here, |behind| next.find(behind))
    }

    fn insert(&mut self, filter: &str, place: u32) {
        let (level, behind) = split(filter);
        let next = match level {
            "#" => {
                self.rest = Some(place);
                return;
            }
            "+" => self.any.get_or_insert_default(),
            _ => self.levels.entry(level.into()).or_default(),
        };
        match behind {
            None => next.here = Some(place),
            Some(behind) => next.insert(behind, place),
        }
    }

    fn remove(&mut self, filter: &str) {
        let (level, behind) = split(filter);
        let next = match level {
            "#" => {
                self.rest = None;
                return;
            }
            "+" => self.any.as_deref_mut(),
            _ => self.levels.get_mut(level),
        };
        let Some(next) = next else { return };
        match behind {
            None => next.here = None,
            Some(behind) => next.remove(behind),
        }
        if next.is_empty() {
            match level {
                "+" => self.any = None,
                _ => drop(self.levels.remove(level)),
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.levels.is_empty() && self.any.is_none() && self.here.is_none() && self.rest.is_none()
    }

    /// Add the filters that match what is left of a topic's levels. `None` is nothing left, which a `#` matches, too.
    fn matches(&self, topic: Option<&str>, out: &mut Vec<u32>) {
        out.extend(self.rest);
        let Some(topic) = topic else {
            out.extend(self.here);
            return;
        };
        let (level, behind) = split(topic);
        if let Some(next) = self.levels.get(level) {
            next.matches(behind, out);
        }
        if let Some(next) = &self.any {
            next.matches(behind, out);
        }
    }
}

/// The first level, and what is behind its slash.
fn split(levels: &str) -> (&str, Option<&str>) {
    levels
        .split_once('/')
        .map_or((levels, None), |(level, behind)| (level, Some(behind)))
}
