//! The app under test, and beside each route what it answers: the model is a straight line from request to answer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tourbillon::event_loop::Ctx;
use tourbillon::sim::World;
use tourbillon::web::{
    App, Body, CloseReason, Limits, Message, OnDisconnect, OwnedMessage, Peer, Request, Response,
    Rooms, Shared, Socket, WebSocket, task,
};

use crate::reader::Answer;

/// What went against a rule, found by code that can only note it.
pub(crate) type Complaints = Rc<RefCell<Vec<String>>>;

/// The largest body an answer has.
pub(crate) const ANSWER_BYTES_MAX: usize = 200_000;

pub(crate) struct State {
    pub(crate) complaints: Complaints,
    rooms: Rooms,
    /// What was said in each room.
    said: BTreeMap<String, Vec<String>>,
    /// How much had been said when a member joined.
    joined: BTreeMap<String, usize>,
    /// WebSockets that were opened and not closed yet.
    pub(crate) open: usize,
    /// Sync handlers called in this turn; see the oracle that sets it to 0.
    pub(crate) calls: usize,
}

impl State {
    pub(crate) fn new(complaints: Complaints) -> Self {
        Self {
            complaints,
            rooms: Rooms::new(),
            said: BTreeMap::new(),
            joined: BTreeMap::new(),
            open: 0,
            calls: 0,
        }
    }

    /// What a member of `room` called `name` hears, all in all. `None` before it has joined.
    pub(crate) fn heard(&self, room: &str, name: &str) -> Option<&[String]> {
        let since = *self.joined.get(name)?;
        Some(self.said.get(room).map_or(&[], |said| &said[since..]))
    }

    pub(crate) fn members(&self) -> usize {
        self.rooms.counts().iter().map(|(_, count)| count).sum()
    }
}

/// Bytes that differ from place to place, so that none can be lost or doubled unseen.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

static LARGE: [u8; 70_000] = {
    let mut bytes = [0; 70_000];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at % 241) as u8;
        at += 1;
    }
    bytes
};

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(7, |sum: u64, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    })
}

fn number(request: &Request, name: &str) -> Option<usize> {
    request.param(name)?.parse().ok()
}

fn milliseconds(request: &Request) -> Duration {
    Duration::from_millis(number(request, "ms").unwrap_or(0) as u64)
}

fn add(request: &Request, state: &mut State) -> Option<String> {
    state.calls += 1;
    Some(format!("{}", number(request, "a")? + number(request, "b")?))
}

fn sum(request: &Request, state: &mut State) -> String {
    state.calls += 1;
    format!("{} {}", request.body().len(), checksum(request.body()))
}

fn fails(_: &Request, _: &mut State) -> &'static str {
    // A panic without the noise on standard error.
    std::panic::resume_unwind(Box::new("on purpose"))
}

async fn nap(request: Request, _: Shared<State>) -> String {
    let (asked, delay) = (request.handle().now(), milliseconds(&request));
    request.handle().sleep(delay).await;
    assert!(request.handle().now() >= asked + delay, "woken early");
    "awake".to_owned()
}

async fn parts(request: Request, _: Shared<State>) -> Option<Response> {
    let (count, size) = (number(&request, "count")?, number(&request, "size")?);
    let (handle, delay) = (request.handle(), milliseconds(&request));
    let (mut sender, body) = Body::channel();
    tourbillon::task::spawn(async move {
        for part in 0..count {
            handle.sleep(delay).await;
            if sender
                .send(vec![b'a' + part as u8 % 26; size])
                .await
                .is_err()
            {
                return;
            }
        }
        sender.finish();
    });
    Some(Response::text(body))
}

async fn job(request: Request, _: Shared<State>) -> Result<String, u16> {
    let n = number(&request, "n").ok_or(404_u16)?;
    let handle = request.handle();
    let job = handle.run_in_executor(move || n * n).map_err(|_| 503_u16)?;
    job.await.map(|square| square.to_string()).map_err(|_| 500)
}

async fn echo(mut request: Request, _: Shared<State>) -> Response {
    Response::new(request.take_body())
}

