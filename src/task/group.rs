//! Tasks that belong together: when one fails the others are ended, and nobody goes on before all have ended.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use super::coop::poll_proceed;
use super::join::{AbortHandle, JoinError};
use crate::event_loop::{Detail, Handle, Origin, Panicked, waits_on};

/// Tasks that succeed together. It is filled with [`TaskGroup::spawn`] and then joined: that gives the results of all,
/// or the errors of those that failed, and the first failure ends all others.
///
/// Dropping the group, or cancelling who joins it, ends all of its tasks.
///
/// ```
/// use std::future::pending;
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::task::TaskGroup;
///
/// let mut event_loop = EventLoop::new()?;
/// event_loop.run_until(async {
///     let group = TaskGroup::new();
///     group.spawn(async { Ok::<_, &str>(1) });
///     group.spawn(async { Ok(2) });
///     assert_eq!(group.join().await.unwrap(), [1, 2]);
///
///     let group = TaskGroup::<(), _>::new();
///     group.spawn(pending());
///     group.spawn(async { Err("no such file") });
///     let errors = group.join().await.unwrap_err();
///     assert_eq!(errors.to_string(), "a task of the group failed: no such file");
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use = "a group that is dropped ends its tasks; `join` it"]
pub struct TaskGroup<T, E> {
    spawner: Spawner<T, E>,
}

impl<T: 'static, E: 'static> TaskGroup<T, E> {
    /// An empty group on the loop that is turning on this thread.
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    #[track_caller]
    pub fn new() -> Self {
        let group = Group {
            members: RefCell::default(),
            values: RefCell::default(),
            errors: RefCell::default(),
            running: Cell::new(0),
            is_closed: Cell::new(false),
            waiting: Cell::new(None),
        };
        Self {
            spawner: Spawner {
                group: Rc::new(group),
                handle: Handle::current(),
            },
        }
    }

    /// As [`Spawner::spawn`].
    #[track_caller]
    pub fn spawn(&self, future: impl Future<Output = Result<T, E>> + 'static) -> AbortHandle {
        self.spawner.spawn(future)
    }

    /// As [`Spawner::spawn_named`].
    #[track_caller]
    pub fn spawn_named(
        &self,
        name: &str,
        future: impl Future<Output = Result<T, E>> + 'static,
    ) -> AbortHandle {
        self.spawner.spawn_named(name, future)
    }

    /// For tasks that spawn others into their own group.
    pub fn spawner(&self) -> Spawner<T, E> {
        self.spawner.clone()
    }

    /// End all of its tasks. Those that have ended keep their results.
    pub fn abort_all(&self) {
        self.spawner.group.abort_all();
    }

    /// Wait until all of its tasks have ended, those included that are spawned meanwhile. Returns their results in the
    /// order of spawning. A task that was aborted by itself has none, and is no error.
    ///
    /// Cancelling it ends all tasks of the group.
    ///
    /// # Errors
    /// When any has failed or panicked: all that did, in the order in which they did. The others were ended by that.
    pub async fn join(self) -> Result<Vec<T>, GroupErrors<E>> {
        let group = &self.spawner.group;
        poll_fn(|context| group.poll_ended(context)).await;
        group.is_closed.set(true);
        let errors = group.errors.take();
        if errors.is_empty() {
            Ok(group.values.take().into_iter().flatten().collect())
        } else {
            Err(GroupErrors(errors))
        }
    }
}

impl<T: 'static, E: 'static> Default for TaskGroup<T, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, E> Drop for TaskGroup<T, E> {
    fn drop(&mut self) {
        self.spawner.group.abort_all();
    }
}

impl<T, E> fmt::Debug for TaskGroup<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskGroup").field(&self.spawner).finish()
    }
}

/// Puts tasks into a [`TaskGroup`]. Dropping it changes nothing.
pub struct Spawner<T, E> {
    group: Rc<Group<T, E>>,
    handle: Handle,
}

impl<T: 'static, E: 'static> Spawner<T, E> {
    /// Run `future` as a task of the group. When the group has failed, or has been joined or dropped, the task is
    /// ended before it is polled.
    #[track_caller]
    pub fn spawn(&self, future: impl Future<Output = Result<T, E>> + 'static) -> AbortHandle {
        self.start(Location::caller(), None, future)
    }

