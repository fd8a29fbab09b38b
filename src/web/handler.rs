//! The two kinds of handler: called on the spot, or run as a task. The route table says which.

use std::future::Future;
use std::time::Duration;

use super::state::Shared;
use crate::conn::{Answer, IntoResponse, Later, OnDisconnect, Reply, Request};
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
    timeout: Option<Duration>,
    on_disconnect: OnDisconnect,
}

/// Run an `async fn(Request, Shared<S>)` for each request, or an `async fn(WebSocket, Shared<S>)` for each WebSocket;
/// or an `async fn(Opening, Shared<S>)` that decides whether there is to be a WebSocket, see [`crate::web::Opening`].
///
/// It is polled at once, where the request was read, and whenever what it awaits is ready. It has
/// [`crate::web::Limits::handler_timeout`] to answer a request, or its own ([`Task::timeout`]).
///
/// # When the client leaves
///
/// By default the future of a request is dropped, at the await at which it stands, as soon as its peer has gone: most
/// handlers work for their answer alone, and work that nobody waits for is what an overloaded server can do without.
/// Gone is a peer whose connection broke, and also one that has ended its half of it: a browser whose tab was closed
/// and a request that was given up show nothing more. (Peers that do so and read on are rare, and can be allowed by
/// [`crate::web::Limits::half_close`].) What must not stop half-way says so: [`Task::on_disconnect`]. Other tasks that
/// it spawned go on in any case; one that sends a body hears of it by [`crate::web::Disconnected`].
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
        timeout: None,
        on_disconnect: OnDisconnect::Cancel,
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

    /// Give it so long to answer a request, instead of [`crate::web::Limits::handler_timeout`]; `Duration::MAX` for as
    /// long as it likes. Then it is dropped, and the answer is 503.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }

    /// Say what becomes of it when the peer of its request has gone, instead of [`OnDisconnect::Cancel`].
    ///
    /// ```
    /// use tourbillon::web::{App, OnDisconnect, Request, Shared, task};
    ///
    /// /// An order that was placed is an order, whoever still waits for the receipt.
    /// async fn order(request: Request, orders: Shared<Vec<String>>) -> (u16, &'static str) {
    ///     tourbillon::task::yield_now().await;
    ///     orders.with(|orders| orders.push(request.text().unwrap_or_default().to_owned()));
    ///     (201, "ordered\n")
    /// }
    /// let app = App::new(Vec::new()).post("/orders", task(order).on_disconnect(OnDisconnect::Detach));
    /// # drop(app);
    /// ```
    pub fn on_disconnect(self, on_disconnect: OnDisconnect) -> Self {
        Self {
            on_disconnect,
            ..self
        }
    }

    /// See [`Task::timeout`].
    pub(super) fn time_limit(&self) -> Option<Duration> {
        self.timeout
    }
}

impl<S, F, R> Handler<S> for Task<F>
where
    S: 'static,
    F: Fn(Request, Shared<S>) -> R + 'static,
    R: Future<Output: IntoResponse> + 'static,
{
    fn call(&self, _: &mut Ctx<'_>, request: &mut Request, state: &Shared<S>) -> Reply {
        let is_told = self.on_disconnect == OnDisconnect::Notify;
        let disconnection = is_told.then(|| request.disconnection());
        let future = (self.run)(request.take(), state.clone());
        Reply::Later(Later {
            timeout: self.timeout,
            on_disconnect: self.on_disconnect,
            disconnection,
            ..Later::new(async move { Answer::Response(future.await.into_response()) })
        })
    }

    fn streams_body(&self) -> bool {
        self.streams_body
    }
}
