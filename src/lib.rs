//! Tourbillon: a networking framework whose event loop is on display.
//!
//! A reactor built by hand on [mio](https://github.com/tokio-rs/mio), on one thread, that serves HTTP/1.1 and
//! WebSocket: callbacks, timers and sockets first, futures on top of them, no tokio. Its sources are meant to be read.
//!
//! ```no_run
//! use std::time::Duration;
//! use tourbillon::web::{App, Request, Shared, task};
//!
//! // Called on the spot, with the state and no lock: there is one thread.
//! fn home(_: &Request, visits: &mut u64) -> String {
//!     *visits += 1;
//!     format!("Hello! You are visitor {visits}.\n")
//! }
//!
//! // Run as a task: it may wait, and the others go on.
//! async fn slowly(request: Request, _: Shared<u64>) -> &'static str {
//!     request.handle().sleep(Duration::from_millis(500)).await;
//!     "That took half a second.\n"
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     let app = App::new(0).get("/", home).get("/slowly", task(slowly));
//!     let report = app.serve("127.0.0.1:8080")?; // until Ctrl-C
//!     println!("stopped: {report}");
//!     Ok(())
//! }
//! ```
//!
//! # The layers
//!
//! Each uses those below it and never one above or beside it; a test reads the sources and sees to that.
//!
//! ```text
//!   your handlers       fn(&Request, &mut S)          async fn(Request, Shared<S>)
//!   ──────────────────────────────────────────────────────────────────────────────────
//!   web                 App, routes, handlers, WebSockets called and awaited, engines
//!   conn                fill ─ step ─ flush, limits, deadlines, bodies, topics
//!        ┌──────────────────────┴───────────────────────┐
//!   fs, process                                     │
//!   net   connections in and out, streams    proto  HTTP/1.1, WebSocket  (bytes only)
//!   sync  locks, semaphores, queues, channels       │
//!   task  futures, wakers, sleep                    │
//!   event_loop  Driver, Source, Ctx, turn           │      sim  (another Driver)
//!        └──────────────────────┬───────────────────────┘
//!   parts               timer wheel, generational slab, output queue
//! ```
//!
//! - [`event_loop`] is the loop: what runs, and when. [`EventLoop::turn`] is the function to read first.
//! - [`task`] makes futures run on it, [`sync`] lets them wait for each other, [`net`] takes connections in and gives
//!   tasks streams; [`fs`] and [`process`] have files and child processes.
//! - [`proto`] holds the protocols as machines: bytes in, events out, no socket and no clock.
//! - [`conn`] joins the two: a connection, its limits, its request and response.
//! - [`web`] is what programs are written against: [`App`], handlers, WebSockets, topics and rooms; and
//!   [`web::Engine`], which says how many loops and threads serve them.
//! - [`client`] sends requests, over a pool of connections; it stands beside the server and knows nothing of it.
//! - `dial` is a page on which all that can be seen at work, and stopped; it has a feature of its own.
//! - [`metrics`] counts what happens and how long it takes; `operations` shows it to those who operate a server, and
//!   lets them act.
//! - [`parts`] know nothing of all that and can be read alone.
//!
//! # Features
//!
//! None is on by default; `full` turns all of them on.
//!
//! - `brotli`: the client decodes brotli, too.
//! - `compression`: the client asks for gzip and deflate and decodes them, by flate2.
//! - `cookies`: the client keeps cookies.
//! - `dial`: a page that shows the loop as it turns, pauses it and steps through it: `dial::Dial`, `dial::view`.
//! - `deflate`: WebSocket messages may be compressed (permessage-deflate), by flate2: [`App::ws_deflate`],
//!   [`client::WebSocketBuilder::deflate`].
//! - `futures`: streams have the traits of futures-io; listeners and the receivers of [`sync`]'s channels are
//!   `Stream`s.
//! - `json`: `Response::json` and `Request::json`, by serde.
//! - `log`, `tracing`: what happens is told to these facades: [`set_log_level`].
//! - `metrics`: numbers for Prometheus: [`App::metrics`]. `operations`: the census, incidents, and actions behind a
//!   guard: [`App::operations`].
//! - `sockopt`: `SO_REUSEPORT` for the loops of [`web::Engine::Loops`], a longer queue of connections to accept, the
//!   local address of a [`net::Connector`], and a reset by [`net::SocketStream::abort`], by socket2.
//! - `sim`: the simulated driver, for tests of whole programs. It has a clock and a network in memory that follow from
//!   a seed, and faults to choose from.
//! - `tls`: TLS for streams ([`net`]) and the client, by rustls on ring, with Mozilla's roots.
//! - `tokio-io`: streams have tokio's `AsyncRead` and `AsyncWrite`; no runtime of tokio is needed.

mod events;

pub mod client;
pub mod conn;
#[cfg(feature = "dial")]
pub mod dial;
pub mod event_loop;
pub mod fs;
pub mod metrics;
pub mod net;
#[cfg(feature = "metrics")]
pub mod operations;
pub mod parts;
pub mod process;
pub mod proto;
#[cfg(feature = "sim")]
pub mod sim;
pub mod sync;
pub mod task;
pub mod web;

pub use conn::{Request, Response};
pub use event_loop::{Ctx, EventLoop};
pub(crate) use events::event;
pub use events::{LogLevel, set_log_level};
pub use web::App;

/// The programs in the documentation beside the code, compiled.
#[cfg(doctest)]
mod documentation {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/ARCHITECTURE.md")]
    struct Architecture;
    #[cfg(feature = "operations")]
    #[doc = include_str!("../docs/operations.md")]
    struct Operations;
}
