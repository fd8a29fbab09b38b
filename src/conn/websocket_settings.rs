//! How the WebSockets of a route are kept: what a route says for itself, and what holds where it says nothing.

use std::rc::Rc;
use std::time::Duration;

use super::connection::ticks;
use super::limits::{CENTURY, Limits};
use super::origins::Origins;
use super::server::Shared;
#[cfg(feature = "deflate")]
use super::websocket::SharedDeflate;
use crate::event_loop::{CORK_BYTES, Origin};
#[cfg(feature = "deflate")]
use crate::proto::ws::DeflateOptions;
use crate::proto::ws::{self, WsLimits};

/// How much may wait for a peer that does not take it, and what happens to what is too much. Pings, pongs and close
/// frames are exempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutboxPolicy {
    /// A message is accepted while no more than so many bytes wait before it. Default 64 KiB. A peer that has taken all
    /// does not let anything wait: what a single turn sends to it may be 16 times as much.
    pub bytes_max: usize,
    /// What happens to one that is not. Default [`WhenFull::Close`].
    pub when_full: WhenFull,
}

impl Default for OutboxPolicy {
    fn default() -> Self {
        Self {
            bytes_max: 64 * 1024,
            when_full: WhenFull::default(),
        }
    }
}

/// What happens to a message for a WebSocket peer whose outbox is full. What is dropped is dropped for this peer only,
/// as a whole message, and counted: [`super::Hits::outbox_bytes`], [`super::Sender::dropped`]. What the socket was
/// offered already, up to 64 KiB and a message, waits to the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WhenFull {
    /// The connection is closed with 1013 (try again later): the peer learns that it missed something.
    #[default]
    Close,
    /// The new message is dropped. What was accepted is delivered.
    DropNewest,
    /// Those that wait longest are dropped until there is room; of those that were sent by a policy under which they
    /// may be. The new message waits in any case.
    DropOldest,
    /// For messages with a key, [`super::Sender::send_keyed`]: one that waits is replaced by a new one with the same
    /// key, in its place, and not only when the outbox is full. When it is, those with a key that wait longest are
    /// dropped. For messages without a key it is [`WhenFull::DropNewest`].
    KeepLatest,
}

/// What a route says of its WebSockets. `None`, the default of each, is what the server's [`Limits`] say.
///
/// ```
/// use std::time::Duration;
/// use tourbillon::web::{App, Message, OutboxPolicy, Peer, Request, Socket, WebSocketSettings, WhenFull};
///
/// struct Prices;
/// impl Socket<()> for Prices {
///     fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut ()) {
///         peer.send_keyed("EUR", message);
///     }
/// }
/// let settings = WebSocketSettings {
///     outbox: Some(OutboxPolicy { bytes_max: 16 * 1024, when_full: WhenFull::KeepLatest }),
///     idle_timeout: Some(Duration::from_secs(600)),
///     ..WebSocketSettings::default()
/// };
/// let app = App::new(()).ws_with("/prices", settings, |_: &Request, _: &mut ()| Ok(Prices));
/// # drop(app);
/// ```
///
/// A route panics that is added with settings that are not in order: with an origin that no browser sends, a
/// subprotocol that is no token or stands there twice, a level or a window of compression out of its range.
#[derive(Clone, Debug, Default)]
pub struct WebSocketSettings {
    /// Pages of which origins may open them. Default: the server's own.
    pub origins: Origins,
    /// The subprotocols that are spoken here, what is liked best first: the first that the client asks for is agreed
    /// on, unless the handler chooses another. When there is none, the WebSocket is opened without one, and it is for
    /// the client to go on or not (RFC 6455, 4.2.2). A handler that wants to refuse then finds what was asked for in
    /// [`super::Request::subprotocols`].
    pub subprotocols: Vec<&'static str>,
    /// Instead of [`Limits::outbox`].
    pub outbox: Option<OutboxPolicy>,
    /// Instead of [`Limits::ping_after`].
    pub ping_after: Option<Duration>,
    /// Instead of [`Limits::pong_timeout`].
    pub pong_timeout: Option<Duration>,
    /// Instead of [`Limits::websocket_idle_timeout`].
    pub idle_timeout: Option<Duration>,
    /// Instead of [`Limits::websocket_lifetime_max`].
    pub lifetime_max: Option<Duration>,
    /// Instead of [`Limits::websocket`].
    pub messages: Option<WsLimits>,
    /// Messages may be compressed, if the client agrees (permessage-deflate, RFC 7692). Default no.
    #[cfg(feature = "deflate")]
    pub deflate: Option<DeflateOptions>,
}

