//! The queue by itself: what is taken in, what is dropped, and in which order the rest leaves.

use super::*;

/// A frame of 10 bytes.
fn frame(name: u8) -> Rc<[u8]> {
    Rc::from([name; 10])
}

struct Bench {
    outbox: Outbox,
    dropped: Dropped,
    when_full: WhenFull,
    bytes_max: usize,
    ahead: usize,
}

impl Bench {
    /// Room is for a message while no more than 25 bytes are before it: for three.
    fn new(when_full: WhenFull) -> Self {
        Self {
            outbox: Outbox::default(),
            dropped: Dropped::default(),
            when_full,
            bytes_max: 25,
            ahead: 0,
        }
    }

    fn put(&mut self, frame: Rc<[u8]>, key: Option<&str>) -> Put {
        let key = key.map(Rc::from);
        let terms = Terms {
            key: key.as_ref(),
            when_full: self.when_full,
            bytes_max: self.bytes_max,
            ahead: self.ahead,
        };
        self.outbox.put(|| frame, &terms, &mut self.dropped)
    }

    /// Put those of `names`, one after the other; `A` to `Z` are their own keys.
    fn put_all(&mut self, names: &str) -> Vec<Put> {
        let put = |name: char| {
            let key = name.is_ascii_uppercase().then(|| name.to_string());
            self.put(frame(name as u8), key.as_deref())
        };
        names.chars().map(put).collect()
    }

    /// What leaves, in order.
    fn left(&mut self) -> String {
        let bytes = self.outbox.bytes();
        let frames: Vec<_> = std::iter::from_fn(|| self.outbox.take()).collect();
        assert_eq!(bytes, frames.iter().map(|frame| frame.len()).sum::<usize>());
        assert_eq!(self.outbox.bytes(), 0);
        frames.iter().map(|frame| frame[0] as char).collect()
    }
}

#[test]
fn with_room_all_is_taken_in_and_leaves_in_order() {
    for when_full in [
        WhenFull::Close,
        WhenFull::DropNewest,
        WhenFull::DropOldest,
        WhenFull::KeepLatest,
    ] {
        let mut bench = Bench::new(when_full);
        assert_eq!(bench.put_all("aBc"), [Put::Waits; 3]);
        assert_eq!(bench.left(), "aBc");
        assert_eq!(bench.dropped, Dropped::default());
    }
}

#[test]
fn when_it_is_full_the_peer_is_closed_or_the_newest_refused() {
    for (when_full, put) in [
        (WhenFull::Close, Put::Close),
        (WhenFull::DropNewest, Put::Dropped),
    ] {
        let mut bench = Bench::new(when_full);
        assert_eq!(bench.put_all("abcd")[3], put);
        assert_eq!(bench.left(), "abc");
    }
}

#[test]
fn when_it_is_full_the_oldest_goes_and_the_newest_always_waits() {
    let mut bench = Bench::new(WhenFull::DropOldest);
    assert_eq!(bench.put_all("abcde")[3..], [Put::MadeRoom; 2]);
    assert_eq!(bench.left(), "cde");
    assert_eq!((bench.dropped.messages, bench.dropped.bytes), (2, 20));
    // What is ahead may leave room for none; then it is for one.
    bench.ahead = 1_000;
    bench.put_all("fgh");
    assert_eq!(bench.left(), "h");
}

#[test]
fn what_was_promised_under_one_policy_is_not_dropped_by_another() {
    let mut bench = Bench::new(WhenFull::DropNewest);
    bench.put_all("ab");
    bench.when_full = WhenFull::DropOldest;
    bench.put_all("cdef");
    bench.when_full = WhenFull::KeepLatest;
    // There is nothing with a key to drop.
    bench.put_all("X");
    assert_eq!(bench.left(), "abfX");
}

#[test]
fn the_latest_with_a_key_takes_the_place_of_the_one_before() {
    let mut bench = Bench::new(WhenFull::KeepLatest);
    bench.put_all("Ab");
    assert_eq!(bench.put(frame(b'2'), Some("A")), Put::Waits);
    assert_eq!(bench.left(), "2b");
    assert_eq!(bench.dropped.messages, 1);
}

#[test]
fn when_it_is_full_of_keys_the_oldest_key_goes_and_what_has_none_is_refused() {
    let mut bench = Bench::new(WhenFull::KeepLatest);
    assert_eq!(bench.put_all("aBC"), [Put::Waits; 3]);
    assert_eq!(bench.put_all("d"), [Put::Dropped]);
    assert_eq!(bench.put_all("E"), [Put::MadeRoom]);
    assert_eq!(bench.left(), "aCE");
}

#[test]
fn a_latest_that_is_larger_makes_the_others_go_and_not_itself() {
    let mut bench = Bench::new(WhenFull::KeepLatest);
    bench.put_all("AB");
    bench.put(Rc::from([b'a'; 100]), Some("A"));
    assert_eq!(bench.left(), "a");
}

#[test]
fn what_is_refused_is_not_even_made() {
    let mut bench = Bench::new(WhenFull::DropNewest);
    bench.put_all("abc");
    let terms = Terms {
        key: None,
        when_full: WhenFull::DropNewest,
        bytes_max: 25,
        ahead: 0,
    };
    let put = bench.outbox.put(
        || unreachable!("nobody gets it"),
        &terms,
        &mut bench.dropped,
    );
    assert_eq!(put, Put::Dropped);
}

#[test]
fn room_is_made_later_if_too_much_was_let_in() {
    let mut bench = Bench::new(WhenFull::DropOldest);
    bench.bytes_max = 1_000;
    bench.put_all("abcdefgh");
    let terms = Terms {
        key: None,
        when_full: WhenFull::DropOldest,
        bytes_max: 25,
        ahead: 5,
    };
    bench.outbox.make_room(&terms, &mut bench.dropped);
    assert_eq!(bench.left(), "gh");
}
