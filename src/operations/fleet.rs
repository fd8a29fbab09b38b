//! The loops that are shown together, wherever they run.
//!
//! A loop's numbers belong to its thread, so whoever wants them asks the loop. In each loop of a fleet a source waits
//! for errands: functions that are called there, with the loop and its server.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::conn::{Server, WeakServer};
use crate::event_loop::{Ctx, Handle, Inspection, Next, Readiness, Remote, Source, Token};
use crate::sync::mpsc;
use crate::task::timeout_at;

/// How long a loop may take to answer. One that is held that long is shown as such.
const PATIENCE: Duration = Duration::from_secs(1);

/// The loops whose numbers are shown together: of one engine, or of all servers of a program. Cheap to clone, and of
/// any thread.
///
/// A loop joins when an app that shows the fleet is served on it, and leaves when its server has gone. They are
/// numbered in the order in which they joined, from 0; that number is the label `loop` of their metrics.
///
/// ```no_run
/// use tourbillon::operations::Fleet;
/// use tourbillon::web::{App, Engine};
///
/// let fleet = Fleet::new();
/// // Whichever loop is asked shows both.
/// Engine::Loops(2).serve("127.0.0.1:8080", move || App::new(()).metrics("/metrics", &fleet))?;
/// # std::io::Result::Ok(())
/// ```
///
/// Of [`crate::web::Engine::Threads`] the loop that takes the connections in is shown, and the process: its threads are
/// as many as its connections, and do not wait for errands. [`crate::web::Running::counts`] adds those up.
#[derive(Clone, Default)]
pub struct Fleet(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    desks: Vec<Desk>,
    joined: u32,
}

/// What is to be done in a loop.
type Errand = Box<dyn FnOnce(&mut Ctx<'_>, &Server) + Send>;

/// One loop, as the others see it.
#[derive(Clone)]
struct Desk {
    number: u32,
    remote: Remote,
    token: Token,
    errands: Sender<Errand>,
}

/// The source that does the errands in its loop.
struct Clerk {
    errands: Receiver<Errand>,
    server: WeakServer,
}

impl Source for Clerk {
    fn ready(&mut self, ctx: &mut Ctx<'_>, _: Readiness) -> Next {
        let Some(server) = self.server.upgrade() else {
            return Next::Close;
        };
        while let Ok(errand) = self.errands.try_recv() {
            errand(ctx, &server);
        }
        Next::Wait
    }

    fn inspect(&self) -> Inspection {
        Inspection {
            kind: "operations",
            read_drained: true,
            ..Inspection::default()
        }
    }
}

impl Fleet {
    /// No loop is in it yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells it from other fleets.
    pub(super) fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop of `ctx` is in it from here on.
    pub(super) fn join(&self, ctx: &mut Ctx<'_>, server: &Server) {
        let (sender, errands) = unbounded();
        let server = server.downgrade();
        let token = ctx.add_source(|_| Box::new(Clerk { errands, server }));
        let mut state = self.state();
        let number = state.joined;
        state.joined += 1;
        state.desks.push(Desk {
            number,
            remote: ctx.remote(),
            token,
            errands: sender,
        });
    }

    /// The loops that are in it now. One that has gone has dropped its end.
    fn desks(&self) -> Vec<Desk> {
        self.state().desks.clone()
    }

    /// The loop with the lowest number.
    #[cfg(feature = "operations")]
    pub(super) fn first(&self) -> Option<u32> {
        self.state().desks.first().map(|desk| desk.number)
    }

    /// Ask each loop, by its number; `None` for one that does not answer: something holds it, or it has just gone.
    /// For the loop of `handle`, whose turn must not wait for this.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        handle: &Handle,
        question: impl Fn(&mut Ctx<'_>, &Server) -> T + Clone + Send + 'static,
    ) -> Vec<(u32, Option<T>)> {
        self.ask_some(handle, None, question).await
    }

    /// As [`Fleet::ask`], one loop or all.
    pub(super) async fn ask_some<T: Send + 'static>(
        &self,
        handle: &Handle,
        only: Option<u32>,
        question: impl Fn(&mut Ctx<'_>, &Server) -> T + Clone + Send + 'static,
    ) -> Vec<(u32, Option<T>)> {
        let until = handle.time() + PATIENCE;
        let (answer, mut answers) = mpsc::unbounded();
        let answer_from_afar = answer.remote(handle);
        drop(answer);
        let mut all: Vec<(u32, Option<T>)> = Vec::new();
        let wanted = |desk: &Desk| only.is_none_or(|only| only == desk.number);
        for desk in self.desks().into_iter().filter(wanted) {
            let (number, question, answer) =
                (desk.number, question.clone(), answer_from_afar.clone());
            let errand: Errand = Box::new(move |ctx, server| {
                // Whoever has asked may have gone.
                let _ = answer.try_send((number, question(ctx, server)));
            });
            match desk.errands.send(errand) {
                Ok(()) => {
                    desk.remote.wake(desk.token);
                    all.push((number, None));
                }
                // Its loop, or its server, has gone.
                Err(_) => self.state().desks.retain(|other| other.number != number),
            }
        }
        drop(answer_from_afar);
        for _ in 0..all.len() {
            let Ok(Ok((number, value))) = timeout_at(until, answers.recv()).await else {
                break;
            };
            if let Some((_, place)) = all.iter_mut().find(|(other, _)| *other == number) {
                *place = Some(value);
            }
        }
        all
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("loops", &self.state().desks.len())
            .finish_non_exhaustive()
    }
}
