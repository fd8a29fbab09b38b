//! Masking keys that nobody outside can guess.
//!
//! A client's frame is masked with a fresh key so that a page in a browser cannot choose the bytes that go over the
//! wire, and with them fool a proxy that takes them for HTTP (RFC 6455, 10.3). The key must come from a strong source.
//! The machine has none, and asking the driver for each frame would be a system call each; so it is asked once, and
//! what follows is SHA-1 over that seed and a count: whoever sees keys learns nothing of the seed, and so of no other
//! key.

use sha1_smol::Sha1;

/// The keys of one connection.
#[derive(Clone)]
pub struct MaskKeys {
    seed: [u8; 32],
    count: u64,
    /// What one hash gave: five keys, of which so many are left.
    keys: [[u8; 4]; KEYS],
    left: usize,
}

/// SHA-1 gives 20 bytes.
const KEYS: usize = 5;

impl MaskKeys {
    /// Keys from 32 bytes that nobody can guess: see `Driver::entropy`.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            seed,
            count: 0,
            keys: [[0; 4]; KEYS],
            left: 0,
        }
    }

    /// The next frame's key.
    pub fn next_key(&mut self) -> [u8; 4] {
        if self.left == 0 {
            let mut hash = Sha1::from(self.seed);
            hash.update(&self.count.to_le_bytes());
            let bytes = hash.digest().bytes();
            self.keys.copy_from_slice(bytes.as_chunks().0);
            self.count += 1;
            self.left = KEYS;
        }
        self.left -= 1;
        self.keys[self.left]
    }
}

impl std::fmt::Debug for MaskKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The seed is a secret.
        f.debug_struct("MaskKeys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::MaskKeys;

    #[test]
    fn no_key_comes_again_soon_and_another_seed_gives_others() {
        let keys = |seed| {
            let mut keys = MaskKeys::new([seed; 32]);
            (0..2000).map(|_| keys.next_key()).collect::<Vec<_>>()
        };
        let (first, second) = (keys(1), keys(2));
        assert_eq!(first, keys(1));
        let different: HashSet<_> = first.iter().chain(&second).collect();
        assert_eq!(different.len(), 4000);
    }

    #[test]
    fn each_bit_of_a_key_is_set_half_of_the_time() {
        let mut keys = MaskKeys::new(*b"thirty-two bytes for all of this");
        let mut set = [0; 32];
        for _ in 0..4096 {
            let key = u32::from_be_bytes(keys.next_key());
            for (bit, count) in set.iter_mut().enumerate() {
                *count += key >> bit & 1;
            }
        }
        // Eight standard deviations of 32 either way.
        assert!(
            set.iter().all(|count| (1792..=2304).contains(count)),
            "{set:?}"
        );
    }
}
