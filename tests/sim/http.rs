//! An HTTP client who behaves: sends its requests in whatever pieces and at whatever pace, and knows each answer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tourbillon::sim::{Client, World};
use tourbillon::web::Shared;

use crate::app::{Exchange, Manner, State, draw_exchange, failing_exchange};
use crate::reader::{self, Answer};

/// Somebody with a script.
pub(crate) trait Actor {
    /// Go on as far as possible. Called whenever something has happened.
    fn poll(&mut self, world: &World, state: &Shared<State>) -> Result<(), String>;
    /// Nothing is left to do or to come.
    fn is_done(&self) -> bool;
    /// From now on the server may end the connection at any time; what it says must still be right.
    fn disturb(&mut self);
    /// Whether it is to be served whatever happens, as long as TCP keeps its promises.
    fn is_well_behaved(&self) -> bool;
    /// An answer was begun and not ended.
    fn was_cut(&self) -> bool {
        false
    }
    /// For messages.
    fn describe(&self) -> String;
}

pub(crate) enum Op {
    Send(Vec<u8>),
    Sleep(u64),
    /// Until so many answers have come in all.
    AwaitAnswers(usize),
    /// Until so many interim answers have come in all.
    AwaitContinue(usize),
    /// Take nothing for so many milliseconds, and go on sending.
    PauseReading(u64),
    HalfClose,
    Close,
    Reset,
}

struct Due {
    is_head: bool,
    answer: Answer,
}

pub(crate) struct HttpClient {
    client: Client,
    ops: VecDeque<Op>,
    due: VecDeque<Due>,
    received: Vec<u8>,
    answers: usize,
    continues: usize,
    continues_max: usize,
    sleeps_until: Option<Instant>,
    reads_from: Option<Instant>,
    /// The server is to close when all is answered.
    expects_end: bool,
    /// Nobody knows what is due.
    takes_anything: bool,
    /// The connection may break, and the last answer may be one of an overloaded or stopping server.
    lenient: bool,
    /// It was not, in the beginning: its answers have an end, if nobody is cut.
    behaves: bool,
    done: bool,
    cut: bool,
}

/// Wake the world in `ms` milliseconds, so that actors are polled then.
pub(crate) fn alarm(world: &World, ms: u64) -> Instant {
    let delay = Duration::from_millis(ms);
    world.after(delay, |_| {});
    world.now() + delay
}

/// Send `bytes` in up to four pieces with pauses between them.
pub(crate) fn push_pieces(world: &World, ops: &mut VecDeque<Op>, bytes: &[u8]) {
    let mut rest = bytes;
    for _ in 0..3 {
        if rest.is_empty() || world.chance(0.6) {
            break;
        }
        let (piece, behind) = rest.split_at(world.range(0..=rest.len() as u64) as usize);
        ops.push_back(Op::Send(piece.to_vec()));
        ops.push_back(Op::Sleep(world.range(0..=150)));
        rest = behind;
    }
    ops.push_back(Op::Send(rest.to_vec()));
}

impl HttpClient {
    /// A client with a drawn script. `size_max` bounds bodies; `half_close`: it may end its half and wait for answers.
    pub(crate) fn drawn(
        world: &World,
        client: Client,
        size_max: usize,
        half_close: bool,
        lenient: bool,
    ) -> Self {
        let mut ops = VecDeque::new();
        let mut due = VecDeque::new();
        let (mut continues_max, mut expects_end) = (0, false);
        let pipelines = world.chance(0.7);
        let count = if world.chance(0.02) {
            150
        } else {
            world.range(1..=8)
        };
        // So many requests are small, or the seed takes too long.
        let size_max = if count > 8 {
            size_max.min(40)
        } else {
            size_max
        };
        let mut run = Vec::new();
        for number in 1..=count {
            let is_last = number == count;
            let manner = match world.range(0..=9) {
                0..=2 if is_last => Manner::Close,
                3 if is_last => Manner::Http10,
                4 => Manner::Http10KeepAlive,
                _ => Manner::KeepAlive,
            };
            let exchange = if is_last && world.chance(0.1) {
                failing_exchange()
            } else {
                draw_exchange(world, size_max, manner)
            };
            expects_end = exchange.answer.closes();
            let Exchange {
                head,
                body,
                waits,
                is_head,
                answer,
            } = exchange;
            due.push_back(Due { is_head, answer });
            run.extend_from_slice(&head);
            if waits {
                push_pieces(world, &mut ops, &std::mem::take(&mut run));
                continues_max += 1;
                ops.push_back(Op::AwaitContinue(continues_max));
            }
            run.extend_from_slice(&body);
            if !pipelines || is_last || world.chance(0.2) {
                push_pieces(world, &mut ops, &std::mem::take(&mut run));
            }
            if world.chance(0.1) {
                ops.push_back(Op::PauseReading(world.range(1..=3_000)));
            }
            if !pipelines {
                ops.push_back(Op::AwaitAnswers(number as usize));
            }
            if expects_end {
                break;
            }
        }
        push_pieces(world, &mut ops, &run);
        if world.chance(0.3) {
            if !half_close {
                ops.push_back(Op::AwaitAnswers(due.len()));
            }
            ops.push_back(Op::HalfClose);
            expects_end = true;
        }
        Self::new(client, ops, due, continues_max, expects_end, lenient)
    }

