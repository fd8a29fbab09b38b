//! Heap allocations a request. A handler that is called answers without any, once its connection and the loop's buffers
//! are there; one that is a task needs a small number that is known.
//!
//! The counter sees the thread that asks it, which is the loop's and the client's in one: the loop is turned by hand,
//! and the client reads into an array.

#[path = "../benches/instructions/canned.rs"]
mod canned;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use allocation_counter::measure;
use canned::{Lines, Stage};
use tourbillon::client::{Client, Url};
use tourbillon::event_loop::{EventLoop, TurnBudget};
use tourbillon::web::{
    App, Limits, Message, Peer, Request, Response, Rooms, Sender, Shared, Socket, task,
};

/// Rounds before it is counted, for buffers to grow; and rounds that are counted.
const WARM_UP: u64 = 50;
const ROUNDS: u64 = 500;

/// A server and a client of its, on one thread.
struct Pair {
    event_loop: EventLoop,
    client: TcpStream,
    received: Box<[u8; 16 * 1024]>,
}

impl Pair {
    fn new<S: 'static>(app: App<S>) -> Self {
        let mut event_loop = EventLoop::new().expect("a loop");
        let (_, address) = app
            .listen(&mut event_loop.ctx(), "127.0.0.1:0")
            .expect("an address");
        let client = TcpStream::connect(address).expect("a connection");
        client.set_nonblocking(true).expect("a socket can be so");
        client.set_nodelay(true).expect("a socket can be so");
        Self {
            event_loop,
            client,
            received: Box::new([0; 16 * 1024]),
        }
    }

    /// Say something, and turn the loop until so many answers are there that end like this.
    fn exchange(&mut self, text: &[u8], answers: usize, end: &[u8]) {
        self.client.write_all(text).expect("there is room");
        let mut length = 0;
        loop {
            let budget = TurnBudget::wait_at_most(Duration::from_millis(20));
            self.event_loop.turn(budget).expect("a turn");
            match self.client.read(&mut self.received[length..]) {
                Ok(0) => panic!("the server has closed the connection"),
                Ok(count) => length += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("{error}"),
            }
            let received = &self.received[..length];
            let ends = received.windows(end.len()).filter(|at| *at == end).count();
            if received.ends_with(end) && ends == answers {
                return;
            }
        }
    }
}

/// Allocations in all rounds, in each of which a client says `text` and gets so many answers that end with `end`.
fn allocations<S: 'static>(app: App<S>, text: &[u8], answers: usize, end: &[u8]) -> u64 {
    let mut pair = Pair::new(app);
    for _ in 0..WARM_UP {
        pair.exchange(text, answers, end);
    }
    let counted = measure(|| {
        for _ in 0..ROUNDS {
            pair.exchange(text, answers, end);
        }
    });
    counted.count_total
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HELLO: &str = "Hello, World!";

fn hello() -> App<()> {
    App::new(()).get("/", |_: &Request, _: &mut ()| HELLO)
}

#[test]
fn a_static_answer_needs_none() {
    assert_eq!(allocations(hello(), GET, 1, HELLO.as_bytes()), 0);
}

#[test]
fn nor_does_one_to_a_pipeline() {
    let pipeline = GET.repeat(16);
    assert_eq!(allocations(hello(), &pipeline, 16, HELLO.as_bytes()), 0);
}

#[test]
fn nor_do_headers_parameters_and_queries_that_the_handler_reads() {
    fn show(request: &Request, shown: &mut u64) -> (u16, &'static str) {
        let is_right = request.param("name").as_deref() == Some("tourbillon")
            && request.query("q").as_deref() == Some("tick")
            && request.header("accept-language") == Some("en-US,en;q=0.9")
            && request.method() == "GET"
            && request.path() == "/users/tourbillon/show";
        *shown += 1;
        if is_right {
            (202, "shown\n")
        } else {
            (404, "?")
        }
    }
    let text = b"GET /users/tourbillon/show?p=1&q=tick HTTP/1.1\r\n\
        Host: 127.0.0.1:8080\r\n\
        Connection: keep-alive\r\n\
        User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n\
        Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
        Accept-Encoding: gzip, deflate, br, zstd\r\n\
        Accept-Language: en-US,en;q=0.9\r\n\
        Cookie: session=0123456789abcdef\r\n\r\n";
    let app = App::new(0).get("/users/{name}/show", show);
    assert_eq!(allocations(app, text, 1, b"\r\n\r\nshown\n"), 0);
}

