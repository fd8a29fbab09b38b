//! What one loop says of itself and of its server, as plain data that goes to the thread that asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::conn::{Counts, Hits, RouteReport, Server, WebSocketCounts};
use crate::event_loop::{Ctx, Stats};

/// How many there are of each kind in each state.
pub(super) type States = BTreeMap<(&'static str, &'static str), usize>;

/// A loop's report.
pub(super) struct LoopReport {
    pub(super) stats: Stats,
    /// All sources.
    pub(super) sources: States,
    /// Records of the recorder, in all.
    pub(super) recorded: u64,
    pub(super) counts: Counts,
    pub(super) hits: [(&'static str, u64); Hits::NUMBER],
    pub(super) connections_max: Option<usize>,
    pub(super) bytes_max: usize,
    /// Its connections.
    pub(super) connections: States,
    /// Requests that were begun and not answered yet, by the paths of their routes.
    pub(super) in_flight: BTreeMap<Arc<str>, usize>,
    /// WebSockets that are open, likewise.
    pub(super) websockets_open: BTreeMap<Arc<str>, usize>,
    pub(super) routes: Vec<RouteReport>,
    pub(super) websockets: WebSocketCounts,
}

impl LoopReport {
    pub(super) fn make(ctx: &mut Ctx<'_>, server: &Server) -> Self {
        let mut sources = States::new();
        for (_, found) in ctx.census() {
            *sources.entry((found.kind, found.state)).or_default() += 1;
        }
        let census = server.census(ctx);
        let (mut in_flight, mut websockets_open) = (BTreeMap::new(), BTreeMap::new());
        for one in &census.connections {
            let Some(route) = &one.route else { continue };
            let counted = match one.kind {
                "websocket" => &mut websockets_open,
                _ => &mut in_flight,
            };
            *counted.entry(Arc::clone(route)).or_default() += 1;
        }
        let budget = &server.limits().budget;
        Self {
            stats: ctx.stats(),
            sources,
            recorded: ctx.recorder().written(),
            counts: server.counts(),
            hits: server.hits().all(),
            connections_max: budget.connections_max,
            bytes_max: budget.bytes_max,
            connections: census.states(),
            in_flight,
            websockets_open,
            routes: server.route_counts(),
            websockets: server.websocket_counts(),
        }
    }
}
