//! Small sources for what is not a socket of ours: signals, and descriptors that belong to someone else.

use super::Ctx;
use super::driver::{Readiness, Signal};
use super::source::{Inspection, Next, Source};

/// Calls back when a signal has come.
pub(super) struct SignalWatch<F> {
    signal: Signal,
    callback: F,
}

impl<F> SignalWatch<F> {
    pub(super) fn new(signal: Signal, callback: F) -> Self {
        Self { signal, callback }
    }
}

impl<F: FnMut(&mut Ctx<'_>) + 'static> Source for SignalWatch<F> {
    fn ready(&mut self, ctx: &mut Ctx<'_>, _: Readiness) -> Next {
        if ctx.driver().take_signal(self.signal) {
            (self.callback)(ctx);
        }
        Next::Wait
    }

    fn inspect(&self) -> Inspection {
        Inspection {
            kind: "signal",
            read_drained: true,
            ..Inspection::default()
        }
    }
}

/// Calls back when a foreign descriptor is ready.
#[cfg(unix)]
pub(super) struct DescriptorWatch {
    fd: std::os::fd::RawFd,
    callback: Box<dyn FnMut(&mut Ctx<'_>)>,
}

#[cfg(unix)]
impl DescriptorWatch {
    pub(super) fn new(fd: std::os::fd::RawFd, callback: Box<dyn FnMut(&mut Ctx<'_>)>) -> Self {
        Self { fd, callback }
    }
}

#[cfg(unix)]
impl Source for DescriptorWatch {
    fn ready(&mut self, ctx: &mut Ctx<'_>, _: Readiness) -> Next {
        (self.callback)(ctx);
        Next::Wait
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        // Fails only if the descriptor was closed before, against the rule; then epoll has forgotten it.
        let _ = ctx.driver().unwatch_descriptor(self.fd);
    }

    fn inspect(&self) -> Inspection {
        Inspection {
            kind: "descriptor",
            read_drained: true,
            ..Inspection::default()
        }
    }
}
