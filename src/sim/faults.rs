//! What may go wrong in a world, and how often.
//!
//! Each fault is something that Linux, the network or a peer does now and then. Some leave TCP's promises whole: a
//! server that keeps the rules answers every request through any mix of them ([`Faults::gentle`]). The others break
//! connections or lose time, and then only the server's own promises hold: it goes on, and gives back what it held.

use std::ops::RangeInclusive;

use super::Rng;

/// The faults of one world. Probabilities go from 0 (never) to 1 (always).
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    // The road between two sockets.
    /// How long whatever is sent is on the road, in microseconds. Drawn for each delivery; the order within a
    /// connection stays.
    pub latency_us: RangeInclusive<u64>,
    /// Deliveries are cut into pieces of so many bytes, each with a latency of its own. `None`: what was sent travels
    /// whole.
    pub piece_bytes: Option<RangeInclusive<usize>>,
    /// How often the end of a stream travels by itself, after the last bytes instead of with them.
    pub fin_apart: f64,
    /// How often, at a delivery, one direction of the connection stands still as if the receiver's window were shut.
    /// Three times in its life at most.
    pub stall: f64,
    /// For how many milliseconds it then stands still.
    pub stall_ms: RangeInclusive<u64>,
    /// How often a delivery brings an urgent byte in front of its data (RFC 6093). Readers stop at the mark once.
    pub urgent: f64,
    /// How often, at a delivery, the connection is reset for both ends. Breaks connections.
    pub reset: f64,
    /// How often a reset takes along what its receiver has not read yet. Linux leaves that readable, BSD and Windows
    /// do not.
    pub reset_discards: f64,

    // Making connections.
    /// How often an attempt to connect is refused although someone listens. Breaks connections.
    pub connect_refused: f64,
    /// How many milliseconds longer than the latency it takes until an attempt to connect arrives.
    pub connect_delay_ms: RangeInclusive<u64>,
    /// How many connections may wait to be accepted. For the next one the attempt is repeated after a second.
    pub backlog_max: RangeInclusive<usize>,
    /// How often [`Driver::accept`](crate::event_loop::Driver::accept) fails for a moment, with one of `EMFILE`,
    /// `ENFILE`, `ENOBUFS`, `ENOMEM`, `ECONNABORTED`. The waiting connections go on waiting, and no event comes for
    /// them.
    pub accept_error: f64,
    /// How many sockets each driver may have open; beyond it opening one fails with `EMFILE`.
    pub descriptor_limit: Option<usize>,

    // Sockets.
    /// How many bytes wait in a socket to be sent at most. Drawn for each socket of a driver.
    pub send_buffer_bytes: RangeInclusive<usize>,
    /// How many bytes wait in a socket to be read at most, after which the window is shut. Drawn for each socket.
    pub receive_buffer_bytes: RangeInclusive<usize>,
    /// How often a write takes only a part, at least one byte, and the buffer is full for a while.
    pub write_short: f64,
    /// How often a write finds no room at all, for a while.
    pub write_blocked: f64,
    /// How many microseconds that while lasts.
    pub room_us: RangeInclusive<u64>,
    /// How often a read or a write fails with `ECONNRESET`, the connection being reset. Breaks connections.
    pub call_reset: f64,
    /// How often, during a call of a driver, the next thing on the road arrives if it would within a millisecond.
    /// What it changes is reported after the batch of events that the loop is working on.
    pub arrival_in_call: f64,

    // Events.
    /// How often a batch holds an event about which nothing is true.
    pub spurious: f64,
    /// How often a batch holds an event for a token whose socket is closed.
    pub stale: f64,
    /// How often a batch comes in another order.
    pub shuffled: f64,
    /// How often an event that says readable and writable comes as two, as from kqueue.
    pub split: f64,
    /// How often a poll returns early and empty-handed.
    pub empty_poll: f64,
    /// Batches are cut at so many events. `None`: at 1,024.
    pub batch_max: Option<RangeInclusive<usize>>,

    // The clock.
    /// How many microseconds a turn takes. At 0 the clock stands still while there is anything to do.
    pub turn_us: RangeInclusive<u64>,
    /// How often, when everyone sleeps, the clock jumps further than to the next thing that happens: the machine was
    /// suspended. Then every deadline in between has passed. Loses time.
    pub clock_jump: f64,
    /// How many seconds further.
    pub clock_jump_s: RangeInclusive<u64>,

    // Work that blocks.
    /// After how many microseconds a job of the executor runs.
    pub worker_us: RangeInclusive<u64>,
    /// How often the executor says that its queue is full.
    pub executor_full: f64,
    /// How often a worker ends before it begins a job, which is then dropped and never run. No system does this to a
    /// healthy program, so it is drawn by nobody: set it to test what is left of a job that panics outside of its own
    /// code.
    pub worker_lost: f64,
}

