//! Numbers that look random and come again with the same seed.
//!
//! SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): one word of state, so
//! that a world can give each of its decisions a stream of its own. One that draws more then does not shift the
//! others.

use std::ops::RangeInclusive;

/// A stream of numbers that a seed determines. Not fit for secrets.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Another stream of the same seed, one for each `purpose`.
    pub fn for_purpose(seed: u64, purpose: u64) -> Self {
        Self::new(mix(seed ^ mix(purpose.wrapping_add(GAMMA))))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// A number in `range`, each as likely as the next.
    ///
    /// # Panics
    /// When the range is empty.
    pub fn range(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = (*range.start(), *range.end());
        assert!(low <= high, "a range to draw from holds a number");
        match (high - low).checked_add(1) {
            // The upper half of a product falls evenly over 0..width, but for less than width / 2^64.
            Some(width) => low + ((u128::from(self.next_u64()) * u128::from(width)) >> 64) as u64,
            None => self.next_u64(),
        }
    }

    /// A place in a list of `length` things.
    ///
    /// # Panics
    /// When there are none.
    pub fn index(&mut self, length: usize) -> usize {
        assert!(length > 0, "there is something to draw from");
        self.range(0..=length as u64 - 1) as usize
    }

    /// True with `probability`, a number from 0 (never) to 1 (always). The two ends draw nothing.
    pub fn chance(&mut self, probability: f64) -> bool {
        if probability <= 0.0 {
            return false;
        }
        if probability >= 1.0 {
            return true;
        }
        // 53 bits are what a double holds exactly.
        ((self.next_u64() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// One of `items`.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }

    /// `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next_u64().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// Put `items` in another order, every order as likely as the next.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

/// The golden ratio in 64 bits: an odd step that visits every state.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A bijection of 64 bits in which every bit of the input moves half the bits of the output.
pub(super) fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_splitmix64() {
        let mut rng = Rng::new(1234567);
        let first: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
        assert_eq!(
            first,
            [
                6457827717110365317,
                3203168211198807973,
                9817491932198370423
            ]
        );
    }

    #[test]
    fn a_range_gives_its_ends_and_nothing_outside() {
        let mut rng = Rng::new(7);
        let mut seen = [0; 3];
        for _ in 0..300 {
            seen[rng.range(5..=7) as usize - 5] += 1;
        }
        assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
        assert_eq!(rng.range(9..=9), 9);
        rng.range(0..=u64::MAX);
    }

    #[test]
    fn a_chance_comes_about_as_often_as_it_says() {
        let mut rng = Rng::new(8);
        let hits = (0..10_000).filter(|_| rng.chance(0.25)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
        let before = rng.clone().next_u64();
        assert!(!rng.chance(0.0));
        assert!(rng.chance(1.0));
        assert_eq!(
            rng.next_u64(),
            before,
            "what is certain must not shift the stream"
        );
    }

    #[test]
    fn streams_of_one_seed_differ() {
        let mut first = Rng::for_purpose(1, 0);
        let mut second = Rng::for_purpose(1, 1);
        assert_ne!(first.next_u64(), second.next_u64());
        assert_eq!(first.bytes(13).len(), 13);
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..50).collect();
        Rng::new(3).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