#[test]
fn nor_does_a_small_body_by_length_or_in_chunks() {
    for body in [
        "Content-Length: 26\r\n\r\nabcdefghijklmnopqrstuvwxyz",
        "Transfer-Encoding: chunked\r\n\r\n10\r\nabcdefghijklmnop\r\na\r\nqrstuvwxyz\r\n0\r\n\r\n",
    ] {
        let app = App::new(()).post("/", |request: &Request, _: &mut ()| {
            (request.text() == Some("abcdefghijklmnopqrstuvwxyz")).then_some("received\n")
        });
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{body}");
        let counted = allocations(app, text.as_bytes(), 1, b"\r\n\r\nreceived\n");
        assert_eq!(counted, 0, "{text:?}");
    }
}

#[test]
fn nor_does_another_type_of_content() {
    let app = hello().get("/html", |_: &Request, _: &mut ()| {
        Response::html("<p>Hello, World!")
    });
    let both = [GET, b"GET /html HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    assert_eq!(allocations(app, &both, 2, HELLO.as_bytes()), 0);
}

#[test]
fn nor_does_an_hour_of_requests_with_its_timers_and_dates() {
    let lines = Lines {
        first: Vec::new(),
        each_turn: GET.to_vec(),
    };
    // A second a turn.
    let mut stage = Stage::new(hello(), 64, lines, 1);
    let mut last = Vec::new();
    for _ in 0..WARM_UP {
        last = stage.turn_and_listen();
    }
    let before = stage.written();
    let counted = measure(|| (0..3600).for_each(|_| stage.turn()));
    assert_eq!(stage.written() - before, 3600 * last.len() as u64);
    assert_ne!(stage.turn_and_listen(), last, "an hour later");
    assert_eq!(counted.count_total, 0);
}

#[test]
fn nor_does_a_websocket_that_echoes() {
    struct Echo;

    impl Socket<()> for Echo {
        fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut ()) {
            peer.send(message);
        }
    }

    let mut pair = Pair::new(App::new(()).ws("/", |_: &Request, _: &mut ()| Ok(Echo)));
    pair.exchange(HANDSHAKE, 1, b"\r\n\r\n");
    let mut echo = || pair.exchange(TICK, 1, b"\x81\x04tick");
    (0..WARM_UP).for_each(|_| echo());
    assert_eq!(measure(|| (0..ROUNDS).for_each(|_| echo())).count_total, 0);
}

const HANDSHAKE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// "tick", with a mask of zeros.
const TICK: &[u8] = b"\x81\x84\0\0\0\0tick";

const MEMBERS: u32 = 1000;

/// By then each of them is asked whether it is there.
const PING_AFTER_SECONDS: u32 = 31;

/// A room with a thousand connections: each that is asked to, at the start, is in it.
fn room(joins: bool) -> (Stage, Shared<Hall>) {
    room_of(joins, TICK, 250)
}

/// The same, with what each says in every turn, and so many turns a second.
fn room_of(joins: bool, each_turn: &[u8], turns_a_second: u32) -> (Stage, Shared<Hall>) {
    let hall = Hall {
        joins,
        rooms: Rooms::new(),
        senders: Vec::new(),
    };
    let limits = Limits {
        // They answer no ping.
        pong_timeout: Duration::from_secs(3_600),
        ..Limits::default()
    };
    let app = App::new(hall)
        .limits(limits)
        .ws("/", |_: &Request, _: &mut Hall| Ok(Member));
    let state = app.state();
    let lines = Lines {
        first: HANDSHAKE.to_vec(),
        each_turn: each_turn.to_vec(),
    };
    (Stage::new(app, MEMBERS, lines, turns_a_second), state)
}

struct Hall {
    joins: bool,
    rooms: Rooms,
    senders: Vec<Sender>,
}

