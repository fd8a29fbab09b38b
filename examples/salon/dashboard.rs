//! The dashboard's stream: figures of this process, measured and sent while somebody watches, and only then.
//!
//! The first subscriber starts it, the last one who goes, however they go, stops it: there is one timer, and it is
//! cancelled. What a stream needs while it runs is in [`Running`], so that a stopped one has nothing to tick with.

use std::time::{Duration, Instant};

use serde::Serialize;
use tourbillon::event_loop::{CallHandle, Ctx};
use tourbillon::web::{CloseReason, Message, Peer, Request, Response, Rooms, Shared, Socket};

use crate::Salon;
use crate::alarm::{Alarm, Alert};
use crate::messages::{FromWatcher, Metrics, Refusal, ToWatcher, decode, encode, timestamp};
use crate::process::{self, CpuMeter};

/// From tick to tick.
const INTERVAL: Duration = Duration::from_secs(1);
/// From beat to beat. What holds the loop up for longer than this cannot hide between two of them.
const BEAT: Duration = Duration::from_millis(100);
/// The one room of [`Stream::watchers`].
const WATCHERS: &str = "watchers";

/// Who watches, and what is measured for them.
#[derive(Default)]
pub(crate) struct Stream {
    watchers: Rooms,
    running: Option<Running>,
    /// Since the server started.
    ticks: u64,
}

/// What a stream needs while it runs, and forgets when it stops.
struct Running {
    /// The next beat.
    beat: CallHandle,
    next_tick: Instant,
    /// The longest that a beat has waited since the last tick.
    lag_max: Duration,
    cpu: CpuMeter,
    alarms: Alarms,
}

struct Alarms {
    cpu: Alarm,
    lag: Alarm,
    connections: Alarm,
}

/// The stream's part of `/stats`.
#[derive(Serialize)]
pub(crate) struct StreamStats {
    clients: usize,
    running: bool,
    ticks: u64,
}

impl Stream {
    pub(crate) fn stats(&self) -> StreamStats {
        StreamStats {
            clients: self.watchers.count(WATCHERS),
            running: self.running.is_some(),
            ticks: self.ticks,
        }
    }

    fn start(&mut self, ctx: &Ctx<'_>, salon: &Shared<Salon>) {
        let now = ctx.time();
        self.running = Some(Running {
            beat: call_beat(ctx, now + BEAT, salon),
            next_tick: now + INTERVAL,
            lag_max: Duration::ZERO,
            cpu: CpuMeter::new(now),
            alarms: Alarms {
                cpu: Alarm::new("CPU", " %", 80.0, 95.0),
                lag: Alarm::new("Loop lag", " ms", 50.0, 250.0),
                connections: Alarm::new("Connections", "", 100.0, 500.0),
            },
        });
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.beat.cancel();
        }
    }
}

fn call_beat(ctx: &Ctx<'_>, when: Instant, salon: &Shared<Salon>) -> CallHandle {
    let salon = salon.clone();
    ctx.call_at(when, move |ctx| beat(ctx, &salon))
}

/// See how late it is, and tick when it is time to.
fn beat(ctx: &mut Ctx<'_>, shared: &Shared<Salon>) {
    shared.with(|salon| {
        let Some(running) = &mut salon.stream.running else {
            return;
        };
        let (due, now) = (running.beat.when(), ctx.time());
        running.lag_max = running.lag_max.max(now - due);
        // From when it was due, so that lateness does not add up; beats that were missed are not made up for.
        running.beat = call_beat(ctx, (due + BEAT).max(now), shared);
        if now >= running.next_tick {
            running.next_tick = (running.next_tick + INTERVAL).max(now);
            tick(ctx, now, salon);
        }
    });
}

/// Measure, and tell everyone who watches.
fn tick(ctx: &Ctx<'_>, now: Instant, salon: &mut Salon) {
    let counts = salon
        .server
        .upgrade()
        .map(|server| server.counts())
        .unwrap_or_default();
    let rooms = salon.rooms.counts();
    let Some(running) = &mut salon.stream.running else {
        return;
    };
    let lag_max = std::mem::take(&mut running.lag_max);
    let metrics = Metrics {
        timestamp: timestamp(ctx.wall_clock()),
        cpu_percent: running.cpu.percent(now),
        memory_bytes: process::memory_bytes(),
        loop_lag_ms: lag_max.as_micros() as f64 / 1000.0,
        connections: counts.open,
        requests: counts.requests,
        turns: ctx.stats().turns,
        rooms: rooms.len(),
        chatters: rooms.iter().map(|(_, members)| members).sum(),
    };
    salon.stream.ticks += 1;
    let watchers = &salon.stream.watchers;
    watchers.publish(WATCHERS, &encode(&ToWatcher::Metrics(&metrics)));
    for alert in running.alarms.observe(&metrics) {
        let alert = ToWatcher::Alert {
            alert,
            timestamp: metrics.timestamp,
        };
        watchers.publish(WATCHERS, &encode(&alert));
    }
}

impl Alarms {
    fn observe(&mut self, metrics: &Metrics) -> impl Iterator<Item = Alert> {
        [
            metrics
                .cpu_percent
                .and_then(|percent| self.cpu.observe(percent)),
            self.lag.observe(metrics.loop_lag_ms),
            self.connections.observe(metrics.connections as f64),
        ]
        .into_iter()
        .flatten()
    }
}

/// One dashboard page.
pub(crate) struct Watcher {
    /// For the stream's callbacks, which outlive the borrow that a handler gets.
    salon: Shared<Salon>,
}

/// `/realtime`: anybody may watch.
pub(crate) fn watch(
    salon: Shared<Salon>,
) -> impl Fn(&Request, &mut Salon) -> Result<Watcher, Response> {
    move |_, _| {
        Ok(Watcher {
            salon: salon.clone(),
        })
    }
}

impl Socket<Salon> for Watcher {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, salon: &mut Salon) {
        if let Err(refusal) = self.hear(peer, message, salon) {
            peer.send(&encode(&ToWatcher::Error { message: refusal }));
        }
    }

    fn closed(&mut self, _: &mut Ctx<'_>, _: &CloseReason, salon: &mut Salon) {
        if salon.stream.watchers.count(WATCHERS) == 0 {
            salon.stream.stop();
        }
    }
}

impl Watcher {
    fn hear(
        &self,
        peer: &mut Peer<'_>,
        message: Message<'_>,
        salon: &mut Salon,
    ) -> Result<(), Refusal> {
        match decode(message)? {
            FromWatcher::Subscribe => {
                let interval_ms = INTERVAL.as_millis() as u64;
                peer.send(&encode(&ToWatcher::Subscribed { interval_ms }));
                salon.stream.watchers.join(WATCHERS, peer.sender());
                if salon.stream.running.is_none() {
                    salon.stream.start(&peer.ctx(), &self.salon);
                }
            }
            FromWatcher::Ping => {
                let timestamp = timestamp(peer.ctx().wall_clock());
                peer.send(&encode(&ToWatcher::Pong { timestamp }));
            }
        }
        Ok(())
    }
}
