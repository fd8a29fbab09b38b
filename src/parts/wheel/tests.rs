//! The wheel against a sorted map, and each promise of its documentation by itself.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::parts::tests::Random;

const DAY: u64 = 24 * 60 * 60 * 1000;
const YEAR: u64 = 365 * DAY;

/// What the wheel must do, done simply: timers sorted by deadline, then by a count of filings.
#[derive(Default)]
struct Model {
    now: u64,
    filings: u64,
    timers: BTreeMap<(u64, u64), usize>,
    /// The sort key of each timer ever set; `None` once it has fired or was cancelled.
    keys: Vec<Option<(u64, u64)>>,
}

impl Model {
    fn file(&mut self, timer: usize, tick: u64) {
        let key = (tick.max(self.now + 1), self.filings);
        self.filings += 1;
        self.timers.insert(key, timer);
        self.keys[timer] = Some(key);
    }

    fn insert(&mut self, tick: u64) -> usize {
        let timer = self.keys.len();
        self.keys.push(None);
        self.file(timer, tick);
        timer
    }

    fn cancel(&mut self, timer: usize) -> Option<usize> {
        let key = self.keys[timer].take()?;
        self.timers.remove(&key)
    }

    fn reset(&mut self, timer: usize, tick: u64) -> bool {
        if self.cancel(timer).is_none() {
            return false;
        }
        self.file(timer, tick);
        true
    }

    fn pop_due(&mut self, to: u64) -> Option<(u64, usize)> {
        self.now = self.now.max(to);
        let (&key, &timer) = self.timers.first_key_value()?;
        if key.0 > self.now {
            return None;
        }
        self.cancel(timer);
        Some((key.0, timer))
    }
}

/// The wheel and the model, given the same operations.
#[derive(Default)]
struct Pair {
    wheel: Wheel<usize>,
    model: Model,
    /// The wheel's name of each timer ever set.
    ids: Vec<TimerId>,
}

impl Pair {
    fn insert(&mut self, tick: u64) {
        let timer = self.model.insert(tick);
        self.ids.push(self.wheel.insert(tick, timer));
        self.compare(timer);
    }

    fn cancel(&mut self, timer: usize) {
        assert_eq!(self.wheel.cancel(self.ids[timer]), self.model.cancel(timer));
        self.compare(timer);
    }

    fn reset(&mut self, timer: usize, tick: u64) {
        let found = self.wheel.reset(self.ids[timer], tick);
        assert_eq!(found, self.model.reset(timer, tick));
        self.compare(timer);
    }

    /// One `pop_due`. Says whether there may be more.
    fn pop(&mut self, to: u64) -> bool {
        let popped = self.wheel.pop_due(to);
        assert_eq!(popped, self.model.pop_due(to));
        match popped {
            Some((_, timer)) => self.compare(timer),
            None => {
                let next = self.wheel.next_expiry();
                assert!(next.is_none_or(|next| next > self.wheel.now()));
            }
        }
        popped.is_some()
    }

    fn advance(&mut self, to: u64) {
        while self.pop(to) {}
    }

    fn compare(&self, timer: usize) {
        let (wheel, model) = (&self.wheel, &self.model);
        assert_eq!(wheel.now(), model.now);
        assert_eq!(wheel.len(), model.timers.len());
        assert_eq!(wheel.is_empty(), model.timers.is_empty());
        assert_eq!(
            wheel.when(self.ids[timer]),
            model.keys[timer].map(|(tick, _)| tick)
        );
        match (wheel.next_expiry(), model.timers.first_key_value()) {
            (Some(next), Some((&(first, _), _))) => assert!(next <= first, "{next} is too late"),
            (next, first) => assert_eq!(next.is_some(), first.is_some()),
        }
    }

    /// Everything at once, and the wheel's own bookkeeping.
    fn compare_all(&self) {
        check_lists(&self.wheel);
        let mut held: Vec<_> = self
            .wheel
            .iter()
            .map(|(tick, &timer)| (tick, timer))
            .collect();
        held.sort_unstable();
        let mut expected: Vec<_> = self.model.timers.iter().map(|(k, &t)| (k.0, t)).collect();
        expected.sort_unstable();
        assert_eq!(held, expected);
        let mut filed: Vec<_> = self
            .wheel
            .filed()
            .map(
                |Filed {
                     ring,
                     slot,
                     tick,
                     value,
                 }| {
                    assert_eq!(Place::of(tick, self.wheel.hand()), Place { ring, slot });
                    (tick, *value)
                },
            )
            .collect();
        filed.sort_unstable();
        assert_eq!(filed, expected);
    }
}

