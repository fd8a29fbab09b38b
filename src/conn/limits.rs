//! Everything that is bounded, in one place, with its default and a counter of how often it was hit.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use super::websocket_settings::OutboxPolicy;
use crate::event_loop::{CALLBACKS_MAX, Ctx};
use crate::proto::http1::HeadLimits;
use crate::proto::ws::WsLimits;

/// Whoever wants no timeout says `Duration::MAX`. This is as good, and near enough for every clock.
pub(super) const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Descriptors that are left to the rest of the program.
const DESCRIPTORS_LEFT: usize = 64;

/// What happens to a connection that is one too many.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Refusal {
    /// It is answered with 503 and `Retry-After`, as far as that can be done without waiting, and closed.
    #[default]
    Answer,
    /// It is closed at once. That costs least, and a request that was sent already is answered with a reset.
    Drop,
}

/// What a server may hold, all in all. Several servers, on one loop or on many, have a budget each; what the loops or
/// threads of one engine ([`crate::web::Engine`]) have in common is said below.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Open connections, and tasks that outlive theirs ([`super::OnDisconnect`]). Above it, see [`Limits::refusal`].
    /// Default: the descriptors that the process may have, less 64 for the rest of the program. An engine's loops or
    /// threads hold to it together, as to [`Limits::connections_per_peer_max`] and [`Limits::accept_rate_max`].
    pub connections_max: Option<usize>,
    /// Bytes held for all connections: incomplete input, bodies that are collected, both directions of streamed ones,
    /// answers that were not taken, messages in fragments, in outboxes, and before tasks that are behind. A streamed
    /// answer that is not taken counts as a full pipe. Not counted is what belongs to the program
    /// ([`super::Body::Static`], [`super::Body::Shared`]). Default 256 MiB. Each loop or thread of an engine may hold
    /// so much: where each connection has a thread, it bounds the memory of one.
    ///
    /// When seven eighths are used, nobody new is let in: connections are refused as by [`Limits::refusal`], and
    /// requests whose bodies would have to be collected are answered with 503. When all is used, whoever holds most is
    /// cut, with 503 if nothing was answered yet. It is counted at the end of each connection's visit; what is above it
    /// for the rest of that turn is what a visit can read, 256 KiB.
    pub bytes_max: usize,
    /// Callbacks that the loop runs in one turn, see [`crate::event_loop::TurnBudget`]; the rest keep their places.
    /// Default 1,024. It bounds the loop's every turn, whoever asks for them; of two servers' budgets, the smaller.
    pub callbacks_max: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            connections_max: None,
            bytes_max: 256 * 1024 * 1024,
            callbacks_max: CALLBACKS_MAX,
        }
    }
}

