//! The slab against a hash map, and each promise of its documentation by itself.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::parts::tests::Random;

#[test]
fn the_slab_agrees_with_a_hash_map_over_many_operations() {
    for seed in [1, 2, 3, 1801] {
        let mut random = Random::new(seed);
        let mut slab = Slab::new();
        // What is there (`None`: in hand), and every key ever given out.
        let mut model: HashMap<Key, Option<u64>> = HashMap::new();
        let mut keys = Vec::new();
        let mut room = 0;
        for step in 0..60_000 {
            let key = match random.below(5) {
                0 => random.index(keys.len()).map(|at| keys[at]),
                _ => random
                    .index(keys.len().min(50))
                    .map(|at| keys[keys.len() - 1 - at]),
            };
            match (random.below(100), key) {
                (0..30, _) | (_, None) => {
                    let key = slab.insert(step);
                    assert_eq!(
                        model.insert(key, Some(step)),
                        None,
                        "{key:?} was given out before"
                    );
                    keys.push(key);
                }
                (30..60, Some(key)) => {
                    let expected = model.get(&key).copied().flatten();
                    assert_eq!(slab.remove(key), expected);
                    if expected.is_some() {
                        model.remove(&key);
                    }
                }
                (60..75, Some(key)) => {
                    let expected = model.get_mut(&key).and_then(Option::take);
                    assert_eq!(slab.take(key), expected);
                }
                (75..90, Some(key)) => {
                    if let Some(held @ None) = model.get_mut(&key) {
                        slab.put_back(key, step);
                        *held = Some(step);
                    }
                }
                (_, Some(key)) => {
                    if let Some(None) = model.get(&key) {
                        slab.release(key);
                        model.remove(&key);
                    }
                }
            }
            if let Some(key) = key {
                assert_eq!(slab.contains(key), model.contains_key(&key));
                assert_eq!(slab.get(key).copied(), model.get(&key).copied().flatten());
                assert_eq!(slab.get(key).copied(), slab.get_mut(key).copied());
            }
            assert_eq!(slab.len(), model.len());
            assert_eq!(slab.is_empty(), model.is_empty());
            room = room.max(model.len());
            if step % 499 == 0 {
                let keys: HashSet<_> = slab.keys().collect();
                assert_eq!(keys, model.keys().copied().collect());
                let held: HashMap<_, _> = slab.iter().map(|(key, &value)| (key, value)).collect();
                let full = model
                    .iter()
                    .filter_map(|(&key, value)| Some((key, (*value)?)));
                assert_eq!(held, full.collect());
            }
        }
        assert_eq!(
            slab.slots.len(),
            room,
            "a slot is made only when none is free"
        );
    }
}

#[test]
fn a_key_of_a_value_that_left_finds_nobody_in_its_slot() {
    let mut slab = Slab::new();
    let stale = slab.insert('a');
    slab.remove(stale);
    let key = slab.insert('b');
    assert_eq!(
        (key.index(), key.generation()),
        (stale.index(), stale.generation() + 1)
    );
    assert_eq!(slab.get(stale), None);
    assert_eq!(slab.get_mut(stale), None);
    assert_eq!(slab.take(stale), None);
    assert_eq!(slab.remove(stale), None);
    assert!(!slab.contains(stale));
    assert_eq!(slab.get(key), Some(&'b'));
}

#[test]
fn a_key_of_a_slot_that_was_never_used_finds_nobody() {
    let mut slab = Slab::new();
    slab.insert('a');
    for key in [Key::new(1, 0), Key::new(0, 1), Key::new(u32::MAX, 0)] {
        assert!(!slab.contains(key) && slab.take(key).is_none());
    }
}

#[test]
fn a_key_made_for_the_next_value_finds_nobody_before_that_value_comes() {
    let mut slab = Slab::new();
    let key = slab.insert('a');
    slab.remove(key);
    let next = Key::new(key.index(), key.generation() + 1);
    assert!(!slab.contains(next) && slab.take(next).is_none());
    assert_eq!(slab.insert('b'), next);
}

#[test]
fn the_slot_freed_last_is_used_first() {
    let mut slab = Slab::new();
    let keys: Vec<_> = (0..4).map(|value| slab.insert(value)).collect();
    for at in [1, 3, 0] {
        slab.remove(keys[at]);
    }
    let reused: Vec<_> = (0..4).map(|value| slab.insert(value).index()).collect();
    assert_eq!(reused, [0, 3, 1, 4]);
}

#[test]
fn a_value_in_hand_keeps_its_slot_from_others() {
    let mut slab = Slab::new();
    let key = slab.insert("in hand");
    let value = slab.take(key).unwrap();
    assert_eq!(
        (slab.take(key), slab.remove(key), slab.get(key)),
        (None, None, None)
    );
    assert_ne!(slab.insert("other").index(), key.index());
    assert_eq!(
        (slab.len(), slab.keys().count(), slab.iter().count()),
        (2, 2, 1)
    );
    slab.put_back(key, value);
    assert_eq!(slab.get(key), Some(&"in hand"));
}

#[test]
fn a_released_value_cannot_be_put_back() {
    let mut slab = Slab::new();
    let key = slab.insert(1);
    let value = slab.take(key).unwrap();
    slab.release(key);
    assert!(slab.is_empty() && !slab.contains(key));
    assert!(catch_unwind(AssertUnwindSafe(|| slab.put_back(key, value))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| slab.release(key))).is_err());
    assert!(slab.is_empty());
}

#[test]
fn a_value_that_is_in_its_slot_cannot_be_put_back_or_released() {
    let mut slab = Slab::new();
    let key = slab.insert(1);
    assert!(catch_unwind(AssertUnwindSafe(|| slab.put_back(key, 2))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| slab.release(key))).is_err());
    assert_eq!(slab.get(key), Some(&1));
}

#[test]
fn a_value_is_made_with_its_own_key() {
    let mut slab = Slab::new();
    let first = slab.insert_with(|key| key);
    slab.remove(first);
    let second = slab.insert_with(|key| key);
    assert_eq!(slab.get(second), Some(&second));
}

#[test]
fn a_panic_while_making_a_value_leaves_the_slab_as_it_was() {
    let mut slab = Slab::new();
    for _ in 0..2 {
        let failed = catch_unwind(AssertUnwindSafe(|| {
            slab.insert_with(|_| panic!("on purpose"))
        }));
        assert!(failed.is_err() && slab.is_empty());
        assert_eq!(slab.keys().count(), 0);
        let key = slab.insert(1);
        assert_eq!(key.index(), 0);
        slab.remove(key);
    }
}

#[test]
fn generations_begin_anew_after_the_last() {
    let mut slab = Slab::new();
    let key = slab.insert('a');
    slab.slots[0].generation = u32::MAX;
    let last = Key::new(key.index(), u32::MAX);
    assert_eq!(slab.remove(last), Some('a'));
    assert_eq!(slab.insert('b'), Key::new(key.index(), 0));
}

#[test]
fn a_boxed_source_costs_at_most_32_bytes_of_slot() {
    assert!(size_of::<Slot<Box<dyn Fn()>>>() <= 32);
    assert_eq!(size_of::<Key>(), 8);
}