/// Every list is whole in both directions, every timer is where the rule says, and every bit tells the truth.
fn check_lists<T>(wheel: &Wheel<T>) {
    let mut seen = 0;
    for (ring, of) in wheel.rings.iter().enumerate() {
        for (slot, list) in of.lists.iter().enumerate() {
            let occupied = of.occupied >> slot & 1 == 1;
            assert_eq!(occupied, list.head != NIL, "ring {ring}, slot {slot}");
            let (mut before, mut index) = (NIL, list.head);
            while index != NIL {
                let Entry::Filed {
                    links, deadline, ..
                } = &wheel.entries[index as usize]
                else {
                    panic!("a free entry is linked")
                };
                assert_eq!(links.prev, before);
                assert_eq!(Place::of(*deadline, wheel.hand), Place { ring, slot });
                (before, index) = (index, links.next);
                seen += 1;
            }
            assert_eq!(list.tail, before);
        }
    }
    let mut free = 0;
    let mut index = wheel.free;
    while index != NIL {
        let Entry::Free { next, .. } = wheel.entries[index as usize] else {
            panic!("a filed entry is in the free list")
        };
        index = next;
        free += 1;
    }
    let next = wheel.next_slot().map_or(NEVER, |(_, tick)| tick);
    assert_eq!(wheel.next_tick(), next, "what is kept is what is found");
    assert_eq!(seen, wheel.len());
    assert_eq!(seen + free, wheel.entries.len());
}

#[test]
fn the_wheel_agrees_with_a_sorted_map_over_more_than_a_million_operations() {
    for seed in [0x5b11, 0xb2e6, 1795, 2026] {
        let mut random = Random::new(seed);
        let mut pair = Pair::default();
        let mut recent = Vec::new();
        for step in 0..300_000 {
            let now = pair.wheel.now();
            // Mostly timers that still live, so that moving and cancelling have something to do; sometimes any.
            let timer = match random.below(8) {
                0 => random.index(pair.ids.len()),
                _ => random.index(recent.len()).map(|at| recent[at]),
            };
            match (random.below(100), timer) {
                (0..40, _) | (_, None) => {
                    recent.push(pair.ids.len());
                    pair.insert(some_tick(&mut random, now));
                }
                (40..55, Some(timer)) => pair.cancel(timer),
                (55..70, Some(timer)) => pair.reset(timer, some_tick(&mut random, now)),
                (70..72, Some(_)) => pair.advance(now),
                (72..76, Some(_)) => _ = pair.pop(now + random.sized(12)),
                (76..92, Some(_)) => pair.advance(now + random.sized(9)),
                (92..97, Some(_)) => pair.advance(pair.wheel.next_expiry().unwrap_or(now)),
                (97..99, Some(_)) => pair.advance(now + random.sized(33)),
                _ if random.below(20) == 0 => pair.advance(now + random.below(90 * YEAR)),
                _ => pair.advance(now / 2),
            }
            if recent.len() > 400 {
                recent.retain(|&timer| pair.model.keys[timer].is_some());
            }
            if step % 997 == 0 {
                pair.compare_all();
            }
        }
        // Every run came through several turns of the outermost ring.
        assert!(pair.wheel.now() > 1 << 38);
        pair.advance(pair.wheel.now() + (1 << 44));
        pair.compare_all();
        assert!(pair.wheel.is_empty());
    }
}

/// Past, present, near or far; and now and then exactly at the seams of the rings.
fn some_tick(random: &mut Random, now: u64) -> u64 {
    match random.below(10) {
        0 => now.saturating_sub(random.sized(40)),
        1..5 => now + random.below(200),
        5..8 => now + random.sized(36),
        8 => now + random.sized(41),
        _ => {
            let unit = 1 << (6 * random.below(7));
            (now / unit + random.below(66)) * unit
        }
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(u64),
    Cancel(usize),
    Reset(usize, u64),
    PopOne(u64),
    Advance(u64),
}

/// Distances in time, from none to decades, with every order of magnitude as likely as any other.
fn distance() -> impl Strategy<Value = u64> {
    (0u32..41, any::<u64>()).prop_map(|(bits, number)| number & ((1 << bits) - 1))
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => distance().prop_map(Operation::Insert),
        1 => any::<usize>().prop_map(Operation::Cancel),
        2 => (any::<usize>(), distance()).prop_map(|(at, ahead)| Operation::Reset(at, ahead)),
        1 => distance().prop_map(Operation::PopOne),
        2 => distance().prop_map(Operation::Advance),
    ]
}

