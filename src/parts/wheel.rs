//! Timers in a wheel: six rings of sixty-four slots, the finest one a tick wide.
//!
//! Setting, moving and cancelling a timer cost the same however many there are. The wheel knows whole ticks only and
//! has no clock; who uses it turns instants into ticks (the event loop's tick is a millisecond) and says how far time
//! has come.
//!
//! # Where a timer lies
//!
//! Write ticks in base 64. The wheel has a *hand*, which shows how far it has walked, and a ring for each of the six
//! lowest digits. A timer lies **in the ring of the highest digit in which its deadline differs from the hand, in the
//! slot that this digit names**. With the hand at tick 197 = `0 0 0 0 3 5`:
//!
//! ```text
//!                                                                      a slot is    once around is
//!  ring 0  |    |    |    |    |    |hand|    |    | A  |   …   |      1 ms         64 ms
//!  ring 1  |    |    |    |hand|    |    |    |    |    | … B … |      64 ms        4.1 s
//!  ring 2  |hand|    | C  |    |    |    |    |    |    |   …   |      4.1 s        4.4 min
//!  ring 3  |hand|    |    |    |    |    |    |    |    |   …   |      4.4 min      4.7 h
//!  ring 4  |hand|    |    |    |    |    |    |    |    |   …   |      4.7 h        12.4 days
//!  ring 5  |hand|    |    |    | D  |    |    |    |    |   …   |      12.4 days    2.2 years
//!     slot    0    1    2    3    4    5    6    7    8      63
//!
//!  A is due at    200 = 0 0 0 0  3  8    first difference in digit 0: ring 0, slot 8
//!  B is due at    900 = 0 0 0 0 14  4    first difference in digit 1: ring 1, slot 14
//!  C is due at 10,000 = 0 0 0 2 28 16    first difference in digit 2: ring 2, slot 2
//!  D is due at 2^32+1 = 4 0 0 0  0  1    first difference in digit 5: ring 5, slot 4
//! ```
//!
//! So a coarse slot holds timers of many ticks. When the hand comes to the first of those ticks, the digit no longer
//! differs, and each timer in the slot is filed again by the rule above: it falls into a finer ring. This is the
//! *cascade*; a timer takes part in it at most five times. In ring 0 a slot holds a single tick, and what the hand
//! meets there is due.
//!
//! Three facts follow, and the code leans on each:
//!
//! - *A timer's place need not be written down.* Between its filing and its cascade the hand does not reach its slot,
//!   so the highest digit that differs stays the same one. Unlinking computes the place again from the deadline.
//! - *The finest ring that is not empty has the next slot.* Timers of ring `n` agree with the hand in all digits
//!   above `n`, those of coarser rings are beyond.
//! - *Timers of one tick stay in the order they were filed.* They always lie in the same slot, filing puts at the
//!   tail, and a cascade keeps order.
//!
//! # More than once around
//!
//! Deadlines may differ from the hand above the sixth digit: 2^36 ticks and more, over two years. They lie in ring 5
//! too, and when the hand finds one there it is filed again, into the same slot, for another round. A ring 5 slot can
//! hold such timers even **where the hand is now**. For this the search for the next slot starts *one past* the hand,
//! and comes to the hand's own slot last. If it looked there first, a timer years away would hide all nearer ones of
//! ring 5.
//!
//! # What it costs
//!
//! A ring's occupied slots are the bits of one word, so the next one is found with a rotation and a count of zeros.
//! The slots' lists run through one vector by index: no allocation for a timer, and freed entries are used again, the
//! last one first; after a burst the vector shrinks. An entry is 32 bytes with values of 8, or with an enum of 12,
//! whose tag has room to say that the entry is free; 40 with values of 16.

use std::cell::Cell;
use std::mem;
use std::num::NonZeroU32;

use super::high_water::{HighWater, give_back};

const RINGS: usize = 6;
const SLOTS: usize = 64;
/// Bits in a digit of base 64.
const DIGIT: u32 = 6;
/// The index of no entry.
const NIL: u32 = u32::MAX;
/// The tick to which time does not come.
const NEVER: u64 = u64::MAX;
/// The tick at which nothing is due, since it has passed before anything is set.
const UNKNOWN: u64 = 0;

