//! Trouble, made on purpose, to watch how a loop takes it: a callback that blocks, and clients as no server wants them.
//!
//! The clients run on the dial's own loop and connect to the watched server on this machine. All of them are bounded in
//! number and in time, whatever the page asks for.

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::event_loop::{Ctx, Handle, LoopGone, Remote};
use crate::net::{StreamExt, TcpStream};
use crate::task::{sleep, timeout};

/// The names of all.
pub(super) const ALL: &[&str] = &[
    "block",
    "lesson",
    "slow_reader",
    "slow_headers",
    "connections",
    "reset",
];
/// Those that need no server.
pub(super) const WITHOUT_SERVER: &[&str] = &["block", "lesson"];

/// Longest that a callback blocks.
const BLOCK_MS_MAX: u64 = 2_000;
/// Longest that clients stay.
const CLIENT_MS_MAX: u64 = 10_000;
/// Most clients that are there at once.
const CLIENTS_MAX: usize = 500;
/// Most clients that send a head slowly.
const SLOW_HEADERS_MAX: usize = 50;
/// A byte of a slow head comes so often.
const SLOW_HEADERS_PACE: Duration = Duration::from_millis(200);
/// Requests that a slow reader sends in one write, and how often it does at most: answers of a few kilobytes fill every
/// buffer on the way long before.
const SLOW_READER_REQUESTS: usize = 100;
const SLOW_READER_WRITES_MAX: usize = 1_000;

/// How long a client that resets its connection may take for it.
pub(super) const RESET_MS: u64 = 1_000;
/// So long the server has to take what is then broken off.
const RESET_AFTER: Duration = Duration::from_millis(50);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const HALF_A_REQUEST: &[u8] =
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf of it";

/// Have the watched loop blocked for `ms`, by a callback that computes. It is created in the line below, and that is
/// the place that debug mode names.
pub(super) fn block(remote: &Remote, ms: u64) -> Result<(), LoopGone> {
    let length = Duration::from_millis(ms.min(BLOCK_MS_MAX));
    remote.call_soon_threadsafe(move |ctx| compute(ctx, length))
}

fn compute(ctx: &mut Ctx<'_>, length: Duration) {
    let begun = ctx.time();
    while ctx.time().saturating_duration_since(begun) < length {
        std::hint::spin_loop();
    }
}

/// A client that no server wants.
#[derive(Clone, Copy)]
pub(super) enum Client {
    /// It asks and asks, and reads nothing.
    SlowReader,
    /// It sends a head a byte at a time.
    SlowHeaders,
    /// It connects and says nothing.
    Silent,
    /// It resets its connection in the middle of a request.
    Resetting,
}

/// The clients of one dial.
pub(super) struct Clients {
    /// Whom they connect to.
    address: SocketAddr,
    /// How many there are now.
    number: Rc<Cell<usize>>,
}

impl Clients {
    /// Clients of the server at `address`: if that is no address of this machine alone, its loopback address.
    pub(super) fn of(address: SocketAddr) -> Self {
        let loopback = match address.ip() {
            ip if ip.is_loopback() => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        Self {
            address: SocketAddr::new(loopback, address.port()),
            number: Rc::default(),
        }
    }

    /// Start `count` clients that stay for `ms`, or as many as there may be and as long as they may stay. `Err` says
    /// why not.
    pub(super) fn start(
        &self,
        handle: &Handle,
        client: Client,
        count: usize,
        ms: u64,
    ) -> Result<(), &'static str> {
        let count_max = match client {
            Client::SlowHeaders => SLOW_HEADERS_MAX,
            Client::SlowReader | Client::Silent | Client::Resetting => CLIENTS_MAX,
        };
        let count = count.min(count_max);
        if self.number.get() + count > CLIENTS_MAX {
            return Err("the clients of another injection are still there");
        }
        self.number.set(self.number.get() + count);
        let length = Duration::from_millis(ms.min(CLIENT_MS_MAX));
        for _ in 0..count {
            let (address, number) = (self.address, Rc::clone(&self.number));
            let run = async move {
                // Trouble is what it is for: how it ends is of no interest.
                let _ = timeout(length, client.run(address)).await;
                number.set(number.get() - 1);
            };
            drop(handle.spawn(run));
        }
        Ok(())
    }
}

impl Client {
    /// Be this client until somebody has enough.
    async fn run(self, address: SocketAddr) -> io::Result<()> {
        let mut stream = TcpStream::connect(address).await?;
        match self {
            Self::SlowReader => {
                let requests = REQUEST.repeat(SLOW_READER_REQUESTS);
                for _ in 0..SLOW_READER_WRITES_MAX {
                    stream.write_all(&requests).await?;
                    stream.flush().await?;
                }
            }
            Self::SlowHeaders => {
                stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await?;
                loop {
                    stream.write_all(b"s").await?;
                    stream.flush().await?;
                    sleep(SLOW_HEADERS_PACE).await;
                }
            }
            Self::Silent => {}
            Self::Resetting => {
                // The answer to the first request is not read: that makes it a reset where nothing else does.
                stream.write_all(REQUEST).await?;
                stream.write_all(HALF_A_REQUEST).await?;
                stream.flush().await?;
                sleep(RESET_AFTER).await;
                stream.abort();
                return Ok(());
            }
        }
        pending().await
    }
}
