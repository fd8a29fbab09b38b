//! The HTTP client: a pool of connections to servers, and requests over them.
//!
//! A request goes down through these files, and each knows only what is below it:
//!
//! | file | what |
//! | --- | --- |
//! | `session.rs` | [`Client`]: what all requests share |
//! | `request.rs` | [`RequestBuilder`]; redirects around retries around one try |
//! | `response.rs` | [`Response`]: the body, as it is asked for |
//! | `exchange.rs` | one request and its response: sending and reading side by side, under deadlines |
//! | `leases.rs` | the pool as tasks see it: waits, leases, the janitor |
//! | `connect.rs` | opening a connection: name, TCP, proxy, TLS |
//! | `connection.rs` | one connection: a stream with HTTP's machine on it |
//! | `pool.rs` | who may have which connection: limits, queues, idle ones; no I/O |
//! | `redirect.rs`, `retry.rs` | whether to go elsewhere, whether to try again |
//! | `url.rs`, `body.rs`, `auth.rs` | what a request is made of |
//! | `multipart.rs` | forms with files |
//! | `decode.rs`, `cookies.rs` | bodies that came compressed; cookies, each behind its feature |
//! | `timeouts.rs` | time limits, all on one timer |
//! | `trace.rs`, `error.rs` | what happened, and what went wrong |
//!
//! A [`WebSocket`] is apart from it: it needs no pool, and goes on where a request ends.

mod auth;
mod body;
mod connect;
mod connection;
#[cfg(feature = "cookies")]
pub mod cookies;
#[cfg(feature = "compression")]
pub mod decode;
mod error;
mod exchange;
mod leases;
pub mod multipart;
mod pool;
mod redirect;
mod request;
mod response;
mod retry;
mod session;
mod timeouts;
mod trace;
mod url;
mod websocket;

pub use body::{Body, BodySource, BodyWriter};
pub use error::{Error, ErrorKind, Held, Phase, PoolReport, TimeLimit, Timeout};
pub use redirect::Redirects;
pub use request::RequestBuilder;
pub use response::{Hop, Response};
pub use retry::RetryPolicy;
pub use session::{Client, ClientBuilder, PoolCounts};
pub use timeouts::Timeouts;
pub use trace::{Trace, TraceEvent};
pub use url::{IntoUrl, Scheme, Url, UrlError};
pub use websocket::{
    CloseFrame, Reconnect, Refusal, WebSocket, WebSocketBuilder, WebSocketError, WebSocketSender,
    WebSocketTimeout,
};