/// The bounds of one server. The defaults are safe on the open internet; `Limits::default()` documents each.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From a connection's acceptance to its first byte. Default 10 s. Then it is closed without an answer. (Behind
    /// TLS, which does not exist here yet, the handshake will have a deadline of its own before this one.)
    pub first_byte_timeout: Duration,
    /// From the first byte of a head to its last. Default 10 s. Then 408.
    pub header_timeout: Duration,
    /// A body that stands still for so long ends the connection. Default 10 s. Then 408.
    pub body_timeout: Duration,
    /// After [`Limits::body_timeout`], a body must have come at this rate on average, in bytes a second. Of a streamed
    /// body it is what came since its reader was last behind by [`Limits::pipe_bytes_max`]. Default 1,024.
    pub body_rate_min: u64,
    /// A handler that is a task, from when it has its request to its answer; of a streaming one, not counting the time
    /// in which the body is awaited. Default 60 s; a route may have its own, see [`crate::web::Task::timeout`]. Then
    /// its future is dropped, and the answer is 503. A handler that is called cannot be interrupted, and has no
    /// timeout; nor has an answer's body that is streamed, while its sender is silent.
    pub handler_timeout: Duration,
    /// Answers of which the peer takes nothing for so long. Default 30 s.
    pub write_timeout: Duration,
    /// Between two requests. Default 75 s; 10 s when more than 80 % of [`Budget::connections_max`] are in use.
    pub keep_alive_timeout: Duration,
    /// Answers that a connection may have. The last says `Connection: close`, and the connection ends behind it: so
    /// that clients that stay for ever come by a load balancer now and then. Default: any number.
    pub requests_per_connection_max: Option<u32>,
    /// How old a connection may be when it is answered; the first answer above it is the last, as that of
    /// [`Limits::requests_per_connection_max`]. One that is not used ends by [`Limits::keep_alive_timeout`]. Default:
    /// any age.
    pub connection_age_max: Option<Duration>,
    /// A WebSocket that says nothing for so long is pinged. Default 30 s. Up to a quarter of that before, each at a
    /// moment of its own, so that those that were opened at once are not pinged at once. Not while its handler takes no
    /// messages.
    pub ping_after: Duration,
    /// A WebSocket that was pinged and still says nothing, not even a pong, is closed. Default 10 s.
    pub pong_timeout: Duration,
    /// A WebSocket on which no message comes or goes for so long is closed, with 1001; up to a quarter of that before,
    /// as in [`Limits::ping_after`]. Pings and pongs do not count. Default: none.
    pub websocket_idle_timeout: Duration,
    /// A WebSocket that is as old as this is closed, with 1001; up to a quarter of that before. Its peers come back one
    /// after another, and may then be another server's. Default: none.
    pub websocket_lifetime_max: Duration,
    /// Whether a peer that has ended its half still waits for its answers. Default no: the peer has gone, see
    /// [`super::OnDisconnect`]. Answers that are made in the same visit are sent in either case.
    pub half_close: bool,
    /// After an error answer, or a close with input left: how long to wait for the peer's end, so that it can read the
    /// answer. Default 2 s of silence, and five times that in all.
    pub linger_timeout: Duration,
    /// Input thrown away while lingering. Default 2 MiB: who sent a body or message just above the default limits can
    /// end it, and then reads why it was refused.
    pub linger_bytes_max: usize,
    /// Heads, chunks and trailers.
    pub head: HeadLimits,
    /// The body of a request whose route takes it whole, in bytes. Default 1 MiB. Above it: 413.
    pub body_bytes_max: usize,
    /// Bytes of a streamed body, in either direction, that wait for their reader before their source is paused. Default
    /// 64 KiB.
    pub pipe_bytes_max: usize,
    /// Messages and fragments of a WebSocket. Above them: 1009.
    pub websocket: WsLimits,
    /// What may wait for a WebSocket peer that does not take it, and what happens to what is too much.
    pub outbox: OutboxPolicy,
    /// What the server may hold, all in all.
    pub budget: Budget,
    /// Open connections from one peer: an IPv4 address, or an IPv6 network of 64 bits. Default: a quarter of
    /// [`Budget::connections_max`], and as many as they like over the loopback interface, since a proxy in front of the
    /// server is one peer: set it, if yours is on another machine. Set explicitly, it holds for all. Above it, see
    /// [`Limits::refusal`].
    pub connections_per_peer_max: Option<usize>,
    /// Connections taken in each second; after a quiet second, two seconds' worth. Default: any number. Above it, see
    /// [`Limits::refusal`].
    pub accept_rate_max: Option<u32>,
    /// What happens to a connection that is one too many. Default [`Refusal::Answer`].
    pub refusal: Refusal,
    /// How long a WebSocket whose closing handshake has begun may take to finish it; and before that, how long its peer
    /// may take nothing of what stands before our close frame. Default 5 s.
    pub close_timeout: Duration,
    /// How long a graceful shutdown by signal may take before what is left is cut, see [`crate::web::stop_on_signals`].
    /// Default 10 s.
    pub shutdown_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_byte_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            body_rate_min: 1024,
            handler_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(75),
            requests_per_connection_max: None,
            connection_age_max: None,
            ping_after: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(10),
            websocket_idle_timeout: Duration::MAX,
            websocket_lifetime_max: Duration::MAX,
            half_close: false,
            linger_timeout: Duration::from_secs(2),
            linger_bytes_max: 2 * 1024 * 1024,
            head: HeadLimits::default(),
            body_bytes_max: 1024 * 1024,
            pipe_bytes_max: 64 * 1024,
            websocket: WsLimits::default(),
            outbox: OutboxPolicy::default(),
            budget: Budget::default(),
            connections_per_peer_max: None,
            accept_rate_max: None,
            refusal: Refusal::default(),
            close_timeout: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// Find out what depends on the machine, unless it was said: [`Budget::connections_max`].
    pub(crate) fn find_out(&mut self, ctx: &mut Ctx<'_>) {
        let connections_max = &mut self.budget.connections_max;
        *connections_max = connections_max.or_else(|| {
            let descriptors = ctx.driver().descriptor_limit()?;
            Some(descriptors.saturating_sub(DESCRIPTORS_LEFT).max(1))
        });
    }
}