struct Member;

impl Socket<Hall> for Member {
    fn opened(&mut self, peer: &mut Peer<'_>, hall: &mut Hall) {
        hall.senders.push(peer.sender().clone());
        if hall.joins {
            hall.rooms.join("room", peer.sender());
        }
    }

    fn message(&mut self, _: &mut Peer<'_>, _: Message<'_>, _: &mut Hall) {}
}

/// Its frame, as it is encoded and as it is shared; and for the first of a turn, the batch and its list.
const OF_A_PUBLISH: u64 = 4;

#[test]
fn a_message_to_a_room_needs_four_however_many_hear_it() {
    let (mut stage, hall) = room(true);
    let rooms = hall.with(|hall| hall.rooms.clone());
    let mut publish = || {
        assert_eq!(rooms.publish("room", "hello").delivered, MEMBERS as usize);
        let before = stage.written();
        stage.turn();
        assert_eq!(stage.written() - before, 7 * u64::from(MEMBERS));
    };
    (0..WARM_UP).for_each(|_| publish());
    let counted = measure(|| (0..10).for_each(|_| publish())).count_total;
    assert!(counted <= OF_A_PUBLISH * 10, "{counted}");
}

#[test]
fn what_was_said_to_a_room_leaves_nothing_behind_in_its_members() {
    let (mut stage, hall) = room(true);
    let (rooms, senders) = hall.with(|hall| (hall.rooms.clone(), hall.senders.clone()));
    let mut talk = |messages: u32| {
        let except = &senders[0];
        rooms.publish_except("room", except, "hello");
        for _ in 1..messages {
            rooms.publish("room", "hello");
        }
        stage.turn();
    };
    // The loop's two lists of those to flush grow once.
    talk(1);
    talk(1);
    assert_eq!(measure(|| talk(8)).bytes_current, 0);
}

#[test]
fn what_was_sent_to_one_leaves_nothing_behind_when_it_was_silent_for_long() {
    let held = |messages: usize| {
        // Nobody says anything, and each turn takes a second.
        let (mut stage, hall) = room_of(true, b"", 1);
        let senders = hall.with(|hall| hall.senders.clone());
        let counted = measure(|| {
            for sender in &senders {
                for _ in 0..messages {
                    sender.send("hello");
                }
            }
            (0..PING_AFTER_SECONDS).for_each(|_| stage.turn());
        });
        counted.bytes_current
    };
    let each = (held(8) - held(0)) / i64::from(MEMBERS);
    println!("a member that was sent something: {each} bytes more");
    assert!(
        each <= 16,
        "{each}: its place in the two lists of those to flush is all"
    );
}

#[test]
fn to_be_in_a_room_takes_at_most_40_bytes() {
    let (_stage, hall) = room(false);
    let (rooms, senders) = hall.with(|hall| (hall.rooms.clone(), hall.senders.clone()));
    assert_eq!(senders.len(), MEMBERS as usize);
    let counted = measure(|| {
        for sender in &senders {
            assert!(rooms.join("room", sender));
        }
    });
    let each = counted.bytes_current / i64::from(MEMBERS);
    println!("a member of a room: {each} bytes");
    assert!(each <= 40, "{each}");
}

/// The counter counts: a handler's own allocation is found.
#[test]
fn a_handler_that_allocates_once_is_counted_once() {
    let app = App::new(()).get("/", |_: &Request, _: &mut ()| {
        Response::text(HELLO.as_bytes().to_vec())
    });
    assert_eq!(allocations(app, GET, 1, HELLO.as_bytes()), ROUNDS);
}

/// The part that waits for the rest is copied from the buffer that all connections share, and freed when it has come.
#[test]
fn a_head_in_two_pieces_needs_one() {
    let mut pair = Pair::new(hello());
    let mut halves = || {
        pair.client.write_all(&GET[..20]).expect("there is room");
        let wait = TurnBudget::wait_at_most(Duration::from_millis(20));
        pair.event_loop.turn(wait).expect("a turn");
        pair.exchange(&GET[20..], 1, HELLO.as_bytes());
    };
    (0..WARM_UP).for_each(|_| halves());
    let counted = measure(|| (0..ROUNDS).for_each(|_| halves())).count_total;
    assert_eq!(counted, ROUNDS);
}

