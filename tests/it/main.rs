//! The public API over loopback: an app on a thread of its own, and clients that block.
//!
//! Nothing here sleeps to let something happen. A test waits for what it can see: an answer, the end of a stream, a
//! count that the server gives. Every wait has the same generous bound, so that a test which fails does not hang.

mod apps;
mod client_extras;
mod client_hostile;
mod deadlines;
#[cfg(feature = "dial")]
mod dial;
mod disconnects;
mod engines;
mod files;
mod http;
mod limits;
#[cfg(feature = "operations")]
mod operations;
mod panics;
#[cfg(unix)]
mod processes;
mod refusals;
mod rooms;
mod shutdown;
mod streaming;
mod streams;
mod support;
mod topics;
mod vanishing;
mod websocket;
