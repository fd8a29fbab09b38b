//! The bounds by a clock that is exact: each deadline at its default, and what becomes of handlers whose peers go.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tourbillon::event_loop::EventLoop;
use tourbillon::proto::ws::CloseCode;
use tourbillon::sim::{Client, Faults, Simulation, World};
use tourbillon::web::{
    App, Body, Budget, Limits, Message, OnDisconnect, Peer, Request, Response, Server, Shared,
    Socket, task,
};

/// What handlers did, in order.
type Told = Rc<RefCell<Vec<&'static str>>>;

struct Scene {
    simulation: Simulation<EventLoop>,
    world: World,
    server: Server,
    told: Told,
}

struct Guard(Told);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.borrow_mut().push("dropped");
    }
}

/// Works for a second.
async fn work(request: Request, told: Shared<Told>) -> &'static str {
    let told = told.with(|told| Rc::clone(told));
    let _guard = Guard(Rc::clone(&told));
    told.borrow_mut().push("begun");
    request.handle().sleep(Duration::from_secs(1)).await;
    if request.is_disconnected() {
        told.borrow_mut().push("told");
    }
    told.borrow_mut().push("ended");
    "worked"
}

async fn echo(mut request: Request, _: Shared<Told>) -> Response {
    Response::new(request.take_body())
}

async fn endless(_: Request, _: Shared<Told>) -> Response {
    let (mut sender, body) = Body::channel();
    tourbillon::task::spawn(async move { while sender.send(vec![b'x'; 1_000]).await.is_ok() {} });
    Response::text(body)
}

async fn quiet(_: Request, _: Shared<Told>) -> Response {
    let (mut sender, body) = Body::channel();
    tourbillon::task::spawn(async move {
        let _ = sender.send("hm").await;
        std::future::pending::<()>().await;
    });
    Response::text(body)
}

async fn forever(_: Request, _: Shared<Told>) -> &'static str {
    std::future::pending().await
}

struct Closes;

impl Socket<Told> for Closes {
    fn message(&mut self, peer: &mut Peer<'_>, _: Message<'_>, _: &mut Told) {
        peer.close(CloseCode::Normal, "");
    }
}

impl Scene {
    fn new(limits: Limits) -> Self {
        let world = World::with_faults(1, Faults::none());
        let mut simulation = Simulation::new(world.clone());
        simulation.add("server", EventLoop::with_driver);
        let told = Told::default();
        let app = App::new(Rc::clone(&told))
            .limits(limits)
            .get("/", |_: &Request, _: &mut Told| "hello")
            .get("/large", |_: &Request, _: &mut Told| vec![b'x'; 10_000_000])
            .post("/sum", |request: &Request, _: &mut Told| {
                request.body().len().to_string()
            })
            .get("/forever", task(forever))
            .post("/echo", task(echo).streaming())
            .get("/endless", task(endless))
            .get("/quiet", task(quiet))
            .get("/cancel", task(work))
            .get("/detach", task(work).on_disconnect(OnDisconnect::Detach))
            .get("/notify", task(work).on_disconnect(OnDisconnect::Notify))
            .ws("/ws", |_: &Request, _: &mut Told| Ok(Closes));
        let mut ctx = simulation.loop_mut(0).ctx();
        let (server, _) = app.listen(&mut ctx, "0.0.0.0:80").unwrap();
        Self {
            simulation,
            world,
            server,
            told,
        }
    }

    fn connect(&self) -> Client {
        self.world.connect((self.world.address("server"), 80))
    }

    fn run(&mut self, milliseconds: u64) {
        let duration = Duration::from_millis(milliseconds);
        self.simulation.run_for(duration).unwrap();
    }

    /// Connections closed for want of descriptors, and connections dropped for it.
    fn descriptor_counts(&mut self) -> (u64, u64) {
        let stats = self.simulation.loop_mut(0).stats();
        (stats.shed, stats.turned_away)
    }

    /// The limits that were hit.
    fn hits(&self) -> Vec<(&'static str, u64)> {
        let all = self.server.hits().all().into_iter();
        all.filter(|(_, hits)| *hits > 0).collect()
    }
}

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A client sends this and no more. With default limits, nothing happens in `seconds` but what happens at once; then
/// `end` has come behind that, the connection is closed, and this limit was hit.
#[track_caller]
fn check(request: &str, seconds: u64, end: &str, limit: &str) {
    let mut scene = Scene::new(Limits::default());
    let client = scene.connect();
    client.send(request);
    scene.run(500);
    client.take_received();
    // It takes some milliseconds until it is heard.
    scene.run(seconds * 1_000 - 600);
    assert!(!client.is_over() && client.received_len() == 0, "too early");
    scene.run(200);
    let received = String::from_utf8(client.take_received()).unwrap();
    assert!(received.starts_with(end), "{received}");
    assert_eq!(end.is_empty(), received.is_empty());
    assert!(client.is_over(), "{seconds} s have passed");
    let hits = scene.hits();
    assert!(hits.contains(&(limit, 1)), "{hits:?}");
    let others = if limit == "pong_timeout" { 1 } else { 0 };
    assert_eq!(hits.len(), 1 + others, "{hits:?}");
}