    /// A client who follows a drawn script up to somewhere, and then breaks off.
    pub(crate) fn breaking_off(world: &World, client: Client, size_max: usize) -> Self {
        let mut rude = Self::drawn(world, client, size_max, true, true);
        rude.ops
            .truncate(world.range(0..=rude.ops.len() as u64) as usize);
        if let Some(Op::Send(bytes)) = rude.ops.back_mut() {
            bytes.truncate(world.range(0..=bytes.len() as u64) as usize);
        }
        rude.ops.push_back(Op::Sleep(world.range(0..=300)));
        match world.range(0..=3) {
            0 => rude.ops.push_back(Op::Reset),
            1 => rude.ops.push_back(Op::Close),
            2 => rude.ops.push_back(Op::HalfClose),
            // Vanished: the connection stays, and nobody is there.
            _ => rude.ops.push_back(Op::PauseReading(10_000_000)),
        }
        rude.expects_end = true;
        rude
    }

    /// A client who sends what it likes; whatever is answered must be answers.
    pub(crate) fn scripted(client: Client, ops: VecDeque<Op>) -> Self {
        let mut scripted = Self::new(client, ops, VecDeque::new(), 0, true, true);
        scripted.takes_anything = true;
        scripted
    }

    fn new(
        client: Client,
        ops: VecDeque<Op>,
        due: VecDeque<Due>,
        continues_max: usize,
        expects_end: bool,
        lenient: bool,
    ) -> Self {
        Self {
            client,
            ops,
            due,
            received: Vec::new(),
            answers: 0,
            continues: 0,
            continues_max,
            sleeps_until: None,
            reads_from: None,
            expects_end,
            takes_anything: false,
            lenient,
            behaves: !lenient,
            done: false,
            cut: false,
        }
    }

    fn receive(&mut self) -> Result<(), String> {
        if self.client.received_len() > 0 {
            self.received.extend(self.client.take_received());
        }
        let ended = self.client.is_over();
        loop {
            let due = self.due.front();
            let least = due.map_or(0, |due| due.answer.body.len());
            if self.received.is_empty() && !(ended && due.is_some()) {
                return Ok(());
            }
            let is_interim = self.received.starts_with(b"HTTP/1.1 1");
            if self.received.len() < least && !is_interim && !ended {
                return Ok(());
            }
            let to_head = due.is_some_and(|due| due.is_head);
            // Behind a reset nothing is known about where a body would have ended.
            let has_end = ended && !self.client.was_reset();
            let Some((answer, used)) = reader::read(&self.received, to_head, has_end)? else {
                return Ok(());
            };
            self.received.drain(..used);
            if answer.is_interim() {
                self.continues += 1;
                if answer.status != "100 Continue" || self.continues > self.continues_max {
                    return Err(format!(
                        "an interim answer that nobody waits for: {answer:?}"
                    ));
                }
                continue;
            }
            self.judge(answer)?;
        }
    }

    fn judge(&mut self, answer: Answer) -> Result<(), String> {
        let due = self.due.pop_front();
        self.answers += 1;
        if self.takes_anything {
            return Ok(());
        }
        if let Some(due) = &due
            && due.answer == answer
        {
            return Ok(());
        }
        if self.lenient && answer.closes() {
            // A server that stops says so in whatever it still answers.
            let mut same = answer.clone();
            same.fields.retain(|(name, _)| name != "Connection");
            let is_due = due.as_ref().is_some_and(|due| {
                let mut due = due.answer.clone();
                due.fields.retain(|(name, _)| name != "Connection");
                due == same
            });
            let is_refusal = [
                "400", "408", "413", "414", "417", "431", "501", "503", "505",
            ]
            .iter()
            .any(|status| answer.status.starts_with(status));
            if is_due || is_refusal {
                self.due.clear();
                self.ops.clear();
                self.expects_end = true;
                return Ok(());
            }
        }
        // A body that ends with the connection cannot say that it was cut.
        if self.lenient
            && answer.closes()
            && answer.field("Content-Length").is_none()
            && due.as_ref().is_some_and(|due| {
                due.answer.fields == answer.fields && due.answer.body.starts_with(&answer.body)
            })
        {
            return Ok(());
        }
        // An executor that is full.
        if self.lenient && answer.status.starts_with("503") && due.is_some() {
            return Ok(());
        }
        Err(format!(
            "answer {} is {}, but {} was due",
            self.answers,
            brief(Some(&answer)),
            brief(due.map(|due| due.answer).as_ref())
        ))
    }

