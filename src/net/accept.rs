//! Taking connections in, also when there is no room for them.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use crate::event_loop::{Ctx, Inspection, Next, Readiness, Socket, Source, TimerId, Token};

/// Connections taken in one visit; those behind them wait a turn, so that a storm of them does not delay the served.
const ACCEPTS_MAX: usize = 64;
/// When descriptors run out, so many idle connections give way at once.
const SHED_MAX: usize = 32;
/// When none is idle, so many of those who wait are turned away at once: better a clear no than a silent wait.
const TURNED_AWAY_MAX: usize = 64;
/// How long to rest when the machine has no descriptors or memory left.
const PAUSE: Duration = Duration::from_millis(100);

/// What accept(2) of Linux reports of a connection that broke before it was taken in, beside those with a name of their
/// own: EPROTO, ENONET, ENOPROTOOPT, EOPNOTSUPP, EHOSTDOWN.
const BROKEN: &[i32] = if cfg!(target_os = "linux") {
    &[71, 64, 92, 95, 112]
} else {
    &[]
};

/// EMFILE and ENFILE, the same on every Unix: this process, or the machine, has no descriptor left.
const OUT_OF_DESCRIPTORS: [i32; 2] = [24, 23];

/// A listening socket as a source. Each connection is handed to `on_accept`, unregistered.
pub struct Acceptor<F> {
    listener: Socket,
    on_accept: F,
    /// How many more may be taken in; `on_accept` counts them. `None`: all who come.
    room: Option<Rc<Cell<usize>>>,
    pause: Option<TimerId>,
}

