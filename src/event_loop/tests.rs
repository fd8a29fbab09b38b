//! The loop's promises, one by one.

mod calls;
mod control;
mod debug;
mod flight;
mod manual;
#[cfg(unix)]
mod outside;
#[cfg(target_os = "linux")]
mod probes;
mod recorder;
mod rules;
mod sockets;
mod tasks;

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

/// What happened, in order.
type Log = Rc<RefCell<Vec<&'static str>>>;

fn log() -> Log {
    Log::default()
}

/// A callback that notes its name.
fn note(log: &Log, name: &'static str) -> impl FnOnce(&mut Ctx<'_>) + 'static {
    let log = Rc::clone(log);
    move |_| log.borrow_mut().push(name)
}

fn taken(log: &Log) -> Vec<&'static str> {
    std::mem::take(&mut log.borrow_mut())
}

/// A source made of a closure, that notes its end.
struct Visited<F> {
    visit: F,
    closed: Option<(Log, &'static str)>,
}

impl<F: FnMut(&mut Ctx<'_>, Readiness) -> Next + 'static> Visited<F> {
    fn by(visit: F) -> Box<dyn Source> {
        let closed = None;
        Box::new(Self { visit, closed })
    }

    fn and_closed(log: &Log, name: &'static str, visit: F) -> Box<dyn Source> {
        let closed = Some((Rc::clone(log), name));
        Box::new(Self { visit, closed })
    }
}

impl<F: FnMut(&mut Ctx<'_>, Readiness) -> Next + 'static> Source for Visited<F> {
    fn ready(&mut self, ctx: &mut Ctx<'_>, readiness: Readiness) -> Next {
        (self.visit)(ctx, readiness)
    }

    fn closed(&mut self, _: &mut Ctx<'_>) {
        if let Some((log, name)) = &self.closed {
            log.borrow_mut().push(name);
        }
    }
}
