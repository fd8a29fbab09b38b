//! What code that the loop has called may do, now: [`Ctx`] is the loop without its `turn`.

use std::hint::cold_path;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::Deref;
use std::panic::Location;
use std::time::Instant;

use super::driver::{Driver, Signal, Socket, Token};
use super::handle::Handle;
use super::source::{Inspection, Next, Source};
use super::watch::SignalWatch;
use super::{Buffers, EventLoop, Origin, Stats, Work};
use crate::parts::wheel::TimerId;

/// The loop, lent to a source or a callback for the time of one visit. Where a [`Handle`] enqueues, a `Ctx` does. All
/// of `Handle`'s methods are here too.
pub struct Ctx<'a> {
    pub(super) event_loop: &'a mut EventLoop,
    pub(super) token: Option<Token>,
}

impl Deref for Ctx<'_> {
    type Target = Handle;
    fn deref(&self) -> &Handle {
        &self.event_loop.handle
    }
}

impl Ctx<'_> {
    /// The source that is being visited.
    ///
    /// # Panics
    /// In a callback, which is no source.
    pub fn token(&self) -> Token {
        self.token.expect("a callback has no token")
    }

    /// The same for a shorter time, to lend it on.
    pub fn reborrow(&mut self) -> Ctx<'_> {
        Ctx {
            event_loop: self.event_loop,
            token: self.token,
        }
    }

    /// The handle, to keep.
    pub fn handle(&self) -> &Handle {
        &self.event_loop.handle
    }

    /// The door to the outside: sockets.
    pub fn driver(&mut self) -> &mut dyn Driver {
        &mut *self.event_loop.driver
    }

    /// Take a source in. `make` gets the token it will have. It is visited when something happens to it.
    #[track_caller]
    pub fn add_source(&mut self, make: impl FnOnce(Token) -> Box<dyn Source>) -> Token {
        self.event_loop.insert(make, Location::caller())
    }

    /// Take a source in that stands behind `socket`, and register the socket for it.
    ///
    /// # Errors
    /// When the socket cannot be registered. It is closed then, and the source dropped without a visit.
    #[track_caller]
    pub fn add_socket(
        &mut self,
        socket: Socket,
        make: impl FnOnce(Token) -> Box<dyn Source>,
    ) -> io::Result<Token> {
        let token = self.event_loop.insert(make, Location::caller());
        if let Err(error) = self.event_loop.driver.register(socket, token) {
            self.event_loop.driver.close(socket);
            self.event_loop.forget(token);
            return Err(error);
        }
        Ok(token)
    }

    /// Register `socket` for its source, if that is still there. For a source that was taken in with
    /// [`Ctx::add_source`] and visited first: a connection that comes and goes in one visit is never registered, which
    /// saves a system call of five. Nothing is missed: what is to be read by now is an event, too (epoll_ctl(2)).
    ///
    /// When the socket cannot be registered, the source is closed.
    pub fn register_late(&mut self, socket: Socket, token: Token) {
        if self.event_loop.sources.get(token.into()).is_some()
            && self.event_loop.driver.register(socket, token).is_err()
        {
            self.close(token);
        }
    }

    /// Open a listening socket for a source that takes connections. Listeners are visited after all other sources of a
    /// turn (rule R9), so that those who are served come before those who want to be. Returns the source's token and
    /// the address, with the port that was picked.
    ///
    /// # Errors
    /// As [`Driver::listen`].
    #[track_caller]
    pub fn listen(
        &mut self,
        address: SocketAddr,
        make: impl FnOnce(Socket) -> Box<dyn Source>,
    ) -> io::Result<(Token, SocketAddr)> {
        let socket = self.event_loop.driver.listen(address)?;
        self.add_tcp_listener(socket, make, Location::caller())
    }

    /// As [`Ctx::listen`], at the Unix socket `path`.
    ///
    /// # Errors
    /// As [`Driver::listen_unix`].
    #[cfg(unix)]
    #[track_caller]
    pub fn listen_unix(
        &mut self,
        path: &std::path::Path,
        make: impl FnOnce(Socket) -> Box<dyn Source>,
    ) -> io::Result<Token> {
        let socket = self.event_loop.driver.listen_unix(path)?;
        self.add_listener(socket, make, Location::caller())
    }

    /// As [`Ctx::listen`], with a listener that was made elsewhere.
    ///
    /// # Errors
    /// As [`Driver::adopt_listener`].
    #[track_caller]
    pub fn listen_on(
        &mut self,
        listener: TcpListener,
        make: impl FnOnce(Socket) -> Box<dyn Source>,
    ) -> io::Result<(Token, SocketAddr)> {
        let socket = self.event_loop.driver.adopt_listener(listener)?;
        self.add_tcp_listener(socket, make, Location::caller())
    }

    fn add_tcp_listener(
        &mut self,
        socket: Socket,
        make: impl FnOnce(Socket) -> Box<dyn Source>,
        origin: Origin,
    ) -> io::Result<(Token, SocketAddr)> {
        let local = self.event_loop.driver.local_addr(socket)?;
        let token = self.add_listener(socket, make, origin)?;
        Ok((token, local))
    }

    fn add_listener(
        &mut self,
        socket: Socket,
        make: impl FnOnce(Socket) -> Box<dyn Source>,
        origin: Origin,
    ) -> io::Result<Token> {
        let token = self.event_loop.insert(|_| make(socket), origin);
        if let Err(error) = self.event_loop.driver.register(socket, token) {
            self.event_loop.driver.close(socket);
            self.event_loop.forget(token);
            return Err(error);
        }
        self.event_loop.listeners.push(token);
        Ok(token)
    }

    /// Visit `token`'s source at once, on this stack, as if an event had come: for a source that was just added and
    /// may have something to do already.
    pub(crate) fn visit(&mut self, token: Token, readiness: super::Readiness) {
        self.event_loop.visit_now(token, readiness);
    }

    /// Put another source in the place of the one that is being visited: it has the token from now on, and with it the
    /// registration of its socket, its timers and its wakers. For a connection that is to speak another protocol. The
    /// visited source is dropped behind its visit, without [`Source::closed`]; `next` is what the other one wants.
    ///
    /// Returns the answer to give for the visit, without which nothing is replaced.
    ///
    /// ```
    /// use tourbillon::event_loop::{Ctx, EventLoop, Next, Readiness, Source};
    ///
    /// struct Caterpillar;
    /// struct Butterfly;
    ///
    /// impl Source for Caterpillar {
    ///     fn ready(&mut self, ctx: &mut Ctx<'_>, _: Readiness) -> Next {
    ///         ctx.become_source(Box::new(Butterfly), Next::Again)
    ///     }
    /// }
    ///
    /// impl Source for Butterfly {
    ///     fn ready(&mut self, ctx: &mut Ctx<'_>, _: Readiness) -> Next {
    ///         ctx.stop();
    ///         Next::Close
    ///     }
    /// }
    ///
    /// let mut event_loop = EventLoop::new()?;
    /// let token = event_loop.ctx().add_source(|_| Box::new(Caterpillar));
    /// event_loop.wake(token);
    /// event_loop.run()?;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Panics
    /// In a callback, which is no source.
    pub fn become_source(&mut self, source: Box<dyn Source>, next: Next) -> Next {
        let _ = self.token();
        // If it has itself become another one by now, that is here already.
        if next != Next::Become {
            self.event_loop.successor = Some((source, next));
        }
        Next::Become
    }

    /// End `token`'s source, as if it had answered [`Next::Close`]. What it has not written yet is lost.
    pub fn close(&mut self, token: Token) {
        self.event_loop.close(token);
    }

    /// End the task that `token` names, as its `abort` does: its future is dropped in this turn, and whoever waits for
    /// it hears that it was cancelled. `false` when it names no task.
    pub fn cancel_task(&mut self, token: Token) -> bool {
        let is_task = self
            .inspect(token)
            .is_some_and(|found| found.kind == "task");
        if is_task {
            self.close(token);
        }
        is_task
    }

    /// Visit the source that is being visited again, with `WOKEN`, once any other has closed: for one that waits for
    /// something that a source gives back then, such as a descriptor.
    ///
    /// # Panics
    /// In a callback, which is no source.
    pub fn wake_after_close(&mut self) {
        let token = self.token();
        let waiting = &mut self.event_loop.waiting_for_close;
        if !waiting.contains(&token) {
            waiting.push(token);
        }
    }

    /// Whether `token` still names a source.
    pub fn is_open(&self, token: Token) -> bool {
        self.event_loop.sources.contains(token.into())
    }

    /// Set a timer for `token`'s source: it is visited with `TIMER` when `when` has passed.
    pub fn set_timer(&mut self, token: Token, when: Instant) -> TimerId {
        let tick = self.tick_after(when);
        self.set_source_timer(token, tick)
    }

    /// Move a timer that has not fired. `false` when it has.
    pub fn move_timer(&mut self, timer: TimerId, when: Instant) -> bool {
        let tick = self.tick_after(when);
        self.reset_timer(timer, tick)
    }

    /// As [`Ctx::set_timer`], in ticks, see [`Handle::tick`].
    pub(crate) fn set_timer_tick(&mut self, token: Token, tick: u64) -> TimerId {
        self.set_source_timer(token, tick)
    }

    /// As [`Ctx::move_timer`], in ticks.
    pub(crate) fn move_timer_tick(&mut self, timer: TimerId, tick: u64) -> bool {
        self.reset_timer(timer, tick)
    }

    /// Take back a timer that has not fired. `false` when it has.
    pub fn unset_timer(&mut self, timer: TimerId) -> bool {
        self.cancel_timer(timer)
    }

    /// Call `callback` each time `signal` comes, instead of what the signal does by default.
    ///
    /// # Errors
    /// When the signal cannot be caught here.
    #[track_caller]
    pub fn on_signal(
        &mut self,
        signal: Signal,
        callback: impl FnMut(&mut Ctx<'_>) + 'static,
    ) -> io::Result<Token> {
        let token = self.add_source(|_| Box::new(SignalWatch::new(signal, callback)));
        self.event_loop
            .driver
            .watch_signal(signal, token)
            .inspect_err(|_| self.event_loop.forget(token))?;
        Ok(token)
    }

    /// Call `callback` each time the foreign descriptor `fd` has become readable. Edge-triggered: read until
    /// `WouldBlock`. Ends with [`Ctx::close`] of the token, before `fd` is closed. A descriptor is watched in one
    /// direction only.
    ///
    /// # Errors
    /// As epoll_ctl(2): `fd` is closed, watched already, or of a kind that cannot be waited for.
    #[cfg(unix)]
    #[track_caller]
    pub fn add_reader(
        &mut self,
        fd: std::os::fd::RawFd,
        callback: impl FnMut(&mut Ctx<'_>) + 'static,
    ) -> io::Result<Token> {
        self.watch(fd, super::Watch::Read, Box::new(callback))
    }

    /// As [`Ctx::add_reader`], for writing.
    ///
    /// # Errors
    /// As [`Ctx::add_reader`].
    #[cfg(unix)]
    #[track_caller]
    pub fn add_writer(
        &mut self,
        fd: std::os::fd::RawFd,
        callback: impl FnMut(&mut Ctx<'_>) + 'static,
    ) -> io::Result<Token> {
        self.watch(fd, super::Watch::Write, Box::new(callback))
    }

    #[cfg(unix)]
    #[track_caller]
    fn watch(
        &mut self,
        fd: std::os::fd::RawFd,
        watch: super::Watch,
        callback: Box<dyn FnMut(&mut Ctx<'_>)>,
    ) -> io::Result<Token> {
        let token = self.add_source(|_| Box::new(super::watch::DescriptorWatch::new(fd, callback)));
        let watched = self.event_loop.driver.watch_descriptor(fd, watch, token);
        watched.inspect_err(|_| self.event_loop.forget(token))?;
        Ok(token)
    }

    /// Whether debug mode or the watchdog wants to hear of each handler.
    #[inline]
    pub(crate) fn looks_closely(&self) -> bool {
        self.event_loop.looks_closely
    }

    /// A handler begins that debug mode and the watchdog are to know by itself: it runs in the visit of a connection,
    /// and was created elsewhere. [`Ctx::end_handler`] follows, also after a panic.
    #[inline]
    pub(crate) fn begin_handler(&mut self, origin: impl FnOnce() -> Origin) {
        if self.event_loop.looks_closely {
            cold_path();
            self.event_loop.watch(|| Work::handler(origin()));
        }
    }

    /// The handler that has begun last has ended.
    #[inline]
    pub(crate) fn end_handler(&mut self, origin: impl FnOnce() -> Origin) {
        if self.event_loop.looks_closely {
            cold_path();
            self.event_loop.handler_ended(self.token, origin());
        }
    }

    /// Run at most so many callbacks in each turn, and at least one. What was limited more before stays so.
    pub fn limit_callbacks(&mut self, callbacks_max: usize) {
        let limit = &mut self.event_loop.callbacks_max;
        *limit = callbacks_max.clamp(1, *limit);
    }

    /// The loop's shared buffers, for the time of this visit; give them back with [`Ctx::give_back`]. A second loan
    /// at the same time is served with fresh ones.
    #[inline]
    pub fn lend_buffers(&mut self) -> Box<Buffers> {
        self.event_loop.lend_buffers()
    }

    /// See [`Ctx::lend_buffers`].
    #[inline]
    pub fn give_back(&mut self, buffers: Box<Buffers>) {
        if let Some(others) = self.event_loop.buffers.replace(buffers) {
            cold_path();
            drop(others);
        }
    }

    /// Every source, described. Costs a pass over all of them.
    pub fn census(&self) -> impl Iterator<Item = (Token, Inspection)> {
        self.event_loop.census()
    }

    /// One source, described; `None` when `token` names nobody, or the one that is being visited.
    pub fn inspect(&self, token: Token) -> Option<Inspection> {
        self.event_loop.inspect(token)
    }

    /// Report a panic that was caught on the way and is answered there.
    pub(crate) fn report(&mut self, panicked: &super::Panicked) {
        self.event_loop.report(panicked);
    }

    /// There were no descriptors: so many connections were closed, or dropped as they came, because of that.
    pub(crate) fn count_out_of_descriptors(&mut self, shed: usize, turned_away: usize) {
        self.event_loop.stats.shed += shed as u64;
        self.event_loop.stats.turned_away += turned_away as u64;
    }

    /// What the loop has counted.
    pub fn stats(&self) -> Stats {
        self.event_loop.stats()
    }
}
