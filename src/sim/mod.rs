//! The world in a box: loops, a network, clients and a clock in memory, all following from one seed.
//!
//! [`World`] is what a kernel and cables are to a real program: it gives out [`Driver`]s that behave as Linux's
//! sockets and edge-triggered epoll do, and [`Client`]s that a test scripts byte by byte. [`Faults`] says what goes
//! wrong and how often. [`Simulation`] turns the loops, lets time pass when all of them sleep, and checks after each
//! turn what must always hold. The same seed gives the same run, event for event; a failure names its seed
//! ([`check`]).
//!
//! For tests of futures there are two shorter ways: [`run`] runs one with virtual time, and [`cancel_at_each_await`]
//! cancels it wherever it can be.
//!
//! ```
//! use tourbillon::event_loop::Token;
//! use tourbillon::sim::World;
//!
//! let world = World::new(7);
//! let mut driver = world.driver("server");
//! let listener = driver.listen("0.0.0.0:80".parse().unwrap()).unwrap();
//! driver.register(listener, Token::new(0, 0)).unwrap();
//!
//! let client = world.connect((world.address("server"), 80));
//! client.send("hello");
//! world.settle();
//!
//! let (socket, _) = driver.accept(listener).unwrap();
//! let mut buffer = [0; 16];
//! assert_eq!(driver.read(socket, &mut buffer).unwrap(), 5);
//! ```

mod cancellation;
mod client;
mod driver;
mod faults;
mod network;
mod rng;
mod run;
mod simulation;
mod stream;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use cancellation::cancel_at_each_await;
pub use client::Client;
pub use faults::Faults;
pub use rng::Rng;
pub use run::run;
pub use simulation::{Failure, FailureKind, Simulation, Step, Turning, check};

use crate::event_loop::{Driver, Signal, Socket, Token};
use driver::SimDriver;
use network::{Happening, Network, Shared};

thread_local! {
    /// Worlds made on this thread keep a log from their first moment: [`check`] runs a failing seed again with it.
    static LOGGED: Cell<bool> = const { Cell::new(false) };
}

/// A seeded world: a virtual clock, hosts, a network. Clones are the same world. Not for other threads.
#[derive(Clone)]
pub struct World {
    network: Shared,
    /// For the test's own draws, apart from the network's: a client that draws one number more leaves the faults as
    /// they are.
    script: Rc<Cell<u64>>,
}

impl World {
    /// A world in which nothing goes wrong.
    pub fn new(seed: u64) -> Self {
        Self::with_faults(seed, Faults::none())
    }

    /// A world with `faults`. They are drawn in an order that `seed` determines.
    pub fn with_faults(seed: u64, faults: Faults) -> Self {
        Self {
            network: Network::shared(seed, faults, LOGGED.get()),
            script: Rc::new(Cell::new(Rng::for_purpose(seed, 2).next_u64())),
        }
    }

    /// What this world follows from.
    pub fn seed(&self) -> u64 {
        self.network.borrow().seed
    }

    /// Virtual time. It stands still except between turns; see [`World::advance_to`].
    pub fn now(&self) -> Instant {
        self.network.borrow().now()
    }

    /// Virtual time since the world began.
    pub fn elapsed(&self) -> Duration {
        self.network.borrow().elapsed()
    }

    /// The address of the host called `name`, in 10.0.0.0/8, the same at each call. A name that is an IPv4 address is
    /// its own.
    pub fn address(&self, name: &str) -> Ipv4Addr {
        self.network.borrow_mut().address(name)
    }

    /// The door for one loop on the host called `host`. A host may have several loops; each has its own sockets,
    /// limit of descriptors and signals.
    pub fn driver(&self, host: &str) -> Box<dyn Driver> {
        Box::new(SimDriver::new(Rc::clone(&self.network), host))
    }

    /// Connect a scripted client to `to`. To a client a loopback address is that of whichever host listens there.
    pub fn connect(&self, to: impl Into<SocketAddr>) -> Client {
        Client::connect(Rc::clone(&self.network), None, to.into())
    }

    /// The same from an address of the test's choice, for what is counted by peer.
    pub fn connect_from(&self, from: SocketAddr, to: impl Into<SocketAddr>) -> Client {
        Client::connect(Rc::clone(&self.network), Some(from), to.into())
    }

    /// Let `action` run `delay` from now. Time must be let pass, by a [`Simulation`] or by hand.
    pub fn after(&self, delay: Duration, action: impl FnOnce(&World) + 'static) {
        let what = Happening::Action(Box::new(action));
        self.network.borrow_mut().schedule(delay, what);
    }

