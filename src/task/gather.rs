//! Waiting for several futures in one task: for all of them, for the first, for each as it comes.
//!
//! They are futures of any kind. Those that are no tasks run inside the task that waits, and are dropped with it. A
//! [`JoinHandle`](super::JoinHandle) is a future too, and dropping it lets its task run on: so `gather` of tasks
//! leaves the others running when one has failed, as asyncio's does, and `gather` of plain futures ends them.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use super::children::Children;

/// Wait for all, and return their values in the order in which the futures were given; or the first error, at once.
///
/// ```
/// use std::time::Duration;
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::task::{gather, sleep};
///
/// async fn half(n: u64) -> Result<u64, String> {
///     sleep(Duration::from_millis(10 - n)).await;
///     if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) }
/// }
///
/// let mut event_loop = EventLoop::new()?;
/// event_loop.run_until(async {
///     assert_eq!(gather([half(2), half(8)]).await, Ok(vec![1, 4]));
///     assert_eq!(gather([half(2), half(7), half(9)]).await, Err("9 is odd".to_owned()));
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub fn gather<F, T, E>(futures: impl IntoIterator<Item = F>) -> Gather<F, T>
where
    F: Future<Output = Result<T, E>>,
{
    let children = Children::new(futures);
    let values = (0..children.left()).map(|_| None).collect();
    Gather { children, values }
}

/// See [`gather`]. Cancelling it drops all of its futures.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Gather<F, T> {
    children: Children<F>,
    values: Vec<Option<T>>,
}

// Its futures are in boxes.
impl<F, T> Unpin for Gather<F, T> {}

impl<F: Future<Output = Result<T, E>>, T, E> Future for Gather<F, T> {
    type Output = Result<Vec<T>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some((number, result)) = ready!(self.children.poll_next(context)) {
            match result {
                Ok(value) => self.values[number] = Some(value),
                Err(error) => {
                    // The others end now, and not when somebody drops this.
                    drop(self.children.take_left());
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(self.values.drain(..).flatten().collect()))
    }
}

/// Wait for all, and return what each came to, in the order in which the futures were given. Errors are results like
/// others: asyncio's `gather(…, return_exceptions=True)`.
pub fn gather_all<F: Future>(futures: impl IntoIterator<Item = F>) -> GatherAll<F> {
    let children = Children::new(futures);
    let outputs = (0..children.left()).map(|_| None).collect();
    GatherAll { children, outputs }
}

/// See [`gather_all`]. Cancelling it drops all of its futures.
#[must_use = "futures do nothing unless they are awaited"]
pub struct GatherAll<F: Future> {
    children: Children<F>,
    outputs: Vec<Option<F::Output>>,
}

// Its futures are in boxes.
impl<F: Future> Unpin for GatherAll<F> {}

impl<F: Future> Future for GatherAll<F> {
    type Output = Vec<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some((number, output)) = ready!(self.children.poll_next(context)) {
            self.outputs[number] = Some(output);
        }
        Poll::Ready(self.outputs.drain(..).flatten().collect())
    }
}

/// When [`wait`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnWhen {
    /// As soon as one has ended.
    FirstCompleted,
    /// As soon as one has failed, or all have ended.
    FirstException,
    /// When all have ended.
    AllCompleted,
}

/// What [`wait`] returns. The numbers are those of the futures, in the order in which they were given.
#[derive(Debug)]
pub struct Waited<F, T> {
    /// Who has ended, and what it came to, in the order in which they ended.
    pub done: Vec<(usize, T)>,
    /// Who has not: futures to be waited for again, or to be dropped.
    pub pending: Vec<(usize, Pin<Box<F>>)>,
}

/// Wait until some of `futures` have ended, and give the others back. An empty list is done at once.
///
/// Cancelling it drops all of them; to wait for some time only, let [`sleep`](super::sleep) be one of them, or wait
/// with [`as_completed`], which loses nothing.
pub async fn wait<F, T, E>(
    futures: impl IntoIterator<Item = F>,
    return_when: ReturnWhen,
) -> Waited<F, Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut children = Children::new(futures);
    let mut done = Vec::new();
    poll_fn(|context| {
        while let Some((number, result)) = ready!(children.poll_next(context)) {
            let is_enough = match return_when {
                ReturnWhen::FirstCompleted => true,
                ReturnWhen::FirstException => result.is_err(),
                ReturnWhen::AllCompleted => false,
            };
            done.push((number, result));
            if is_enough {
                break;
            }
        }
        Poll::Ready(())
    })
    .await;
    let pending = children.take_left().collect();
    Waited { done, pending }
}

/// The results of `futures`, each as soon as it is there.
///
/// ```
/// use std::time::Duration;
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::task::{as_completed, sleep};
///
/// let mut event_loop = EventLoop::new()?;
/// event_loop.run_until(async {
///     let mut sleeps = as_completed([3, 1, 2].map(|ms| sleep(Duration::from_millis(ms * 5))));
///     let mut numbers = Vec::new();
///     while let Some((number, ())) = sleeps.next().await {
///         numbers.push(number);
///     }
///     assert_eq!(numbers, [1, 2, 0]);
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub fn as_completed<F: Future>(futures: impl IntoIterator<Item = F>) -> AsCompleted<F> {
    AsCompleted {
        children: Children::new(futures),
    }
}

/// See [`as_completed`]. Dropping it drops the futures that have not ended.
#[derive(Debug)]
pub struct AsCompleted<F> {
    children: Children<F>,
}

impl<F: Future> AsCompleted<F> {
    /// The next one to end: its number, in the order in which the futures were given, and what it came to. `None` when
    /// all have ended. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<(usize, F::Output)> {
        poll_fn(|context| self.children.poll_next(context)).await
    }

    /// How many have not ended.
    pub fn left(&self) -> usize {
        self.children.left()
    }
}

/// The first of `futures` to end: its number, in the order in which they were given, and what it came to. The others
/// are dropped. Of several that are ready the first one given wins. Cancelling it drops all of them.
///
/// # Panics
/// Without any futures: nobody can win.
pub async fn race<F: Future>(futures: impl IntoIterator<Item = F>) -> (usize, F::Output) {
    let mut racers = as_completed(futures);
    let first = racers.next().await;
    first.expect("a race needs somebody who runs")
}

/// What came of the one of two that was first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first one given.
    Left(A),
    /// The second one.
    Right(B),
}

/// The first of two different futures to end; the other one is dropped. If both are ready `left` wins. Cancelling it
/// drops both.
pub async fn select<A: Future, B: Future>(left: A, right: B) -> Either<A::Output, B::Output> {
    let (mut left, mut right) = (pin!(left), pin!(right));
    poll_fn(|context| match left.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Either::Left(output)),
        Poll::Pending => right.as_mut().poll(context).map(Either::Right),
    })
    .await
}

/// Wait for both of two different futures. Cancelling it drops both.
pub async fn both<A: Future, B: Future>(left: A, right: B) -> (A::Output, B::Output) {
    let (mut left, mut right) = (pin!(left), pin!(right));
    let (mut from_left, mut from_right) = (None, None);
    poll_fn(|context| {
        if from_left.is_none() {
            from_left = ready_or_none(left.as_mut().poll(context));
        }
        if from_right.is_none() {
            from_right = ready_or_none(right.as_mut().poll(context));
        }
        match (from_left.take(), from_right.take()) {
            (Some(left), Some(right)) => Poll::Ready((left, right)),
            (left, right) => {
                (from_left, from_right) = (left, right);
                Poll::Pending
            }
        }
    })
    .await
}

fn ready_or_none<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
