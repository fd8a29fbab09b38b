//! What one dial knows: the pages that look through it, what it has seen last, and what it was told.
//!
//! All of it lives on the dial's own loop. The watched loop is asked through its [`Control`] and answers by post, so
//! that neither ever waits for the other. Mounted in the watched app itself, both loops are one, and the way is the
//! same.
//!
//! A loop that sleeps is not woken to be looked at: a look waits until the loop is awake anyway. Only when it has
//! turned since the last look and gone to sleep again is it woken, once; that costs one empty turn in each quiet spell.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::inject::{self, Client, Clients};
use super::lesson;
use super::look::{self, Look, ns};
use super::messages::{
    BreakOn, FindingTold, FromPage, Hello, Id, Injection, Process, Ran, Seen, Stopped, Tick,
    ToPage, TurnTold, VictimsTold, Wish, WorkTold, encode,
};
use super::source;
use super::turns::{Turns, journey, phase_index};
use crate::conn::{Peer, Sender};
use crate::event_loop::{
    Break, Control, Ctx, Finding, Handle, Inspection, LoopGone, LoopState, News, Recording,
    Standing, StopReason, Token,
};
use crate::proto::ws::{CloseCode, Message};
use crate::sync::{RemoteSender, mpsc};
use crate::task::timeout_at;
use crate::web::{Guard, Shared};

/// Ticks a second, unless a page asks for others, and the most it gets.
const RATE_HZ: f64 = 10.0;
const RATE_HZ_MAX: f64 = 30.0;
/// Turns in one tick.
const TURNS_MAX: usize = 200;
/// A turn that was awake so long, and a block that took so long, is not among those left out.
pub(super) const SLOW_NS: u64 = 10_000_000;
/// Blocks that are told to have run when a loop stops.
const RAN_MAX: usize = 200;
/// A page with so much on its way gets no tick before it has taken some of it.
const BACKLOG_BYTES_MAX: usize = 64 * 1024;
/// So many wrong tokens end a connection.
const WRONG_TOKENS_MAX: u32 = 5;
const SLOW_MOTION_MAX: Duration = Duration::from_secs(5);
/// Sources of the library, by kind, for the page's colours.
const KINDS: &[&str] = &[
    "listener",
    "http",
    "websocket",
    "stream",
    "datagrams",
    "task",
    "signal",
    "descriptor",
];

/// The state of a dial's app. See [`super::view`].
pub struct Desk {
    guard: Guard,
    /// `None` until the first page comes, in an app that watches its own loop.
    control: Option<Control>,
    /// The dial runs beside the watched loop, and so can pause it.
    own_loop: bool,
    clients: Option<Clients>,
    handle: Option<Handle>,
    post: Option<RemoteSender<Post>>,
    pages: BTreeMap<Token, Page>,
    looks: Looks,
    was: Arc<Was>,
    turns: Turns,
    seen: Option<Seen>,
    /// What ran since the last stop.
    ran: VecDeque<Ran>,
    ran_more: u64,
    /// The loop has stopped, and the look at it has not come yet.
    stop: Option<(StopReason, Standing)>,
    breaks: Vec<BreakOn>,
    slow_motion: Duration,
}

/// The looks that are under way, and what they have come to.
#[derive(Default)]
struct Looks {
    under_way: u32,
    /// How many have come.
    number: u64,
    /// The turn of the last.
    turn: u64,
    /// How far the records were read. Looks move it on, on the watched loop.
    cursor: Arc<AtomicU64>,
}

/// What was on before the first page came. Only orders look at it, on the watched loop.
#[derive(Default)]
struct Was {
    debug: AtomicBool,
    recorder: AtomicBool,
}

struct Page {
    sender: Sender,
    /// It may see anything: it comes from this machine, or has said the token.
    is_admitted: bool,
    may_control: bool,
    wrong_tokens: u32,
    every: Duration,
    told_at: Option<Instant>,
    /// The last look that it was told of.
    told: u64,
    turns: VecDeque<TurnTold>,
    skipped: u64,
}

