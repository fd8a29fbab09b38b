//! How long a connection may be used, for servers that say so: their clients come back on a new one, by way of whatever
//! spreads them over several servers.
//!
//! Most servers do not, so that nothing of it is in the connection.

use super::connection::ticks;
use super::limits::{HitCounter, Hits, Limits};

/// The limits, and what each connection has been used.
pub(super) struct Wear {
    requests_max: u32,
    age_max: u64,
    /// By the connections' places.
    of: Vec<Used>,
}

#[derive(Clone, Copy, Default)]
struct Used {
    /// In ticks.
    since: u64,
    answers: u32,
}

impl Wear {
    /// `None` when the limits do not limit it.
    pub(super) fn of(limits: &Limits) -> Option<Self> {
        let (requests, age) = (
            limits.requests_per_connection_max,
            limits.connection_age_max,
        );
        (requests.is_some() || age.is_some()).then(|| Self {
            requests_max: requests.unwrap_or(u32::MAX),
            age_max: age.map_or(u64::MAX, ticks),
            of: Vec::new(),
        })
    }

    /// There is a new connection.
    pub(super) fn begin(&mut self, place: u32, tick: u64) {
        let place = place as usize;
        if self.of.len() <= place {
            self.of.resize(place + 1, Used::default());
        }
        self.of[place] = Used {
            since: tick,
            answers: 0,
        };
    }

    /// It answers: whether that is the last time.
    pub(super) fn is_last_answer(&mut self, place: u32, tick: u64, hits: &Hits) -> bool {
        let used = &mut self.of[place as usize];
        used.answers = used.answers.saturating_add(1);
        let hit: &HitCounter = if used.answers >= self.requests_max {
            &hits.requests_per_connection
        } else if tick.saturating_sub(used.since) >= self.age_max {
            &hits.connection_age
        } else {
            return false;
        };
        Hits::count(hit);
        true
    }
}
