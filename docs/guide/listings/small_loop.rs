//! An event loop of the standard library alone: callbacks that are ready, callbacks that are due later, and one sleep.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

type Callback = Box<dyn FnOnce(&mut SmallLoop)>;

struct SmallLoop {
    ready: VecDeque<Callback>,
    /// By due time; the number keeps those of one moment apart, and in order.
    timers: BTreeMap<(Instant, u64), Callback>,
    timers_made: u64,
}

impl SmallLoop {
    fn call_soon(&mut self, callback: impl FnOnce(&mut Self) + 'static) {
        self.ready.push_back(Box::new(callback));
    }

    fn call_later(&mut self, delay: Duration, callback: impl FnOnce(&mut Self) + 'static) {
        self.timers_made += 1;
        let key = (Instant::now() + delay, self.timers_made);
        self.timers.insert(key, Box::new(callback));
    }

    fn run(&mut self) {
        // When nothing is ready and no timer is set, nothing will ever happen again.
        while !self.ready.is_empty() || !self.timers.is_empty() {
            self.turn();
        }
    }

    fn turn(&mut self) {
        // Sleep, but only if nobody is ready, and only until the next timer.
        if let (true, Some((&(due, _), _))) = (self.ready.is_empty(), self.timers.first_key_value())
        {
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let now = Instant::now();
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            self.ready.push_back(entry.remove());
        }
        // Those that are ready now. What they add waits for the next turn.
        for _ in 0..self.ready.len() {
            if let Some(callback) = self.ready.pop_front() {
                callback(self);
            }
        }
    }
}

const TENTH: Duration = Duration::from_millis(100);

/// Orders a dish, and says so when it is done. Waiting for it takes no thread.
fn order(kitchen: &mut SmallLoop, dish: &'static str, tenths: u32) {
    println!("order {dish}");
    kitchen.call_later(TENTH * tenths, move |_| println!("{dish} is done"));
}

pub(crate) fn main() -> io::Result<()> {
    let began = Instant::now();
    let mut kitchen = SmallLoop {
        ready: VecDeque::new(),
        timers: BTreeMap::new(),
        timers_made: 0,
    };
    kitchen.call_soon(|kitchen| order(kitchen, "soup", 3));
    kitchen.call_soon(|kitchen| order(kitchen, "tea", 1));
    kitchen.call_soon(|kitchen| order(kitchen, "rice", 2));
    kitchen.run();
    let tenths = began.elapsed().as_millis() / 100;
    println!("all is done after 0.{tenths} s, on one thread");
    Ok(())
}