/// What comes back from the watched loop.
pub(super) enum Post {
    Looked(Box<Look>),
    /// The same, at a stop.
    Stood(Box<Look>),
    News(Box<News>),
    Did(Token, u64, Result<(), &'static str>),
    /// For a journey: what was recorded until the turn that was going on.
    Recorded(Token, u64, Id, Box<Recording>, u64),
}

impl Desk {
    pub(super) fn new(guard: Guard) -> Self {
        Self {
            guard,
            control: None,
            own_loop: false,
            clients: None,
            handle: None,
            post: None,
            pages: BTreeMap::new(),
            looks: Looks::default(),
            was: Arc::default(),
            turns: Turns::default(),
            seen: None,
            ran: VecDeque::new(),
            ran_more: 0,
            stop: None,
            breaks: Vec::new(),
            slow_motion: Duration::ZERO,
        }
    }

    /// Beside the loop of `control`.
    pub(super) fn beside(guard: Guard, control: Control, clients: Option<Clients>) -> Self {
        Self {
            control: Some(control),
            own_loop: true,
            clients,
            ..Self::new(guard)
        }
    }

    pub(super) fn guard(&self) -> &Guard {
        &self.guard
    }

    // ---- pages come, speak and go ---------------------------------------------------------------------------------

    /// A page has come. `me` is this desk.
    pub(super) fn open(&mut self, peer: &mut Peer<'_>, me: &Shared<Self>, is_admitted: bool) {
        let sender = peer.sender().clone();
        self.begin(&mut peer.ctx(), me);
        if self.pages.is_empty() {
            self.look_closely(true);
        }
        let page = Page {
            sender: sender.clone(),
            is_admitted,
            may_control: false,
            wrong_tokens: 0,
            every: Duration::from_secs_f64(1.0 / RATE_HZ),
            told_at: None,
            told: 0,
            turns: VecDeque::new(),
            skipped: 0,
        };
        self.pages.insert(sender.id(), page);
        if is_admitted {
            self.welcome(sender.id());
        }
        if self.looks.under_way == 0 {
            self.look();
        }
    }

    /// What has to wait for a loop to be there.
    fn begin(&mut self, ctx: &mut Ctx<'_>, me: &Shared<Self>) {
        if self.post.is_some() {
            return;
        }
        let handle = ctx.handle().clone();
        let (sender, posts) = mpsc::unbounded();
        let post = sender.remote(&handle);
        let control = self.control.get_or_insert_with(|| ctx.attach_control());
        let news = post.clone();
        // What is sent to a dial that has gone is lost, here and below.
        let hear = move |heard: &News| drop(news.try_send(Post::News(Box::new(heard.clone()))));
        let _ = control.on_news(hear);
        drop(handle.spawn_named("dial", tend(me.clone(), posts)));
        (self.handle, self.post) = (Some(handle), Some(post));
    }

    fn welcome(&mut self, page: Token) {
        let now_ns = self.now_ns();
        let (state, turn) = self.state();
        let Some(page) = self.pages.get(&page) else {
            return;
        };
        let hello = Hello {
            version: 1,
            may_control: page.may_control,
            own_loop: self.own_loop,
            why_not: self.why_not(),
            process: process(),
            now_ns,
            rate_hz: 1.0 / page.every.as_secs_f64(),
            state,
            turn,
            phases: source::phases(),
            turn_source: source::turn(),
            origin_root: source::origin_root(),
            sources: source::files(),
            kinds: KINDS,
            injections: match self.clients {
                Some(_) => inject::ALL,
                None => inject::WITHOUT_SERVER,
            },
            breaks: &self.breaks,
            slow_motion_ms: self.slow_motion.as_millis() as u64,
        };
        page.send(&ToPage::Hello(Box::new(hello)));
    }

    fn why_not(&self) -> Option<&'static str> {
        let why = "this page is served by the loop that it shows: paused, it could not answer any more. \
                   A dial on a thread of its own can: Dial::new(control).serve(address)";
        (!self.own_loop).then_some(why)
    }