impl fmt::Display for Limits {
    /// Each limit on a line of its own, with its unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Taken apart, so that none is forgotten.
        let Self {
            first_byte_timeout,
            header_timeout,
            body_timeout,
            body_rate_min,
            handler_timeout,
            write_timeout,
            keep_alive_timeout,
            requests_per_connection_max,
            connection_age_max,
            ping_after,
            pong_timeout,
            websocket_idle_timeout,
            websocket_lifetime_max,
            half_close,
            linger_timeout,
            linger_bytes_max,
            head,
            body_bytes_max,
            pipe_bytes_max,
            websocket,
            outbox,
            budget,
            connections_per_peer_max,
            accept_rate_max,
            refusal,
            close_timeout,
            shutdown_timeout,
        } = self;
        let HeadLimits {
            head_bytes_max,
            line_bytes_max,
            fields_max,
            chunk_extension_bytes_max,
            chunk_extensions_bytes_max,
            trailer_bytes_max,
        } = head;
        let WsLimits {
            message_bytes_max,
            fragments_max,
        } = websocket;
        let OutboxPolicy {
            bytes_max: outbox_bytes_max,
            when_full,
        } = outbox;
        let Budget {
            connections_max,
            bytes_max,
            callbacks_max,
        } = budget;
        let mut line = |name: &str, value: String| writeln!(f, "{name:<32} {value}");
        line("first_byte_timeout", time(*first_byte_timeout))?;
        line("header_timeout", time(*header_timeout))?;
        line("body_timeout", time(*body_timeout))?;
        line("body_rate_min", format!("{body_rate_min} bytes/s"))?;
        line("handler_timeout", time(*handler_timeout))?;
        line("write_timeout", time(*write_timeout))?;
        line("keep_alive_timeout", time(*keep_alive_timeout))?;
        line(
            "requests_per_connection_max",
            requests_per_connection_max.map_or("any".to_owned(), |n| n.to_string()),
        )?;
        line(
            "connection_age_max",
            connection_age_max.map_or("any".to_owned(), time),
        )?;
        line("ping_after", time(*ping_after))?;
        line("pong_timeout", time(*pong_timeout))?;
        line("websocket_idle_timeout", time(*websocket_idle_timeout))?;
        line("websocket_lifetime_max", time(*websocket_lifetime_max))?;
        line("half_close", format!("{half_close}"))?;
        line("linger_timeout", time(*linger_timeout))?;
        line("linger_bytes_max", bytes(*linger_bytes_max))?;
        line("head.head_bytes_max", bytes(*head_bytes_max))?;
        line("head.line_bytes_max", bytes(*line_bytes_max))?;
        line("head.fields_max", format!("{fields_max} fields"))?;
        line(
            "head.chunk_extension_bytes_max",
            bytes(*chunk_extension_bytes_max),
        )?;
        line(
            "head.chunk_extensions_bytes_max",
            bytes(*chunk_extensions_bytes_max),
        )?;
        line("head.trailer_bytes_max", bytes(*trailer_bytes_max))?;
        line("body_bytes_max", bytes(*body_bytes_max))?;
        line("pipe_bytes_max", bytes(*pipe_bytes_max))?;
        line("websocket.message_bytes_max", bytes(*message_bytes_max))?;
        line(
            "websocket.fragments_max",
            format!("{fragments_max} fragments"),
        )?;
        line("outbox.bytes_max", bytes(*outbox_bytes_max))?;
        line("outbox.when_full", format!("{when_full:?}"))?;
        line(
            "budget.connections_max",
            connections_max.map_or("as many as there are descriptors".to_owned(), connections),
        )?;
        line("budget.bytes_max", bytes(*bytes_max))?;
        line(
            "budget.callbacks_max",
            format!("{callbacks_max} callbacks/turn"),
        )?;
        line(
            "connections_per_peer_max",
            connections_per_peer_max.map_or_else(
                || "a quarter of budget.connections_max, but for loopback".to_owned(),
                connections,
            ),
        )?;
        line(
            "accept_rate_max",
            accept_rate_max.map_or("any".to_owned(), |rate| format!("{rate} connections/s")),
        )?;
        line("refusal", format!("{refusal:?}"))?;
        line("close_timeout", time(*close_timeout))?;
        line("shutdown_timeout", time(*shutdown_timeout))
    }
}