    /// Do what can be done. False when the script waits.
    fn act(&mut self, world: &World) -> bool {
        if self.sleeps_until.is_some_and(|until| world.now() < until) {
            return false;
        }
        self.sleeps_until = None;
        match self.ops.front() {
            None => return false,
            Some(Op::AwaitAnswers(count)) if self.answers < *count => return false,
            Some(Op::AwaitContinue(count)) if self.continues < *count => return false,
            _ => {}
        }
        match self.ops.pop_front() {
            Some(Op::Send(bytes)) => self.client.send(bytes),
            Some(Op::Sleep(ms)) => self.sleeps_until = Some(alarm(world, ms)),
            Some(Op::PauseReading(ms)) => {
                self.client.pause_reading();
                self.reads_from = Some(alarm(world, ms));
            }
            Some(Op::HalfClose) => self.client.shutdown_write(),
            Some(Op::Close) => {
                self.client.close();
                self.done = true;
            }
            Some(Op::Reset) => {
                self.client.reset();
                self.done = true;
            }
            Some(Op::AwaitAnswers(_) | Op::AwaitContinue(_)) | None => {}
        }
        true
    }
}

fn brief(answer: Option<&Answer>) -> String {
    answer.map_or("none".to_owned(), |answer| {
        let start = String::from_utf8_lossy(&answer.body[..answer.body.len().min(40)]);
        let Answer {
            status,
            fields,
            body,
        } = answer;
        format!("{status} {fields:?} {} bytes {start:?}", body.len())
    })
}

impl Actor for HttpClient {
    fn poll(&mut self, world: &World, _: &Shared<State>) -> Result<(), String> {
        if self.done {
            return Ok(());
        }
        if self.reads_from.is_some_and(|from| from <= world.now()) {
            self.reads_from = None;
            self.client.resume_reading();
        }
        self.receive()?;
        while !self.done && self.act(world) {}
        if self.done {
            return Ok(());
        }
        let is_over = self.client.is_over();
        if self.lenient {
            if is_over {
                self.cut = self.behaves && !self.received.is_empty();
                self.client.close();
                self.done = true;
            } else if !self.expects_end && self.ops.is_empty() && self.due.is_empty() {
                self.client.close();
                self.done = true;
            }
            return Ok(());
        }
        let is_between = self.received.is_empty() || self.client.was_reset();
        if is_over && is_between && world.faults().accept_error > 0.0 {
            // A server without descriptors turned it away, or closed it because it was idle. What it sent meanwhile then
            // meets a reset, which may overtake an answer.
            self.done = true;
            return Ok(());
        }
        if self.client.was_reset() {
            return Err(format!("reset with {} answers due", self.due.len()));
        }
        let has_said_all = self.ops.is_empty() && self.sleeps_until.is_none();
        if self.due.is_empty() && (has_said_all || (is_over && self.expects_end)) {
            if !self.received.is_empty() {
                return Err(format!("bytes behind the last answer: {:?}", self.received));
            }
            if is_over || !self.expects_end {
                self.client.close();
                self.done = true;
            }
            return Ok(());
        }
        if is_over {
            return Err(format!("ended with {} answers due", self.due.len()));
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn disturb(&mut self) {
        self.lenient = true;
        self.expects_end = true;
    }

    fn is_well_behaved(&self) -> bool {
        !self.lenient
    }

    fn was_cut(&self) -> bool {
        self.cut
    }

    fn describe(&self) -> String {
        let next = self.due.front().map(|due| &due.answer);
        format!(
            "an HTTP client with {} answers read, {} due, next {}, {} bytes received, {} ops left, {:?}",
            self.answers,
            self.due.len(),
            brief(next),
            self.received.len(),
            self.ops.len(),
            self.client
        )
    }
}
