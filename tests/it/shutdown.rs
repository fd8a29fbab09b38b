//! A graceful shutdown: everyone comes to an end, and is counted once.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tourbillon::web::{
    App, Body, Limits, Message, Peer, Request, Response, Shared, ShutdownReport, Socket, task,
};

use crate::support::{Client, Running, next, serve};

const LONG: Duration = Duration::from_secs(60);

struct Echo;

impl Socket<Gate> for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut Gate) {
        peer.send(message);
    }
}

type Gate = Arc<AtomicBool>;

async fn wait(request: Request, gate: Shared<Gate>) -> &'static str {
    let gate = gate.with(|gate| Arc::clone(gate));
    while !gate.load(Ordering::SeqCst) {
        request.handle().sleep(Duration::from_millis(1)).await;
    }
    "done"
}

async fn begun(request: Request, gate: Shared<Gate>) -> Response {
    let (mut sender, body) = Body::channel();
    tourbillon::task::spawn(async move {
        sender.send("begun, ").await.unwrap();
        sender.send(wait(request, gate).await).await.unwrap();
        sender.finish();
    });
    Response::text(body)
}

fn server() -> (Running, Gate) {
    let gate = Gate::default();
    let theirs = Arc::clone(&gate);
    let server = serve(move || {
        App::new(theirs)
            .get("/fine", |_: &Request, _: &mut Gate| "fine")
            .get("/wait", task(wait))
            .get("/begun", task(begun))
            .get("/large", |_: &Request, _: &mut Gate| vec![b'x'; 20_000_000])
            .ws("/ws", |_: &Request, _: &mut Gate| Ok(Echo))
    });
    (server, gate)
}

/// Begin a shutdown; what it did comes out of the receiver.
fn shut_down(server: &Running, deadline: Duration) -> Receiver<ShutdownReport> {
    let (done, is_done) = channel();
    server.ask(move |ctx, server| {
        server.shutdown(ctx, deadline, move |_, report| done.send(report).unwrap());
    });
    is_done
}

/// idle, finished, cut
#[track_caller]
fn counts(done: &Receiver<ShutdownReport>) -> (usize, usize, usize) {
    let report = next(done);
    assert!(report.took < LONG);
    (report.idle, report.finished, report.cut)
}

/// A connection that has been used.
fn idle(server: &Running) -> Client {
    let mut client = server.connect();
    client.get("/fine");
    assert_eq!(client.answer().text(), "fine");
    client
}

fn waiting(server: &Running, target: &str) -> Client {
    let mut client = server.connect();
    client.get(target);
    server.wait_until("it is at work", |server| {
        server.connections().iter().any(|one| {
            one.state.contains(if target == "/wait" {
                "handler"
            } else {
                "sending"
            })
        })
    });
    client
}

#[test]
fn a_server_without_connections_is_done_at_once() {
    let (server, _) = server();
    assert_eq!(counts(&shut_down(&server, LONG)), (0, 0, 0));
}

#[test]
fn idle_connections_are_closed_at_once() {
    let (server, _) = server();
    let mut clients = [idle(&server), idle(&server), server.connect()];
    server.wait_until("all are in", |server| server.counts().open == 3);
    assert_eq!(counts(&shut_down(&server, LONG)), (3, 0, 0));
    for client in &mut clients {
        client.assert_closed();
    }
}

#[test]
fn busy_connections_finish_and_say_that_they_close() {
    let (server, gate) = server();
    let mut quiet = idle(&server);
    let mut client = waiting(&server, "/wait");
    let done = shut_down(&server, LONG);
    quiet.assert_closed();
    assert!(done.try_recv().is_err());
    gate.store(true, Ordering::SeqCst);
    let answer = client.answer();
    assert_eq!(
        (answer.text(), answer.field("connection")),
        ("done", Some("close"))
    );
    client.assert_closed();
    assert_eq!(counts(&done), (1, 1, 0));
}