/// Timers, each a value with a deadline in ticks.
///
/// They come out by deadline, and for the same deadline in the order of filing, where [`reset`](Self::reset) counts
/// as filing again.
///
/// ```
/// use tourbillon::parts::wheel::Wheel;
///
/// let mut wheel = Wheel::new();
/// let keep_alive = wheel.insert(75_000, "keep-alive");
/// wheel.insert(20, "first");
/// wheel.insert(20, "second");
///
/// assert_eq!(wheel.pop_due(19), None);
/// assert_eq!(wheel.pop_due(30), Some((20, "first")));
/// assert_eq!(wheel.pop_due(30), Some((20, "second")));
/// assert_eq!(wheel.pop_due(30), None);
/// assert_eq!(wheel.cancel(keep_alive), Some("keep-alive"));
/// assert!(wheel.is_empty());
/// ```
pub struct Wheel<T> {
    /// What the clock says. Timers up to here are due.
    now: u64,
    /// How far the rings have been walked. Behind `now` while due timers are being popped, equal to it after that.
    hand: u64,
    /// What [`Wheel::next_slot`] has found last, or [`UNKNOWN`] when a slot has since become empty or occupied: asked
    /// twice in each turn of a loop, it is looked for only then.
    next_tick: Cell<u64>,
    rings: [Ring; RINGS],
    entries: Vec<Entry<T>>,
    /// The entry freed last, the head of a list through `Entry::Free`.
    free: u32,
    len: usize,
    cascaded: u64,
    /// Where the generations of new entries begin: behind those of entries that were given back.
    first_generation: NonZeroU32,
    high_water: HighWater,
}

/// Names one timer of one wheel. When the timer has fired or was cancelled it names nobody, even after its entry is
/// used again (until the entry has been used 2^32 - 1 times, when the count begins anew). `Option<TimerId>` has the
/// same size.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerId {
    index: u32,
    generation: NonZeroU32,
}

impl TimerId {
    /// The same as a number.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation.get()) << 32 | u64::from(self.index)
    }
}

/// A timer with its place. See [`Wheel::filed`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filed<'a, T> {
    /// The ring, from 0, the finest.
    pub ring: usize,
    /// The slot in the ring.
    pub slot: usize,
    /// When it is due.
    pub tick: u64,
    /// What was set.
    pub value: &'a T,
}

impl<T> Wheel<T> {
    /// How many rings there are.
    pub const RINGS: usize = RINGS;
    /// How many slots each of them has.
    pub const SLOTS: usize = SLOTS;
    /// What a timer takes in memory.
    pub const ENTRY_BYTES: usize = size_of::<Entry<T>>();

    /// An empty wheel, at tick 0.
    pub fn new() -> Self {
        Self {
            now: 0,
            hand: 0,
            next_tick: Cell::new(NEVER),
            rings: [Ring::EMPTY; RINGS],
            entries: Vec::new(),
            free: NIL,
            len: 0,
            cascaded: 0,
            first_generation: NonZeroU32::MIN,
            high_water: HighWater::default(),
        }
    }

    /// The tick that time has come to: the greatest that [`pop_due`](Self::pop_due) was called with.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Set a timer. A `tick` that is not after [`now`](Self::now) is taken as `now + 1`: a timer never fires in the
    /// turn that set it, so one that sets itself again cannot hold up the loop. The tick `u64::MAX` never comes.
    ///
    /// # Panics
    /// With 2^32 - 1 timers already set.
    pub fn insert(&mut self, tick: u64, value: T) -> TimerId {
        let deadline = self.after_now(tick);
        let links = Links::NONE;
        let id = match self.free {
            NIL => {
                let index = u32::try_from(self.entries.len()).unwrap_or(NIL);
                assert!(index != NIL, "no more than 2^32 - 1 timers fit the wheel");
                let generation = self.first_generation;
                self.entries.push(Entry::Filed {
                    generation,
                    links,
                    deadline,
                    value,
                });
                TimerId { index, generation }
            }
            index => {
                let entry = &mut self.entries[index as usize];
                let Entry::Free { generation, next } = *entry else {
                    unreachable!("what is in the free list is free")
                };
                self.free = next;
                *entry = Entry::Filed {
                    generation,
                    links,
                    deadline,
                    value,
                };
                TimerId { index, generation }
            }
        };
        self.len += 1;
        self.high_water.rose_to(self.len);
        self.link(id.index);
        id
    }

