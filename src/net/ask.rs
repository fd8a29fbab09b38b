//! Futures that have something done elsewhere: where the driver is at hand, and where blocking harms nobody.

use std::io;

use crate::event_loop::{Ctx, Handle};
use crate::sync::oneshot;

/// Call `work` in the loop's next ready step, and give what it answers. Cancelling it before that leaves `work` undone;
/// what it answers to nobody is dropped.
///
/// # Panics
/// When no loop is turning on this thread.
pub(crate) async fn ask_loop<T: 'static>(
    work: impl FnOnce(&mut Ctx<'_>) -> io::Result<T> + 'static,
) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    Handle::current().call_soon(move |ctx| {
        if !sender.is_closed() {
            // Whoever asked may go in the meantime.
            let _ = sender.send(work(ctx));
        }
    });
    receiver
        .await
        .unwrap_or(Err(io::ErrorKind::NotConnected.into()))
}

/// Do `work` on the executor. Cancelling it takes it back while it waits for a thread; later it is done all the same.
///
/// # Panics
/// When no loop is turning on this thread.
#[track_caller]
pub(crate) fn on_executor<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> impl Future<Output = io::Result<T>> {
    let job = Handle::current().run_in_executor(work);
    async { job?.await.map_err(io::Error::other)? }
}