#[test]
fn an_answer_that_was_begun_is_ended() {
    let (server, gate) = server();
    let mut client = waiting(&server, "/begun");
    let done = shut_down(&server, LONG);
    gate.store(true, Ordering::SeqCst);
    assert_eq!(client.answer().text(), "begun, done");
    client.assert_closed();
    assert_eq!(
        counts(&done),
        (0, 1, 0),
        "it was not idle when it was asked"
    );
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_its_answer() {
    let (server, _) = server();
    let mut client = server.connect();
    client.get("/large");
    let head = client.head();
    assert_eq!(head.field("connection"), None);
    let done = shut_down(&server, LONG);
    assert_eq!(client.rest().len(), 20_000_000);
    assert_eq!(counts(&done), (0, 1, 0));
}

#[test]
fn a_request_that_is_half_here_is_answered() {
    let (server, _) = server();
    let mut client = server.connect();
    client.send("GET /fi");
    server.wait_until("half of it is here", |server| {
        server.connections().iter().any(|one| one.bytes_held > 0)
    });
    let done = shut_down(&server, LONG);
    client.send("ne HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.text(), answer.field("connection")),
        ("fine", Some("close"))
    );
    client.assert_closed();
    assert_eq!(counts(&done), (0, 1, 0));
}

#[test]
fn websockets_get_1001() {
    let (server, _) = server();
    let mut polite = server.websocket("/ws");
    polite.text("hello");
    assert_eq!(polite.read_text(), "hello");
    let done = shut_down(&server, LONG);
    polite.assert_closes_with(1001);
    assert_eq!(counts(&done), (0, 1, 0));
    assert_eq!(server.counts().websockets, 0);
}

#[test]
fn a_handshake_that_comes_too_late_is_refused() {
    let (server, _) = server();
    let mut client = server.connect();
    let handshake = crate::support::handshake("/ws");
    let (first, rest) = handshake.split_at(10);
    client.send(first);
    server.wait_until("half of it is here", |server| {
        server.connections().iter().any(|one| one.bytes_held > 0)
    });
    let done = shut_down(&server, LONG);
    client.send(rest);
    assert_eq!(client.answer().status, 503);
    assert_eq!(counts(&done), (0, 1, 0));
}

#[test]
fn who_is_stuck_is_cut_at_the_deadline() {
    let (server, _gate) = server();
    let mut stuck = waiting(&server, "/wait");
    let mut deaf = server.websocket("/ws");
    let done = shut_down(&server, Duration::from_millis(50));
    assert_eq!(deaf.read_close(), 1001);
    assert_eq!(counts(&done), (0, 0, 2));
    stuck.assert_gone();
    deaf.client.assert_gone();
    assert_eq!(server.counts().open, 0);
}

#[test]
fn a_deadline_of_nothing_counts_everyone_once() {
    let (server, _gate) = server();
    let _idle = [idle(&server), idle(&server)];
    let _stuck = waiting(&server, "/wait");
    assert_eq!(counts(&shut_down(&server, Duration::ZERO)), (2, 0, 1));
}

#[test]
fn a_second_call_moves_the_deadline() {
    let (server, _gate) = server();
    let mut stuck = waiting(&server, "/wait");
    let first = shut_down(&server, LONG);
    let second = shut_down(&server, Duration::ZERO);
    assert_eq!(counts(&first), (0, 0, 1));
    assert_eq!(counts(&second), (0, 0, 1));
    stuck.assert_gone();
    assert_eq!(counts(&shut_down(&server, LONG)), (0, 0, 0), "it is over");
}

#[test]
fn new_connections_are_refused() {
    let (server, gate) = server();
    let mut busy = waiting(&server, "/wait");
    let done = shut_down(&server, LONG);
    // The listener goes a turn later, once those who wait at it are in; the second question is asked after that turn.
    for _ in 0..2 {
        assert_eq!(server.counts().open, 1);
    }
    let refused = TcpStream::connect(server.address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    gate.store(true, Ordering::SeqCst);
    assert_eq!(busy.answer().text(), "done");
    assert_eq!(counts(&done), (0, 1, 0));
}

#[test]
fn who_connected_before_the_shutdown_is_still_served() {
    let (server, _gate) = server();
    let address = server.address;
    let (done, is_done) = channel();
    let mut waiting = server.ask(move |ctx, server| {
        // On the loop's own thread, so that nobody takes the connection in before the shutdown begins.
        let mut client = Client::connect(address);
        client.get("/fine");
        server.shutdown(ctx, LONG, move |_, report| done.send(report).unwrap());
        client
    });
    assert_eq!(waiting.answer().text(), "fine");
    waiting.assert_closed();
    assert_eq!(counts(&is_done).2, 0);
}

/// A signal is the whole process's. So this is the only test that sends one, to a loop that is not the test's own.
#[test]
fn sigterm_ends_a_server_gracefully_and_a_second_one_at_once() {
    let (ready, is_ready) = channel();
    let serving = std::thread::spawn(move || {
        let mut event_loop = tourbillon::event_loop::EventLoop::new().unwrap();
        let mut ctx = event_loop.ctx();
        let app = App::new(Gate::default())
            .limits(Limits {
                shutdown_timeout: LONG,
                ..Limits::default()
            })
            .get("/fine", |_: &Request, _: &mut Gate| "fine")
            .get("/wait", task(wait));
        let (server, address) = app.listen(&mut ctx, "127.0.0.1:0").unwrap();
        let report = tourbillon::web::stop_on_signals(&mut ctx, &server).unwrap();
        ready.send(address).unwrap();
        event_loop.run().unwrap();
        report.with(|report| *report)
    });
    let address = next(&is_ready);
    let connect = |target| {
        let mut client = Client::connect(address);
        client.get(target);
        client
    };
    let mut quiet = connect("/fine");
    assert_eq!(quiet.answer().text(), "fine");
    let mut stuck = connect("/wait");
    let mut probe = connect("/fine");
    assert_eq!(probe.answer().text(), "fine");
    let terminate = || {
        let pid = std::process::id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
    };
    terminate();
    quiet.assert_closed();
    probe.assert_closed();
    assert!(!serving.is_finished());
    terminate();
    stuck.assert_gone();
    let report = serving.join().unwrap();
    assert_eq!((report.idle, report.finished, report.cut), (2, 0, 1));
}