    /// A page says something.
    pub(super) fn hear(&mut self, page: Token, message: Message<'_>) {
        let Message::Text(text) = message else {
            return self.close(page, "messages are text, and this one was binary");
        };
        match serde_json::from_str::<FromPage>(text) {
            Ok(FromPage { id, wish }) => {
                if let Some(done) = self.fulfil(page, id, wish) {
                    self.answer(page, id, done);
                }
            }
            Err(error) => {
                // It may have an id all the same.
                #[derive(serde::Deserialize)]
                struct Numbered {
                    id: u64,
                }
                match serde_json::from_str::<Numbered>(text) {
                    Ok(Numbered { id }) => self.answer(page, id, Err(error.to_string())),
                    Err(_) => self.close(page, "a message is a JSON object with an id"),
                }
            }
        }
    }

    /// Do what a page wants. `None` when the answer comes by post.
    fn fulfil(&mut self, page: Token, id: u64, wish: Wish) -> Option<Result<(), String>> {
        let why_not = self.why_not();
        let asker = self.pages.get_mut(&page)?;
        let refused = match &wish {
            Wish::Control { .. } => None,
            _ if !asker.is_admitted => Some("say the token first"),
            Wish::Rate { .. } | Wish::Journey { .. } => None,
            _ if !asker.may_control => Some(why_not.unwrap_or("this needs the token")),
            _ => None,
        };
        if let Some(why) = refused {
            return Some(Err(why.to_owned()));
        }
        let done = match wish {
            Wish::Control { token } => return Some(self.unlock(page, &token)),
            Wish::Rate { hz } => {
                let hz = if hz.is_finite() { hz } else { RATE_HZ };
                asker.every = Duration::from_secs_f64(1.0 / hz.clamp(1.0, RATE_HZ_MAX));
                Ok(())
            }
            Wish::Journey { token } => {
                let post = self.post.clone()?;
                let travel = move |ctx: &mut Ctx<'_>| {
                    let recording = Box::new(ctx.recorder().recording(0));
                    let turn = ctx.stats().turns + 1;
                    let _ = post.try_send(Post::Recorded(page, id, token, recording, turn));
                };
                return self.order(travel).err().map(|gone| Err(gone.to_string()));
            }
            Wish::Pause => self.control(Control::pause),
            Wish::Resume => self.control(Control::resume),
            Wish::StepTurn => self.control(Control::step_turn),
            Wish::StepCallback => self.control(Control::step_callback),
            Wish::SlowMotion { ms } => {
                self.slow_motion = Duration::from_millis(ms).min(SLOW_MOTION_MAX);
                let slow_motion = self.slow_motion;
                let done = self.control(|control| control.slow_motion(slow_motion));
                return self.when_obeyed(page, id, done.map_err(|gone| gone.to_string()));
            }
            Wish::BreakOn { wanted, on } => {
                let done = self.break_on(wanted, on);
                return self.when_obeyed(page, id, done);
            }
            Wish::Record { on } => self.order(move |ctx| ctx.record(on)),
            Wish::Inject { injection } => return Some(self.inject(injection)),
            Wish::Close { token } => {
                return self.end(
                    page,
                    id,
                    token,
                    is_connection,
                    "no connection has this token",
                );
            }
            Wish::Cancel { token } => {
                return self.end(page, id, token, is_task, "no task has this token");
            }
        };
        Some(done.map_err(|gone| gone.to_string()))
    }

    /// The answer to an order: when the loop has taken it, by post.
    fn when_obeyed(
        &self,
        page: Token,
        id: u64,
        ordered: Result<(), String>,
    ) -> Option<Result<(), String>> {
        let post = self.post.clone()?;
        let obeyed = move |_: &mut Ctx<'_>| drop(post.try_send(Post::Did(page, id, Ok(()))));
        let ordered = ordered.and_then(|()| self.order(obeyed).map_err(|gone| gone.to_string()));
        ordered.err().map(Err)
    }

    fn unlock(&mut self, page: Token, token: &str) -> Result<(), String> {
        let is_right = self.guard.is_token(token);
        let why_not = self.why_not();
        let Some(asker) = self.pages.get_mut(&page) else {
            return Ok(());
        };
        if !is_right {
            asker.wrong_tokens += 1;
            if asker.wrong_tokens >= WRONG_TOKENS_MAX {
                self.close(page, "too many wrong tokens");
            }
            return Err("the token is wrong".to_owned());
        }
        asker.may_control = why_not.is_none();
        if !std::mem::replace(&mut asker.is_admitted, true) {
            self.welcome(page);
        }
        why_not.map_or(Ok(()), |why| Err(why.to_owned()))
    }

    fn break_on(&mut self, wanted: BreakOn, on: bool) -> Result<(), String> {
        let kind = std::mem::discriminant(&wanted);
        let order = as_break(&wanted, on)?;
        self.breaks.retain(|it| std::mem::discriminant(it) != kind);
        let done = match on {
            true => {
                self.breaks.push(wanted);
                self.control(|control| control.break_on(order))
            }
            false => self.control(|control| control.do_not_break_on(order)),
        };
        done.map_err(|gone| gone.to_string())
    }

    fn inject(&mut self, injection: Injection) -> Result<(), String> {
        let (client, count, ms) = match injection {
            Injection::Block { ms } => {
                let done = self.control(|control| inject::block(control.remote(), ms));
                return done.map_err(|gone| gone.to_string());
            }
            Injection::Lesson => {
                let done = self
                    .order(|ctx| lesson::begin(ctx))
                    .and_then(|()| self.control(|control| lesson::post(control.remote())));
                return done.map_err(|gone| gone.to_string());
            }
            Injection::SlowReader { ms } => (Client::SlowReader, 1, ms),
            Injection::SlowHeaders { count, ms } => (Client::SlowHeaders, count, ms),
            Injection::Connections { count, ms } => (Client::Silent, count, ms),
            Injection::Reset => (Client::Resetting, 1, inject::RESET_MS),
        };
        match (&self.clients, &self.handle) {
            (Some(clients), Some(handle)) => {
                let started = clients.start(handle, client, count, ms);
                started.map_err(str::to_owned)
            }
            _ => Err("the dial was told no address of a server".to_owned()),
        }
    }

    /// End a source, if it is what it has to be. The answer comes by post.
    fn end(
        &mut self,
        page: Token,
        id: u64,
        Id(token): Id,
        is_it: fn(&Inspection) -> bool,
        why_not: &'static str,
    ) -> Option<Result<(), String>> {
        let post = self.post.clone()?;
        let end = move |ctx: &mut Ctx<'_>| {
            let done = match ctx.inspect(token).filter(is_it) {
                Some(_) => {
                    ctx.close(token);
                    Ok(())
                }
                None => Err(why_not),
            };
            let _ = post.try_send(Post::Did(page, id, done));
        };
        self.order(end).err().map(|gone| Err(gone.to_string()))
    }

    /// A page has gone. The last one that may control takes its orders along.
    pub(super) fn leave(&mut self, page: Token) {
        let gone = self.pages.remove(&page);
        let is_controlled = self.pages.values().any(|page| page.may_control);
        if gone.is_some_and(|gone| gone.may_control) && !is_controlled {
            for wanted in std::mem::take(&mut self.breaks) {
                if let Ok(order) = as_break(&wanted, false) {
                    let _ = self.control(|control| control.do_not_break_on(order));
                }
            }
            self.slow_motion = Duration::ZERO;
            let _ = self.control(|control| control.slow_motion(Duration::ZERO));
            let _ = self.control(Control::resume);
        }
        if self.pages.is_empty() {
            self.look_closely(false);
        }
    }

    fn close(&mut self, page: Token, why: &str) {
        if let Some(page) = self.pages.get(&page) {
            page.sender.close(CloseCode::Policy, why);
        }
    }

    fn answer(&self, page: Token, id: u64, done: Result<(), String>) {
        if let Some(page) = self.pages.get(&page) {
            page.send(&ToPage::Answer {
                id,
                ok: done.is_ok(),
                error: done.err(),
            });
        }
    }

    // ---- the watched loop -----------------------------------------------------------------------------------------

    fn control(
        &self,
        order: impl FnOnce(&Control) -> Result<(), LoopGone>,
    ) -> Result<(), LoopGone> {
        self.control.as_ref().map_or(Err(LoopGone), order)
    }

    fn order(&self, order: impl FnOnce(&mut Ctx<'_>) + Send + 'static) -> Result<(), LoopGone> {
        self.control(|control| control.order(order))
    }

    /// Debug mode and the recorder are on as long as there are pages, and afterwards as they were before.
    fn look_closely(&self, on: bool) {
        let was = Arc::clone(&self.was);
        let _ = self.order(move |ctx| {
            let (debug, recorder) = match on {
                true => {
                    was.debug.store(ctx.is_debug(), Ordering::Relaxed);
                    was.recorder
                        .store(ctx.recorder().is_on(), Ordering::Relaxed);
                    (true, true)
                }
                false => (
                    was.debug.load(Ordering::Relaxed),
                    was.recorder.load(Ordering::Relaxed),
                ),
            };
            ctx.set_debug(debug);
            ctx.record(recorder);
        });
    }

    /// Look as soon as the loop is awake.
    fn look(&mut self) {
        let Some(post) = self.post.clone() else {
            return;
        };
        let cursor = Arc::clone(&self.looks.cursor);
        let look = move |ctx: &mut Ctx<'_>| {
            let _ = post.try_send(Post::Looked(Box::new(look_from(ctx, &cursor))));
        };
        if self
            .control(|control| control.order_when_awake(look))
            .is_ok()
        {
            self.looks.under_way += 1;
        }
    }

    /// Look at a loop that has stopped.
    fn look_at_stop(&self) {
        let Some(post) = self.post.clone() else {
            return;
        };
        let cursor = Arc::clone(&self.looks.cursor);
        let look = move |ctx: &mut Ctx<'_>| {
            let _ = post.try_send(Post::Stood(Box::new(look_from(ctx, &cursor))));
        };
        let _ = self.order(look);
    }

    fn state(&self) -> (&'static str, u64) {
        self.control.as_ref().map_or(("running", 0), |control| {
            let state = match control.state() {
                LoopState::Running => "running",
                LoopState::Asleep => "asleep",
                LoopState::Paused => "paused",
            };
            (state, control.turn())
        })
    }

    fn now(&self) -> Option<Instant> {
        Some(self.handle.as_ref()?.time())
    }

    fn now_ns(&self) -> u64 {
        let started = self.control.as_ref().map(Control::started);
        match (self.now(), started) {
            (Some(now), Some(started)) => ns(now.saturating_duration_since(started)),
            _ => 0,
        }
    }

    // ---- what is told ---------------------------------------------------------------------------------------------

    /// It is time for a tick: tell the pages what was seen since the last one, and look again.
    fn tick(&mut self) {
        if self.pages.is_empty() {
            return;
        }
        self.tell_all(false);
        if self.looks.under_way == 0 {
            self.look();
            return;
        }
        // The loop has not been awake since the last tick, or something holds it.
        let (state, turn) = self.state();
        if state == "asleep" && turn > self.looks.turn {
            let _ = self.order(|_| {});
        }
    }

    fn heard(&mut self, post: Post) {
        match post {
            Post::Looked(look) => {
                self.looks.under_way = self.looks.under_way.saturating_sub(1);
                self.looked(&look);
                self.tell_all(false);
            }
            Post::Stood(look) => {
                self.looked(&look);
                self.tell_all(true);
                self.tell_stop();
            }
            Post::News(news) => self.tell_news(*news),
            Post::Did(page, id, done) => self.answer(page, id, done.map_err(str::to_owned)),
            Post::Recorded(page, id, token, recording, turn) => {
                self.answer(page, id, Ok(()));
                let steps = journey(&recording, token.0, turn);
                if let Some(page) = self.pages.get(&page) {
                    page.send(&ToPage::Journey { token, steps });
                }
            }
        }
    }

    fn looked(&mut self, look: &Look) {
        let (mut turns, ran) = self.turns.read(&look.recording, look.snapshot.turn);
        self.looks.number += 1;
        self.looks.turn = look.snapshot.turn;
        for (turn, mut block) in ran {
            look.name(&mut block);
            self.ran.push_back(Ran { turn, block });
        }
        let too_many = self.ran.len().saturating_sub(RAN_MAX);
        self.ran.drain(..too_many);
        self.ran_more += too_many as u64;
        let blocks = turns.iter_mut().flat_map(|turn| &mut turn.blocks);
        blocks.for_each(|block| look.name(block));
        for page in self.pages.values_mut() {
            page.turns.extend(turns.iter().cloned());
            page.skip();
        }
        self.seen = Some(look.told(&self.turns));
    }

    /// Give each page its tick: those whose time has come, or all at a stop.
    fn tell_all(&mut self, at_stop: bool) {
        let Some(now) = self.now() else { return };
        let (now_ns, (state, turn)) = (self.now_ns(), self.state());
        let number = self.looks.number;
        for page in self.pages.values_mut() {
            let is_time = page.told_at.is_none_or(|told_at| {
                // A little early is in time: what comes a moment later would wait for a whole tick.
                now.saturating_duration_since(told_at) >= page.every.mul_f64(0.7)
            });
            let has_room = page.sender.outbox_bytes() <= BACKLOG_BYTES_MAX;
            if !page.is_admitted || !(is_time || at_stop) || !has_room {
                continue;
            }
            let is_new = page.told < number;
            // A look that is on its way makes a better tick.
            if !is_new && self.looks.under_way == 0 {
                continue;
            }
            let tick = Tick {
                now_ns,
                state,
                turn,
                seen: self.seen.as_ref().filter(|_| is_new),
                turns: is_new.then_some(&page.turns),
                skipped: is_new.then_some(page.skipped),
            };
            page.send(&ToPage::Tick(Box::new(tick)));
            page.told_at = Some(now);
            if is_new {
                page.told = number;
                page.turns.clear();
                page.skipped = 0;
            }
        }
    }

    fn tell_stop(&mut self) {
        let Some((why, standing)) = self.stop.take() else {
            return;
        };
        let (why, broke) = match why {
            StopReason::Pause => ("pause", None),
            StopReason::Step => ("step", None),
            StopReason::Break(wanted) => ("break", Some(wanted.to_string())),
        };
        let next = standing.next.as_ref();
        let stopped = Stopped {
            why,
            broke,
            turn: standing.turn,
            phase: next.map(|(phase, _)| phase_index(*phase)),
            next: next.map(|(_, next)| look::upcoming(next)),
            ran: &self.ran,
            ran_more: self.ran_more,
        };
        self.tell(&ToPage::Stopped(stopped));
        self.ran.clear();
        self.ran_more = 0;
    }

    fn tell_news(&mut self, news: News) {
        match news {
            News::Stopped(why, standing) => {
                self.stop = Some((why, standing));
                self.look_at_stop();
            }
            News::Resumed => self.tell(&ToPage::Resumed),
            News::Found { turn, finding } => {
                self.tell(&ToPage::Finding(finding_told(&finding, turn)));
            }
            News::Panicked { turn, report } => self.tell(&ToPage::Finding(FindingTold {
                kind: "panic",
                text: report,
                turn,
                work: None,
                took_ns: None,
                victims: None,
            })),
        }
    }

    /// Tell all pages.
    fn tell(&self, message: &ToPage<'_>) {
        let text = encode(message);
        for page in self.pages.values().filter(|page| page.is_admitted) {
            page.sender.send(text.as_str());
        }
    }

    /// How long until the next tick; `None` as long as there is no page.
    fn pace(&self) -> Option<Duration> {
        self.pages.values().map(|page| page.every).min()
    }

    /// A copy of what was recorded, given to `take` on the watched loop.
    pub(super) fn fetch_recording(
        &mut self,
        ctx: &mut Ctx<'_>,
        me: &Shared<Self>,
        take: impl FnOnce(Recording) + Send + 'static,
    ) -> Result<(), LoopGone> {
        self.begin(ctx, me);
        self.order(|ctx| take(ctx.recorder().recording(0)))
    }
}