async fn late(request: Request, _: Shared<State>) -> Vec<u8> {
    request.handle().sleep(Duration::from_millis(3)).await;
    request.body().to_vec()
}

/// What every WebSocket here checks: opened once, closed once, nothing after it.
struct Witness {
    closed: bool,
}

impl Witness {
    fn opened(state: &mut State) -> Self {
        state.open += 1;
        Self { closed: false }
    }

    fn visited(&self, state: &State) {
        if self.closed {
            state
                .complaints
                .borrow_mut()
                .push("a message after closed".to_owned());
        }
    }

    fn close(&mut self, state: &mut State) {
        if std::mem::replace(&mut self.closed, true) {
            state
                .complaints
                .borrow_mut()
                .push("closed twice".to_owned());
        }
        state.open -= 1;
    }
}

struct Echo(Option<Witness>);

impl Socket<State> for Echo {
    fn opened(&mut self, _: &mut Peer<'_>, state: &mut State) {
        self.0 = Some(Witness::opened(state));
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, state: &mut State) {
        self.0.as_ref().expect("it was opened").visited(state);
        peer.send(message);
    }

    fn closed(&mut self, _: &mut Ctx<'_>, _: &CloseReason, state: &mut State) {
        self.0.as_mut().expect("it was opened").close(state);
    }
}

struct Member {
    room: String,
    name: String,
    witness: Option<Witness>,
}

impl Socket<State> for Member {
    fn opened(&mut self, peer: &mut Peer<'_>, state: &mut State) {
        self.witness = Some(Witness::opened(state));
        let said = state.said.entry(self.room.clone()).or_default().len();
        state.joined.insert(self.name.clone(), said);
        state.rooms.join(&self.room, peer.sender());
    }

    fn message(&mut self, _: &mut Peer<'_>, message: Message<'_>, state: &mut State) {
        self.witness.as_ref().expect("it was opened").visited(state);
        if let Message::Text(text) = message {
            state
                .said
                .entry(self.room.clone())
                .or_default()
                .push(text.to_owned());
            state.rooms.publish(&self.room, text);
        }
    }

    fn closed(&mut self, _: &mut Ctx<'_>, _: &CloseReason, state: &mut State) {
        self.witness.as_mut().expect("it was opened").close(state);
    }
}

fn member(request: &Request, _: &mut State) -> Result<Member, Response> {
    let name = request
        .query("name")
        .ok_or_else(|| Response::of_status(400))?;
    Ok(Member {
        room: request.param("room").unwrap_or_default().into_owned(),
        name: name.into_owned(),
        witness: None,
    })
}

/// Echoes as a task that now and then sleeps, so that messages pile up.
async fn slow_echo(mut socket: WebSocket, state: Shared<State>) {
    let mut witness = state.with(Witness::opened);
    let mut count = 0_u64;
    while let Some(message) = socket.next().await {
        state.with(|state| witness.visited(state));
        count += 1;
        if count.is_multiple_of(3) {
            tourbillon::task::sleep(Duration::from_millis(count % 7)).await;
        }
        match &message {
            OwnedMessage::Text(text) => socket.send(text),
            OwnedMessage::Binary(bytes) => socket.send(bytes),
        };
    }
    state.with(|state| witness.close(state));
}

pub(crate) fn app(complaints: Complaints, half_close: bool) -> App<State> {
    let limits = Limits {
        half_close,
        // Everybody comes from the same address.
        connections_per_peer_max: Some(usize::MAX),
        ..Limits::default()
    };
    App::new(State::new(complaints))
        .limits(limits)
        .get("/", |_: &Request, state: &mut State| {
            state.calls += 1;
            "hello\n"
        })
        .get("/add/{a}/{b}", add)
        .get("/bytes/{n}", |request: &Request, _: &mut State| {
            number(request, "n").map(pattern)
        })
        .get("/shared/{n}", |request: &Request, _: &mut State| {
            number(request, "n").map(|n| Response::new(Body::Shared(pattern(n).into())))
        })
        .get("/static", |_: &Request, _: &mut State| {
            Response::new(&LARGE[..])
        })
        .get("/204", |_: &Request, _: &mut State| 204)
        .get("/fails", fails)
        .get("/nap/{ms}", task(nap).on_disconnect(OnDisconnect::Notify))
        .get("/parts/{count}/{size}/{ms}", task(parts))
        .get("/job/{n}", task(job).on_disconnect(OnDisconnect::Detach))
        .post("/sum", sum)
        .post("/late", task(late))
        .post("/echo", task(echo).streaming())
        .ws("/ws/echo", |_: &Request, _: &mut State| Ok(Echo(None)))
        .ws("/ws/room/{room}", member)
        .ws("/ws/slow", task(slow_echo))
}

