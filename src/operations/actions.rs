//! Looking at the loops of a fleet one by one, and acting on them: routes behind a guard.

use std::time::Duration;

use serde_json::{Value, json};

use super::Handler;
use super::exposition::Format;
use super::fleet::Fleet;
use crate::conn::{Answer, Census, Later, Limits, Reply, Request, Response, Server};
use crate::event_loop::{Ctx, Finding, Handle, Incident, Stats, Tasks, Token, Trouble};
use crate::events::{LogLevel, set_log_level};
use crate::web::{App, Guard, Shared};

impl<S: 'static> App<S> {
    /// Show what the loops of `fleet` do, and let operators act on them, under `prefix`, to whoever passes `guard`. The
    /// app's own loop joins the fleet when it is served, and its routes are measured.
    ///
    /// | request | what |
    /// | --- | --- |
    /// | `GET census` | every connection; `?as=text` for a table |
    /// | `GET incidents` | what went wrong lately: slow turns with what made them slow, findings, panics; `?as=text` |
    /// | `GET tasks` | every task and what it waits on, as a table |
    /// | `GET limits` | every limit, and how often each was hit, as text |
    /// | `GET metrics` | as [`App::metrics`] |
    /// | `POST close?token=5.1` | close a connection; what it has not written yet is lost |
    /// | `POST cancel?token=7.0` | end a task, as its `abort` does |
    /// | `POST log?level=debug` | tell the log more, or less: [`crate::set_log_level`] |
    /// | `POST debug?on=true` | debug mode: [`crate::event_loop::Handle::set_debug`] |
    /// | `POST record?on=true` | the recorder: [`crate::event_loop::Handle::record`] |
    ///
    /// To look, a request must come from this machine; to act, it needs the guard's token as well ([`Guard`]). A token
    /// of a connection or task is its loop's: with several loops, `loop=1` says which. Without it `debug` and `record`
    /// are for all, and the others for the first.
    ///
    /// # Panics
    /// As [`App::mount`].
    #[track_caller]
    pub fn operations(self, prefix: &'static str, fleet: &Fleet, guard: &Guard) -> Self {
        let page = |page: Page| Operations {
            page,
            fleet: fleet.clone(),
            guard: guard.clone(),
        };
        let inner = App::new(())
            .get("/census", page(Page::Census))
            .get("/incidents", page(Page::Incidents))
            .get("/tasks", page(Page::Tasks))
            .get("/limits", page(Page::Limits))
            .get("/metrics", page(Page::Metrics))
            .post("/close", page(Page::Act(Action::close)))
            .post("/cancel", page(Page::Act(Action::cancel)))
            .post("/log", page(Page::Act(Action::log)))
            .post("/debug", page(Page::Act(Action::debug)))
            .post("/record", page(Page::Act(Action::record)));
        self.in_fleet(fleet).mount(prefix, inner)
    }
}

/// What one of the routes is for.
#[derive(Clone, Copy)]
enum Page {
    Census,
    Incidents,
    Tasks,
    Limits,
    Metrics,
    /// Reads what is to be done out of a request.
    Act(fn(&Request) -> Result<Action, String>),
}

/// The handler of one route of [`App::operations`].
struct Operations {
    page: Page,
    fleet: Fleet,
    guard: Guard,
}

impl Handler<()> for Operations {
    fn call(&self, ctx: &mut Ctx<'_>, request: &mut Request, _: &Shared<()>) -> Reply {
        let is_admitted = match self.page {
            Page::Act(_) => self.guard.may_act(request),
            _ => self.guard.may_look(request),
        };
        if let Err(refusal) = is_admitted {
            return Reply::Now(refusal);
        }
        let (fleet, handle) = (self.fleet.clone(), ctx.handle().clone());
        let as_text = request.query("as").as_deref() == Some("text");
        let answering: std::pin::Pin<Box<dyn Future<Output = Response>>> = match self.page {
            Page::Metrics => {
                let format = Format::wanted(request.header("accept").unwrap_or_default());
                Box::pin(super::metrics(fleet, handle, format))
            }
            Page::Act(read) => {
                let (action, number) = (read(request), wanted_loop(request));
                match (action, number) {
                    (Ok(action), Ok(number)) => Box::pin(act(fleet, handle, action, number)),
                    (Err(error), _) | (_, Err(error)) => {
                        return Reply::Now(told(400, &json!({"done": false, "error": error})));
                    }
                }
            }
            page => Box::pin(async move {
                let pictures = fleet.ask(&handle, Picture::make).await;
                match as_text || matches!(page, Page::Tasks | Page::Limits) {
                    true => Response::text(as_table(page, &pictures)),
                    false => Response::json(&as_json(page, &pictures)),
                }
            }),
        };
        Reply::Later(Later::new(async move { Answer::Response(answering.await) }))
    }
}

