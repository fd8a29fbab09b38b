//! Connecting again, and not all at once.

use std::time::{Duration, Instant};

use super::super::retry::RetryPolicy;
use super::{WebSocket, WebSocketBuilder, WebSocketError};
use crate::event_loop::Handle;
use crate::net::ask_loop;
use crate::task::sleep;

/// Makes one connection after another: each time the last one has ended, ask for the next.
///
/// The first try is made at once. Before each that follows on a failure there is a pause, which doubles from try to try
/// up to a maximum and is random between half of that and all of it: those whom a server has lost together are not to
/// come back together. A connection that lasted longer than the longest pause counts as none that failed.
///
/// ```no_run
/// # async fn watch() -> Result<(), tourbillon::client::WebSocketError> {
/// use tourbillon::client::{Reconnect, WebSocket};
///
/// let mut reconnect = Reconnect::new(WebSocket::builder("ws://127.0.0.1:8080/prices"));
/// loop {
///     let mut socket = reconnect.connect().await?;
///     socket.send("subscribe all").await.ok();
///     while let Ok(Some(message)) = socket.recv().await {
///         println!("{message:?}");
///     }
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Reconnect {
    builder: WebSocketBuilder,
    pause: Duration,
    pause_max: Duration,
    /// Tries since the last connection that lasted.
    tries: u32,
    connected: Option<Instant>,
}

impl Reconnect {
    /// Pauses from 250 ms to 30 s.
    pub fn new(builder: WebSocketBuilder) -> Self {
        Self {
            builder,
            pause: Duration::from_millis(250),
            pause_max: Duration::from_secs(30),
            tries: 0,
            connected: None,
        }
    }

    /// The pause before the second try, and the longest.
    pub fn pauses(mut self, first: Duration, max: Duration) -> Self {
        self.pause = first;
        self.pause_max = max;
        self
    }

    /// Connect, as often as it takes. Dropping the future gives the present try up, and the pauses go on from there.
    ///
    /// # Errors
    /// What another try would not make better: see [`WebSocketError::is_transient`].
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn connect(&mut self) -> Result<WebSocket, WebSocketError> {
        let lasted = |since: Instant| Handle::current().now().saturating_duration_since(since);
        if self
            .connected
            .take()
            .is_some_and(|since| lasted(since) > self.pause_max)
        {
            self.tries = 0;
        }
        loop {
            if self.tries > 0 {
                sleep(self.next_pause().await).await;
            }
            self.tries = self.tries.saturating_add(1);
            match self.builder.connect().await {
                Ok(socket) => {
                    self.connected = Some(Handle::current().now());
                    return Ok(socket);
                }
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn next_pause(&self) -> Duration {
        // A loop that is going has no number to give; any will do then.
        let random = ask_loop(|ctx| Ok(ctx.driver().entropy())).await;
        let policy = RetryPolicy {
            pause: self.pause,
            pause_max: self.pause_max,
            ..RetryPolicy::none()
        };
        policy.pause_before(self.tries, random.unwrap_or(0))
    }
}