impl Page {
    /// Leave out what is too much: the oldest, but a turn that was slow stays longer than one that was not.
    fn skip(&mut self) {
        let too_many = self.turns.len().saturating_sub(TURNS_MAX);
        let mut left = too_many;
        self.turns.retain(|turn| {
            let is_kept = left == 0 || turn.took_ns - turn.asleep_ns >= SLOW_NS;
            left -= usize::from(!is_kept);
            is_kept
        });
        self.turns.drain(..left);
        self.skipped += too_many as u64;
    }

    fn send(&self, message: &ToPage<'_>) {
        // One who does not read is closed by the route's policy.
        let _ = self.sender.send(encode(message).as_str());
    }
}

fn look_from(ctx: &Ctx<'_>, cursor: &AtomicU64) -> Look {
    let look = Look::take(ctx, cursor.load(Ordering::Relaxed));
    cursor.store(look.cursor, Ordering::Relaxed);
    look
}

/// Take in the post, and tick.
async fn tend(desk: Shared<Desk>, mut posts: mpsc::Receiver<Post>) {
    let handle = Handle::current();
    let mut ticked_at = handle.time();
    loop {
        let post = match desk.with(|desk| desk.pace()) {
            Some(pace) => timeout_at(ticked_at + pace, posts.recv()).await,
            None => Ok(posts.recv().await),
        };
        match post {
            Ok(Ok(post)) => desk.with(|desk| desk.heard(post)),
            // All who could write have gone.
            Ok(Err(_)) => return,
            Err(_) => {
                ticked_at = handle.time();
                desk.with(Desk::tick);
            }
        }
    }
}

