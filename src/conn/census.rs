//! The census: every connection of a server at one moment, for people who look.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::event_loop::{Inspection, Span, Token};

/// A connection, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Names it on its loop: [`crate::event_loop::Ctx::close`] ends it.
    pub token: Token,
    /// What it speaks: `http` or `websocket`.
    pub kind: &'static str,
    /// Where it is in its life: `idle`, `in its handler`, `open`, …
    pub state: &'static str,
    /// Which of its deadlines runs: `first byte`, `header`, `body`, `handler`, `idle`, `write`, `linger`, `open`,
    /// `pong`, `closing`; `untimed` for none.
    pub phase: &'static str,
    /// When that deadline comes; zero when it has.
    pub deadline: Option<Duration>,
    /// How long ago it was accepted, in whole seconds.
    pub age: Duration,
    /// Bytes held for it, see [`super::Budget::bytes_max`].
    pub bytes_held: usize,
    /// The other end.
    pub peer: SocketAddr,
    /// The path of the route that its request, or its WebSocket, belongs to. `None` between two requests.
    pub route: Option<Arc<str>>,
    /// Its descriptor, where the driver has such.
    pub descriptor: Option<i32>,
}

impl ConnectionInfo {
    /// What is known of a connection by others than itself, and what it says.
    pub(super) fn new(
        (token, age, tick): (Token, Duration, u64),
        descriptor: Option<i32>,
        found: &Inspection,
    ) -> Option<Self> {
        let until = |deadline: u64| Duration::from_millis(deadline.saturating_sub(tick));
        Some(Self {
            token,
            kind: found.kind,
            state: found.state,
            phase: found.phase,
            deadline: found.deadline_tick.map(until),
            age,
            bytes_held: found.bytes_held,
            peer: found.peer?,
            route: found.purpose.clone(),
            descriptor,
        })
    }
}

/// Every connection of a server, the oldest first. It prints as a table.
///
/// ```text
/// 2 connections: 1 http idle, 1 websocket open
/// token  kind       state  phase  deadline  age     held  route  fd  peer
/// 5.1    http       idle   idle   74 s      1.0 s   0     -      9   127.0.0.1:50412
/// 6.1    websocket  open   open   29 s      < 1 s   0     /chat  10  127.0.0.1:50414
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// The connections.
    pub connections: Vec<ConnectionInfo>,
}

impl Census {
    /// How many there are of each kind in each state.
    pub fn states(&self) -> std::collections::BTreeMap<(&'static str, &'static str), usize> {
        let mut states = std::collections::BTreeMap::new();
        for one in &self.connections {
            *states.entry((one.kind, one.state)).or_default() += 1;
        }
        states
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.connections.len();
        write!(
            f,
            "{number} connection{}",
            if number == 1 { "" } else { "s" }
        )?;
        for (place, ((kind, state), number)) in self.states().into_iter().enumerate() {
            let before = if place == 0 { ": " } else { ", " };
            write!(f, "{before}{number} {kind} {state}")?;
        }
        writeln!(f)?;
        if number == 0 {
            return Ok(());
        }
        let heads = [
            "token", "kind", "state", "phase", "deadline", "age", "held", "route", "fd", "peer",
        ];
        let mut rows = vec![heads.map(str::to_owned)];
        let span = |time| Span(time).to_string();
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        rows.extend(self.connections.iter().map(|one| {
            [
                one.token.to_string(),
                one.kind.to_owned(),
                one.state.to_owned(),
                one.phase.to_owned(),
                or_dash(one.deadline.map(span)),
                match one.age.is_zero() {
                    true => "< 1 s".to_owned(),
                    false => span(one.age),
                },
                one.bytes_held.to_string(),
                or_dash(one.route.as_deref().map(str::to_owned)),
                or_dash(one.descriptor.map(|descriptor| descriptor.to_string())),
                one.peer.to_string(),
            ]
        }));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..heads.len()).filter_map(width).collect();
        for row in &rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line += &format!("{cell:width$}  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
