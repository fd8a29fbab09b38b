//! A future that has something done where the driver is at hand.

use std::io;

use crate::event_loop::{Ctx, Handle};
use crate::task::oneshot;

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
