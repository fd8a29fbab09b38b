//! The generational slab: values in numbered slots, and keys that know when their value has gone.
//!
//! The loop names its sources by number, since a number can go where a reference cannot: into the kernel, into a
//! waker on another thread, into a timer. A bare index would come to mean someone else as soon as its slot is used
//! again. So every slot counts how many values have left it, its *generation*, and a key holds the count it was made
//! with:
//!
//! ```text
//!   slot   0            1            2            3
//!          ┌────────────┬────────────┬────────────┬────────────┐
//!          │ gen 4      │ gen 0      │ gen 7      │ gen 2      │     key 0:4  finds A
//!          │ Full(A)    │ Vacant     │ InHand     │ Vacant     │     key 2:7  finds that its value is in hand
//!          └────────────┴──▲──────┬──┴────────────┴──▲─────────┘     key 2:6  finds nobody, for good
//!            free ─────────┘      └── next ──────────┘               key 3:2  finds nobody, and will be given out
//!                                                                          when slot 3 is used again
//! ```
//!
//! A slot has a third state beside full and vacant. The loop cannot lend a source `&mut` access to the loop while the
//! source lies in the loop's own slab, so it takes the source out for the visit. Its slot stays reserved meanwhile,
//! the value is *in hand*: nobody else gets the slot, and whoever asks for the value is told that it is not there,
//! which is what makes visiting a source from its own visit impossible.
//!
//! ```text
//!             insert              take
//!   Vacant ──────────► Full ─────────────► InHand        remove = take, then release
//!     ▲                  ▲     put_back      │ │
//!     │                  └───────────────────┘ │
//!     └────────────────────────────────────────┘
//!               release: the generation grows
//! ```
//!
//! Everything takes constant time. The slot freed last is used first, since it is the one still in the processor's
//! cache. The slab grows with the most values it held at once; when three quarters of them have left, the slots behind
//! the last one in use are given back.

use std::mem;

use super::high_water::{HighWater, give_back};

/// The index of no slot.
const NIL: u32 = u32::MAX;

/// Values in slots, found by [`Key`].
///
/// ```
/// use tourbillon::parts::slab::Slab;
///
/// let mut slab = Slab::new();
/// let key = slab.insert("tick");
/// assert_eq!(slab.get(key), Some(&"tick"));
/// assert_eq!(slab.remove(key), Some("tick"));
///
/// // The slot is used again, the key is not.
/// let other = slab.insert("tock");
/// assert_eq!(other.index(), key.index());
/// assert_eq!(slab.get(key), None);
/// ```
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    /// The slot freed last, the head of a list through the vacant ones.
    free: u32,
    len: usize,
    /// Where the generations of new slots begin: behind those of slots that were given back.
    first_generation: u32,
    high_water: HighWater,
}

