//! An app without a socket: requests in, responses out, on a loop of its own.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::conn::{Answer, Body, BodyPlan, Reply, Request, Response, Service, within};
use crate::event_loop::{EventLoop, guarded};

/// Calls an app's handlers as a server would, routing, limits and panics included. See [`super::App::into_test`].
///
/// ```
/// use tourbillon::web::{App, Request};
///
/// fn hello(request: &Request, _: &mut ()) -> Option<String> {
///     Some(format!("Hello, {}!", request.param("name")?))
/// }
/// let mut app = App::new(()).get("/hello/{name}", hello).into_test()?;
/// assert_eq!(app.get("/hello/w%C3%B6rld").body().as_bytes(), Some("Hello, wörld!".as_bytes()));
/// assert_eq!(app.get("/goodbye").status(), 404);
///
/// // A handler finds its loop as it would in a server.
/// let mut app = App::new(()).get("/", |request: &Request, _: &mut ()| { request.handle().time(); }).into_test()?;
/// assert_eq!(app.get("/").status(), 204);
/// # std::io::Result::Ok(())
/// ```
pub struct TestApp {
    event_loop: EventLoop,
    service: Rc<dyn Service>,
    handler_timeout: Duration,
}

impl TestApp {
    pub(super) fn new(service: Rc<dyn Service>, handler_timeout: Duration) -> io::Result<Self> {
        Ok(Self {
            event_loop: EventLoop::new()?,
            service,
            handler_timeout,
        })
    }

    /// GET `target`.
    ///
    /// # Panics
    /// When `target` is not one that a server would accept, or the loop fails.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.call(Request::build("GET", target, &[("host", "localhost")], "").expect("a target"))
    }

    /// POST `body` to `target`.
    ///
    /// # Panics
    /// As [`TestApp::get`].
    #[track_caller]
    pub fn post(&mut self, target: &str, body: impl Into<Body>) -> Response {
        self.call(Request::build("POST", target, &[("host", "localhost")], body).expect("a target"))
    }

    /// Answer `request`. A task is run to its end, with the loop's other tasks and timers. A request for a WebSocket
    /// cannot be granted without a connection, and is answered with 426.
    ///
    /// # Panics
    /// When the loop fails.
    #[track_caller]
    pub fn call(&mut self, mut request: Request) -> Response {
        match self.service.plan(&mut request) {
            BodyPlan::Refuse(response) => return response,
            BodyPlan::Whole { bytes_max } if request.body().len() > bytes_max => {
                return Response::of_status(413);
            }
            BodyPlan::Whole { .. } | BodyPlan::Stream => {}
        }
        request.serve_on(self.event_loop.handle());
        let origin = self.service.origin(request.route());
        let mut ctx = self.event_loop.ctx();
        match guarded(origin, || self.service.call(&mut ctx, &mut request)) {
            Ok(Reply::Now(response)) => response,
            Ok(Reply::Later(later)) => {
                let handle = self.event_loop.handle().clone();
                let timeout = later.timeout.unwrap_or(self.handler_timeout);
                let task = (self.event_loop)
                    .spawn(async move { within(&handle, timeout, later.future).await });
                let joined = self.event_loop.run_until(task).expect("the loop turns");
                match joined {
                    Ok(Some(Answer::Response(response))) => response,
                    Ok(Some(Answer::WebSocket(_))) => Response::of_status(426),
                    Ok(None) => Response::of_status(503),
                    Err(_) => Response::of_status(500),
                }
            }
            Ok(Reply::WebSocket(_)) => Response::of_status(426),
            Err(panicked) => {
                ctx.report(&panicked);
                Response::of_status(500)
            }
        }
    }

    /// The loop that the app's tasks run on.
    pub fn event_loop(&mut self) -> &mut EventLoop {
        &mut self.event_loop
    }
}

impl fmt::Debug for TestApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestApp").finish_non_exhaustive()
    }
}