#[test]
fn the_first_byte_has_ten_seconds() {
    check("", 10, "", "first_byte_timeout");
}

#[test]
fn a_head_has_ten_seconds_from_its_first_byte() {
    check("GET / HT", 10, "HTTP/1.1 408", "header_timeout");
}

#[test]
fn a_body_may_stand_still_for_ten_seconds() {
    let request = "POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf";
    check(request, 10, "HTTP/1.1 408", "body_timeout");
}

#[test]
fn a_handler_has_a_minute() {
    let request = "GET /forever HTTP/1.1\r\nHost: a\r\n\r\n";
    check(request, 60, "HTTP/1.1 503", "handler_timeout");
}

#[test]
fn an_idle_connection_is_kept_for_75_seconds() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    check(request, 75, "", "keep_alive_timeout");
}

#[test]
fn the_last_answer_that_a_connection_may_have_says_so_and_is_the_last() {
    let mut scene = Scene::new(Limits {
        requests_per_connection_max: Some(3),
        ..Limits::default()
    });
    let client = scene.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5));
    scene.run(10);
    let received = String::from_utf8(client.take_received()).unwrap();
    assert_eq!(received.matches("HTTP/1.1 200").count(), 3, "{received}");
    let (_, last) = received.rsplit_once("HTTP/1.1").unwrap();
    assert!(last.to_lowercase().contains("connection: close"), "{last}");
    assert_eq!(
        received.to_lowercase().matches("connection: close").count(),
        1
    );
    scene.run(2_100);
    assert!(client.is_over());
    let hits = scene.hits();
    assert!(hits.contains(&("requests_per_connection", 1)), "{hits:?}");
    // The next one in its place begins anew.
    let client = scene.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.run(10);
    let received = String::from_utf8(client.take_received()).unwrap();
    assert!(!received.to_lowercase().contains("connection: close"));
}

#[test]
fn a_connection_that_is_too_old_ends_with_its_next_answer() {
    let mut scene = Scene::new(Limits {
        connection_age_max: Some(Duration::from_secs(60)),
        ..Limits::default()
    });
    let client = scene.connect();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        scene.run(29_000);
        let received = String::from_utf8(client.take_received()).unwrap();
        assert!(!received.to_lowercase().contains("connection: close"));
    }
    scene.run(3_000);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.run(100);
    let received = String::from_utf8(client.take_received()).unwrap();
    assert!(received.to_lowercase().contains("connection: close"));
    scene.run(2_100);
    assert!(client.is_over());
    let hits = scene.hits();
    assert!(hits.contains(&("connection_age", 1)), "{hits:?}");
}

#[test]
fn a_refused_peer_has_two_seconds_to_read_why() {
    let mut scene = Scene::new(Limits::default());
    let client = scene.connect();
    client.send("nonsense\r\n\r\n");
    scene.run(1_900);
    assert!(client.received().starts_with(b"HTTP/1.1 400"));
    assert_eq!(scene.server.counts().open, 1);
    scene.run(200);
    assert_eq!(scene.server.counts().open, 0);
    assert_eq!(scene.hits(), [("linger", 1), ("refused_requests", 1)]);
}

#[test]
fn an_answer_may_stand_still_for_thirty_seconds() {
    let mut scene = Scene::new(Limits::default());
    let client = scene.connect();
    client.pause_reading();
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.run(29_900);
    assert_eq!(scene.server.counts().open, 1);
    scene.run(300);
    assert_eq!(scene.server.counts().open, 0);
    assert_eq!(scene.hits(), [("write_timeout", 1)]);
}

#[test]
fn a_silent_websocket_is_asked_after_thirty_seconds_and_has_ten_to_answer() {
    let mut scene = Scene::new(Limits::default());
    let client = scene.connect();
    client.send(HANDSHAKE);
    scene.run(29_900);
    assert!(client.take_received().starts_with(b"HTTP/1.1 101"));
    scene.run(200);
    assert_eq!(client.take_received(), b"\x89\0");
    // A pong, masked with nothing.
    client.send(b"\x8a\x80\0\0\0\0");
    scene.run(29_900);
    assert_eq!(client.received_len(), 0);
    scene.run(200);
    assert_eq!(client.take_received(), b"\x89\0");
    scene.run(9_700);
    assert!(!client.is_over());
    scene.run(300);
    assert!(client.is_over());
    assert_eq!(scene.hits(), [("ping_after", 2), ("pong_timeout", 1)]);
}