/// Names one value of one slab. When the value has left, the key names nobody.
///
/// Generations begin anew after 2^32 values of one slot. A key that was kept for exactly so many would then name a
/// stranger; an owner of keys who could be harmed by that must not keep them so long.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The key of slot `index` in its `generation`. A made-up one names nobody, or whoever happens to be there.
    pub const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }
    /// The slot.
    pub const fn index(self) -> u32 {
        self.index
    }
    /// How many values had left the slot before this one came.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl<T> Slab<T> {
    /// An empty slab, which allocates with its first value.
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NIL,
            len: 0,
            first_generation: 0,
            high_water: HighWater::default(),
        }
    }

    /// Put a value into a slot.
    ///
    /// # Panics
    /// With 2^32 - 3 values already there.
    pub fn insert(&mut self, value: T) -> Key {
        self.insert_with(|_key| value)
    }

    /// Put a value into a slot that is made with the knowledge of its key. If `make` panics the slab stays as it was.
    ///
    /// # Panics
    /// With 2^32 - 3 values already there.
    pub fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let key = self.vacancy();
        let value = make(key);
        self.occupy(key, FULL, Some(value));
        key
    }

    /// The key of who comes next.
    fn vacancy(&self) -> Key {
        let key = match self.slots.get(self.free as usize) {
            Some(slot) => Key::new(self.free, slot.generation),
            None => {
                let index = u32::try_from(self.slots.len()).unwrap_or(NIL);
                Key::new(index, self.first_generation)
            }
        };
        assert!(key.index < FULL, "no more than 2^32 - 3 values fit a slab");
        key
    }

    fn occupy(&mut self, key: Key, state: u32, value: Option<T>) {
        let slot = Slot {
            generation: key.generation,
            state,
            value,
        };
        match self.slots.get_mut(key.index as usize) {
            Some(vacant) => {
                self.free = vacant.state;
                *vacant = slot;
            }
            None => self.slots.push(slot),
        }
        self.len += 1;
        self.high_water.rose_to(self.len);
    }

    /// Give a slot to a value that is in hand already. To be followed as [`take`](Self::take) is.
    ///
    /// # Panics
    /// With 2^32 - 3 values already there.
    pub fn reserve(&mut self) -> Key {
        let key = self.vacancy();
        self.occupy(key, IN_HAND, None);
        key
    }

    /// The value of `key`. `None` when it has left, or is in hand.
    pub fn get(&self, key: Key) -> Option<&T> {
        self.slot(key)?.value.as_ref()
    }

    /// The value of `key`, to change. `None` when it has left, or is in hand.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.slot_mut(key)?.value.as_mut()
    }

    /// Take the value out for good and free its slot. `None` when it has left, or is in hand (whoever holds it ends
    /// it with [`release`](Self::release)).
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let value = self.take(key)?;
        self.release(key);
        Some(value)
    }

    /// Take the value into the hand: its slot stays reserved, and `key` goes on naming it. To be followed by
    /// [`put_back`](Self::put_back) or [`release`](Self::release). `None` when it has left, or is in hand already.
    ///
    /// ```
    /// use tourbillon::parts::slab::Slab;
    ///
    /// let mut slab = Slab::new();
    /// let key = slab.insert(vec![1]);
    /// let mut value = slab.take(key).unwrap();
    /// value.push(slab.len());
    /// assert!(slab.contains(key) && slab.get(key).is_none());
    /// slab.put_back(key, value);
    /// assert_eq!(slab.get(key), Some(&vec![1, 1]));
    /// ```
    pub fn take(&mut self, key: Key) -> Option<T> {
        let slot = self.slot_mut(key)?;
        let value = slot.value.take()?;
        slot.state = IN_HAND;
        Some(value)
    }

    /// Give back the value of `key` that was in hand.
    ///
    /// # Panics
    /// When the slot of `key` has no value in hand: then somebody else may have it by now, and the value no place.
    #[inline(always)]
    pub fn put_back(&mut self, key: Key, value: T) {
        let slot = self.in_hand(key);
        slot.state = FULL;
        // Nothing is there that would have to be dropped.
        mem::forget(slot.value.replace(value));
    }

    /// Free the slot of a value that is in hand and will not be put back. From here on `key` names nobody.
    ///
    /// # Panics
    /// When the slot of `key` has no value in hand.
    pub fn release(&mut self, key: Key) {
        let next = self.free;
        let slot = self.in_hand(key);
        slot.state = next;
        slot.generation = slot.generation.wrapping_add(1);
        self.free = key.index;
        self.len -= 1;
        if self.high_water.fell_to(self.len, self.slots.len()) {
            self.shrink();
        }
    }

    /// Give back the slots behind the last one in use, with their memory. Keys stay as they are.
    #[cold]
    fn shrink(&mut self) {
        let used = |slot: &Slot<T>| slot.is_used();
        let kept = self.slots.iter().rposition(used).map_or(0, |last| last + 1);
        if kept > self.slots.len() / 2 {
            // More would be moved than is given back.
            return;
        }
        // A key to a slot that is gone must not name who comes into a new one of its number.
        let gone = self.slots[kept..].iter().map(|slot| slot.generation);
        self.first_generation = gone.fold(self.first_generation, u32::max);
        self.slots.truncate(kept);
        give_back(&mut self.slots);
        self.free = NIL;
        for (index, slot) in self.slots.iter_mut().enumerate().rev() {
            if !slot.is_used() {
                slot.state = mem::replace(&mut self.free, index as u32);
            }
        }
    }

    /// Whether the value of `key` has not left. True also for one in hand.
    pub fn contains(&self, key: Key) -> bool {
        self.slot(key).is_some_and(Slot::is_used)
    }

    /// How many values there are, those in hand included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value, not even in hand.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many slots there are, vacant ones included.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The values that are not in hand, by slot. Takes as long as there ever were values at once.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.keys().filter_map(|key| Some((key, self.get(key)?)))
    }

    /// The keys of all values, those in hand included, by slot. Takes as long as there ever were values at once.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let used = |(index, slot): (usize, &Slot<T>)| {
            slot.is_used()
                .then(|| Key::new(index as u32, slot.generation))
        };
        self.slots.iter().enumerate().filter_map(used)
    }

    fn slot(&self, key: Key) -> Option<&Slot<T>> {
        self.slots
            .get(key.index as usize)
            .filter(|slot| slot.generation == key.generation)
    }

    fn slot_mut(&mut self, key: Key) -> Option<&mut Slot<T>> {
        let slot = self.slots.get_mut(key.index as usize)?;
        (slot.generation == key.generation).then_some(slot)
    }

    #[track_caller]
    fn in_hand(&mut self, key: Key) -> &mut Slot<T> {
        match self.slot_mut(key) {
            Some(slot) if slot.state == IN_HAND => slot,
            _ => panic!("the value of {key:?} is not in hand"),
        }
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

struct Slot<T> {
    generation: u32,
    /// [`FULL`] or [`IN_HAND`]; of a vacant slot, the next one that is vacant or [`NIL`]. (An enum that owns the value
    /// would say it better, and take a quarter more memory for every source.)
    state: u32,
    value: Option<T>,
}

const FULL: u32 = NIL - 2;
const IN_HAND: u32 = NIL - 1;

impl<T> Slot<T> {
    fn is_used(&self) -> bool {
        matches!(self.state, FULL | IN_HAND)
    }
}

#[cfg(test)]
mod tests;