impl Faults {
    /// Nothing goes wrong, buffers are as large as Linux's, and everything takes 100 µs.
    pub fn none() -> Self {
        Self {
            latency_us: 100..=100,
            piece_bytes: None,
            fin_apart: 0.0,
            stall: 0.0,
            stall_ms: 0..=0,
            urgent: 0.0,
            reset: 0.0,
            reset_discards: 0.0,
            connect_refused: 0.0,
            connect_delay_ms: 0..=0,
            backlog_max: 1024..=1024,
            accept_error: 0.0,
            descriptor_limit: None,
            // Room for several large answers; a test of back-pressure asks for less.
            send_buffer_bytes: 256 * 1024..=256 * 1024,
            receive_buffer_bytes: 128 * 1024..=128 * 1024,
            write_short: 0.0,
            write_blocked: 0.0,
            room_us: 0..=0,
            call_reset: 0.0,
            arrival_in_call: 0.0,
            spurious: 0.0,
            stale: 0.0,
            shuffled: 0.0,
            split: 0.0,
            empty_poll: 0.0,
            batch_max: None,
            turn_us: 0..=0,
            clock_jump: 0.0,
            clock_jump_s: 0..=0,
            worker_us: 100..=100,
            executor_full: 0.0,
            worker_lost: 0.0,
        }
    }

    /// A mix drawn from `seed` that leaves TCP's promises whole: what is sent arrives, in order and in time.
    ///
    /// Each fault is in about half of the mixes, with a strength that differs by orders of magnitude, since some bugs
    /// need one fault alone and others several at once.
    pub fn gentle(seed: u64) -> Self {
        let mut rng = Rng::for_purpose(seed, PURPOSE_GENTLE);
        let mut faults = Self::none();
        faults.piece_bytes = rng.chance(0.7).then(|| 1..=size(&mut rng, 4_096));
        faults.fin_apart = strength(&mut rng);
        faults.stall = strength(&mut rng).min(0.3);
        faults.stall_ms = 0..=rng.range(1..=1_000);
        faults.urgent = strength(&mut rng).min(0.1);
        faults.connect_delay_ms = 0..=if rng.chance(0.5) {
            0
        } else {
            rng.range(1..=500)
        };
        faults.backlog_max = if rng.chance(0.3) { 1..=4 } else { 128..=1024 };
        faults.accept_error = strength(&mut rng).min(0.5);
        if rng.chance(0.7) {
            faults.send_buffer_bytes = 1..=size(&mut rng, 65_536);
            faults.receive_buffer_bytes = 1..=size(&mut rng, 65_536);
        }
        // Byte by byte and slowly would be a peer that the server's timeouts rightly end.
        let smallest = [&faults.send_buffer_bytes, &faults.receive_buffer_bytes]
            .into_iter()
            .chain(&faults.piece_bytes)
            .map(|range| *range.end())
            .min();
        faults.latency_us = if smallest < Some(256) || rng.chance(0.5) {
            0..=rng.range(0..=100)
        } else {
            1..=rng.range(100..=20_000)
        };
        faults.write_short = strength(&mut rng);
        faults.write_blocked = strength(&mut rng).min(0.5);
        faults.room_us = 0..=rng.range(1..=5_000);
        faults.arrival_in_call = strength(&mut rng);
        faults.spurious = strength(&mut rng);
        faults.stale = strength(&mut rng);
        faults.shuffled = strength(&mut rng);
        faults.split = strength(&mut rng);
        faults.empty_poll = strength(&mut rng).min(0.5);
        faults.batch_max = rng.chance(0.3).then(|| 1..=size(&mut rng, 64));
        faults.turn_us = 0..=if rng.chance(0.5) {
            0
        } else {
            rng.range(1..=1_000)
        };
        faults.worker_us = 0..=rng.range(1..=100_000);
        faults
    }