/// Whether a page may close it.
fn is_connection(found: &Inspection) -> bool {
    found.socket.is_some() && found.kind != "listener"
}

fn is_task(found: &Inspection) -> bool {
    found.kind == "task"
}

/// What a page wants the loop to break on. Where it is to be ended, any value will do.
fn as_break(wanted: &BreakOn, on: bool) -> Result<Break, String> {
    let missing = || format!("to break on this, say its value: {wanted:?}");
    Ok(match wanted {
        BreakOn::SlowTurn(ms) => {
            let ms = ms.or((!on).then_some(0)).ok_or_else(missing)?;
            Break::SlowTurn(Duration::from_millis(ms))
        }
        BreakOn::Connection(token) => {
            let nobody = Id(Token::new(0, 0));
            let token = token.or((!on).then_some(nobody)).ok_or_else(missing)?;
            Break::Source(token.0)
        }
        BreakOn::State(state) => {
            let state = state.clone().or((!on).then(String::new));
            Break::State(state.ok_or_else(missing)?)
        }
        BreakOn::Timer(_) => Break::Timer,
        BreakOn::Panic(_) => Break::Panic,
    })
}

fn finding_told(finding: &Finding, turn: u64) -> FindingTold {
    let told = |kind| FindingTold {
        kind,
        text: finding.to_string(),
        turn,
        work: None,
        took_ns: None,
        victims: None,
    };
    match finding {
        Finding::Slow(slow) => FindingTold {
            work: Some(WorkTold::from(&slow.work)),
            took_ns: Some(ns(slow.took)),
            victims: Some(VictimsTold {
                number: slow.victims.number(),
                ready: slow.victims.ready,
                visits: slow.victims.visits,
                timers: slow.victims.timers,
                messages: slow.victims.messages,
                longest_wait_ns: ns(slow.victims.longest_wait),
            }),
            ..told("slow")
        },
        Finding::Lost(lost) => FindingTold {
            work: Some(WorkTold::from(&lost.work)),
            ..told("lost")
        },
        Finding::Scope(_) => told("scope"),
    }
}

fn process() -> Process {
    let program = std::env::current_exe().ok();
    let name = program.as_ref().and_then(|program| program.file_stem());
    Process {
        pid: std::process::id(),
        name: name.map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
    }
}