// ---- the model ----------------------------------------------------------------------------------------------------

/// A request, the answer that is due for it, and what is asked of the client meanwhile.
pub(crate) struct Exchange {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
    /// The client waits for `100 Continue` between the two.
    pub(crate) waits: bool,
    pub(crate) is_head: bool,
    pub(crate) answer: Answer,
}

fn text(body: impl Into<String>) -> (&'static str, Option<&'static str>, Vec<u8>) {
    (
        "200 OK",
        Some("text/plain; charset=utf-8"),
        body.into().into_bytes(),
    )
}

fn plain(body: Vec<u8>) -> (&'static str, Option<&'static str>, Vec<u8>) {
    ("200 OK", None, body)
}

fn octets(body: Vec<u8>) -> (&'static str, Option<&'static str>, Vec<u8>) {
    ("200 OK", Some("application/octet-stream"), body)
}

/// How the client wants the connection to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    KeepAlive,
    Close,
    Http10,
    Http10KeepAlive,
}

/// Draw a request. `size_max` bounds bodies, both ways.
pub(crate) fn draw_exchange(world: &World, size_max: usize, manner: Manner) -> Exchange {
    let size = |limit: usize| {
        // Small ones are as likely as large ones.
        let limit = size_max.min(limit).max(1);
        let bits = world.range(0..=u64::from(limit.ilog2()));
        world.range(0..=(2 << bits)).min(limit as u64) as usize
    };
    let large = || size(ANSWER_BYTES_MAX);
    let (mut method, mut chunked, mut allow) = ("GET", false, None);
    let mut sent: Option<Vec<u8>> = None;
    let (target, (status, content_type, body)) = match world.range(0..=18) {
        0 => ("/".to_owned(), text("hello\n")),
        1 => {
            method = "HEAD";
            ("/".to_owned(), text("hello\n"))
        }
        2 => {
            let (a, b) = (world.range(0..=99), world.range(0..=99));
            (format!("/add/{a}/{b}"), text(format!("{}", a + b)))
        }
        3 | 4 => {
            let n = large();
            (format!("/bytes/{n}"), octets(pattern(n)))
        }
        5 => {
            let n = large();
            (format!("/shared/{n}"), plain(pattern(n)))
        }
        6 if size_max >= LARGE.len() => ("/static".to_owned(), plain(LARGE.to_vec())),
        6 | 7 => ("/204".to_owned(), ("204 No Content", None, Vec::new())),
        8 | 9 => (format!("/nap/{}", world.range(0..=200)), text("awake")),
        10 | 11 => {
            chunked = true;
            let (count, ms) = (world.range(0..=6) as usize, world.range(0..=30));
            let size = size(30_000);
            let body = (0..count)
                .flat_map(|part| vec![b'a' + part as u8; size])
                .collect();
            (
                format!("/parts/{count}/{size}/{ms}"),
                ("200 OK", Some("text/plain; charset=utf-8"), body),
            )
        }
        12 => {
            let n = world.range(0..=1_000);
            (format!("/job/{n}"), text(format!("{}", n * n)))
        }
        13 => {
            method = "POST";
            let content = world.bytes(large());
            let answer = text(format!("{} {}", content.len(), checksum(&content)));
            sent = Some(content);
            ("/sum".to_owned(), answer)
        }
        14 => {
            method = "POST";
            let content = world.bytes(large());
            sent = Some(content.clone());
            ("/late".to_owned(), octets(content))
        }
        15 | 16 => {
            method = "POST";
            let content = world.bytes(large());
            sent = Some(content.clone());
            ("/echo".to_owned(), plain(content))
        }
        17 => {
            method = "OPTIONS";
            allow = Some("OPTIONS, POST");
            ("/sum".to_owned(), ("204 No Content", None, Vec::new()))
        }
        _ => (
            "/nowhere".to_owned(),
            ("404 Not Found", text("").1, b"404 Not Found\n".to_vec()),
        ),
    };
    let is_http10 = matches!(manner, Manner::Http10 | Manner::Http10KeepAlive);
    let mut closes = matches!(manner, Manner::Close | Manner::Http10);
    let mut head = format!(
        "{method} {target} HTTP/1.{}\r\nHost: server\r\n",
        u8::from(!is_http10)
    );
    if world.chance(0.3) {
        head += &format!(
            "X-Filler: {}\r\n",
            "f".repeat(world.range(0..=300) as usize)
        );
    }
    match manner {
        Manner::Close => head += "Connection: close\r\n",
        Manner::Http10KeepAlive => head += "Connection: keep-alive\r\n",
        Manner::KeepAlive | Manner::Http10 => {}
    }
    let has_content = sent.as_ref().is_some_and(|content| !content.is_empty());
    let waits = has_content && !is_http10 && world.chance(0.2);
    if waits {
        head += "Expect: 100-continue\r\n";
    }
    let mut sent_bytes = Vec::new();
    if let Some(content) = sent {
        if !is_http10 && world.chance(0.4) {
            head += "Transfer-Encoding: chunked\r\n";
            encode_chunks(world, &content, &mut sent_bytes);
            // An echo's length is known if the request's was.
            chunked = target == "/echo";
        } else {
            head += &format!("Content-Length: {}\r\n", content.len());
            sent_bytes = content;
        }
    }
    head += "\r\n";

    let mut fields = Vec::new();
    let mut field = |name: &str, value: String| fields.push((name.to_owned(), value));
    if let Some(content_type) = content_type {
        field("Content-Type", content_type.to_owned());
    }
    if chunked {
        if is_http10 {
            closes = true;
        } else {
            field("Transfer-Encoding", "chunked".to_owned());
        }
    } else if !status.starts_with("204") {
        field("Content-Length", body.len().to_string());
    }
    match manner {
        _ if closes => field("Connection", "close".to_owned()),
        Manner::Http10KeepAlive => field("Connection", "keep-alive".to_owned()),
        _ => {}
    }
    if let Some(allow) = allow {
        field("allow", allow.to_owned());
    }
    Exchange {
        head: head.into_bytes(),
        body: sent_bytes,
        waits,
        is_head: method == "HEAD",
        answer: Answer {
            status: status.to_owned(),
            fields,
            body: if method == "HEAD" { Vec::new() } else { body },
        },
    }
}

/// A request whose handler panics: 500, and the connection ends.
pub(crate) fn failing_exchange() -> Exchange {
    let body = b"500 Internal Server Error\n".to_vec();
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Exchange {
        head: b"GET /fails HTTP/1.1\r\nHost: server\r\n\r\n".to_vec(),
        body: Vec::new(),
        waits: false,
        is_head: false,
        answer: Answer {
            status: "500 Internal Server Error".to_owned(),
            fields: vec![
                field("Content-Type", "text/plain; charset=utf-8"),
                field("Content-Length", &body.len().to_string()),
                field("Connection", "close"),
            ],
            body,
        },
    }
}

fn encode_chunks(world: &World, mut content: &[u8], out: &mut Vec<u8>) {
    while !content.is_empty() {
        let size = world.range(1..=content.len() as u64) as usize;
        let (chunk, rest) = content.split_at(size);
        let extension = if world.chance(0.1) { ";x=y" } else { "" };
        out.extend_from_slice(format!("{size:X}{extension}\r\n").as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        content = rest;
    }
    let trailer = if world.chance(0.2) {
        "X-Trailer: t\r\n"
    } else {
        ""
    };
    out.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
}
