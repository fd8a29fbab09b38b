//! What happens to a request, told as it happens to whoever asked to be told.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::error::Error;
use super::url::Url;
use crate::event_loop::Handle;

/// One thing that happened to one request.
#[derive(Debug)]
pub struct Trace<'a> {
    /// The number of the request, counted from 0 by its client. Redirects and retries keep it.
    pub id: u64,
    /// When.
    pub at: Instant,
    /// What.
    pub event: TraceEvent<'a>,
}

/// What can happen to a request, in the order in which it does.
#[derive(Debug)]
pub enum TraceEvent<'a> {
    /// It is sent, for the first time or again.
    Started {
        /// Its method.
        method: &'a str,
        /// Its URL.
        url: &'a Url,
    },
    /// All connections that it could have are in use: it waits.
    Queued,
    /// It waits no more.
    Dequeued {
        /// How long it did.
        waited: Duration,
    },
    /// It goes out on a connection from the pool.
    Reused,
    /// A connection from the pool had been closed by the server, and was dropped.
    Stale,
    /// The name of a host is looked up, the server's or the proxy's; from memory, if it is known.
    Resolving {
        /// The host, as in the URL.
        host: &'a str,
    },
    /// It has these addresses, which are connected to now.
    Resolved {
        /// With the port.
        addresses: &'a [SocketAddr],
        /// How long the look-up took.
        took: Duration,
    },
    /// There is a connection.
    Connected {
        /// How long that took.
        took: Duration,
    },
    /// The proxy has granted a tunnel.
    Tunnelled,
    /// The TLS handshake is done.
    Secured {
        /// How long it took.
        took: Duration,
    },
    /// The head has been handed to the connection.
    HeadersSent,
    /// So many bytes of the body have been handed to the connection.
    ChunkSent {
        /// How many.
        bytes: usize,
    },
    /// The head of the final response has come.
    HeadersReceived {
        /// Its status.
        status: u16,
    },
    /// So many bytes of the body have come, as they were sent: not decoded.
    ChunkReceived {
        /// How many.
        bytes: usize,
    },
    /// The response leads elsewhere, and the client follows.
    Redirected {
        /// Where to.
        to: &'a Url,
    },
    /// It will be sent again.
    Retrying {
        /// After this pause.
        pause: Duration,
    },
    /// The response has been read to its end.
    Ended {
        /// Whether the connection went back to the pool.
        kept: bool,
    },
    /// It came to nothing.
    Failed {
        /// Why.
        error: &'a Error,
    },
}

/// Who is told.
pub(super) type Hook = Rc<dyn Fn(&Trace<'_>)>;

/// The hook of one request, if there is one. Without one an event is not even made.
#[derive(Clone)]
pub(super) struct Tracer(pub(super) Option<(Hook, u64)>);

impl Tracer {
    pub(super) fn tell<'a>(&self, handle: &Handle, event: impl FnOnce() -> TraceEvent<'a>) {
        if let Some((hook, id)) = &self.0 {
            hook(&Trace {
                id: *id,
                at: handle.time(),
                event: event(),
            });
        }
    }
}
