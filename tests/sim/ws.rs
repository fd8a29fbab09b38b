//! WebSocket clients. Frames are written by hand here, so that they can be cut anywhere; they are read with the
//! library's machine in the role of a client, and judged by a model that knows nothing but messages.

use std::collections::VecDeque;
use std::time::Instant;

use tourbillon::proto::ws::{CloseCode, Endpoint, Role, Step, WsLimits, accept_key};
use tourbillon::sim::{Client, World};
use tourbillon::web::Shared;

use crate::app::State;
use crate::http::{Actor, Op, alarm, push_pieces};
use crate::reader;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// So many pings have their pongs, however they come.
const ANSWERED_PINGS_MAX: usize = 16;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
}

enum Kind {
    /// Everything comes back, pongs in their places between the messages.
    Echo,
    /// Everything comes back, pongs as soon as may be.
    Slow,
    /// What all members say, in the order of the room.
    Room {
        room: String,
        name: String,
        heard: usize,
    },
    /// Nobody knows.
    Any,
}

pub(crate) struct WsClient {
    client: Client,
    kind: Kind,
    ops: VecDeque<Op>,
    /// What is to come back.
    due: VecDeque<Said>,
    count: usize,
    received: Vec<u8>,
    key: String,
    open: bool,
    endpoint: Endpoint,
    sleeps_until: Option<Instant>,
    reads_from: Option<Instant>,
    closing: bool,
    lenient: bool,
    done: bool,
}

/// A client's frame.
fn frame(world: &World, is_final: bool, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(u8::from(is_final) << 7 | opcode);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let key = world.bytes(4);
    out.extend_from_slice(&key);
    out.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
}

fn draw_text(world: &World, size_max: usize) -> String {
    let mut text = String::new();
    let size = world.range(0..=size_max as u64) as usize;
    while text.len() < size {
        text.push(*world.pick(&['a', 'z', ' ', 'é', '€', '𝄞']));
    }
    text
}

impl WsClient {
    /// A client with a drawn script, who behaves. `number` makes its name.
    pub(crate) fn drawn(
        world: &World,
        client: Client,
        number: usize,
        size_max: usize,
        lenient: bool,
    ) -> Self {
        let room = format!("{}", world.range(0..=1));
        let (kind, path) = match world.range(0..=3) {
            0 | 1 => (Kind::Echo, "/ws/echo".to_owned()),
            2 => (Kind::Slow, "/ws/slow".to_owned()),
            _ => {
                let (name, path) = (number.to_string(), format!("/ws/room/{room}?name={number}"));
                (
                    Kind::Room {
                        room,
                        name,
                        heard: 0,
                    },
                    path,
                )
            }
        };
        // What is sent to a slow reader on purpose is bounded by its outbox, so it is less than that in all.
        let size_max = match kind {
            Kind::Echo => size_max.min(90_000),
            _ => size_max.min(1_500),
        };
        let count = if world.chance(0.02) && matches!(kind, Kind::Echo) {
            150
        } else {
            world.range(1..=12)
        };
        let size_max = if count > 12 { 10 } else { size_max };
        let mut ops = VecDeque::new();
        let mut due = VecDeque::new();
        let key = format!("{:022}==", number * 1_000);
        let mut run = format!(
            "GET {path} HTTP/1.1\r\nHost: server\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        .into_bytes();
        if world.chance(0.7) {
            push_pieces(world, &mut ops, &std::mem::take(&mut run));
            ops.push_back(Op::AwaitAnswers(1));
        }
        for _ in 0..count {
            Self::draw_message(world, &kind, size_max, &mut run, &mut due);
            if world.chance(0.3) {
                push_pieces(world, &mut ops, &std::mem::take(&mut run));
            }
            if world.chance(0.1) {
                ops.push_back(Op::PauseReading(world.range(1..=3_000)));
            }
            if world.chance(0.1) {
                push_pieces(world, &mut ops, &std::mem::take(&mut run));
                ops.push_back(Op::AwaitAnswers(1 + due.len()));
            }
        }
        push_pieces(world, &mut ops, &run);
        let mut drawn = Self::new(client, kind, ops, key);
        drawn.due = due;
        drawn.lenient = lenient;
        drawn
    }

    fn draw_message(
        world: &World,
        kind: &Kind,
        size_max: usize,
        run: &mut Vec<u8>,
        due: &mut VecDeque<Said>,
    ) {
        let size_max = if world.chance(0.7) {
            size_max.min(130)
        } else {
            size_max
        };
        if let Kind::Room { name, .. } = kind {
            let text = format!("{name}: {}", draw_text(world, size_max.min(200)));
            frame(world, true, TEXT, text.as_bytes(), run);
            due.push_back(Said::Text(text));
            return;
        }
        let ping = |run: &mut Vec<u8>, due: &mut VecDeque<Said>| {
            let pings = due.iter().filter(|said| matches!(said, Said::Pong(_)));
            if pings.count() == ANSWERED_PINGS_MAX {
                return;
            }
            let payload = world.bytes(world.range(0..=125) as usize);
            frame(world, true, PING, &payload, run);
            due.push_back(Said::Pong(payload));
        };
        let (opcode, payload, said) = if world.chance(0.5) {
            let text = draw_text(world, size_max);
            (TEXT, text.clone().into_bytes(), Said::Text(text))
        } else {
            let bytes = world.bytes(world.range(0..=size_max as u64) as usize);
            (BINARY, bytes.clone(), Said::Binary(bytes))
        };
        let (mut opcode, mut rest) = (opcode, &payload[..]);
        while world.chance(0.3) {
            let (piece, behind) = rest.split_at(world.range(0..=rest.len() as u64) as usize);
            frame(world, false, opcode, piece, run);
            (opcode, rest) = (0, behind);
            if world.chance(0.3) {
                ping(run, due);
            }
        }
        frame(world, true, opcode, rest, run);
        due.push_back(said);
        if world.chance(0.2) {
            ping(run, due);
        }
    }

    /// A client who follows a drawn script up to somewhere, and then breaks off.
    pub(crate) fn breaking_off(world: &World, client: Client) -> Self {
        // A name that nobody else has.
        let number = world.range(1_000..=1 << 40) as usize;
        let mut rude = Self::drawn(world, client, number, 500, true);
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
            _ => rude.ops.push_back(Op::PauseReading(10_000_000)),
        }
        // It never gets to a close frame.
        rude.ops.push_back(Op::AwaitAnswers(usize::MAX));
        rude
    }