    /// [`Spawner::spawn`], with a name for reports.
    #[track_caller]
    pub fn spawn_named(
        &self,
        name: &str,
        future: impl Future<Output = Result<T, E>> + 'static,
    ) -> AbortHandle {
        self.start(Location::caller(), Some(name.into()), future)
    }

    fn start(
        &self,
        origin: Origin,
        name: Option<Arc<str>>,
        future: impl Future<Output = Result<T, E>> + 'static,
    ) -> AbortHandle {
        let task = self.handle.start_task(origin, name, future);
        let member = task.abort_handle();
        let (group, number) = (Rc::clone(&self.group), self.group.add(&member));
        task.on_done(move |_, result| group.ended(number, result));
        member
    }
}

impl<T, E> Clone for Spawner<T, E> {
    fn clone(&self) -> Self {
        Self {
            group: Rc::clone(&self.group),
            handle: self.handle.clone(),
        }
    }
}

impl<T, E> fmt::Debug for Spawner<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner")
            .field("running", &self.group.running.get())
            .finish_non_exhaustive()
    }
}

struct Group<T, E> {
    members: RefCell<Vec<AbortHandle>>,
    values: RefCell<Vec<Option<T>>>,
    errors: RefCell<Vec<GroupError<E>>>,
    running: Cell<usize>,
    /// No task is to run any more.
    is_closed: Cell<bool>,
    /// Who joins.
    waiting: Cell<Option<Waker>>,
}

impl<T, E> Group<T, E> {
    /// Returns the member's number.
    fn add(&self, member: &AbortHandle) -> usize {
        if self.is_closed.get() {
            member.abort();
        }
        self.running.set(self.running.get() + 1);
        self.values.borrow_mut().push(None);
        let mut members = self.members.borrow_mut();
        members.push(member.clone());
        members.len() - 1
    }

    fn ended(&self, number: usize, result: Result<Result<T, E>, JoinError>) {
        let error = match result {
            Ok(Ok(value)) => {
                self.values.borrow_mut()[number] = Some(value);
                None
            }
            Ok(Err(error)) => Some(GroupError::Failed(error)),
            Err(JoinError::Panicked(panicked)) => Some(GroupError::Panicked(panicked)),
            Err(JoinError::Cancelled) => None,
        };
        if let Some(error) = error {
            self.errors.borrow_mut().push(error);
            self.abort_all();
        }
        self.running.set(self.running.get() - 1);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    fn abort_all(&self) {
        self.is_closed.set(true);
        self.members.borrow().iter().for_each(AbortHandle::abort);
    }

    fn poll_ended(&self, context: &mut Context<'_>) -> Poll<()> {
        ready!(poll_proceed(context));
        match self.running.get() {
            0 => Poll::Ready(()),
            running => {
                self.waiting.set(Some(context.waker().clone()));
                waits_on("tasks", Detail::Count(running as u64));
                Poll::Pending
            }
        }
    }
}

/// How a task of a [`TaskGroup`] failed.
#[derive(Clone, Debug)]
pub enum GroupError<E> {
    /// It returned an error.
    Failed(E),
    /// It panicked.
    Panicked(Panicked),
}

impl<E: fmt::Display> fmt::Display for GroupError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "a task of the group failed: {error}"),
            Self::Panicked(panicked) => panicked.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for GroupError<E> {}

/// Why a [`TaskGroup`] has no results: at least one error.
#[derive(Clone, Debug)]
pub struct GroupErrors<E>(Vec<GroupError<E>>);

impl<E> GroupErrors<E> {
    /// All of them, in the order in which the tasks failed.
    pub fn into_vec(self) -> Vec<GroupError<E>> {
        self.0
    }

    /// All of them, in the order in which the tasks failed.
    pub fn iter(&self) -> impl Iterator<Item = &GroupError<E>> {
        self.0.iter()
    }
}

impl<E: fmt::Display> fmt::Display for GroupErrors<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[0].fmt(f)?;
        match self.0.len() - 1 {
            0 => Ok(()),
            others => write!(f, ", and {others} others"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for GroupErrors<E> {}