    /// A mix drawn from `seed` of every fault that a real machine shows: those of [`Faults::gentle`], and resets,
    /// refusals, a low limit of descriptors, clock jumps, a full executor.
    pub fn drawn(seed: u64) -> Self {
        let mut rng = Rng::for_purpose(seed, PURPOSE_DRAWN);
        let mut faults = Self::gentle(seed);
        faults.reset = strength(&mut rng).min(0.1);
        faults.reset_discards = strength(&mut rng);
        faults.connect_refused = strength(&mut rng).min(0.3);
        faults.descriptor_limit = rng.chance(0.3).then(|| 4 + size(&mut rng, 64));
        faults.call_reset = strength(&mut rng).min(0.1);
        faults.clock_jump = strength(&mut rng).min(0.05);
        faults.clock_jump_s = 1..=rng.range(1..=86_400);
        faults.executor_full = strength(&mut rng).min(0.5);
        faults
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}

/// Nothing in half of the cases, otherwise from one in a thousand to always.
fn strength(rng: &mut Rng) -> f64 {
    *rng.pick(&[0.0, 0.0, 0.0, 0.0, 0.001, 0.01, 0.1, 0.5, 1.0])
}

/// A size up to `max`; small ones are as likely as large ones.
fn size(rng: &mut Rng, max: usize) -> usize {
    let bits = rng.range(0..=u64::from(max.ilog2())) as u32;
    rng.range(1..=2 << bits).min(max as u64) as usize
}

const PURPOSE_GENTLE: u64 = 100;
const PURPOSE_DRAWN: u64 = 101;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_draws_the_same_faults_and_seeds_differ() {
        assert_eq!(Faults::drawn(3), Faults::drawn(3));
        let mixes: Vec<Faults> = (0..50).map(Faults::drawn).collect();
        for (index, mix) in mixes.iter().enumerate() {
            assert!(!mixes[..index].contains(mix), "seed {index} came before");
        }
    }

    #[test]
    fn gentle_faults_break_no_connection() {
        for seed in 0..200 {
            let faults = Faults::gentle(seed);
            assert_eq!(
                (faults.reset, faults.call_reset, faults.connect_refused),
                (0.0, 0.0, 0.0)
            );
            assert_eq!((faults.clock_jump, faults.worker_lost), (0.0, 0.0));
            assert_eq!(faults.descriptor_limit, None);
        }
    }

    #[test]
    fn every_kind_of_fault_is_drawn_by_some_seed() {
        let drawn: Vec<Faults> = (0..200).map(Faults::drawn).collect();
        let some = |is_on: fn(&Faults) -> bool| drawn.iter().any(is_on);
        assert!(some(|f| f.reset > 0.0) && some(|f| f.call_reset > 0.0));
        assert!(some(|f| f.stall > 0.0) && some(|f| f.urgent > 0.0));
        assert!(some(|f| f.descriptor_limit.is_some()) && some(|f| f.batch_max.is_some()));
        assert!(some(|f| *f.send_buffer_bytes.end() == 1) && some(|f| f.clock_jump > 0.0));
    }
}
