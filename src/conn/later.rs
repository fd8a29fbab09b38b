//! An answer that a task will give: how long it may take, and what becomes of it when its peer goes.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::limits::{CENTURY, Hits};
use super::server::Shared;
use super::service::Answer;
use crate::event_loop::{
    Ctx, Handle, Inspection, Origin, Panicked, SourceWaker, Waits, poll_in_budget,
};

/// What becomes of a task when its peer goes before it has answered.
///
/// A peer has gone when its connection breaks. It counts as gone also when it has ended its half, since that is all
/// that is seen of a browser whose tab was closed, or of a request that was given up: unless
/// [`super::Limits::half_close`] says that such peers still read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnDisconnect {
    /// Its future is dropped: nobody waits for the answer, so nobody works for it. A streamed answer ends likewise: its
    /// sender is told by [`super::Disconnected`].
    #[default]
    Cancel,
    /// It runs to its end, for the sake of what it does: as a task of its own, once the connection has closed. A
    /// graceful shutdown waits for it, until its deadline. A peer that has only ended its half gets the answer.
    Detach,
    /// It runs to its end in the same way, and [`super::Request::disconnected`] tells it. A peer that has only ended
    /// its half gets the answer.
    Notify,
}

/// An answer that a task will give, see [`super::Reply::Later`].
pub struct Later {
    /// The task.
    pub future: Pin<Box<dyn Future<Output = Answer>>>,
    /// How long it may take; `None` for [`super::Limits::handler_timeout`].
    pub timeout: Option<Duration>,
    /// What becomes of it when its peer goes.
    pub on_disconnect: OnDisconnect,
    /// Told when its peer goes, see [`super::Request::disconnection`]. For [`OnDisconnect::Notify`].
    pub disconnection: Option<Disconnection>,
}

impl Later {
    /// With the server's timeout, and dropped when its peer goes.
    pub fn new(future: impl Future<Output = Answer> + 'static) -> Self {
        Self {
            future: Box::pin(future),
            timeout: None,
            on_disconnect: OnDisconnect::default(),
            disconnection: None,
        }
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later")
            .field("timeout", &self.timeout)
            .field("on_disconnect", &self.on_disconnect)
            .finish_non_exhaustive()
    }
}

/// Tells that a request's peer has gone. The clones are the same.
#[derive(Clone, Default)]
pub struct Disconnection(Rc<Gone>);

#[derive(Default)]
struct Gone {
    has: Cell<bool>,
    waiting: Cell<Vec<Waker>>,
}

impl Disconnection {
    /// Whether it has gone.
    pub fn is_here(&self) -> bool {
        self.0.has.get()
    }

    /// Wait until it has gone.
    pub async fn wait(&self) {
        poll_fn(|context| {
            if self.is_here() {
                return Poll::Ready(());
            }
            let mut waiting = self.0.waiting.take();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            self.0.waiting.set(waiting);
            Poll::Pending
        })
        .await;
    }

    fn tell(&self) {
        self.0.has.set(true);
        self.0.waiting.take().into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Disconnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Disconnection")
            .field(&self.is_here())
            .finish()
    }
}

/// A task that is at work on its connection.
pub(super) struct Running {
    later: Later,
    waker: SourceWaker,
    origin: Origin,
    begun: Instant,
    /// What the last poll waits for, and since when.
    waits: Waits,
    since: Instant,
}

impl Running {
    pub(super) fn new(ctx: &Ctx<'_>, later: Later, origin: Origin) -> Box<Self> {
        Box::new(Self {
            later,
            waker: SourceWaker::new(ctx.remote(), ctx.token()),
            origin,
            begun: ctx.now(),
            waits: Waits::default(),
            since: ctx.now(),
        })
    }

    pub(super) fn take_woken(&self) -> bool {
        self.waker.take_woken()
    }

    pub(super) fn poll(&mut self, now: Instant) -> Result<Poll<Answer>, Panicked> {
        let future = self.later.future.as_mut();
        self.since = now;
        let polled;
        (polled, self.waits) = poll_in_budget(&self.waker, |context| future.poll(context));
        polled.map_err(|panic| panic.blame(self.origin))
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    /// How it waits.
    pub(super) fn inspect(&self) -> Inspection {
        Inspection {
            state: "in its handler",
            origin: Some(self.origin),
            created: Some(self.begun),
            waits_on: self.waits.last,
            waits: self.waits.count,
            since: Some(self.since),
            is_lost: self.waker.is_lost(),
            ..Inspection::default()
        }
    }

    /// How long it may take, from when it has its request.
    pub(super) fn timeout(&self, shared: &Shared) -> Duration {
        self.later.timeout.unwrap_or(shared.limits.handler_timeout)
    }

    /// Its peer has ended its half. Whether the task ends with that.
    pub(super) fn peer_ended(&self) -> bool {
        if let Some(disconnection) = &self.later.disconnection {
            disconnection.tell();
        }
        self.later.on_disconnect == OnDisconnect::Cancel
    }

    /// Its connection has closed. A task that goes on has its timeout once more, and has a place among the connections.
    pub(super) fn connection_closed(self: Box<Self>, handle: &Handle, shared: &Rc<Shared>) {
        if self.peer_ended() {
            return;
        }
        let timeout = self.timeout(shared);
        let place = Place::take(handle, shared);
        let alarm = handle.clone();
        handle.spawn_from(self.origin, async move {
            if within(&alarm, timeout, self.later.future).await.is_none() {
                Hits::count(&place.shared.hits.handler_timeout);
            }
        });
    }
}

/// Held by a task that outlives its connection: it is as much work as one.
struct Place {
    shared: Rc<Shared>,
    handle: Handle,
}

impl Place {
    fn take(handle: &Handle, shared: &Rc<Shared>) -> Self {
        shared.count_detached(1);
        Self {
            shared: Rc::clone(shared),
            handle: handle.clone(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.count_detached(-1);
        if self.shared.is_draining() {
            let shared = Rc::clone(&self.shared);
            self.handle.call_soon(move |ctx| shared.finish_drain(ctx));
        }
    }
}

/// What `future` comes to, or `None` when that takes longer than `timeout`. It is dropped then.
pub(crate) async fn within<T>(
    handle: &Handle,
    timeout: Duration,
    mut future: Pin<Box<dyn Future<Output = T>>>,
) -> Option<T> {
    let mut alarm = pin!(handle.sleep(timeout.min(CENTURY)));
    poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => alarm.as_mut().poll(context).map(|()| None),
    })
    .await
}