    /// Send a signal to every loop on the host called `host`. Returns whether one of them watches it.
    pub fn raise(&self, host: &str, signal: Signal) -> bool {
        let mut network = self.network.borrow_mut();
        let address = network.address(host);
        network.raise(address, signal)
    }

    /// From now on each driver on the host called `host` may have `limit` sockets open. Those beyond it stay open.
    pub fn limit_descriptors(&self, host: &str, limit: Option<usize>) {
        let mut network = self.network.borrow_mut();
        let address = network.address(host);
        network.limit_descriptors(address, limit);
    }

    /// How many sockets the drivers on the host called `host` have open.
    pub fn open_sockets(&self, host: &str) -> usize {
        let mut network = self.network.borrow_mut();
        let address = network.address(host);
        let processes = network.processes_at(address);
        processes.map(|process| network.open_sockets(process)).sum()
    }

    /// Change what goes wrong from now on. Buffers keep the sizes they were opened with.
    ///
    /// A test of liveness ends its faults so, and then asks that everything finishes.
    pub fn set_faults(&self, faults: Faults) {
        self.network.borrow_mut().faults = faults;
    }

    /// The faults as they are.
    pub fn faults(&self) -> Faults {
        self.network.borrow().faults.clone()
    }
}

/// The test's own draws.
impl World {
    fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        let mut rng = Rng::new(self.script.get());
        let drawn = draw(&mut rng);
        self.script.set(rng.next_u64());
        drawn
    }

    /// A number in `range`. See [`Rng::range`].
    pub fn range(&self, range: RangeInclusive<u64>) -> u64 {
        self.draw(|rng| rng.range(range))
    }

    /// True with `probability`. See [`Rng::chance`].
    pub fn chance(&self, probability: f64) -> bool {
        self.draw(|rng| rng.chance(probability))
    }

    /// One of `items`. See [`Rng::pick`].
    pub fn pick<'a, T>(&self, items: &'a [T]) -> &'a T {
        self.draw(|rng| rng.pick(items))
    }

    /// `length` bytes.
    pub fn bytes(&self, length: usize) -> Vec<u8> {
        self.draw(|rng| rng.bytes(length))
    }
}

/// Time, by hand. [`Simulation`] does this between the turns of its loops.
impl World {
    /// When the next thing happens by itself: an arrival, a job, an action. It may be now or earlier.
    pub fn next_event_time(&self) -> Option<Instant> {
        self.network.borrow().next_time()
    }

    /// Set the clock, never back. What is due meanwhile waits for [`World::deliver_one`].
    pub fn advance_to(&self, to: Instant) {
        self.network.borrow_mut().advance_to(to);
    }

    /// Let the first of the things that are due happen. Returns false when nothing is due.
    pub fn deliver_one(&self) -> bool {
        let due = self.network.borrow_mut().take_due();
        match due {
            None => return false,
            Some(Happening::Job(process, job)) => {
                if self.network.borrow_mut().begin_job(process) {
                    // A panic ends a job, not the worker.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                }
            }
            Some(Happening::Action(action)) => action(self),
            Some(what) => self.network.borrow_mut().happen(what),
        }
        true
    }

    /// Let everything happen that will happen without any loop turning, and let the time pass that it takes.
    pub fn settle(&self) {
        while let Some(next) = self.next_event_time() {
            self.advance_to(next);
            self.deliver_one();
        }
    }
}

/// The record of what happened.
impl World {
    /// A hash of everything that happened: each event, each call of a driver with its answer, each byte a loop wrote.
    /// Equal for equal runs.
    pub fn trace_hash(&self) -> u64 {
        self.network.borrow().trace_hash()
    }

    /// Keep a log from now on: the last 10,000 lines, each with its virtual time. A failure prints the last of them.
    pub fn start_log(&self) {
        self.network.borrow_mut().start_log();
    }

    /// The log, a line a thing that happened. Empty unless [`World::start_log`] was called.
    pub fn log(&self) -> Vec<String> {
        self.network.borrow().log_lines(usize::MAX)
    }

    /// What drivers were asked that no correct loop asks: a call on a closed socket, a token of a slot whose last
    /// owner left a socket open. A [`Simulation`] fails on the first.
    pub fn violations(&self) -> Vec<String> {
        self.network.borrow().violations.clone()
    }

    /// Registered sockets of the drivers on the host called `host` that have data, an end, an error or a waiting
    /// connection that was not taken.
    pub fn undrained(&self, host: &str) -> Vec<(Socket, Token)> {
        let mut network = self.network.borrow_mut();
        let address = network.address(host);
        let processes = network.processes_at(address);
        processes
            .flat_map(|process| network.undrained(process))
            .collect()
    }

    /// Every open socket, a line each.
    pub fn describe(&self) -> String {
        self.network.borrow().describe()
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("World")
            .field("seed", &self.seed())
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}
