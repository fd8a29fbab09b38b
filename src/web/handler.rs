//! The two kinds of handler: called on the spot, or run as a task. The route table says which.

use std::future::Future;

use super::state::Shared;
use crate::conn::{IntoResponse, Reply, Request};
use crate::event_loop::Ctx;

/// Whatever can answer a request.
///
/// - A function `fn(&Request, &mut S) -> impl IntoResponse` is called where the request was read, with the state. It
///   must not block: the whole loop waits for it.
/// - [`task`]`(async fn(Request, Shared<S>) -> impl IntoResponse)` may await.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot handle requests of an app whose state is `{S}`",
    label = "not a handler",
    note = "called on the spot: `fn(&Request, &mut {S}) -> impl IntoResponse`",
    note = "as a task: `task(handler)` with `async fn(Request, Shared<{S}>) -> impl IntoResponse`"
)]
pub trait Handler<S>: 'static {
    /// Answer, or say how the answer will come.
    fn call(&self, ctx: &mut Ctx<'_>, request: &mut Request, state: &Shared<S>) -> Reply;

    /// Whether it is called before the request's body is here.
    fn streams_body(&self) -> bool {
        false
    }
}

impl<S, F, R> Handler<S> for F
where
    S: 'static,
    F: Fn(&Request, &mut S) -> R + 'static,
    R: IntoResponse,
{
    fn call(&self, _: &mut Ctx<'_>, request: &mut Request, state: &Shared<S>) -> Reply {
        Reply::Now(state.with(|state| self(request, state)).into_response())
    }
}

/// A handler that runs as a task. See [`task`].
#[derive(Clone, Copy, Debug)]
pub struct Task<F> {
    pub(super) run: F,
    streams_body: bool,
}

/// Run an `async fn(Request, Shared<S>)` for each request, or an `async fn(WebSocket, Shared<S>)` for each WebSocket.
///
/// It is polled at once, where the request was read, and whenever what it awaits is ready. When the connection breaks
/// before the answer, the future of a request is dropped. A peer that has ended its half may still be waiting for the
/// answer, and cannot be told from one that has closed: it is answered.
///
/// ```
/// use std::time::Duration;
/// use tourbillon::web::{App, Request, Shared, task};
///
/// async fn slow(request: Request, state: Shared<u64>) -> String {
///     request.handle().sleep(Duration::from_millis(5)).await;
///     state.with(|visits| { *visits += 1; format!("visit {visits}") })
/// }
/// let app = App::new(0_u64).get("/slow", task(slow));
/// let response = app.into_test()?.get("/slow");
/// assert_eq!(response.body().as_bytes(), Some(&b"visit 1"[..]));
/// # std::io::Result::Ok(())
/// ```
pub fn task<F>(run: F) -> Task<F> {
    Task {
        run,
        streams_body: false,
    }
}

impl<F> Task<F> {
    /// Run it as soon as the head of the request is here. Its body comes through [`Request::take_body`], piece by
    /// piece, as fast as it is read, and is not limited in size.
    pub fn streaming(self) -> Self {
        Self {
            streams_body: true,
            ..self
        }
    }
}

impl<S, F, R> Handler<S> for Task<F>
where
    S: 'static,
    F: Fn(Request, Shared<S>) -> R + 'static,
    R: Future<Output: IntoResponse> + 'static,
{
    fn call(&self, _: &mut Ctx<'_>, request: &mut Request, state: &Shared<S>) -> Reply {
        let future = (self.run)(request.take(), state.clone());
        Reply::Later(Box::pin(async move { future.await.into_response() }))
    }

    fn streams_body(&self) -> bool {
        self.streams_body
    }
}