/// A task's future and what runs it are in a box each, its waker is counted, and since it takes the request with it, the
/// connection needs a new one: its bytes and its fields.
const OF_A_TASK: u64 = 5;

#[test]
fn a_task_needs_five() {
    async fn at_once(_: Request, _: Shared<()>) -> &'static str {
        HELLO
    }
    async fn in_the_next_turn(_: Request, _: Shared<()>) -> &'static str {
        tourbillon::task::yield_now().await;
        HELLO
    }
    for (name, app) in [
        ("at once", App::new(()).get("/", task(at_once))),
        (
            "in the next turn",
            App::new(()).get("/", task(in_the_next_turn)),
        ),
    ] {
        let counted = allocations(app, GET, 1, HELLO.as_bytes());
        println!("a task that answers {name}: {counted} allocations in {ROUNDS} requests");
        assert!(counted <= OF_A_TASK * ROUNDS, "{counted}");
    }
}

/// All that ten thousand tasks need at once: the tables that hold them, with room that is not used, included.
#[test]
fn a_task_that_sleeps_takes_at_most_400_bytes_beside_its_future() {
    const TASKS: i64 = 10_000;
    async fn sleeps() {
        tourbillon::task::sleep(Duration::from_secs(3600)).await;
    }
    let mut event_loop = EventLoop::new().expect("a loop");
    let own = size_of_val(&sleeps()) as i64;
    let counted = measure(|| {
        for _ in 0..TASKS {
            drop(event_loop.spawn(sleeps()));
        }
        while event_loop.stats().timers_set < TASKS as usize {
            event_loop.turn(TurnBudget::no_wait()).expect("a turn");
        }
    });
    let each = counted.bytes_current / TASKS - own;
    println!("a sleeping task: {each} bytes, and {own} of its own");
    assert!(each <= 400, "{each}");
}

/// Its future's. What is paid now and then is the table of endings', which grows and shrinks.
const OF_AN_EMPTY_TASK: u64 = 1;

#[test]
fn a_task_that_ends_in_its_first_poll_needs_one() {
    let mut event_loop = EventLoop::new().expect("a loop");
    let mut spawn = || {
        for _ in 0..ROUNDS {
            drop(event_loop.spawn(async {}));
        }
        event_loop.turn(TurnBudget::no_wait()).expect("a turn");
    };
    spawn();
    let counted = measure(spawn).count_total;
    assert!(counted <= OF_AN_EMPTY_TASK * ROUNDS, "{counted}");
}

/// Answers each request on one connection, on a thread of its own: the counter does not see it.
fn serve_elsewhere() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.set_nodelay(true).expect("a socket can be so");
        let mut request = [0; 4096];
        while stream.read(&mut request).is_ok_and(|read| read > 0) {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    });
    address
}

#[test]
fn a_request_of_the_client_makes_a_small_number_that_is_known() {
    let url: Url = format!("http://{}/", serve_elsewhere())
        .parse()
        .expect("a URL");
    let mut event_loop = EventLoop::new().expect("a loop");
    let client = Client::new();
    let mut run = |rounds: u64| {
        let (client, url) = (client.clone(), url.clone());
        let fetching = async move {
            for _ in 0..rounds {
                let mut response = client.get(&url).send().await.expect("a response");
                while response.chunk().await.expect("a body").is_some() {}
            }
        };
        event_loop.run_until(fetching).expect("it ends");
    };
    run(WARM_UP);
    let once = measure(|| run(1)).count_total;
    let all = measure(|| run(1 + ROUNDS)).count_total;
    // Its headers, the exchange that its response holds, and a timer: a call, its filing, a waker.
    assert!(
        all - once <= CLIENT_ALLOCATIONS_MAX * ROUNDS,
        "{} in {ROUNDS} requests",
        all - once
    );
}

/// For a request on a connection from the pool: its headers, the exchange that its response holds, a timer's callback;
/// and in the stream below, what is written, and the queue for it.
const CLIENT_ALLOCATIONS_MAX: u64 = 5;
