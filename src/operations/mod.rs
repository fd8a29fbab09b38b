//! For operators: what a server does, as numbers, as a census and as a list of what went wrong; and a hand on it.
//!
//! ```no_run
//! use tourbillon::operations::Fleet;
//! use tourbillon::web::App;
//!
//! let fleet = Fleet::new();
//! App::new(())
//!     .get("/", |_: &tourbillon::Request, _: &mut ()| "Hello!")
//!     .metrics("/metrics", &fleet)
//!     .serve("127.0.0.1:8080")?;
//! # std::io::Result::Ok(())
//! ```
//!
//! All that is shown is gathered when it is asked for: each loop of the [`Fleet`] is asked for a report, and makes it
//! in its ready step. `docs/operations.md` says what the numbers mean and what to watch.

#[cfg(feature = "operations")]
mod actions;
mod exposition;
mod fleet;
mod prometheus;
mod report;

pub use fleet::Fleet;

use crate::conn::{Answer, Later, Reply, Request, Response};
use crate::event_loop::{Ctx, Handle};
use crate::metrics::Process;
use crate::web::{App, Handler, Shared};
use exposition::Format;
use report::LoopReport;

impl<S: 'static> App<S> {
    /// Answer GET at `path` with the numbers of all loops of `fleet`, for Prometheus: in its text format 0.0.4 or, if
    /// the request accepts that, in OpenMetrics 1.0. The app's own loop joins the fleet when it is served, and its
    /// routes are measured ([`App::measure_routes`]).
    ///
    /// What stands there is no secret between the operators of a service, and nobody else's business: mount it where
    /// only they get at it, or use [`App::operations`], which has it behind its guard.
    ///
    /// # Panics
    /// As [`App::get`].
    #[track_caller]
    pub fn metrics(self, path: &'static str, fleet: &Fleet) -> Self {
        self.in_fleet(fleet).get(path, Metrics(fleet.clone()))
    }

    /// Have its server join `fleet`, once.
    fn in_fleet(self, fleet: &Fleet) -> Self {
        let joining = fleet.clone();
        self.measure_routes()
            .on_serve(fleet.id(), move |ctx, server| joining.join(ctx, server))
    }
}

/// The handler of [`App::metrics`].
struct Metrics(Fleet);

impl<S: 'static> Handler<S> for Metrics {
    fn call(&self, ctx: &mut Ctx<'_>, request: &mut Request, _: &Shared<S>) -> Reply {
        let format = Format::wanted(request.header("accept").unwrap_or_default());
        let (fleet, handle) = (self.0.clone(), ctx.handle().clone());
        let answering = metrics(fleet, handle, format);
        Reply::Later(Later::new(async move { Answer::Response(answering.await) }))
    }
}

async fn metrics(fleet: Fleet, handle: Handle, format: Format) -> Response {
    let reports = fleet.ask(&handle, LoopReport::make).await;
    let page = prometheus::page(format, &reports, &Process::now());
    Response::new(page).with_content_type(format.content_type())
}
