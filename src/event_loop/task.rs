//! A task: a source whose visit polls a future.
//!
//! Most tasks end in their first poll. So that one gets no box but that of its future and no place among the sources, a
//! new task is not a source yet: it stands in the ready queue as it is, and becomes one if it has to wait.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::debug::Work;
use super::driver::{Readiness, Token};
use super::ending::{EndKey, JoinError, TaskResult};
use super::panic::{Caught, caught};
use super::source::{Inspection, Next, Source};
use super::stats::Origin;
use super::waits::{Waits, WaitsOn, poll_in_budget};
use super::waker::SourceWaker;
use super::{Ctx, Handle};

/// A future whose output has a type that is not known here.
pub(super) trait AnyFuture {
    fn poll_any(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Box<dyn Any>>;
}

impl<F: Future<Output: 'static>> AnyFuture for F {
    fn poll_any(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Box<dyn Any>> {
        self.poll(context)
            .map(|output| Box::new(output) as Box<dyn Any>)
    }
}

/// A task that was not polled yet.
pub(crate) struct NewTask {
    /// Dropped when it is done, or cancelled, before anyone who joins hears of it.
    future: Option<Pin<Box<dyn AnyFuture>>>,
    ending: EndKey,
    origin: Origin,
    parent: Option<Token>,
    name: Option<Arc<str>>,
}

impl NewTask {
    pub(crate) fn new<F: Future<Output: 'static> + 'static>(
        future: F,
        ending: EndKey,
        origin: Origin,
        parent: Option<Token>,
        name: Option<Arc<str>>,
    ) -> Self {
        Self {
            future: Some(Box::pin(future)),
            ending,
            origin,
            parent,
            name,
        }
    }

    /// What it is called in reports.
    pub(super) fn work(&self) -> Work {
        Work {
            kind: "task",
            name: self.name.clone(),
            origin: self.origin,
        }
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    /// Names it in the records.
    pub(super) fn number(&self) -> u64 {
        self.ending.to_bits()
    }

    /// Its first visit. Returns the source that it is from now on, unless it has ended.
    pub(super) fn begin(mut self, ctx: &mut Ctx<'_>) -> Option<Box<dyn Source>> {
        let token = ctx.token();
        if !ctx.endings().begin(self.ending, token) {
            self.end(ctx, Err(JoinError::Cancelled));
            return None;
        }
        let waker = ctx.first_waker(token);
        match self.poll(ctx, &waker) {
            Some(waits) => Some(Box::new(Task {
                task: self,
                waker: ctx.keep_waker(waker),
                handle: ctx.handle().clone(),
                began: ctx.now(),
                waits_on: waits.last,
                waits: waits.count,
                since_ms: 0,
            })),
            None => {
                // With the future its clones have gone.
                ctx.give_back_waker(waker);
                None
            }
        }
    }

    /// One poll. Returns what it waits for; `None` when it has ended.
    fn poll(&mut self, ctx: &mut Ctx<'_>, waker: &SourceWaker) -> Option<Waits> {
        let future = self.future.as_mut()?;
        ctx.set_polled(Some(ctx.token()));
        let (polled, waits) = poll_in_budget(waker, |context| future.as_mut().poll_any(context));
        ctx.set_polled(None);
        match polled {
            Ok(Poll::Pending) => return Some(waits),
            Ok(Poll::Ready(output)) => self.end(ctx, Ok(output)),
            Err(panic) => {
                let panicked = self.panicked(ctx, panic);
                self.end(ctx, Err(panicked));
            }
        }
        None
    }

    /// Report a panic. It is the task's result, too.
    #[cold]
    fn panicked(&self, ctx: &mut Ctx<'_>, panic: Caught) -> JoinError {
        let panicked = panic.blame(self.origin).of(self.work());
        ctx.report(&panicked);
        JoinError::Panicked(panicked)
    }

    /// Drop the future, and then tell who waits for `result`. A panic on the way is the result then.
    fn end(&mut self, ctx: &mut Ctx<'_>, mut result: TaskResult) {
        let future = self.future.take();
        if let Err(panic) = caught(|| drop(future)) {
            result = Err(self.panicked(ctx, panic));
        }
        ctx.finish(self.ending, result);
    }
}

/// A task that waits.
struct Task {
    task: NewTask,
    waker: SourceWaker,
    handle: Handle,
    /// When it was polled first.
    began: Instant,
    /// What the last poll waits for.
    waits_on: Option<WaitsOn>,
    waits: u32,
    /// Since when, counted in milliseconds from its first poll: many tasks wait, and few are looked at.
    since_ms: u32,
}

impl Source for Task {
    fn ready(&mut self, ctx: &mut Ctx<'_>, _: Readiness) -> Next {
        if ctx.endings().is_aborted(self.task.ending) {
            return Next::Close;
        }
        // A wake during the poll counts for the next one (rule R8).
        self.waker.take_woken();
        let Some(waits) = self.task.poll(ctx, &self.waker) else {
            return Next::Close;
        };
        let age = ctx.now().saturating_duration_since(self.began);
        self.since_ms = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
        (self.waits_on, self.waits) = (waits.last, waits.count);
        Next::Wait
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        if self.task.future.is_some() {
            self.task.end(ctx, Err(JoinError::Cancelled));
        }
    }

    fn inspect(&self) -> Inspection {
        let is_woken = self.waker.is_woken();
        Inspection {
            kind: "task",
            state: if is_woken { "woken" } else { "waiting" },
            // One that was aborted is visited although nobody has woken it.
            is_lost: self.waker.is_lost() && !self.handle.endings().is_aborted(self.task.ending),
            name: self.task.name.clone(),
            origin: Some(self.task.origin),
            parent: self.task.parent,
            created: Some(self.began),
            waits_on: self.waits_on,
            waits: self.waits,
            since: Some(self.began + Duration::from_millis(self.since_ms.into())),
            ..Inspection::default()
        }
    }
}
