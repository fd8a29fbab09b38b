//! One app on every engine: whatever schedules it, it does the same.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tourbillon::web::{
    App, Body, Budget, CloseCode, Counts, Engine, Hub, Limits, Message, OwnedMessage, Peer,
    Refusal, Request, Response, Rooms, Running, Shared, Socket, Threads, WebSocket, task,
};

use crate::support::{
    BINARY, Client, FINAL, PATIENCE, PING, PONG, TEXT, WsClient, handshake, next,
};

const LONG: Duration = Duration::from_secs(60);

fn engines() -> [Engine; 3] {
    [
        Engine::Loop,
        Engine::Loops(2),
        Engine::Threads(Threads::default()),
    ]
}

/// What the apps of an engine share with the test.
#[derive(Clone, Default)]
struct Outside {
    apps: Arc<AtomicUsize>,
    gate: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Outside {
    fn see(&self, what: impl Into<String>) {
        self.seen.lock().unwrap().push(what.into());
    }

    fn has_seen(&self, what: &str) -> bool {
        self.seen.lock().unwrap().iter().any(|seen| seen == what)
    }
}

async fn wait(request: Request, outside: Shared<Outside>) -> &'static str {
    outside.with(|outside| outside.see("waiting"));
    let handle = request.handle().clone();
    while !outside.with(|outside| outside.gate.load(Ordering::SeqCst)) {
        handle.sleep(Duration::from_millis(2)).await;
    }
    "done"
}

async fn echo(mut request: Request, _: Shared<Outside>) -> Response {
    Response::new(request.take_body())
}

async fn length(mut request: Request, _: Shared<Outside>) -> Result<String, u16> {
    let body = request.take_body().collect(64 << 20).await;
    match body.map_err(|_| 400_u16)? {
        Some(body) => Ok(body.len().to_string()),
        None => Err(413),
    }
}

async fn parts(_: Request, _: Shared<Outside>) -> Response {
    let (mut sender, body) = Body::channel();
    tourbillon::task::spawn(async move {
        for n in 0..5 {
            tourbillon::task::sleep(Duration::from_millis(2)).await;
            sender.send(format!("part {n}\n")).await.unwrap();
        }
        sender.finish();
    });
    Response::text(body)
}

async fn job(request: Request, _: Shared<Outside>) -> String {
    let job = request
        .handle()
        .run_in_executor(|| std::thread::current().name().unwrap_or_default().to_owned());
    job.unwrap().await.unwrap()
}

struct Echo;

impl Socket<Outside> for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut Outside) {
        match message {
            Message::Text("from elsewhere") => {
                let sender = peer.sender().remote();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(20));
                    sender.send_text("hello from elsewhere").unwrap();
                });
            }
            Message::Text("later") => {
                let sender = peer.sender().clone();
                peer.ctx().call_later(Duration::from_millis(20), move |_| {
                    sender.send("it is later");
                });
            }
            message => {
                peer.send(message);
            }
        }
    }
}

async fn talk(mut socket: WebSocket, _: Shared<Outside>) {
    while let Some(message) = socket.next().await {
        let text = match message {
            OwnedMessage::Text(text) => text,
            OwnedMessage::Binary(_) => "bytes".to_owned(),
        };
        socket.send(&format!("you said {text}"));
    }
}

fn app(outside: &Outside, limits: Limits) -> App<Outside> {
    outside.apps.fetch_add(1, Ordering::SeqCst);
    App::new(outside.clone())
        .limits(limits)
        .get("/fine", |_: &Request, _: &mut Outside| "fine")
        .get("/broken", |_: &Request, _: &mut Outside| -> u16 {
            panic!("broken")
        })
        .get("/bytes/{n}", |request: &Request, _: &mut Outside| {
            let n = request.param("n").and_then(|n| n.parse::<usize>().ok());
            Response::text(vec![b'x'; n.unwrap_or_default()])
        })
        .get("/block", |_: &Request, outside: &mut Outside| {
            outside.see("blocking");
            while !outside.gate.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            "done"
        })
        .post("/whole", |request: &Request, _: &mut Outside| {
            request.body().len().to_string()
        })
        .get("/wait", task(wait))
        .post("/echo", task(echo).streaming())
        .post("/length", task(length).streaming())
        .get("/parts", task(parts))
        .get("/job", task(job))
        .ws("/ws", |_: &Request, _: &mut Outside| Ok(Echo))
        .ws("/talk", task(talk))
}