impl<F: FnMut(&mut Ctx<'_>, Socket, SocketAddr) + 'static> Acceptor<F> {
    /// Listen on `address` (port 0 picks one) and give every connection to `on_accept`, which owns it from then on.
    /// Returns the source's token, to close it by, and the address.
    ///
    /// # Errors
    /// As bind(2): the address is in use, is not this machine's, or needs privileges.
    #[track_caller]
    pub fn listen(
        ctx: &mut Ctx<'_>,
        address: SocketAddr,
        on_accept: F,
    ) -> io::Result<(Token, SocketAddr)> {
        ctx.listen(address, |listener| {
            Box::new(Self::new(listener, None, on_accept))
        })
    }

    /// As [`Acceptor::listen`], but no connection is taken in while `room` is 0. `on_accept` counts it down. Who counts
    /// it up from 0 sees to it that the source is visited, since no event will come for those who wait.
    #[track_caller]
    pub(super) fn listen_within(
        ctx: &mut Ctx<'_>,
        address: SocketAddr,
        room: Rc<Cell<usize>>,
        on_accept: F,
    ) -> io::Result<(Token, SocketAddr)> {
        ctx.listen(address, |listener| {
            Box::new(Self::new(listener, Some(room), on_accept))
        })
    }

    /// As [`Acceptor::listen_within`], at the Unix socket `path`. `on_accept` gets no address that means anything.
    #[cfg(unix)]
    #[track_caller]
    pub(super) fn listen_unix_within(
        ctx: &mut Ctx<'_>,
        path: &std::path::Path,
        room: Rc<Cell<usize>>,
        on_accept: F,
    ) -> io::Result<Token> {
        ctx.listen_unix(path, |listener| {
            Box::new(Self::new(listener, Some(room), on_accept))
        })
    }

    /// As [`Acceptor::listen`], on a listener that was made elsewhere.
    ///
    /// # Errors
    /// As [`crate::event_loop::Driver::adopt_listener`].
    #[track_caller]
    pub fn listen_on(
        ctx: &mut Ctx<'_>,
        listener: TcpListener,
        on_accept: F,
    ) -> io::Result<(Token, SocketAddr)> {
        ctx.listen_on(listener, |listener| {
            Box::new(Self::new(listener, None, on_accept))
        })
    }

    fn new(listener: Socket, room: Option<Rc<Cell<usize>>>, on_accept: F) -> Self {
        Self {
            listener,
            on_accept,
            room,
            pause: None,
        }
    }

    fn is_full(&self) -> bool {
        self.room.as_ref().is_some_and(|room| room.get() == 0)
    }

    /// No descriptors: make room if anyone can be spared, else say no to those who wait. Try again when a source has
    /// closed, or after a while: a descriptor that becomes free raises no event, and may be another process's.
    fn out_of_descriptors(&mut self, ctx: &mut Ctx<'_>) -> Next {
        let shed = shed_idle(ctx);
        ctx.count_out_of_descriptors(shed, 0);
        if shed > 0 {
            return Next::Again;
        }
        let turned_away = ctx.driver().turn_away(self.listener, TURNED_AWAY_MAX);
        ctx.count_out_of_descriptors(0, turned_away);
        ctx.wake_after_close();
        self.rest(ctx)
    }

    fn rest(&mut self, ctx: &mut Ctx<'_>) -> Next {
        let (token, when) = (ctx.token(), ctx.now() + PAUSE);
        self.pause = Some(ctx.set_timer(token, when));
        Next::Wait
    }
}

/// Close the connections that have been idle longest. Returns how many. (Nobody may be waiting for them: with the table
/// of descriptors full, accept(2) fails before it looks. Then there is room for the next.)
fn shed_idle(ctx: &mut Ctx<'_>) -> usize {
    let mut idle: BinaryHeap<_> = ctx
        .census()
        .filter_map(|(token, source)| source.idle_rank.map(|rank| Reverse((rank, token))))
        .collect();
    let longest = std::iter::from_fn(|| idle.pop()).take(SHED_MAX);
    longest.map(|Reverse((_, token))| ctx.close(token)).count()
}

impl<F: FnMut(&mut Ctx<'_>, Socket, SocketAddr) + 'static> Source for Acceptor<F> {
    fn ready(&mut self, ctx: &mut Ctx<'_>, readiness: Readiness) -> Next {
        if readiness.contains(Readiness::TIMER) {
            self.pause = None;
        }
        if readiness.contains(Readiness::WOKEN)
            && let Some(pause) = self.pause.take()
        {
            ctx.unset_timer(pause);
        }
        if self.pause.is_some() {
            return Next::Wait;
        }
        for _ in 0..ACCEPTS_MAX {
            if self.is_full() {
                return Next::Wait;
            }
            match ctx.driver().accept(self.listener) {
                Ok((socket, peer)) => (self.on_accept)(ctx, socket, peer),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Next::Wait,
                    // accept(2): the error is that one connection's, and has gone with it.
                    ErrorKind::ConnectionAborted
                    | ErrorKind::ConnectionReset
                    | ErrorKind::Interrupted
                    | ErrorKind::PermissionDenied
                    | ErrorKind::TimedOut
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::NetworkDown => {}
                    _ if error
                        .raw_os_error()
                        .is_some_and(|code| OUT_OF_DESCRIPTORS.contains(&code)) =>
                    {
                        return self.out_of_descriptors(ctx);
                    }
                    _ if error
                        .raw_os_error()
                        .is_some_and(|code| BROKEN.contains(&code)) => {}
                    // ENOBUFS, ENOMEM, and whatever else may last.
                    _ => return self.rest(ctx),
                },
            }
        }
        Next::Again
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(pause) = self.pause {
            ctx.unset_timer(pause);
        }
        ctx.driver().close(self.listener);
    }

    fn inspect(&self) -> Inspection {
        let state = match self.pause {
            Some(_) => "resting",
            None if self.is_full() => "full",
            None => "listening",
        };
        Inspection {
            kind: "listener",
            state,
            paused: self.pause.is_some() || self.is_full(),
            read_drained: true,
            socket: Some(self.listener),
            ..Inspection::default()
        }
    }
}