#[test]
fn a_websocket_has_five_seconds_to_answer_our_close() {
    let mut scene = Scene::new(Limits::default());
    let client = scene.connect();
    client.send(HANDSHAKE);
    client.send(b"\x81\x80\0\0\0\0");
    scene.run(4_900);
    assert_eq!(scene.server.counts().open, 1);
    scene.run(200);
    assert_eq!(scene.server.counts().open, 0);
    assert_eq!(scene.hits(), [("close_timeout", 1)]);
}

#[test]
fn a_handshake_with_a_close_behind_it_is_answered_and_over_in_one_visit() {
    let mut scene = Scene::new(Limits::default());
    let client = scene.connect();
    // A close frame with code 1000, masked with nothing.
    client.send([HANDSHAKE.as_bytes(), b"\x88\x82\0\0\0\0\x03\xe8"].concat());
    scene.run(10);
    let received = client.take_received();
    assert!(received.starts_with(b"HTTP/1.1 101"));
    assert!(received.ends_with(b"\x88\x02\x03\xe8"));
    scene.run(2_100);
    assert!(client.is_over());
    assert_eq!(scene.server.counts().open, 0);
    assert_eq!(scene.hits(), []);
}

#[test]
fn who_cannot_be_taken_in_is_told_at_once_and_a_closed_connection_makes_room_at_once() {
    let mut scene = Scene::new(Limits {
        budget: Budget {
            connections_max: Some(100),
            ..Budget::default()
        },
        ..Limits::default()
    });
    scene.world.limit_descriptors("server", Some(4));
    let busy: Vec<_> = (0..3).map(|_| scene.connect()).collect();
    for client in &busy {
        client.send("GET /forever HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    scene.run(100);
    assert_eq!(scene.server.counts().open, 3);
    // Nobody can be spared.
    let turned_away = scene.connect();
    scene.run(10);
    assert!(turned_away.is_over() && turned_away.received_len() == 0);
    assert_eq!(scene.descriptor_counts(), (0, 1));
    // The listener would rest for another 90 milliseconds.
    busy[0].reset();
    scene.run(10);
    let next = scene.connect();
    next.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.run(10);
    assert!(next.received().starts_with(b"HTTP/1.1 200"));
    // That one is idle now, and gives way when the listener has rested.
    let last = scene.connect();
    last.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.run(110);
    assert!(next.is_over());
    // So has that one, when it was answered: there is room for whoever comes next.
    assert_eq!(scene.descriptor_counts(), (2, 1));
    assert!(last.received().starts_with(b"HTTP/1.1 200"));
}

#[test]
fn a_flood_of_unfinished_bodies_is_cut_at_the_budget_and_served_again_behind_it() {
    let bytes_max = 1_000_000;
    let mut scene = Scene::new(Limits {
        budget: Budget {
            bytes_max,
            ..Budget::default()
        },
        connections_per_peer_max: Some(usize::MAX),
        ..Limits::default()
    });
    let server = scene.server.clone();
    scene.simulation.oracle("the budget", move |_| {
        let bytes = server.counts().bytes;
        (bytes <= bytes_max)
            .then_some(())
            .ok_or_else(|| format!("{bytes} bytes are held"))
    });
    let flood: Vec<_> = (0..60).map(|_| scene.connect()).collect();
    for client in &flood {
        client.send("POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
        client.send(vec![b'x'; 99_000]);
    }
    scene.run(9_000);
    assert!(scene.server.counts().bytes > bytes_max / 2);
    let late = scene.connect();
    late.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.run(10);
    assert!(late.received().starts_with(b"HTTP/1.1 503"));
    // The deadline for bodies ends it.
    scene.run(4_000);
    assert_eq!(scene.server.counts().bytes, 0);
    let later = scene.connect();
    later.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.run(10);
    assert!(later.received().starts_with(b"HTTP/1.1 200"));
    let answers = flood.iter().filter(|client| client.is_over()).count();
    assert_eq!(answers, 60);
}

#[test]
fn a_streamed_answer_that_is_not_taken_counts_as_much_as_it_can_come_to() {
    let mut scene = Scene::new(Limits::default());
    let client = scene.connect();
    client.pause_reading();
    client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.run(1_000);
    // Sixty-four kibibytes in the pipe, and what stands between it and the socket.
    let bytes = scene.server.counts().bytes;
    assert!((65_536..200_000).contains(&bytes), "{bytes}");
    client.reset();
    scene.run(10);
    assert_eq!(scene.server.counts().bytes, 0);
}

#[test]
fn a_streamed_answer_that_is_taken_counts_for_nothing_while_its_sender_is_silent() {
    let mut scene = Scene::new(Limits::default());
    let client = scene.connect();
    client.send("GET /quiet HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.run(1_000);
    assert!(client.received().ends_with(b"\r\n2\r\nhm\r\n"));
    assert_eq!(scene.server.counts().bytes, 0);
}

/// A client asks for `target` and goes after a tenth of a second: what the handler did, and what the client was told.
#[track_caller]
fn check_gone(target: &str, half_close: bool, go: fn(&Client), did: &[&str], answer: &str) {
    let mut scene = Scene::new(Limits {
        half_close,
        ..Limits::default()
    });
    let client = scene.connect();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    scene.run(100);
    go(&client);
    scene.run(100);
    let early = scene.told.borrow().len();
    scene.run(1_000);
    assert_eq!(*scene.told.borrow(), did);
    // What is dropped is dropped as soon as that is known.
    let at_once = if did.contains(&"ended") { 1 } else { 2 };
    assert_eq!(early, at_once);
    let received = String::from_utf8(client.take_received()).unwrap();
    assert!(received.ends_with(answer), "{received}");
    assert_eq!(received.is_empty(), answer.is_empty());
    assert_eq!(scene.server.counts().open, 0);
    assert_eq!(scene.hits(), []);
}

const CANCELLED: &[&str] = &["begun", "dropped"];
const ENDED: &[&str] = &["begun", "ended", "dropped"];
const TOLD: &[&str] = &["begun", "told", "ended", "dropped"];

#[test]
fn a_handler_goes_with_its_peer() {
    check_gone("/cancel", false, Client::reset, CANCELLED, "");
    check_gone("/cancel", false, Client::close, CANCELLED, "");
    check_gone("/cancel", false, Client::shutdown_write, CANCELLED, "");
}

#[test]
fn a_peer_that_ended_its_half_may_be_held_to_wait() {
    check_gone("/cancel", true, Client::reset, CANCELLED, "");
    check_gone("/cancel", true, Client::shutdown_write, ENDED, "worked");
    check_gone("/notify", true, Client::shutdown_write, ENDED, "worked");
}

#[test]
fn a_detached_handler_stays_and_answers_if_it_can() {
    check_gone("/detach", false, Client::reset, ENDED, "");
    check_gone("/detach", false, Client::close, ENDED, "");
    check_gone("/detach", false, Client::shutdown_write, ENDED, "worked");
}

#[test]
fn what_was_made_before_a_peer_ended_its_half_is_sent_however_slowly_it_is_taken() {
    let mut scene = Scene::new(Limits::default());
    scene.world.set_faults(Faults {
        send_buffer_bytes: 10_000..=10_000,
        ..Faults::none()
    });
    let client = scene.connect();
    // All at once, the end included. In chunks, so that it is streamed.
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9c40\r\n");
    client.send(vec![b'x'; 40_000]);
    client.send("\r\n0\r\n\r\n");
    client.shutdown_write();
    scene.run(1_000);
    let received = client.take_received();
    assert_eq!(
        received.iter().filter(|byte| **byte == b'x').count(),
        40_000
    );
    assert!(received.ends_with(b"\r\n0\r\n\r\n"));
    assert!(client.is_over());
}

/// How long a shutdown takes that begins when a detached handler has 800 ms to go.
fn shutdown_beside_a_detached_handler(deadline: u64) -> (u64, usize) {
    let mut scene = Scene::new(Limits::default());
    let client = scene.connect();
    client.send("GET /detach HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.run(100);
    client.reset();
    scene.run(100);
    assert_eq!(scene.server.counts().open, 0);
    let report = Rc::new(RefCell::new(None));
    let reported = Rc::clone(&report);
    let server = scene.server.clone();
    let mut ctx = scene.simulation.loop_mut(0).ctx();
    server.shutdown(&mut ctx, Duration::from_millis(deadline), move |_, did| {
        *reported.borrow_mut() = Some(did.took.as_millis() as u64);
    });
    scene.run(3_000);
    let took = report.borrow().expect("it ends");
    (took, scene.told.borrow().len())
}

#[test]
fn a_shutdown_waits_for_detached_handlers_until_its_deadline() {
    let (took, told) = shutdown_beside_a_detached_handler(2_000);
    assert!((790..=810).contains(&took), "{took} ms");
    assert_eq!(told, ENDED.len());
    let (took, _) = shutdown_beside_a_detached_handler(300);
    assert!((300..=310).contains(&took), "{took} ms");
}

#[test]
fn a_handler_that_wants_to_know_is_told_and_answers_if_it_can() {
    check_gone("/notify", false, Client::reset, TOLD, "");
    check_gone("/notify", false, Client::close, TOLD, "");
    check_gone("/notify", false, Client::shutdown_write, TOLD, "worked");
}
