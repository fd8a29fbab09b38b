//! A listening socket for tasks: its source takes connections in until so many wait, and a task takes them from there.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use super::socket_stream::SocketStream;
use crate::event_loop::{Ctx, Detail, Handle, Token, waits_on};
use crate::task::coop;

/// Connections that were taken in and wait for [`SocketListener::accept`]; those behind them wait in the kernel.
const WAITING_MAX: usize = 64;

/// What a listener's source and its task share.
pub(super) struct Intake<A> {
    waiting: RefCell<VecDeque<SocketStream<A>>>,
    /// How many more may be taken in.
    room: Rc<Cell<usize>>,
    acceptor: Cell<Option<Waker>>,
}

impl<A> Intake<A> {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            waiting: RefCell::new(VecDeque::new()),
            room: Rc::new(Cell::new(WAITING_MAX)),
            acceptor: Cell::new(None),
        })
    }

    pub(super) fn room(&self) -> Rc<Cell<usize>> {
        Rc::clone(&self.room)
    }

    /// A connection was taken in. One that could not be registered is closed already.
    pub(super) fn push(&self, stream: io::Result<SocketStream<A>>) {
        let Ok(stream) = stream else { return };
        self.room.set(self.room.get() - 1);
        self.waiting.borrow_mut().push_back(stream);
        if let Some(waker) = self.acceptor.take() {
            waker.wake();
        }
    }

    fn pop(&self) -> Option<SocketStream<A>> {
        self.waiting.borrow_mut().pop_front()
    }
}

/// A listening socket, see [`TcpListener`](super::TcpListener) and [`UnixListener`](super::UnixListener). At most 64
/// connections are taken in before they are asked for; the kernel keeps those behind them.
///
/// Dropping it stops listening, and closes the connections that nobody asked for.
pub struct SocketListener<A> {
    handle: Handle,
    token: Token,
    local: A,
    intake: Rc<Intake<A>>,
}

impl<A: Clone> SocketListener<A> {
    pub(super) fn new(ctx: &Ctx<'_>, token: Token, local: A, intake: Rc<Intake<A>>) -> Self {
        Self {
            handle: ctx.handle().clone(),
            token,
            local,
            intake,
        }
    }

    /// Where it listens; for TCP with the port that was picked.
    pub fn local_addr(&self) -> A {
        self.local.clone()
    }

    /// Wait for the next connection. Dropping the future loses none.
    ///
    /// # Errors
    /// None by now: what may be wrong with one connection is not told to those who wait for another, and when
    /// descriptors run out, it waits until there are some.
    pub async fn accept(&mut self) -> io::Result<(SocketStream<A>, A)> {
        let stream = poll_fn(|context| self.poll_accept(context)).await?;
        let peer = stream.peer_addr();
        Ok((stream, peer))
    }

    /// As [`SocketListener::accept`], polled.
    ///
    /// # Errors
    /// As [`SocketListener::accept`].
    pub fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<SocketStream<A>>> {
        ready!(coop::poll_proceed(context));
        if let Some(stream) = self.intake.pop() {
            let room = self.intake.room.get();
            self.intake.room.set(room + 1);
            if room == 0 {
                // It has stopped taking connections in, and no edge will come for those who wait (rule R4).
                self.handle.mark_dirty(self.token);
            }
            return Poll::Ready(Ok(stream));
        }
        let before = self.intake.acceptor.replace(Some(context.waker().clone()));
        drop(before);
        waits_on("socket accept", Detail::Socket(self.token));
        Poll::Pending
    }
}

impl<A> Drop for SocketListener<A> {
    fn drop(&mut self) {
        let token = self.token;
        self.handle.call_soon(move |ctx| ctx.close(token));
        // Until then nothing more is taken in.
        self.intake.room.set(0);
        while let Some(stream) = self.intake.pop() {
            drop(stream);
        }
    }
}

impl<A: fmt::Debug> fmt::Debug for SocketListener<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketListener")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}