    /// Take a timer out before it fires. `None` when `id` names nobody.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        self.when(id)?;
        let (_deadline, value) = self.remove(id.index);
        Some(value)
    }

    /// Move a timer to another tick, earlier or later, behind all that are set for it. As with
    /// [`insert`](Self::insert), a `tick` that is not after now is taken as `now + 1`. False when `id` names nobody.
    pub fn reset(&mut self, id: TimerId, tick: u64) -> bool {
        if self.when(id).is_none() {
            return false;
        }
        self.unlink(id.index);
        let later = self.after_now(tick);
        *self.entry(id.index).1 = later;
        self.link(id.index);
        true
    }

    /// The tick that a timer is set for. `None` when `id` names nobody.
    pub fn when(&self, id: TimerId) -> Option<u64> {
        match self.entries.get(id.index as usize) {
            Some(&Entry::Filed {
                generation,
                deadline,
                ..
            }) if generation == id.generation => Some(deadline),
            _ => None,
        }
    }

    /// The value of a timer, to change. `None` when `id` names nobody.
    pub fn get_mut(&mut self, id: TimerId) -> Option<&mut T> {
        match self.entries.get_mut(id.index as usize) {
            Some(Entry::Filed {
                generation, value, ..
            }) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// Until when the clock's owner may sleep: a tick that is never after the earliest deadline. `None` when no timer
    /// is set.
    ///
    /// It is the first tick of the next slot that is not empty. For a timer in ring 0 that is its deadline; a coarser
    /// slot asks to be woken at its cascade, at most five times before a timer fires, and once more each 2^36 ticks.
    /// After `pop_due` has answered `None` it is always later than now.
    pub fn next_expiry(&self) -> Option<u64> {
        match self.len {
            0 => None,
            _ => Some(self.next_tick()),
        }
    }

    /// The first tick of the slot that the hand comes to next, or [`NEVER`].
    #[inline]
    fn next_tick(&self) -> u64 {
        match self.next_tick.get() {
            UNKNOWN => self.look_for_next(),
            known => known,
        }
    }

    #[cold]
    fn look_for_next(&self) -> u64 {
        let next = self.next_slot().map_or(NEVER, |(_place, tick)| tick);
        self.next_tick.set(next);
        next
    }

    /// Say that time has come to the tick `to`, and take out the first timer that is due by then, with its deadline.
    /// Call it until it answers `None`; between the calls nothing is borrowed, and timers may be set, moved and
    /// cancelled.
    ///
    /// Time does not go back: a `to` before [`now`](Self::now) means now. Nor does it come to `u64::MAX`.
    pub fn pop_due(&mut self, to: u64) -> Option<(u64, T)> {
        let (_id, deadline, value) = self.pop_due_named(to)?;
        Some((deadline, value))
    }

    /// As [`pop_due`](Self::pop_due), with the id that the timer had.
    pub fn pop_due_named(&mut self, to: u64) -> Option<(TimerId, u64, T)> {
        match self.come_to(to) {
            true => self.pop(),
            false => None,
        }
    }

    /// Say that time has come to the tick `to`, as [`pop_due`](Self::pop_due) does. False when that has nothing to give
    /// and nothing to file anew, as nearly always.
    #[inline]
    pub fn come_to(&mut self, to: u64) -> bool {
        self.now = self.now.max(to.min(NEVER - 1));
        let is_due = self.next_tick() <= self.now;
        if !is_due {
            self.hand = self.now;
        }
        is_due
    }

    /// Take out the first timer that is due now, if there is one.
    #[inline(never)]
    fn pop(&mut self) -> Option<(TimerId, u64, T)> {
        self.next_tick.set(UNKNOWN);
        while let Some((place, first_tick)) = self.next_slot() {
            if first_tick > self.now {
                break;
            }
            // The hand goes from slot to slot and never over one that is occupied, or its timers would lie in places
            // that the rule does not give for them.
            self.hand = first_tick;
            match place.ring {
                0 => {
                    let index = self.list(place).head;
                    let generation = self.entries[index as usize].generation();
                    let (deadline, value) = self.remove(index);
                    return Some((TimerId { index, generation }, deadline, value));
                }
                _ => self.cascade(place),
            }
        }
        self.hand = self.now;
        None
    }

    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many timers have moved from a coarse ring to a finer one, ever.
    pub fn cascaded(&self) -> u64 {
        self.cascaded
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every timer that is set, deadline and value, in no particular order. Takes as long as there ever were timers
    /// at once.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Filed {
                deadline, value, ..
            } => Some((*deadline, value)),
            Entry::Free { .. } => None,
        })
    }

    /// The tick that the hand shows: what is filed is filed by it. Equal to [`now`](Self::now) when nothing is due.
    pub fn hand(&self) -> u64 {
        self.hand
    }

    /// Every timer that is set, by its place: ring by ring, in a ring by the number of the slot, and in a slot as they
    /// were filed. For people who look.
    pub fn filed(&self) -> impl Iterator<Item = Filed<'_, T>> {
        let rings = self.rings.iter().enumerate();
        let slots = rings.flat_map(|(ring, known)| {
            let occupied = move |slot: &usize| known.occupied >> slot & 1 == 1;
            let slots = (0..SLOTS).filter(occupied);
            slots.map(move |slot| (ring, slot, known.lists[slot].head))
        });
        slots.flat_map(move |(ring, slot, head)| {
            let mut index = head;
            std::iter::from_fn(move || match self.entries.get(index as usize) {
                Some(Entry::Filed {
                    links,
                    deadline,
                    value,
                    ..
                }) => {
                    index = links.next;
                    Some(Filed {
                        ring,
                        slot,
                        tick: *deadline,
                        value,
                    })
                }
                _ => None,
            })
        })
    }

    fn after_now(&self, tick: u64) -> u64 {
        tick.max(self.now + 1)
    }

    /// The slot that the hand comes to next, and the first of its ticks.
    fn next_slot(&self) -> Option<(Place, u64)> {
        let ring = self.rings.iter().position(|ring| ring.occupied != 0)?;
        let hand = self.hand >> (DIGIT * ring as u32);
        // In a coarse ring the hand's own slot is a full turn away. In ring 0 it has what is due at this very tick.
        let past = u64::from(ring > 0);
        let from_there = self.rings[ring]
            .occupied
            .rotate_right(digit(hand + past) as u32);
        let next = hand + past + u64::from(from_there.trailing_zeros());
        Some((
            Place {
                ring,
                slot: digit(next),
            },
            next << (DIGIT * ring as u32),
        ))
    }

    /// File the timers of a slot that the hand has come to again, in their order.
    fn cascade(&mut self, place: Place) {
        self.rings[place.ring].occupied &= !(1 << place.slot);
        let mut index = mem::replace(self.list(place), List::EMPTY).head;
        while index != NIL {
            let next = self.links(index).next;
            self.link(index);
            self.cascaded += 1;
            index = next;
        }
    }

    /// Put an entry at the tail of the list that its deadline and the hand give.
    fn link(&mut self, index: u32) {
        let place = Place::of(*self.entry(index).1, self.hand);
        let prev = mem::replace(&mut self.list(place).tail, index);
        *self.links(index) = Links { prev, next: NIL };
        match prev {
            NIL => {
                self.list(place).head = index;
                self.rings[place.ring].occupied |= 1 << place.slot;
                self.next_tick.set(UNKNOWN);
            }
            _ => self.links(prev).next = index,
        }
    }

    fn unlink(&mut self, index: u32) {
        let (&mut Links { prev, next }, &mut deadline) = self.entry(index);
        let place = Place::of(deadline, self.hand);
        match prev {
            NIL => self.list(place).head = next,
            _ => self.links(prev).next = next,
        }
        match next {
            NIL => self.list(place).tail = prev,
            _ => self.links(next).prev = prev,
        }
        if prev == NIL && next == NIL {
            self.rings[place.ring].occupied &= !(1 << place.slot);
            self.next_tick.set(UNKNOWN);
        }
    }

    /// Unlink an entry, free it, and give out what it held.
    fn remove(&mut self, index: u32) -> (u64, T) {
        self.unlink(index);
        self.len -= 1;
        let free = Entry::Free {
            generation: self.entries[index as usize].next_generation(),
            next: mem::replace(&mut self.free, index),
        };
        let removed = mem::replace(&mut self.entries[index as usize], free);
        if self.high_water.fell_to(self.len, self.entries.len()) {
            self.shrink();
        }
        match removed {
            Entry::Filed {
                deadline, value, ..
            } => (deadline, value),
            Entry::Free { .. } => unreachable!("what is linked is filed"),
        }
    }

    /// Give back the entries behind the last one that is filed, with their memory. Ids stay as they are.
    #[cold]
    fn shrink(&mut self) {
        let filed = |entry: &Entry<T>| matches!(entry, Entry::Filed { .. });
        let kept = self
            .entries
            .iter()
            .rposition(filed)
            .map_or(0, |last| last + 1);
        if kept > self.entries.len() / 2 {
            // More would be moved than is given back.
            return;
        }
        // An id of an entry that is gone must not name who comes into a new one of its number.
        for entry in &self.entries[kept..] {
            if let Entry::Free { generation, .. } = entry {
                self.first_generation = self.first_generation.max(*generation);
            }
        }
        self.entries.truncate(kept);
        give_back(&mut self.entries);
        self.free = NIL;
        for (index, entry) in self.entries.iter_mut().enumerate().rev() {
            if let Entry::Free { next, .. } = entry {
                *next = mem::replace(&mut self.free, index as u32);
            }
        }
    }

    fn list(&mut self, place: Place) -> &mut List {
        &mut self.rings[place.ring].lists[place.slot]
    }

    fn links(&mut self, index: u32) -> &mut Links {
        self.entry(index).0
    }

    fn entry(&mut self, index: u32) -> (&mut Links, &mut u64) {
        match &mut self.entries[index as usize] {
            Entry::Filed {
                links, deadline, ..
            } => (links, deadline),
            Entry::Free { .. } => unreachable!("what is linked is filed"),
        }
    }
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A timer, or room for one. The generation counts how often the room was used.
enum Entry<T> {
    Free {
        generation: NonZeroU32,
        next: u32,
    },
    Filed {
        generation: NonZeroU32,
        links: Links,
        deadline: u64,
        value: T,
    },
}