/// What one loop looks like.
struct Picture {
    stats: Stats,
    census: Census,
    tasks: Tasks,
    /// With how long ago each was.
    incidents: Vec<(Duration, Incident)>,
    limits: Limits,
    hits: Vec<(&'static str, u64)>,
    debug: bool,
    recording: bool,
}

impl Picture {
    fn make(ctx: &mut Ctx<'_>, server: &Server) -> Self {
        let now = ctx.time();
        let incidents = ctx.incidents().map(|incident| {
            let ago = now.saturating_duration_since(incident.at);
            (ago, incident.clone())
        });
        Self {
            stats: ctx.stats(),
            incidents: incidents.collect(),
            census: server.census(ctx),
            tasks: ctx.tasks(),
            limits: server.limits().clone(),
            hits: server.hits().all().to_vec(),
            debug: ctx.is_debug(),
            recording: ctx.recorder().is_on(),
        }
    }
}

fn as_table(page: Page, pictures: &[(u32, Option<Picture>)]) -> String {
    let mut text = String::new();
    for (number, picture) in pictures {
        let Some(picture) = picture else {
            text += &format!("loop {number} does not answer\n\n");
            continue;
        };
        let Picture {
            stats,
            debug,
            recording,
            ..
        } = picture;
        let switched = |on: bool| if on { "on" } else { "off" };
        text += &format!(
            "loop {number}: {:.1} % at work, lag {:.1?}, debug mode {}, recorder {}\n",
            stats.utilisation() * 100.0,
            stats.lag,
            switched(*debug),
            switched(*recording)
        );
        match page {
            Page::Tasks => text += &picture.tasks.to_string(),
            Page::Limits => {
                text += &picture.limits.to_string();
                text += "\nhow often each was hit\n";
                for (name, hits) in &picture.hits {
                    text += &format!("{name:<32} {hits}\n");
                }
            }
            Page::Incidents => {
                for (ago, incident) in &picture.incidents {
                    let Incident { turn, what, .. } = incident;
                    text += &format!("{:.1} s ago, turn {turn}: {what}\n", ago.as_secs_f64());
                }
            }
            Page::Census | Page::Metrics | Page::Act(_) => text += &picture.census.to_string(),
        }
        text += "\n";
    }
    text
}

fn as_json(page: Page, pictures: &[(u32, Option<Picture>)]) -> Value {
    let loops = pictures.iter().map(|(number, picture)| {
        let Some(picture) = picture else {
            return json!({"loop": number, "up": false});
        };
        let mut value = json!({
            "loop": number,
            "up": true,
            "debug": picture.debug,
            "recording": picture.recording,
            "stats": stats(&picture.stats),
        });
        match page {
            Page::Incidents => value["incidents"] = incidents(&picture.incidents),
            _ => value["connections"] = connections(&picture.census),
        }
        value
    });
    json!({"loops": loops.collect::<Vec<_>>()})
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn stats(stats: &Stats) -> Value {
    json!({
        "turns": stats.turns,
        "events": stats.events,
        "visits": stats.visits,
        "callbacks": stats.callbacks,
        "timers": stats.timers,
        "messages": stats.messages,
        "panics": stats.panics,
        "asleep_ms": ms(stats.asleep),
        "awake_ms": ms(stats.awake),
        "lag_ms": ms(stats.lag),
        "lag_max_ms": ms(stats.lag_max),
        "utilisation": stats.utilisation(),
        "sources": stats.sources,
        "ready": stats.ready,
        "timers_set": stats.timers_set,
    })
}

fn connections(census: &Census) -> Value {
    let connections = census.connections.iter().map(|one| {
        json!({
            "token": one.token.to_string(),
            "kind": one.kind,
            "state": one.state,
            "phase": one.phase,
            "deadline_ms": one.deadline.map(ms),
            "age_ms": ms(one.age),
            "bytes_held": one.bytes_held,
            "peer": one.peer.to_string(),
            "route": one.route.as_deref(),
            "descriptor": one.descriptor,
        })
    });
    connections.collect()
}

fn incidents(incidents: &[(Duration, Incident)]) -> Value {
    let incidents = incidents.iter().map(|(ago, incident)| {
        let mut value = json!({
            "kind": incident.what.kind(),
            "ago_ms": ms(*ago),
            "turn": incident.turn,
            "text": incident.what.to_string(),
        });
        match &incident.what {
            Trouble::SlowTurn(slow) => {
                let pieces = slow.pieces.iter().flatten().map(|piece| {
                    json!({
                        "took_ms": ms(piece.took),
                        "origin": piece.origin.to_string(),
                        "visits": piece.visits,
                    })
                });
                value["took_ms"] = json!(ms(slow.took));
                value["pieces"] = pieces.collect();
            }
            Trouble::Finding(Finding::Slow(slow)) => {
                value["took_ms"] = json!(ms(slow.took));
                value["origin"] = json!(slow.work.origin.to_string());
                value["victims"] = json!({
                    "number": slow.victims.number(),
                    "ready": slow.victims.ready,
                    "visits": slow.victims.visits,
                    "timers": slow.victims.timers,
                    "messages": slow.victims.messages,
                    "longest_wait_ms": ms(slow.victims.longest_wait),
                });
            }
            Trouble::Panic(panicked) => value["origin"] = json!(panicked.origin.to_string()),
            _ => {}
        }
        value
    });
    incidents.collect()
}

/// What an operator wants.
#[derive(Clone, Copy, Debug)]
enum Action {
    Close(Token),
    Cancel(Token),
    Log(LogLevel),
    Debug(bool),
    Record(bool),
}

impl Action {
    fn close(request: &Request) -> Result<Self, String> {
        parameter(request, "token").map(Self::Close)
    }

    fn cancel(request: &Request) -> Result<Self, String> {
        parameter(request, "token").map(Self::Cancel)
    }

    fn log(request: &Request) -> Result<Self, String> {
        parameter(request, "level").map(Self::Log)
    }

    fn debug(request: &Request) -> Result<Self, String> {
        parameter(request, "on").map(Self::Debug)
    }

    fn record(request: &Request) -> Result<Self, String> {
        parameter(request, "on").map(Self::Record)
    }

    /// Do it in one loop. Whether there was anything to do it to.
    fn run(self, ctx: &mut Ctx<'_>, server: &Server) -> bool {
        match self {
            Self::Close(token) => server.close(ctx, token),
            Self::Cancel(token) => ctx.cancel_task(token),
            Self::Log(_) => true,
            Self::Debug(on) => {
                ctx.set_debug(on);
                true
            }
            Self::Record(on) => {
                ctx.record(on);
                true
            }
        }
    }
}

/// A parameter of the query.
fn parameter<T: std::str::FromStr<Err: std::fmt::Display>>(
    request: &Request,
    name: &str,
) -> Result<T, String> {
    let value = (request.query(name)).ok_or_else(|| format!("?{name}= is missing"))?;
    value.parse().map_err(|error| format!("{name}: {error}"))
}

/// The loop that is named, if one is.
fn wanted_loop(request: &Request) -> Result<Option<u32>, String> {
    match request.query("loop") {
        None => Ok(None),
        Some(_) => parameter(request, "loop").map(Some),
    }
}

async fn act(fleet: Fleet, handle: Handle, action: Action, number: Option<u32>) -> Response {
    crate::event!(info, "an operator wants {action:?}");
    if let Action::Log(level) = action {
        // Not a loop's, but the process'.
        set_log_level(level);
        return told(200, &json!({"done": true}));
    }
    let is_for_all = matches!(action, Action::Debug(_) | Action::Record(_));
    let number = number.or_else(|| fleet.first().filter(|_| !is_for_all));
    let run = move |ctx: &mut Ctx<'_>, server: &Server| action.run(ctx, server);
    let done = fleet.ask_some(&handle, number, run).await;
    match () {
        () if done.is_empty() => told(404, &json!({"done": false, "error": "no such loop"})),
        () if done.iter().any(|(_, done)| done.is_none()) => told(
            503,
            &json!({"done": false, "error": "a loop does not answer; it will do it when it can"}),
        ),
        () if done.iter().all(|(_, done)| *done == Some(true)) => told(200, &json!({"done": true})),
        () => told(
            404,
            &json!({"done": false, "error": "the token names nothing that is there"}),
        ),
    }
}

fn told(status: u16, value: &Value) -> Response {
    Response::json(value).with_status(status)
}