fn time(time: Duration) -> String {
    if time >= CENTURY {
        "none".to_owned()
    } else {
        let fraction = format!(".{:09}", time.subsec_nanos());
        let fraction = fraction.trim_end_matches(['.', '0']);
        format!("{}{fraction} s", time.as_secs())
    }
}

fn bytes(bytes: usize) -> String {
    format!("{bytes} bytes")
}

fn connections(connections: usize) -> String {
    format!("{connections} connections")
}

/// How often one limit was hit.
pub struct HitCounter {
    name: &'static str,
    hits: Cell<u64>,
    /// The second of the loop in which the log was told last.
    #[cfg(any(feature = "log", feature = "tracing"))]
    told_in: Cell<Option<u64>>,
}

impl HitCounter {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            hits: Cell::new(0),
            #[cfg(any(feature = "log", feature = "tracing"))]
            told_in: Cell::new(None),
        }
    }

    /// How often.
    pub fn get(&self) -> u64 {
        self.hits.get()
    }

    /// One line a second at most, whatever peers do.
    #[cfg(any(feature = "log", feature = "tracing"))]
    #[cold]
    fn tell(&self) {
        let tick = crate::event_loop::Handle::try_current().map(|handle| handle.tick());
        let second = tick.unwrap_or_default() / 1000;
        if self.told_in.replace(Some(second)) == Some(second) {
            return;
        }
        let (name, hits) = (self.name, self.get());
        match name {
            // How connections that are not used end, and how silent ones are asked: nothing is wrong.
            "keep_alive_timeout" | "ping_after" | "requests_per_connection" | "connection_age" => {
                crate::event!(debug, "the limit {name} was hit, {hits} times by now");
            }
            _ => crate::event!(warn, "the limit {name} was hit, {hits} times by now"),
        }
    }
}

