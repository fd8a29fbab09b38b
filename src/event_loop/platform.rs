//! What the loop stands on: this machine, whose driver is known when the loop is compiled, or any other driver.
//!
//! A call through a table of functions cannot be inlined, and each return behind a system call is one that the
//! processor no longer foresees. So the few calls that every turn and every request makes go straight to this machine's
//! driver when it is that one, which saves some 5 % of the time between two system calls (docs/performance.md).

use std::hint::cold_path;
use std::io;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use super::driver::{Clock, Driver, Event, Socket};
use super::mio_driver::{MachineClock, MioDriver};

/// A driver. What is rare is called as [`Driver`] has it.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one in a loop, and the usual one is the large one"
)]
pub(super) enum Platform {
    Machine(MioDriver),
    Other(Box<dyn Driver>),
}

impl Platform {
    pub(super) fn time(&self) -> Time {
        match self {
            Self::Machine(_) => Time::Machine,
            Self::Other(driver) => Time::Other(driver.clock()),
        }
    }

    #[inline(always)]
    pub(super) fn poll(
        &mut self,
        events: &mut Vec<Event>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        match self {
            Self::Machine(driver) => driver.poll(events, timeout),
            Self::Other(driver) => {
                cold_path();
                driver.poll(events, timeout)
            }
        }
    }

    #[inline(always)]
    pub(super) fn read(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Machine(driver) => driver.read(socket, buffer),
            Self::Other(driver) => {
                cold_path();
                driver.read(socket, buffer)
            }
        }
    }

    #[inline(always)]
    pub(super) fn write(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Machine(driver) => driver.write(socket, bytes),
            Self::Other(driver) => {
                cold_path();
                driver.write(socket, bytes)
            }
        }
    }
}

impl Deref for Platform {
    type Target = dyn Driver;

    fn deref(&self) -> &(dyn Driver + 'static) {
        match self {
            Self::Machine(driver) => driver,
            Self::Other(driver) => &**driver,
        }
    }
}

impl DerefMut for Platform {
    fn deref_mut(&mut self) -> &mut (dyn Driver + 'static) {
        match self {
            Self::Machine(driver) => driver,
            Self::Other(driver) => &mut **driver,
        }
    }
}

/// A driver's clock.
pub(super) enum Time {
    Machine,
    Other(Rc<dyn Clock>),
}

impl Time {
    #[inline(always)]
    pub(super) fn now(&self) -> Instant {
        match self {
            Self::Machine => MachineClock.now(),
            Self::Other(clock) => {
                cold_path();
                clock.now()
            }
        }
    }

    pub(super) fn wall_clock(&self) -> SystemTime {
        match self {
            Self::Machine => MachineClock.wall_clock(),
            Self::Other(clock) => clock.wall_clock(),
        }
    }
}