    /// A client whose frames are wrong.
    pub(crate) fn wrong(client: Client, mut ops: VecDeque<Op>) -> Self {
        ops.push_back(Op::AwaitAnswers(usize::MAX));
        let mut wrong = Self::new(
            client,
            Kind::Any,
            ops,
            "dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
        );
        wrong.lenient = true;
        wrong
    }

    fn new(client: Client, kind: Kind, ops: VecDeque<Op>, key: String) -> Self {
        Self {
            client,
            kind,
            ops,
            due: VecDeque::new(),
            count: 0,
            received: Vec::new(),
            key,
            open: false,
            endpoint: Endpoint::new(Role::Client),
            sleeps_until: None,
            reads_from: None,
            closing: false,
            lenient: false,
            done: false,
        }
    }

    fn receive(&mut self, world: &World, state: &Shared<State>) -> Result<(), String> {
        if self.client.received_len() > 0 {
            self.received.extend(self.client.take_received());
        }
        if !self.open {
            let Some((answer, used)) = reader::read(&self.received, false, false)? else {
                return Ok(());
            };
            if self.lenient && answer.status.starts_with(['4', '5']) && answer.closes() {
                // Too slow, too many, or too late.
                self.received.clear();
                self.ops.clear();
                self.due.clear();
                self.closing = true;
                return Ok(());
            }
            let accept = answer.field("Sec-WebSocket-Accept").unwrap_or_default();
            if answer.status != "101 Switching Protocols"
                || accept.as_bytes() != accept_key(&self.key)
            {
                return Err(format!("not the answer to a handshake: {answer:?}"));
            }
            self.received.drain(..used);
            self.open = true;
            self.count = 1;
        }
        let limits = WsLimits::default();
        let mut from = 0;
        loop {
            let (used, step) = self
                .endpoint
                .next(&mut self.received[from..], &limits)
                .map_err(|error| format!("a frame that is wrong: {error}"))?;
            let said = match step {
                Step::Text(text) => Said::Text(text.to_owned()),
                Step::Binary(bytes) => Said::Binary(bytes.to_vec()),
                Step::Pong(payload) => Said::Pong(payload.to_vec()),
                Step::Deflated(_) => unreachable!("this client agrees to nothing"),
                // A server asks those who were silent for long.
                Step::Ping(payload) => {
                    let mut pong = Vec::new();
                    frame(world, true, PONG, payload, &mut pong);
                    self.client.send(pong);
                    from += used;
                    continue;
                }
                Step::Close(close) => {
                    let code = close.map(|(code, _)| code);
                    let is_ours = self.closing && code == Some(CloseCode::Normal);
                    if !is_ours && !self.lenient {
                        return Err(format!("closed by the server with {close:?}"));
                    }
                    if !self.closing {
                        let mut reply = Vec::new();
                        frame(
                            world,
                            true,
                            CLOSE,
                            &u16::from(CloseCode::Normal).to_be_bytes(),
                            &mut reply,
                        );
                        self.client.send(reply);
                        self.closing = true;
                    }
                    self.ops.clear();
                    self.due.clear();
                    from += used;
                    break;
                }
                Step::NeedMore => {
                    from += used;
                    break;
                }
            };
            from += used;
            self.judge(said, state)?;
        }
        self.received.drain(..from);
        Ok(())
    }

