//! When to give memory back: after a burst, and not at every ebb.

use std::collections::{BinaryHeap, VecDeque};
use std::hint::{black_box, cold_path};

/// So many places a table keeps in any case. A turn of the loop fills and empties as many
/// (`EVENTS_MAX`, `CALLBACKS_MAX`), and the next one
/// would take anew what was given back.
const PLACES_KEPT: usize = 1024;
/// With so few in use a table is looked over each time one more is free: only then the last one may have left who kept
/// the memory behind all others.
const FEW: usize = 8;

/// How many places of a table were in use at once since it last gave memory back.
///
/// Giving back costs a pass over the table, and is due when three quarters of what was used is free: so each place that
/// is passed was used since, and growing and shrinking by turns costs no more than a few steps a place.
///
/// ```
/// use tourbillon::parts::high_water::HighWater;
///
/// let mut high_water = HighWater::default();
/// high_water.rose_to(2000);
/// assert!(!high_water.fell_to(501, 2000));
/// assert!(high_water.fell_to(500, 2000));
/// assert!(!high_water.fell_to(499, 2000));
/// ```
#[derive(Debug, Default)]
pub struct HighWater(usize);

impl HighWater {
    /// So many places are in use, one more than before.
    #[inline]
    pub fn rose_to(&mut self, used: usize) {
        self.0 = self.0.max(used);
    }

    /// `used` of all `places` are in use, one fewer than before. Whether it is time to give back.
    #[inline]
    pub fn fell_to(&mut self, used: usize, places: usize) -> bool {
        let is_due = places > PLACES_KEPT && (used <= self.0 / 4 || used <= FEW);
        if is_due {
            self.0 = used;
        }
        is_due
    }
}

/// When a burst is over, by how many of something are in use.
///
/// More than 1,024 at once are a burst. It ends by and by: each time three quarters of what was left have gone, and
/// with 16 left each time one has, since any of the last may hold the memory of all.
///
/// ```
/// use tourbillon::parts::high_water::Burst;
///
/// let mut burst = Burst::default();
/// burst.rose_to(1000);
/// assert!(!burst.fell_to(0), "this was none");
/// burst.rose_to(4000);
/// assert!(!burst.fell_to(1001) && burst.fell_to(1000));
/// assert!(!burst.fell_to(251) && burst.fell_to(9) && !burst.fell_to(9) && burst.fell_to(1));
/// assert!(!burst.fell_to(0), "it is over");
/// ```
#[derive(Debug, Default)]
pub struct Burst {
    /// With so many in use there is something to be given back. 0 when there was no burst.
    due_at: usize,
}

/// With so few left of a burst, see [`Burst`].
const REST: usize = 16;

impl Burst {
    /// So many are in use, before some of them go.
    #[inline]
    pub fn rose_to(&mut self, used: usize) {
        if used > PLACES_KEPT {
            self.due_at = self.due_at.max(used / 4);
        }
    }

    /// Some have gone, and so many are left. Whether it is time to give back what was in use, again.
    #[inline]
    pub fn fell_to(&mut self, used: usize) -> bool {
        let is_due = used <= self.due_at && self.due_at > 0;
        if is_due {
            self.due_at = (used / 4).max(REST.min(used.saturating_sub(1)));
        }
        is_due
    }
}

/// The allocator takes larger pieces from the system one by one, and can give back the end of one (mallopt(3),
/// `M_MMAP_THRESHOLD`).
const SEPARATE_BYTES: usize = 128 * 1024;

/// Give back the memory of `table` that is not in use.
pub(super) fn give_back<T>(table: &mut Vec<T>) {
    if table.capacity() * size_of::<T>() >= SEPARATE_BYTES {
        // Not to nothing: what is freed whole, glibc takes for what will be wanted again, and keeps more from then on.
        table.shrink_to(FEW);
    } else {
        // Smaller pieces lie among others. Taken anew, what is kept does not stand behind what becomes free, where it
        // would keep the allocator from giving that back.
        let mut moved = Vec::with_capacity(table.len());
        moved.append(table);
        *table = moved;
    }
    tidy_allocator();
}

/// What a table stood for has gone too, mostly in small pieces. glibc puts those aside as they are, and joins them, and
/// gives the end of its heap back, when it is next asked for a large piece and gets that back (mallopt(3),
/// `M_TRIM_THRESHOLD`). Elsewhere this is a piece of memory taken and returned.
fn tidy_allocator() {
    drop(black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
}

/// More than glibc's 64 KiB for such a thing, and less than [`SEPARATE_BYTES`], which do not come from the heap.
const LARGE_BYTES: usize = 96 * 1024;

/// A burst is over, and what was to be freed is. Free the small pieces, too, that the allocator has set aside as they
/// are: the last of them keeps all memory before it.
///
/// glibc sets a few of each small size aside for the thread, and gives these out first. So they are taken, and made
/// longer before they are freed, which sets none aside. From the last to the first: a piece grows in its place where
/// nothing is in use behind it. Elsewhere this is some memory taken and returned.
#[cold]
pub fn free_small_pieces() {
    tidy_allocator();
    let mut pieces: Vec<(*const u8, Vec<u8>)> = Vec::new();
    let Ok(()) = pieces.try_reserve_exact(APART_BYTES / size_of::<(*const u8, Vec<u8>)>()) else {
        return;
    };
    for bytes in (SMALL_BYTES_STEP..=SMALL_BYTES_MAX).step_by(SMALL_BYTES_STEP) {
        let piece = |_| Vec::with_capacity(bytes);
        pieces.extend((0..PIECES).map(piece).map(|piece| (piece.as_ptr(), piece)));
    }
    let mut last_first = BinaryHeap::from(pieces);
    while let Some((_, mut piece)) = last_first.pop() {
        piece.reserve_exact(SMALL_BYTES_MAX + SMALL_BYTES_STEP);
        drop(black_box(piece));
    }
    give_back(&mut last_first.into_vec());
}

/// The sizes that glibc sets aside: up to 1,032 bytes, in steps of 16.
const SMALL_BYTES_MAX: usize = 1024;
const SMALL_BYTES_STEP: usize = 16;
/// Of each size. glibc sets 7 aside, or 16 (`glibc.malloc.tcache_count`), and as many again when it gives out the first
/// of others that lie about: with so many taken, there are none of these either.
const PIECES: usize = 32;
/// More than is free between others, so that the list of pieces stands behind none of them. Little of it is touched.
const APART_BYTES: usize = 32 * 1024 * 1024;

/// Give back the memory of a list that is empty now and was long once. To be called again and again: it looks at one
/// number.
#[inline]
pub fn give_back_list<T>(list: &mut Vec<T>) {
    if list.capacity() > PLACES_KEPT && list.is_empty() {
        cold_path();
        *list = Vec::new();
    }
}

/// As [`give_back_list`], for a queue.
#[inline]
pub fn give_back_queue<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > PLACES_KEPT && queue.is_empty() {
        cold_path();
        *queue = VecDeque::new();
    }
}
