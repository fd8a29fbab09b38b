//! The whole server, HTTP and WebSocket, in a world where everything goes wrong: thousands of seeds, every oracle on.
//!
//! A seed is one short life of a server (`life.rs`): an app (`app.rs`), a handful of clients who behave (`http.rs`,
//! `ws.rs`) and some who do not (`rude.rs`), timers beside them (`timers.rs`), and a shutdown, perhaps in the middle.
//! What must hold is asked after every turn and of every byte. (`bounds.rs` and some others have their own small scenes.) A failure names its seed: `SEED=7 cargo test --features
//! sim --test sim` runs it alone, with a log.

mod app;
mod bounds;
mod cancelling;
mod client;
mod debugging;
mod http;
mod life;
#[cfg(feature = "deflate")]
mod openings;
mod operations;
mod outbox;
mod reader;
mod recording;
mod rude;
mod streams;
mod timers;
mod topics;
mod ws;
#[cfg(feature = "deflate")]
mod ws_client;

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use tourbillon::sim::check;

fn lives(seeds: Range<u64>) {
    check(seeds, |seed| life::live(seed).map(drop));
}

// Ten thousand seeds, in portions that the test runner spreads over the cores.

#[test]
fn seeds_from_0() {
    lives(0..1_250);
}

#[test]
fn seeds_from_1250() {
    lives(1_250..2_500);
}

#[test]
fn seeds_from_2500() {
    lives(2_500..3_750);
}

#[test]
fn seeds_from_3750() {
    lives(3_750..5_000);
}

#[test]
fn seeds_from_5000() {
    lives(5_000..6_250);
}

#[test]
fn seeds_from_6250() {
    lives(6_250..7_500);
}

#[test]
fn seeds_from_7500() {
    lives(7_500..8_750);
}

#[test]
fn seeds_from_8750() {
    lives(8_750..10_000);
}

/// Each run of the tests looks at some lives that nobody has seen before; at more of them if `SEEDS` says so. A run in
/// which `FRESH_SEED` says where they begin can be repeated.
#[test]
fn fresh_seeds() {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(
            text.parse::<u64>()
                .unwrap_or_else(|_| panic!("{name} is a number")),
        )
    };
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        since.as_nanos() as u64
    };
    let first = number("FRESH_SEED").unwrap_or_else(now) >> 8;
    let count = number("SEEDS").unwrap_or(200);
    println!("{count} seeds from {first}");
    lives(first..first + count);
}

#[test]
fn the_same_seed_gives_the_same_life() {
    check(0..100, |seed| {
        let (first, second) = (life::live(seed)?, life::live(seed)?);
        assert_eq!(first, second, "seed {seed}");
        Ok(())
    });
}
