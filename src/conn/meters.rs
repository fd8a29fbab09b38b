//! How long the requests of each route took and what they were answered with, when that is wanted; and what went over
//! WebSockets.
//!
//! A request's time runs from the moment at which the loop woke up for the turn in which its head was complete, to the
//! moment at which the last byte of its answer was handed to the connection. So it contains what the request had to
//! wait for others of its turn, which a clock around the handler would not see, and not the peer's reading. It costs
//! one reading of the clock for each answer, and nothing when it is not wanted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::service::Service;
use crate::metrics::Histogram;

/// What a route has done. 20 KiB, whatever it counts.
#[derive(Clone, Debug, Default)]
pub struct RouteCounts {
    /// How long its requests took: see the head of `conn/meters.rs`.
    pub latency: Histogram,
    /// Its answers by the first digit of their status: 1xx, which are WebSockets that were opened, to 5xx.
    pub answers: [u64; 5],
}

impl RouteCounts {
    fn count(&mut self, status: u16, took: Duration) {
        self.latency.record(took);
        let class = usize::from(status / 100).clamp(1, 5);
        self.answers[class - 1] += 1;
    }

    /// Count what `other` has counted, too.
    pub fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        for (ours, theirs) in self.answers.iter_mut().zip(other.answers) {
            *ours += theirs;
        }
    }
}

/// A route with what it has done. See [`super::Server::route_counts`].
#[derive(Clone, Debug)]
pub struct RouteReport {
    /// Its method; `*` for any, and `""` for requests that belong to no route.
    pub method: &'static str,
    /// Its path, as it was written in the program, with what it was mounted under.
    pub path: Arc<str>,
    /// What it has done.
    pub counts: RouteCounts,
}

/// The counts of all routes, those first that belong to none. Each is made when its first request is answered.
#[derive(Default)]
pub(super) struct Meters(RefCell<Vec<Option<Box<RouteCounts>>>>);

impl Meters {
    /// A request of `route`, if it has one, is answered.
    pub(super) fn count(&self, route: Option<u32>, status: u16, took: Duration) {
        let place = route.map_or(0, |route| route as usize + 1);
        let mut all = self.0.borrow_mut();
        if all.len() <= place {
            all.resize_with(place + 1, || None);
        }
        all[place].get_or_insert_default().count(status, took);
    }

    /// Those that have done anything.
    pub(super) fn reports(&self, service: &dyn Service) -> Vec<RouteReport> {
        let all = self.0.borrow();
        let there =
            (all.iter().enumerate()).filter_map(|(place, counts)| Some((place, counts.as_ref()?)));
        there
            .map(|(place, counts)| {
                let route = place.checked_sub(1);
                let name = route.and_then(|route| service.route_name(route as u32));
                let (method, path) = name.unwrap_or_default();
                RouteReport {
                    method,
                    path,
                    counts: RouteCounts::clone(counts),
                }
            })
            .collect()
    }
}

/// What has gone over the WebSockets of a server. Of messages that were compressed, the bytes as they went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSocketCounts {
    /// WebSockets that were opened.
    pub opened: u64,
    /// Messages that came.
    pub messages_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Messages that were given to their connection to be written, or to wait. One to a room counts once for each
    /// member.
    pub messages_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Closed ones by close code (RFC 6455, 7.4): the peer's or ours, whichever came first; 1006 for those that were
    /// lost.
    pub closes: BTreeMap<u16, u64>,
}

/// The same, as it is counted. What is counted together does not lie together: two numbers side by side would be added
/// to by vector instructions, of which it takes three times as many.
#[derive(Default)]
pub(super) struct Traffic {
    opened: Cell<u64>,
    messages_in: Cell<u64>,
    messages_out: Cell<u64>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    closes: RefCell<BTreeMap<u16, u64>>,
}

fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get() + more);
}

impl Traffic {
    pub(super) fn opened(&self) {
        add(&self.opened, 1);
    }

    #[inline]
    pub(super) fn came(&self, bytes: usize) {
        add(&self.messages_in, 1);
        add(&self.bytes_in, bytes as u64);
    }

    #[inline]
    pub(super) fn sent(&self, messages: usize, bytes: usize) {
        add(&self.messages_out, messages as u64);
        add(&self.bytes_out, bytes as u64);
    }

    pub(super) fn closed(&self, code: u16) {
        *self.closes.borrow_mut().entry(code).or_default() += 1;
    }

    pub(super) fn counts(&self) -> WebSocketCounts {
        WebSocketCounts {
            opened: self.opened.get(),
            messages_in: self.messages_in.get(),
            bytes_in: self.bytes_in.get(),
            messages_out: self.messages_out.get(),
            bytes_out: self.bytes_out.get(),
            closes: self.closes.borrow().clone(),
        }
    }
}