struct Server {
    engine: Engine,
    running: Running,
    outside: Outside,
}

fn start(engine: Engine, limits: Limits) -> Server {
    let outside = Outside::default();
    let theirs = outside.clone();
    let running = engine
        .start("127.0.0.1:0", move || app(&theirs, limits.clone()))
        .unwrap();
    Server {
        engine,
        running,
        outside,
    }
}

/// The same test on each engine.
fn on_each(limits: Limits, test: impl Fn(&Server)) {
    for engine in engines() {
        test(&start(engine, limits.clone()));
    }
}

impl Server {
    fn connect(&self) -> Client {
        Client::connect(self.running.address())
    }

    fn hits(&self, name: &str) -> u64 {
        let hits = self.running.hits();
        hits.iter().find(|(one, _)| *one == name).unwrap().1
    }

    fn websocket(&self, target: &str) -> WsClient {
        let mut client = self.connect();
        client.send(handshake(target));
        assert_eq!(client.head().status, 101, "{}", self.engine);
        WsClient { client }
    }

    #[track_caller]
    fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !is_so(self) {
            assert!(
                since.elapsed() < PATIENCE,
                "{}: waited in vain: {what}: {:?}",
                self.engine,
                self.running.counts()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn wait_for_open(&self, open: usize) {
        self.wait_until(&format!("{open} open"), |server| {
            server.running.counts().open == open
        });
    }

    /// Begin to shut it down; the counts of its report will come.
    fn shut_down(self, deadline: Duration) -> Receiver<(usize, usize, usize)> {
        let (done, is_done) = channel();
        std::thread::spawn(move || {
            let report = self.running.shutdown(deadline);
            done.send((report.idle, report.finished, report.cut))
                .unwrap();
        });
        is_done
    }
}

#[track_caller]
fn assert_fine(client: &mut Client) {
    client.get("/fine");
    assert_eq!(client.answer().text(), "fine");
}

#[test]
fn a_connection_is_kept_alive_and_counted() {
    on_each(Limits::default(), |server| {
        let mut client = server.connect();
        for _ in 0..10 {
            assert_fine(&mut client);
        }
        client.get("/nowhere");
        assert_eq!(client.answer().status, 404);
        client.post("/whole", "0123456789");
        assert_eq!(client.answer().text(), "10");
        let expected = Counts {
            accepted: 1,
            open: 1,
            requests: 12,
            websockets: 0,
            bytes: 0,
        };
        server.wait_until("all are counted", |server| {
            server.running.counts() == expected
        });
        client.send("GET /fine HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().text(), "fine");
        client.assert_closed();
        server.wait_for_open(0);
        assert_eq!(server.running.counts().requests, 13);
    });
}

#[test]
fn an_end_between_two_requests_is_no_request() {
    on_each(Limits::default(), |server| {
        for _ in 0..3 {
            assert_fine(&mut server.connect());
        }
        // One that never asks.
        drop(server.connect());
        // One that ends behind its request, and reads the answer.
        let mut client = server.connect();
        client.get("/fine");
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.answer().text(), "fine");
        client.assert_closed();
        server.wait_until("all have come and gone", |server| {
            let counts = server.running.counts();
            (counts.accepted, counts.open) == (5, 0)
        });
        assert_eq!(server.running.counts().requests, 4, "{}", server.engine);
    });
}

#[test]
fn more_requests_than_a_visit_answers_come_at_once() {
    on_each(Limits::default(), |server| {
        let mut client = server.connect();
        let requests = "GET /fine HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
        let mut writer = client.stream.try_clone().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(requests.as_bytes()));
        for _ in 0..1000 {
            assert_eq!(client.answer().text(), "fine");
        }
        writing.join().unwrap().unwrap();
    });
}

#[test]
fn bodies_are_streamed_both_ways() {
    on_each(Limits::default(), |server| {
        let mut client = server.connect();
        client.get("/parts");
        let parts: String = (0..5).map(|n| format!("part {n}\n")).collect();
        assert_eq!(client.answer().text(), parts);

        let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(head);
        assert_eq!(client.head().status, 200);
        for n in 0..3 {
            let chunk = format!("chunk {n}");
            client.send(format!("{:x}\r\n{chunk}\r\n", chunk.len()));
            assert_eq!(client.chunk().unwrap().unwrap(), chunk.as_bytes());
        }
        client.send("0\r\n\r\n");
        assert_eq!(client.chunk().unwrap(), None);

        let body = "y".repeat(3_000_000);
        client.post("/length", &body);
        assert_eq!(client.answer().text(), "3000000");
        client.get("/bytes/3000000");
        assert_eq!(client.answer().body.len(), 3_000_000);
        assert_fine(&mut client);
    });
}

#[test]
fn a_task_sleeps_and_a_job_blocks_elsewhere() {
    on_each(Limits::default(), |server| {
        let mut client = server.connect();
        for _ in 0..3 {
            client.get("/job");
            let answer = client.answer();
            assert!(
                answer.text().starts_with("tourbillon-worker-"),
                "{answer:?}"
            );
            assert_fine(&mut client);
        }
        client.get("/wait");
        server.wait_until("it waits", |server| server.outside.has_seen("waiting"));
        assert_fine(&mut server.connect());
        server.outside.gate.store(true, Ordering::SeqCst);
        assert_eq!(client.answer().text(), "done");
        assert_fine(&mut client);
    });
}

#[test]
fn websockets_are_called_awaited_and_sent_to_from_elsewhere() {
    on_each(Limits::default(), |server| {
        let mut called = server.websocket("/ws");
        called.text("hello");
        assert_eq!(called.read_text(), "hello");
        called.send(FINAL | PING, "p");
        assert_eq!(called.frame(), (FINAL | PONG, b"p".to_vec()));
        called.text("later");
        assert_eq!(called.read_text(), "it is later");
        called.text("from elsewhere");
        assert_eq!(called.read_text(), "hello from elsewhere");
        let large = vec![7; 300_000];
        called.send(FINAL | BINARY, &large);
        assert_eq!(called.frame(), (FINAL | BINARY, large));
        called.text("and again");
        assert_eq!(called.read_text(), "and again");
        server.wait_until("it is counted", |server| {
            server.running.counts().websockets == 1
        });

        let mut awaited = server.websocket("/talk");
        for text in ["a", "b"] {
            awaited.send(FINAL | TEXT, text);
            assert_eq!(awaited.read_text(), format!("you said {text}"));
        }
        awaited.close(CloseCode::Normal);
        assert_eq!(awaited.read_close(), 1000);
        awaited.client.assert_closed();
        called.close(CloseCode::Normal);
        assert_eq!(called.read_close(), 1000);
        called.client.assert_closed();
        server.wait_for_open(0);
        server.wait_until("nothing is left", |server| {
            server.running.counts().websockets == 0
        });
    });
}

/// In one room from the first moment on; what it says, it says to all, or to all others.
struct Member;

impl Socket<Rooms> for Member {
    fn opened(&mut self, peer: &mut Peer<'_>, rooms: &mut Rooms) {
        rooms.join("room", peer.sender());
        peer.send(&rooms.count("room").to_string());
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, rooms: &mut Rooms) {
        match message {
            Message::Text("leave") => {
                rooms.leave("room", peer.sender());
                peer.send("left");
            }
            Message::Binary(bytes) => {
                rooms.publish_except("room", peer.sender(), bytes);
            }
            text => {
                rooms.publish("room", text);
            }
        }
    }
}

#[test]
fn rooms_span_all_loops_of_an_engine() {
    for engine in engines() {
        let hub = Hub::new();
        let theirs = hub.clone();
        let running = engine
            .start("127.0.0.1:0", move || {
                App::new(Rooms::spanning(&theirs))
                    .ws("/room", |_: &Request, _: &mut Rooms| Ok(Member))
            })
            .unwrap();
        // Enough of them that two loops have some each.
        let mut members: Vec<_> = (1..=16)
            .map(|n| {
                let mut client = Client::connect(running.address());
                client.send(handshake("/room"));
                assert_eq!(client.head().status, 101);
                let mut member = WsClient { client };
                assert_eq!(member.read_text(), n.to_string(), "{engine}");
                member
            })
            .collect();
        assert_eq!(hub.counts(), [("room".to_owned(), 16)]);
        for speaker in [0, 7, 15] {
            for n in 0..100 {
                members[speaker].text(&format!("{speaker} says {n}"));
            }
            for member in &mut members {
                for n in 0..100 {
                    assert_eq!(member.read_text(), format!("{speaker} says {n}"));
                }
            }
        }
        // Several at once: everyone hears each of them in order.
        for n in 0..50 {
            for speaker in [1, 2, 3] {
                members[speaker].text(&format!("{speaker}:{n}"));
            }
        }
        for member in &mut members {
            let mut next = [0; 4];
            for _ in 0..150 {
                let text = member.read_text();
                let (speaker, n) = text.split_once(':').unwrap();
                let next = &mut next[speaker.parse::<usize>().unwrap()];
                assert_eq!(n, next.to_string(), "{engine}");
                *next += 1;
            }
        }
        members[4].send(FINAL | BINARY, "others");
        for (n, member) in members.iter_mut().enumerate() {
            if n != 4 {
                assert_eq!(member.frame(), (FINAL | BINARY, b"others".to_vec()));
            }
        }
        members[4].text("leave");
        assert_eq!(members[4].read_text(), "left");
        assert_eq!(hub.count("room"), 15);
        let gone = members.split_off(8);
        drop(gone);
        let since = Instant::now();
        while hub.count("room") > 7 {
            assert!(since.elapsed() < PATIENCE, "{engine}: {hub:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        members[0].text("still here");
        for n in [0, 1, 2, 3, 5, 6, 7] {
            assert_eq!(members[n].read_text(), "still here", "{engine}");
        }
        // Who is in no room, and perhaps alone in a loop that has left the hub, can still be heard.
        members[4].text("I am out, and can be heard");
        for n in [0, 1, 2, 3, 5, 6, 7] {
            assert_eq!(members[n].read_text(), "I am out, and can be heard");
        }
        drop(members);
        drop(running);
        assert_eq!(hub.counts(), [], "{engine}");
    }
}

#[test]
fn a_panic_is_a_500_and_the_others_go_on() {
    on_each(Limits::default(), |server| {
        let mut other = server.connect();
        assert_fine(&mut other);
        let mut client = server.connect();
        client.get("/broken");
        assert_eq!(client.answer().status, 500);
        client.assert_closed();
        assert_fine(&mut other);
        assert_fine(&mut server.connect());
    });
}

#[test]
fn who_is_slow_is_told_and_who_is_idle_is_let_go() {
    let limits = Limits {
        header_timeout: Duration::from_millis(150),
        body_timeout: Duration::from_millis(150),
        keep_alive_timeout: Duration::from_millis(150),
        ..Limits::default()
    };
    on_each(limits, |server| {
        let mut slow = server.connect();
        slow.send("GET /fine HT");
        let mut silent = server.connect();
        let mut body = server.connect();
        body.send("POST /whole HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n123");
        let mut idle = server.connect();
        let since = Instant::now();
        assert_fine(&mut idle);
        assert_eq!(slow.answer().status, 408);
        assert_eq!(body.answer().status, 408);
        silent.assert_closed();
        idle.assert_closed();
        // Never early: 150 ms from after the answer, which came after `since`.
        assert!(since.elapsed() >= Duration::from_millis(150));
        slow.assert_closed();
        body.assert_closed();
        // The server lingers as long as they might not have read that.
        drop((slow, body));
        server.wait_for_open(0);
    });
}

#[test]
fn an_idle_deadline_moves_with_each_request() {
    let limits = Limits {
        keep_alive_timeout: Duration::from_millis(400),
        ..Limits::default()
    };
    on_each(limits, |server| {
        let mut client = server.connect();
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(900) {
            assert_fine(&mut client);
            std::thread::sleep(Duration::from_millis(30));
        }
        let idle_since = Instant::now();
        assert_fine(&mut client);
        client.assert_closed();
        assert!(idle_since.elapsed() >= Duration::from_millis(400));
    });
}

#[test]
fn who_takes_no_answer_is_cut() {
    let limits = Limits {
        write_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    on_each(limits, |server| {
        let mut deaf = server.connect();
        deaf.get("/bytes/50000000");
        server.wait_for_open(1);
        server.wait_for_open(0);
        assert_fine(&mut server.connect());
    });
}

#[test]
fn one_connection_too_many_is_told_to_come_again() {
    let few = Engine::Threads(Threads {
        connections_max: 3,
        ..Threads::default()
    });
    let limits = |connections_max| Limits {
        budget: Budget {
            connections_max,
            ..Budget::default()
        },
        ..Limits::default()
    };
    for (engine, limits) in [
        (Engine::Loop, limits(Some(3))),
        (Engine::Loops(2), limits(Some(3))),
        (Engine::Threads(Threads::default()), limits(Some(3))),
        (few, limits(None)),
    ] {
        let server = start(engine, limits);
        let mut kept: Vec<_> = (0..3).map(|_| server.connect()).collect();
        kept.iter_mut().for_each(assert_fine);
        let mut refused = server.connect();
        let answer = refused.answer();
        assert_eq!(
            (answer.status, answer.field("retry-after")),
            (503, Some("1")),
            "{engine}"
        );
        refused.assert_closed();
        kept.iter_mut().for_each(assert_fine);
        assert_eq!(server.hits("connections"), 1, "{engine}");
        assert_eq!(
            server.running.limits().budget.connections_max,
            Some(3),
            "{engine}"
        );
        drop(kept.pop());
        server.wait_for_open(2);
        assert_fine(&mut server.connect());
    }
}

#[test]
fn caps_hold_for_all_loops_or_threads_together() {
    let of_all = Limits {
        budget: Budget {
            connections_max: Some(12),
            ..Budget::default()
        },
        ..Limits::default()
    };
    let of_one_peer = Limits {
        connections_per_peer_max: Some(12),
        ..Limits::default()
    };
    for (limits, counter) in [
        (of_all, "connections"),
        (of_one_peer, "connections_per_peer"),
    ] {
        on_each(limits, |server| {
            let engine = server.engine;
            // So many that each of two loops gets some: 12 in one queue, and none in the other, is one case in 2,048.
            let (mut kept, refused): (Vec<_>, Vec<_>) = (0..30)
                .map(|_| {
                    let mut client = server.connect();
                    client.get("/fine");
                    let status = client.answer().status;
                    (client, status)
                })
                .partition(|(_, status)| *status == 200);
            assert_eq!((kept.len(), refused.len()), (12, 18), "{engine} {counter}");
            assert!(refused.iter().all(|(_, status)| *status == 503), "{engine}");
            assert_eq!(server.hits(counter), 18, "{engine}");
            assert_eq!(server.running.counts().open, 12, "{engine}");
            // Who leaves makes room, in whichever loop.
            kept.truncate(4);
            server.wait_for_open(4);
            kept.extend((0..8).map(|_| {
                let mut client = server.connect();
                assert_fine(&mut client);
                (client, 200)
            }));
            drop(refused);
            drop(kept);
            server.wait_for_open(0);
        });
    }
}

#[test]
fn connections_that_come_too_fast_are_refused_by_every_engine() {
    let limits = Limits {
        accept_rate_max: Some(3),
        refusal: Refusal::Drop,
        ..Limits::default()
    };
    on_each(limits, |server| {
        let mut answered = 0;
        let mut dropped = 0;
        for _ in 0..20 {
            let mut client = server.connect();
            // A peer that is closed at once may see that before it has sent anything.
            let _ = client
                .stream
                .write_all(b"GET /fine HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let mut answer = Vec::new();
            let _ = client.stream.read_to_end(&mut answer);
            match answer.is_empty() {
                true => dropped += 1,
                false => answered += 1,
            }
        }
        let engine = server.engine;
        assert!(answered >= 3, "{engine}: {answered} of 20");
        // However slow the machine is, it was not slower than three a second by much.
        assert!(dropped > 0, "{engine}: none was refused");
        assert_eq!(server.hits("accept_rate"), dropped, "{engine}");
    });
}

#[test]
fn a_handler_that_is_too_slow_is_counted_by_every_engine() {
    let limits = Limits {
        handler_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    on_each(limits, |server| {
        let mut client = server.connect();
        client.get("/wait");
        assert_eq!(client.answer().status, 503);
        client.assert_closed();
        drop(client);
        server.wait_until("it is counted", |server| {
            server.hits("handler_timeout") == 1
        });
    });
}

#[test]
fn a_thread_that_cannot_serve_gives_the_place_back() {
    let apps = Arc::new(AtomicUsize::new(0));
    let limits = Limits {
        connections_per_peer_max: Some(1),
        ..Limits::default()
    };
    let make_app = move || {
        // The first is the acceptor's.
        assert_ne!(apps.fetch_add(1, Ordering::SeqCst), 1, "no app today");
        App::new(())
            .limits(limits.clone())
            .get("/fine", |_: &Request, _: &mut ()| "fine")
    };
    let engine = Engine::Threads(Threads::default());
    let running = engine.start("127.0.0.1:0", make_app).unwrap();
    Client::connect(running.address()).assert_gone();
    let since = Instant::now();
    while running.counts().open > 0 {
        assert!(since.elapsed() < PATIENCE, "{:?}", running.counts());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_fine(&mut Client::connect(running.address()));
}

/// Nobody listens there any more: each loop closes its own listener, and whose clients have all been elsewhere may be the
/// last to.
fn assert_refused(address: SocketAddr) {
    let since = Instant::now();
    let refused = loop {
        match TcpStream::connect(address) {
            Ok(_) => assert!(since.elapsed() < PATIENCE, "somebody listens"),
            Err(error) => break error,
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn everyone_leaves_in_good_order() {
    for engine in engines() {
        let server = start(engine, Limits::default());
        let outside = server.outside.clone();
        let address = server.running.address();
        let mut idle: Vec<_> = (0..4).map(|_| server.connect()).collect();
        idle.iter_mut().for_each(assert_fine);
        // Two that are over already, and are nobody's business any more.
        for _ in 0..2 {
            assert_fine(&mut server.connect());
        }
        let mut socket = server.websocket("/ws");
        socket.text("hello");
        assert_eq!(socket.read_text(), "hello");
        let mut busy = server.connect();
        busy.get("/wait");
        server.wait_until("it waits", |server| server.outside.has_seen("waiting"));
        server.wait_for_open(6);
        let report = server.shut_down(LONG);
        for client in &mut idle {
            client.assert_closed();
        }
        assert_eq!(socket.read_close(), 1001, "{engine}");
        socket.close(CloseCode::Away);
        socket.client.assert_closed();
        assert_refused(address);
        outside.gate.store(true, Ordering::SeqCst);
        let answer = busy.answer();
        assert_eq!(
            (answer.text(), answer.field("connection")),
            ("done", Some("close"))
        );
        busy.assert_closed();
        drop(busy);
        assert_eq!(next(&report), (4, 2, 0), "{engine}");
    }
}

#[test]
fn what_has_begun_is_finished_in_a_shutdown() {
    for engine in engines() {
        let server = start(engine, Limits::default());
        let mut head = server.connect();
        head.send("GET /fine HTTP/1.1\r\nHost: loc");
        let mut body = server.connect();
        body.send("POST /whole HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n123");
        server.wait_for_open(2);
        // They are in; that their first bytes are, too, nothing shows from outside.
        std::thread::sleep(Duration::from_millis(100));
        let report = server.shut_down(LONG);
        std::thread::sleep(Duration::from_millis(100));
        head.send("alhost\r\n\r\n");
        body.send("4567");
        body.send("890");
        assert_eq!(head.answer().text(), "fine", "{engine}");
        assert_eq!(body.answer().text(), "10", "{engine}");
        drop((head, body));
        assert_eq!(next(&report), (0, 2, 0), "{engine}");
    }
}

#[test]
fn who_is_stuck_is_cut_at_the_deadline() {
    for engine in engines() {
        let server = start(engine, Limits::default());
        let mut idle = server.connect();
        assert_fine(&mut idle);
        let mut deaf = server.websocket("/ws");
        let mut stuck = server.connect();
        stuck.get("/wait");
        server.wait_until("it waits", |server| server.outside.has_seen("waiting"));
        let report = server.shut_down(Duration::from_millis(100));
        assert_eq!(next(&report), (1, 0, 2), "{engine}");
        stuck.assert_gone();
        assert_eq!(deaf.read_close(), 1001);
        deaf.client.assert_gone();
    }
}

#[test]
fn an_engine_that_is_dropped_ends_at_once() {
    for engine in engines() {
        let server = start(engine, Limits::default());
        let mut client = server.connect();
        assert_fine(&mut client);
        drop(server);
        client.assert_closed();
    }
}

#[test]
fn a_thread_in_a_handler_does_not_hold_the_end_up() {
    let server = start(Engine::Threads(Threads::default()), Limits::default());
    let outside = server.outside.clone();
    let mut blocked = server.connect();
    blocked.get("/block");
    server.wait_until("it blocks", |server| server.outside.has_seen("blocking"));
    // The others do not wait for it.
    assert_fine(&mut server.connect());
    assert_eq!(next(&server.shut_down(Duration::ZERO)).2, 1);
    outside.gate.store(true, Ordering::SeqCst);
    blocked.assert_gone();
}

#[test]
fn a_thread_that_is_free_serves_the_next_connection_with_its_app() {
    let server = start(Engine::Threads(Threads::default()), Limits::default());
    for _ in 0..20 {
        let mut client = server.connect();
        assert_fine(&mut client);
        drop(client);
        server.wait_for_open(0);
        // The count falls in the last step of a turn, and the thread is free behind it.
        std::thread::sleep(Duration::from_millis(5));
    }
    // One for the acceptor, and one or, on a busy machine, some for the connections.
    let apps = server.outside.apps.load(Ordering::SeqCst);
    assert!(apps <= 5, "{apps} apps for 20 connections, one at a time");
}

#[test]
fn each_loop_of_several_gets_its_part() {
    let server = start(Engine::Loops(2), Limits::default());
    assert_eq!(server.outside.apps.load(Ordering::SeqCst), 2);
    let mut clients: Vec<_> = (0..64).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(assert_fine);
    assert_eq!(server.running.counts().open, 64);
    assert_eq!(server.running.counts().accepted, 64);
}

#[test]
fn a_port_in_use_is_an_error() {
    for holder in engines() {
        let server = start(holder, Limits::default());
        for engine in engines() {
            let error = engine
                .start(server.running.address(), || App::new(()))
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrInUse, "{holder}, {engine}");
        }
    }
}

#[test]
fn an_app_that_needs_one_loop_is_refused_by_others() {
    let make_app = || App::new(()).needs_one_loop("its rooms are in memory");
    for engine in engines() {
        let started = engine.start("127.0.0.1:0", make_app);
        match (engine, started) {
            (Engine::Loop, started) => drop(started.unwrap()),
            (_, started) => {
                let error = started.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                let text = error.to_string();
                assert!(text.contains(&engine.to_string()), "{text}");
                assert!(text.ends_with("its rooms are in memory"), "{text}");
            }
        }
    }
}

#[test]
fn an_app_that_cannot_be_made_is_an_error() {
    for engine in engines() {
        let make_app = || -> App<()> { panic!("no app today") };
        assert!(engine.start("127.0.0.1:0", make_app).is_err(), "{engine}");
    }
}

#[test]
fn engines_have_names() {
    for (text, engine) in [
        ("loop", Engine::Loop),
        ("loops:3", Engine::Loops(3)),
        (
            "threads:7",
            Engine::Threads(Threads {
                connections_max: 7,
                ..Threads::default()
            }),
        ),
    ] {
        assert_eq!(text.parse(), Ok(engine));
        assert_eq!(engine.to_string(), text);
    }
    assert!(matches!("loops".parse(), Ok(Engine::Loops(n)) if n > 0));
    assert_eq!("threads".parse(), Ok(Engine::Threads(Threads::default())));
    for wrong in [
        "",
        "loop:1",
        "loops:",
        "loops:0",
        "loops:x",
        "thread",
        "threads:-1",
    ] {
        let error = wrong.parse::<Engine>().unwrap_err().to_string();
        assert!(error.contains("threads:N"), "{error}");
    }
    let none = Engine::Loops(0).start("127.0.0.1:0", || App::new(()));
    assert_eq!(none.unwrap_err().kind(), ErrorKind::InvalidInput);
}