/// How often each limit was hit since the server began.
pub struct Hits {
    /// [`Limits::first_byte_timeout`].
    pub first_byte_timeout: HitCounter,
    /// [`Limits::header_timeout`].
    pub header_timeout: HitCounter,
    /// [`Limits::body_timeout`] and [`Limits::body_rate_min`].
    pub body_timeout: HitCounter,
    /// [`Limits::handler_timeout`], and those of routes.
    pub handler_timeout: HitCounter,
    /// [`Limits::write_timeout`].
    pub write_timeout: HitCounter,
    /// [`Limits::keep_alive_timeout`]: the ordinary end of a connection that is not used.
    pub keep_alive_timeout: HitCounter,
    /// [`Limits::requests_per_connection_max`].
    pub requests_per_connection: HitCounter,
    /// [`Limits::connection_age_max`].
    pub connection_age: HitCounter,
    /// [`Limits::ping_after`]: pings sent.
    pub ping_after: HitCounter,
    /// [`Limits::pong_timeout`].
    pub pong_timeout: HitCounter,
    /// [`Limits::websocket_idle_timeout`].
    pub websocket_idle_timeout: HitCounter,
    /// [`Limits::websocket_lifetime_max`].
    pub websocket_lifetime_max: HitCounter,
    /// [`Limits::linger_timeout`] and [`Limits::linger_bytes_max`].
    pub linger: HitCounter,
    /// Requests that broke a rule or a limit of [`Limits::head`].
    pub refused_requests: HitCounter,
    /// [`Limits::body_bytes_max`].
    pub body_bytes: HitCounter,
    /// WebSocket peers that broke a rule or a limit of [`Limits::websocket`].
    pub refused_messages: HitCounter,
    /// [`Limits::outbox`]: messages that found it full.
    pub outbox_bytes: HitCounter,
    /// [`Budget::connections_max`].
    pub connections: HitCounter,
    /// [`Limits::connections_per_peer_max`].
    pub connections_per_peer: HitCounter,
    /// [`Limits::accept_rate_max`].
    pub accept_rate: HitCounter,
    /// [`Budget::bytes_max`]: connections and bodies refused, and connections cut.
    pub bytes: HitCounter,
    /// [`Limits::close_timeout`].
    pub close_timeout: HitCounter,
}

impl Default for Hits {
    fn default() -> Self {
        Self {
            first_byte_timeout: HitCounter::new("first_byte_timeout"),
            header_timeout: HitCounter::new("header_timeout"),
            body_timeout: HitCounter::new("body_timeout"),
            handler_timeout: HitCounter::new("handler_timeout"),
            write_timeout: HitCounter::new("write_timeout"),
            keep_alive_timeout: HitCounter::new("keep_alive_timeout"),
            requests_per_connection: HitCounter::new("requests_per_connection"),
            connection_age: HitCounter::new("connection_age"),
            ping_after: HitCounter::new("ping_after"),
            pong_timeout: HitCounter::new("pong_timeout"),
            websocket_idle_timeout: HitCounter::new("websocket_idle_timeout"),
            websocket_lifetime_max: HitCounter::new("websocket_lifetime_max"),
            linger: HitCounter::new("linger"),
            refused_requests: HitCounter::new("refused_requests"),
            body_bytes: HitCounter::new("body_bytes"),
            refused_messages: HitCounter::new("refused_messages"),
            outbox_bytes: HitCounter::new("outbox_bytes"),
            connections: HitCounter::new("connections"),
            connections_per_peer: HitCounter::new("connections_per_peer"),
            accept_rate: HitCounter::new("accept_rate"),
            bytes: HitCounter::new("bytes"),
            close_timeout: HitCounter::new("close_timeout"),
        }
    }
}

impl Hits {
    /// How many counters there are.
    pub const NUMBER: usize = 22;

    pub(super) fn count(counter: &HitCounter) {
        counter.hits.set(counter.get() + 1);
        #[cfg(any(feature = "log", feature = "tracing"))]
        counter.tell();
    }

    /// Each counter with its name.
    pub fn all(&self) -> [(&'static str, u64); Self::NUMBER] {
        [
            &self.first_byte_timeout,
            &self.header_timeout,
            &self.body_timeout,
            &self.handler_timeout,
            &self.write_timeout,
            &self.keep_alive_timeout,
            &self.requests_per_connection,
            &self.connection_age,
            &self.ping_after,
            &self.pong_timeout,
            &self.websocket_idle_timeout,
            &self.websocket_lifetime_max,
            &self.linger,
            &self.refused_requests,
            &self.body_bytes,
            &self.refused_messages,
            &self.outbox_bytes,
            &self.connections,
            &self.connections_per_peer,
            &self.accept_rate,
            &self.bytes,
            &self.close_timeout,
        ]
        .map(|counter| (counter.name, counter.get()))
    }
}

impl fmt::Debug for Hits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.all()).finish()
    }
}