impl WebSocketSettings {
    /// Find mistakes where they are made.
    #[track_caller]
    pub(crate) fn check(&self) {
        self.origins.check_list();
        for (index, name) in self.subprotocols.iter().enumerate() {
            let is_token = ws::subprotocols(name).eq([*name]);
            assert!(is_token, "the subprotocol {name:?} is no token");
            let is_new = !self.subprotocols[..index].contains(name);
            assert!(is_new, "the subprotocol {name:?} stands there twice");
        }
        #[cfg(feature = "deflate")]
        if let Some(options) = &self.deflate {
            // It looks at all of them.
            options.offer();
        }
    }
}

/// What holds for the WebSockets of a route, and of one agreement about compression; they have it together, as far as
/// they can. Times are in ticks.
pub(super) struct WebSocketRules {
    pub(super) server: Rc<Shared>,
    pub(super) route: u32,
    /// Where the route was added.
    pub(super) origin: Origin,
    pub(super) outbox: OutboxPolicy,
    pub(super) messages: WsLimits,
    pub(super) ping_after: u64,
    pub(super) pong_timeout: u64,
    pub(super) idle_timeout: u64,
    pub(super) lifetime_max: u64,
    /// How messages are compressed, if that was agreed on.
    #[cfg(feature = "deflate")]
    pub(super) deflate: Option<SharedDeflate>,
}

impl WebSocketRules {
    pub(super) fn new(
        server: &Rc<Shared>,
        route: u32,
        origin: Origin,
        settings: Option<&WebSocketSettings>,
    ) -> Self {
        let limits: &Limits = &server.limits;
        let of = |said: fn(&WebSocketSettings) -> Option<Duration>, limit: Duration| {
            ticks(settings.and_then(said).unwrap_or(limit))
        };
        let messages = settings.and_then(|said| said.messages.as_ref());
        Self {
            server: Rc::clone(server),
            route,
            origin,
            outbox: settings
                .and_then(|said| said.outbox)
                .unwrap_or(limits.outbox),
            messages: messages.unwrap_or(&limits.websocket).clone(),
            ping_after: of(|said| said.ping_after, limits.ping_after),
            pong_timeout: of(|said| said.pong_timeout, limits.pong_timeout),
            idle_timeout: of(|said| said.idle_timeout, limits.websocket_idle_timeout),
            lifetime_max: of(|said| said.lifetime_max, limits.websocket_lifetime_max),
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// Whether a WebSocket may end for no other reason than time.
    pub(super) fn has_an_end(&self) -> bool {
        self.idle_timeout.min(self.lifetime_max) < ticks(CENTURY)
    }

    /// How much is handed to the socket in one piece: what it was offered cannot be dropped any more.
    pub(super) fn offered_bytes_max(&self) -> usize {
        match self.outbox.when_full {
            WhenFull::Close | WhenFull::DropNewest => CORK_BYTES,
            WhenFull::DropOldest | WhenFull::KeepLatest => {
                (self.outbox.bytes_max / 2).clamp(1, CORK_BYTES)
            }
        }
    }
}

/// A time of so many ticks for the connection at `place`: less by up to a quarter, another part for each of neighbours.
/// Connections that were opened at once are so asked and closed one by one. (Multiples of the golden ratio, without
/// their whole parts, lie as far from each other as can be: Knuth, The Art of Computer Programming, 6.4.)
pub(super) fn spread(ticks: u64, place: u32) -> u64 {
    const GOLDEN: u32 = 0x9e37_79b9;
    let part = u128::from(place.wrapping_mul(GOLDEN));
    ticks - ((u128::from(ticks / 4) * part) >> 32) as u64
}