impl<T> Entry<T> {
    fn generation(&self) -> NonZeroU32 {
        let (Self::Free { generation, .. } | Self::Filed { generation, .. }) = self;
        *generation
    }

    fn next_generation(&self) -> NonZeroU32 {
        self.generation().checked_add(1).unwrap_or(NonZeroU32::MIN)
    }
}

/// An entry's neighbours in its slot's list.
#[derive(Clone, Copy)]
struct Links {
    prev: u32,
    next: u32,
}

impl Links {
    const NONE: Self = Self {
        prev: NIL,
        next: NIL,
    };
}

/// One slot: its timers from the first filed to the last.
#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

impl List {
    const EMPTY: Self = Self {
        head: NIL,
        tail: NIL,
    };
}

#[derive(Clone, Copy)]
struct Ring {
    /// Bit n says that slot n has timers.
    occupied: u64,
    lists: [List; SLOTS],
}

impl Ring {
    const EMPTY: Self = Self {
        occupied: 0,
        lists: [List::EMPTY; SLOTS],
    };
}

/// A slot of a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    ring: usize,
    slot: usize,
}

impl Place {
    /// The rule at the top of this file.
    fn of(deadline: u64, hand: u64) -> Self {
        debug_assert!(deadline >= hand, "the hand passes no timer");
        // Setting the lowest digit's bits makes "no difference" a difference in ring 0.
        let highest_bit = ((deadline ^ hand) | 63).ilog2();
        let ring = (highest_bit / DIGIT).min(RINGS as u32 - 1);
        Self {
            ring: ring as usize,
            slot: digit(deadline >> (DIGIT * ring)),
        }
    }
}

/// The lowest digit in base 64.
fn digit(ticks: u64) -> usize {
    (ticks % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests;