proptest! {
    #[test]
    fn any_short_sequence_agrees_with_a_sorted_map(
        start in distance(),
        operations in prop::collection::vec(operation(), 1..60),
    ) {
        let mut pair = Pair::default();
        pair.advance(start);
        for operation in operations {
            let now = pair.wheel.now();
            let timers = pair.ids.len();
            match operation {
                Operation::Insert(ahead) => pair.insert(now + ahead),
                Operation::Cancel(at) if timers > 0 => pair.cancel(at % timers),
                Operation::Reset(at, ahead) if timers > 0 => pair.reset(at % timers, now + ahead),
                Operation::PopOne(ahead) => _ = pair.pop(now + ahead),
                Operation::Advance(ahead) => pair.advance(now + ahead),
                Operation::Cancel(_) | Operation::Reset(..) => {}
            }
            pair.compare_all();
        }
        pair.advance(pair.wheel.now() + (1 << 43));
        prop_assert!(pair.wheel.is_empty());
    }

    #[test]
    fn a_timer_is_filed_where_the_hand_will_find_it(hand: u64, ahead in distance()) {
        let deadline = hand.saturating_add(ahead);
        let place = Place::of(deadline, hand);
        prop_assert!(place.ring < RINGS && place.slot < SLOTS);
        let shift = DIGIT * place.ring as u32;
        let slots_ahead = (deadline >> shift) - (hand >> shift);
        prop_assert!(slots_ahead < 64 || place.ring == RINGS - 1);
        prop_assert!(slots_ahead > 0 || place.ring == 0 || deadline - hand >= 1 << 36);
    }
}

/// Advance to each tick that `next_expiry` names, and write down what fires when.
fn fired<T>(wheel: &mut Wheel<T>) -> Vec<(u64, u64, T)> {
    let mut fired = Vec::new();
    while let Some(at) = wheel.next_expiry() {
        while let Some((deadline, value)) = wheel.pop_due(at) {
            fired.push((at, deadline, value));
        }
    }
    fired
}

#[test]
fn a_sleeper_who_follows_next_expiry_meets_every_deadline_exactly() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut wheel = Wheel::new();
        let mut deadlines: Vec<u64> = (0..50).map(|_| 1 + random.sized(40)).collect();
        for &deadline in &deadlines {
            wheel.insert(deadline, ());
        }
        deadlines.sort_unstable();
        let fired = fired(&mut wheel);
        assert!(fired.iter().all(|(at, deadline, ())| at == deadline));
        assert_eq!(
            fired.iter().map(|(at, ..)| *at).collect::<Vec<_>>(),
            deadlines
        );
    }
}

#[test]
fn a_sleeper_is_woken_at_most_five_times_before_a_timer_of_two_years() {
    let mut wheel = Wheel::new();
    let deadline = (1 << 36) - 1;
    wheel.insert(deadline, ());
    let mut woken = Vec::new();
    while let Some(at) = wheel.next_expiry() {
        woken.push(at);
        wheel.pop_due(at);
    }
    assert_eq!(woken.len(), 6);
    assert_eq!(woken.last(), Some(&deadline));
}

#[test]
fn no_timer_fires_a_tick_early() {
    for deadline in (0..42).flat_map(|bits| [(1u64 << bits) - 1, 1 << bits, (1 << bits) + 1]) {
        let mut wheel = Wheel::new();
        wheel.insert(deadline, "timer");
        let deadline = deadline.max(1);
        assert_eq!(wheel.pop_due(deadline - 1), None);
        assert_eq!(wheel.pop_due(deadline), Some((deadline, "timer")));
    }
}

