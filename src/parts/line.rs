//! People in line: values in the order in which they came, and any of them may leave from the middle.
//!
//! Who waits for a lock may lose patience, and who holds a permit may give it back before those who took theirs
//! earlier. A queue that has to be searched for them gets slower the longer it is. So each who stands in line knows
//! the two neighbours, and whoever leaves makes them neighbours of each other:
//!
//! ```text
//!   first ─► ┌───┐ ◄──► ┌───┐ ◄──► ┌───┐ ◄─ last        ┌───┐
//!            │ A │      │ B │      │ C │                │ D │  has stepped out, and is still there for its key
//!            └───┘      └───┘      └───┘                └───┘
//! ```
//!
//! Everything takes constant time but a walk along the line. Keys and memory are those of the [slab](super::slab) the
//! values stand in.

use std::iter;

use super::slab::{Key, Slab};

/// Values in the order in which they came, found by [`Key`].
///
/// ```
/// use tourbillon::parts::line::Line;
///
/// let mut line = Line::new();
/// let ann = line.push_back("Ann");
/// let ben = line.push_back("Ben");
/// line.push_back("Cid");
/// assert_eq!(line.remove(ben), Some("Ben"));
/// assert_eq!(line.iter().collect::<Vec<_>>(), [&"Ann", &"Cid"]);
/// assert_eq!(line.first(), Some(ann));
/// ```
#[derive(Default)]
pub struct Line<T> {
    places: Slab<Place<T>>,
    first: Option<Key>,
    last: Option<Key>,
    len: usize,
}

struct Place<T> {
    value: T,
    /// `None`: it has stepped out.
    neighbours: Option<Neighbours>,
}

#[derive(Clone, Copy, Default)]
struct Neighbours {
    before: Option<Key>,
    behind: Option<Key>,
}

impl<T> Line<T> {
    /// Nobody in line. Allocates with the first to come.
    pub fn new() -> Self {
        Self {
            places: Slab::new(),
            first: None,
            last: None,
            len: 0,
        }
    }

    /// Join at the end.
    ///
    /// # Panics
    /// With 2^32 - 3 values already there.
    pub fn push_back(&mut self, value: T) -> Key {
        let neighbours = Neighbours {
            before: self.last,
            behind: None,
        };
        let key = self.places.insert(Place {
            value,
            neighbours: Some(neighbours),
        });
        self.link(self.last, Some(key));
        self.link(Some(key), None);
        self.len += 1;
        key
    }

    /// Who came first, of those in line.
    pub fn first(&self) -> Option<Key> {
        self.first
    }

    /// The value of `key`, in line or not. `None` when it was removed.
    pub fn get(&self, key: Key) -> Option<&T> {
        self.places.get(key).map(|place| &place.value)
    }

    /// The value of `key`, to change.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.places.get_mut(key).map(|place| &mut place.value)
    }

    /// Leave the line and stay there for one's key, until [`Line::remove`]. `false` when that has happened before.
    pub fn step_out(&mut self, key: Key) -> bool {
        let left = self.places.get_mut(key);
        let Some(neighbours) = left.and_then(|place| place.neighbours.take()) else {
            return false;
        };
        self.link(neighbours.before, neighbours.behind);
        self.len -= 1;
        true
    }

    /// Take the value of `key` away, from wherever it stands. `None` when it was removed before.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.step_out(key);
        self.places.remove(key).map(|place| place.value)
    }

    /// How many stand in line.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody stands in line.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Those in line, first come, first named.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let place = |key: Option<Key>| self.places.get(key?);
        iter::successors(place(self.first), move |before| {
            place(before.neighbours?.behind)
        })
        .map(|place| &place.value)
    }

    /// Make the two neighbours; beyond the ends of the line is `None`.
    fn link(&mut self, before: Option<Key>, behind: Option<Key>) {
        match before.and_then(|key| self.neighbours(key)) {
            Some(neighbours) => neighbours.behind = behind,
            None => self.first = behind,
        }
        match behind.and_then(|key| self.neighbours(key)) {
            Some(neighbours) => neighbours.before = before,
            None => self.last = before,
        }
    }

    fn neighbours(&mut self, key: Key) -> Option<&mut Neighbours> {
        self.places.get_mut(key)?.neighbours.as_mut()
    }
}

#[cfg(test)]
mod tests;
