//! When to give memory back: after a burst, and not at every ebb.

/// Fewer places than that are not worth a thought.
const PLACES_MIN: usize = 256;

/// How many places a table had in use at once since it last gave memory back.
///
/// Giving back costs a pass over the table, and is due when three quarters of the places are free: so each place that is
/// passed was used since, and growing and shrinking by turns costs no more than a few steps a place.
///
/// ```
/// use tourbillon::parts::high_water::HighWater;
///
/// let mut high_water = HighWater::default();
/// high_water.rose_to(1000);
/// assert!(!high_water.fell_to(251));
/// assert!(high_water.fell_to(250));
/// assert!(!high_water.fell_to(249));
/// ```
#[derive(Debug, Default)]
pub struct HighWater(usize);

impl HighWater {
    /// So many places are in use, one more than before.
    #[inline]
    pub fn rose_to(&mut self, used: usize) {
        self.0 = self.0.max(used);
    }

    /// So many places are in use, one fewer than before. Whether it is time to give back.
    #[inline]
    pub fn fell_to(&mut self, used: usize) -> bool {
        let is_due = self.0 >= PLACES_MIN && used <= self.0 / 4;
        if is_due {
            self.0 = used;
        }
        is_due
    }
}

/// `table` in memory of its own size, taken anew: so that it does not stand behind the memory that becomes free with it,
/// and keep the allocator from giving that back.
pub(super) fn moved<T>(mut table: Vec<T>) -> Vec<T> {
    let mut moved = Vec::with_capacity(table.len());
    moved.append(&mut table);
    moved
}