#[test]
fn timers_of_one_tick_fire_in_the_order_they_were_set_whatever_ring_they_began_in() {
    let tick = 5_000_000;
    let mut wheel = Wheel::new();
    for (order, now) in [0, 1, 4_000_000, 4_990_000, 4_999_936, 4_999_990]
        .into_iter()
        .enumerate()
    {
        assert_eq!(wheel.pop_due(now), None);
        wheel.insert(tick, order);
    }
    let order: Vec<_> = fired(&mut wheel)
        .into_iter()
        .map(|(_, _, order)| order)
        .collect();
    assert_eq!(order, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_timer_that_is_reset_goes_behind_the_others_of_its_tick() {
    let mut wheel = Wheel::new();
    let first = wheel.insert(70, "first");
    wheel.insert(70, "second");
    assert!(wheel.reset(first, 70));
    assert_eq!(wheel.pop_due(70), Some((70, "second")));
    assert_eq!(wheel.pop_due(70), Some((70, "first")));
}

#[test]
fn a_timer_years_away_in_the_slot_of_the_hand_hides_no_nearer_one() {
    let mut wheel = Wheel::new();
    // Ring 5, slot 0, where the hand stands; and ring 5, slot 3.
    wheel.insert((1 << 36) + 7, "years");
    wheel.insert(3 << 30, "weeks");
    assert_eq!(wheel.next_expiry(), Some(3 << 30));
    assert_eq!(wheel.pop_due(1 << 37), Some((3 << 30, "weeks")));
    assert_eq!(wheel.pop_due(1 << 37), Some(((1 << 36) + 7, "years")));
}

#[test]
fn a_timer_set_while_due_ones_are_popped_waits_for_the_next_turn() {
    let mut wheel = Wheel::new();
    wheel.insert(10, "set before");
    assert_eq!(wheel.pop_due(1000), Some((10, "set before")));
    for tick in [0, 10, 11, 1000] {
        wheel.insert(tick, "set meanwhile");
    }
    assert_eq!(wheel.pop_due(1000), None);
    assert_eq!(wheel.next_expiry(), Some(1001));
    assert_eq!(wheel.pop_due(1001), Some((1001, "set meanwhile")));
}

#[test]
fn a_timer_that_is_due_can_still_be_cancelled_or_moved() {
    let mut wheel = Wheel::new();
    wheel.insert(10, "popped");
    let cancelled = wheel.insert(10, "cancelled");
    let moved = wheel.insert(900, "moved");
    assert_eq!(wheel.pop_due(1000), Some((10, "popped")));
    assert_eq!(wheel.cancel(cancelled), Some("cancelled"));
    assert!(wheel.reset(moved, 0));
    assert_eq!(wheel.when(moved), Some(1001));
    assert_eq!(wheel.pop_due(1000), None);
    assert_eq!(wheel.pop_due(2000), Some((1001, "moved")));
}

#[test]
fn an_id_of_a_timer_that_is_gone_does_nothing_to_the_one_in_its_place() {
    let mut wheel = Wheel::new();
    let fired = wheel.insert(1, "fired");
    assert_eq!(wheel.pop_due(1), Some((1, "fired")));
    let cancelled = wheel.insert(2, "cancelled");
    assert_eq!(wheel.cancel(cancelled), Some("cancelled"));
    let alive = wheel.insert(3, "alive");
    assert_eq!(wheel.entries.len(), 1, "all three used the same entry");
    for stale in [fired, cancelled] {
        assert_eq!(wheel.cancel(stale), None);
        assert!(!wheel.reset(stale, 9));
        assert_eq!(wheel.when(stale), None);
    }
    assert_eq!(wheel.when(alive), Some(3));
}

#[test]
fn generations_begin_anew_after_the_last() {
    let mut wheel = Wheel::new();
    wheel.entries.push(Entry::Free {
        generation: NonZeroU32::MAX,
        next: NIL,
    });
    wheel.free = 0;
    let last = wheel.insert(1, ());
    wheel.cancel(last);
    let id = wheel.insert(1, ());
    assert_eq!(
        (last.generation, id.generation),
        (NonZeroU32::MAX, NonZeroU32::MIN)
    );
    assert_eq!(wheel.cancel(last), None);
}

#[test]
fn the_last_tick_never_comes() {
    let mut wheel = Wheel::new();
    assert_eq!(wheel.pop_due(u64::MAX), None);
    let never = wheel.insert(0, "never");
    assert_eq!(wheel.when(never), Some(u64::MAX));
    assert_eq!(wheel.next_expiry(), Some(u64::MAX));
    assert_eq!(wheel.pop_due(u64::MAX), None);
}

#[test]
fn an_entry_is_24_bytes_and_its_value_and_an_id_is_8() {
    assert_eq!(Wheel::<u64>::ENTRY_BYTES, 32);
    assert_eq!(Wheel::<Result<[u32; 2], [u32; 2]>>::ENTRY_BYTES, 32);
    assert_eq!(Wheel::<[u64; 2]>::ENTRY_BYTES, 40);
    assert_eq!(Wheel::<Box<dyn Fn()>>::ENTRY_BYTES, 40);
    assert_eq!(size_of::<TimerId>(), 8);
    assert_eq!(size_of::<Option<TimerId>>(), 8);
}

#[test]
fn moving_a_timer_and_reusing_an_entry_allocate_nothing() {
    let mut wheel = Wheel::new();
    let id = wheel.insert(5, 0);
    let room = wheel.entries.capacity();
    for turn in 0..10_000 {
        assert!(wheel.reset(id, turn * 3));
        let other = wheel.insert(turn * 7, 1);
        wheel.cancel(other);
        assert_eq!(wheel.entries.len(), 2);
    }
    assert_eq!(wheel.entries.capacity(), room);
}