    fn judge(&mut self, said: Said, state: &Shared<State>) -> Result<(), String> {
        self.count += 1;
        let expected = match &mut self.kind {
            Kind::Any => return Ok(()),
            Kind::Echo => self.due.pop_front(),
            Kind::Slow => {
                let is_pong = |said: &Said| matches!(said, Said::Pong(_));
                let place = self
                    .due
                    .iter()
                    .position(|due| is_pong(due) == is_pong(&said));
                place.and_then(|place| self.due.remove(place))
            }
            Kind::Room { room, name, heard } => {
                let next = state.with(|state| state.heard(room, name)?.get(*heard).cloned());
                *heard += 1;
                let next = next.map(Said::Text);
                if self.due.front() == next.as_ref() {
                    self.due.pop_front();
                }
                next
            }
        };
        if expected.as_ref() == Some(&said) {
            return Ok(());
        }
        Err(format!("heard {said:?} where {expected:?} was to come"))
    }

    fn act(&mut self, world: &World) -> bool {
        if self.sleeps_until.is_some_and(|until| world.now() < until) {
            return false;
        }
        self.sleeps_until = None;
        match self.ops.front() {
            None => return false,
            Some(Op::AwaitAnswers(count)) if self.count < *count => return false,
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

impl Actor for WsClient {
    fn poll(&mut self, world: &World, state: &Shared<State>) -> Result<(), String> {
        if self.done {
            return Ok(());
        }
        if self.reads_from.is_some_and(|from| from <= world.now()) {
            self.reads_from = None;
            self.client.resume_reading();
        }
        self.receive(world, state)?;
        while !self.done && self.act(world) {}
        if self.done {
            return Ok(());
        }
        let is_over = self.client.is_over();
        if is_over && (self.lenient || self.closing) {
            if !self.lenient && self.client.was_reset() {
                return Err("reset after the closing handshake".to_owned());
            }
            self.client.close();
            self.done = true;
            return Ok(());
        }
        if is_over && self.count == 0 && world.faults().accept_error > 0.0 {
            // A server without descriptors turned it away.
            self.done = self.received.is_empty();
            return Ok(());
        }
        if is_over {
            return Err("ended without a closing handshake".to_owned());
        }
        let has_said_all = self.open && self.ops.is_empty() && self.sleeps_until.is_none();
        if has_said_all && self.due.is_empty() && !self.closing {
            let mut last = Vec::new();
            frame(
                world,
                true,
                CLOSE,
                &u16::from(CloseCode::Normal).to_be_bytes(),
                &mut last,
            );
            self.client.send(last);
            self.closing = true;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn disturb(&mut self) {
        self.lenient = true;
    }

    fn is_well_behaved(&self) -> bool {
        !self.lenient
    }

    fn describe(&self) -> String {
        format!(
            "a WebSocket client, open {}, {} heard, {} due, {} ops left, closing {}, {:?}",
            self.open,
            self.count,
            self.due.len(),
            self.ops.len(),
            self.closing,
            self.client
        )
    }
}
