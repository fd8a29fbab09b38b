//! Openings: how requests for WebSockets are looked at, accepted and refused, by functions and by tasks.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tourbillon::client::{WebSocket as Client, WebSocketBuilder, WebSocketError};
use tourbillon::event_loop::RECEIVE_BYTES;
use tourbillon::net::{StreamExt, TcpStream};
use tourbillon::proto::ws::{CloseCode, Message, OwnedMessage};
use tourbillon::sim::World;
use tourbillon::task::{sleep, spawn, timeout};
use tourbillon::web::{
    App, Disconnected, Limits, Opening, Origins, Peer, Request, Response, Shared, Socket,
    WebSocketSettings, task,
};

use crate::ws_client::Scene;

const SECOND: Duration = Duration::from_secs(1);
/// How long an opening of [`decide`] is thought about, unless its query says otherwise.
const THOUGHT: Duration = Duration::from_millis(200);

/// What became of the handlers.
#[derive(Default)]
struct Seen {
    begun: u32,
    /// Their futures have gone, whatever became of them.
    over: u32,
    /// What a handler did behind its refusal.
    behind: u32,
    gone: u32,
}

/// Counts the end of a future, however it ends.
struct Over(Shared<Seen>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.with(|seen| seen.over += 1);
    }
}

/// Thinks about it, and then does as the query says.
async fn decide(opening: Opening, seen: Shared<Seen>) {
    seen.with(|seen| seen.begun += 1);
    let _over = Over(seen.clone());
    let of_query = |name: &str| {
        opening
            .request()
            .query(name)
            .map(|value| value.into_owned())
    };
    let (then, speak) = (of_query("then").unwrap_or_default(), of_query("speak"));
    let thought = of_query("thought").and_then(|seconds| seconds.parse().ok());
    sleep(thought.map_or(THOUGHT, Duration::from_secs)).await;
    match then.as_str() {
        "refuse" => {
            let refusal = Response::text("not you\n").with_status(401);
            opening.refuse(refusal.with_header("www-authenticate", "Basic"));
            sleep(SECOND).await;
            seen.with(|seen| seen.behind += 1);
        }
        "drop" => drop(opening),
        "count" => count(opening.accept().await.unwrap()).await,
        "panic" => panic!("as planned"),
        "elsewhere" => {
            let seen = seen.clone();
            spawn(async move {
                let _over = Over(seen.clone());
                sleep(SECOND).await;
                match opening.accept().await {
                    Ok(socket) => drop(socket.send("from elsewhere")),
                    Err(Disconnected) => seen.with(|seen| seen.gone += 1),
                }
            });
            sleep(Duration::from_secs(60)).await;
        }
        "not wait" => {
            let accepting = timeout(Duration::ZERO, opening.accept());
            assert!(accepting.await.is_err());
        }
        _ => {
            let socket = match speak {
                Some(name) => opening.accept_with(name).await,
                None => opening.accept().await,
            };
            echo(socket.unwrap()).await;
        }
    }
}

async fn echo(mut socket: tourbillon::web::WebSocket) {
    socket.send(&format!("{:?}", socket.subprotocol()));
    while let Some(message) = socket.next().await {
        socket.send(&message);
    }
}

/// Reads numbered messages to the last, and says so.
async fn count(mut socket: tourbillon::web::WebSocket) {
    for number in 0..EARLY_MESSAGES {
        let Some(OwnedMessage::Binary(bytes)) = socket.next().await else {
            panic!("there are more")
        };
        assert_eq!(bytes[..4], number.to_be_bytes());
    }
    socket.send("all are here");
    assert_eq!(socket.next().await, None);
}

/// A called handler's socket: says what the query wanted it to speak.
struct Speaker(Option<&'static str>);

impl Socket<Seen> for Speaker {
    fn subprotocol(&self) -> Option<&'static str> {
        self.0
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut Seen) {
        peer.send(message);
    }
}

fn called(request: &Request, _: &mut Seen) -> Result<Speaker, Response> {
    Ok(Speaker(request.choose_subprotocol(&["v9", "v1"])))
}

fn app() -> App<Seen> {
    let of_route = WebSocketSettings {
        origins: Origins::list(["https://app.example"]),
        subprotocols: vec!["v2", "v1"],
        ..WebSocketSettings::default()
    };
    App::new(Seen::default())
        .ws("/decide", task(decide))
        .ws("/called", called)
        .ws_with("/route", of_route.clone(), task(decide))
        .ws_with(
            "/route/called",
            of_route.clone(),
            |_: &Request, _: &mut Seen| Ok(Speaker(None)),
        )
        .ws_with(
            "/route/reader",
            of_route,
            task(async |socket, _| echo(socket).await),
        )
}

/// A scene, and what its server has seen.
fn scene(app: App<Seen>) -> (Scene, Shared<Seen>) {
    let seen = app.state();
    (Scene::serving(World::new(1), app), seen)
}

async fn refusal(builder: &WebSocketBuilder) -> Box<tourbillon::client::Refusal> {
    match builder.connect().await {
        Err(WebSocketError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

async fn says(socket: &mut Client, text: &str) {
    let said = socket.recv().await.unwrap();
    assert_eq!(said, Some(OwnedMessage::Text(text.to_owned())));
}

#[test]
fn an_opening_is_accepted_after_an_await() {
    let (mut scene, seen) = scene(app());
    let builder = scene.at("/decide");
    scene.run(async move {
        let mut socket = builder.connect().await.unwrap();
        says(&mut socket, "None").await;
        socket.send("one").await.unwrap();
        says(&mut socket, "one").await;
        let frame = socket.close(CloseCode::Normal, "").await.unwrap();
        assert_eq!(frame.code, CloseCode::Normal);
    });
    scene.finish().unwrap();
    seen.with(|seen| assert_eq!((seen.begun, seen.over), (1, 1)));
}

#[test]
fn a_refusal_from_a_task_is_told_as_it_was_given_and_what_is_behind_it_is_done() {
    let (mut scene, seen) = scene(app());
    let builder = scene.at("/decide?then=refuse");
    scene.run(async move {
        let refusal = refusal(&builder).await;
        assert_eq!(refusal.status(), 401);
        assert_eq!(refusal.header("www-authenticate"), Some("Basic"));
        assert_eq!(refusal.body(), b"not you\n");
    });
    scene.finish().unwrap();
    seen.with(|seen| assert_eq!((seen.over, seen.behind), (1, 1)));
}

#[test]
fn an_opening_that_nobody_decides_on_is_answered_500() {
    let (mut scene, seen) = scene(app());
    let builder = scene.at("/decide?then=drop");
    scene.run(async move {
        assert_eq!(refusal(&builder).await.status(), 500);
    });
    scene.finish().unwrap();
    seen.with(|seen| assert_eq!(seen.over, 1));
}

#[test]
fn a_decision_that_takes_too_long_is_503_and_the_handler_is_dropped() {
    let limits = Limits {
        handler_timeout: SECOND,
        ..Limits::default()
    };
    let (mut scene, seen) = scene(
        app()
            .limits(limits)
            .ws("/patient", task(decide).timeout(10 * SECOND)),
    );
    let (hasty, patient) = (
        scene.at("/decide?thought=5"),
        scene.at("/patient?thought=5"),
    );
    scene.run(async move {
        assert_eq!(refusal(&hasty).await.status(), 503);
        let mut socket = patient.connect().await.unwrap();
        says(&mut socket, "None").await;
    });
    scene.finish().unwrap();
    seen.with(|seen| assert_eq!((seen.begun, seen.over), (2, 2)));
}

#[test]
fn a_client_that_goes_takes_the_undecided_handler_with_it() {
    let (mut scene, seen) = scene(app());
    let builder = scene.at("/decide?thought=3600");
    let (server, looked) = (scene.server.clone(), seen.clone());
    scene.run(async move {
        assert!(timeout(SECOND, builder.connect()).await.is_err());
        // Its connection went with the future that would have had it.
        sleep(SECOND).await;
        looked.with(|seen| assert_eq!((seen.begun, seen.over), (1, 1)));
        assert_eq!(server.counts().open, 0);
    });
    scene.finish().unwrap();
}

#[test]
fn an_opening_given_to_another_task_is_decided_there_and_learns_of_the_end() {
    let (mut scene, seen) = scene(app());
    let builder = scene.at("/decide?then=elsewhere");
    let looked = seen.clone();
    scene.run(async move {
        let mut socket = builder.connect().await.unwrap();
        says(&mut socket, "from elsewhere").await;
        drop(socket);
        assert!(timeout(SECOND / 2, builder.connect()).await.is_err());
        sleep(2 * SECOND).await;
        looked.with(|seen| assert_eq!(seen.gone, 1));
    });
    scene.finish().unwrap();
    seen.with(|seen| assert_eq!(seen.over, 4));
}

#[test]
fn who_accepts_and_does_not_wait_has_closed_the_websocket() {
    let (mut scene, _) = scene(app());
    let builder = scene.at("/decide?then=not%20wait");
    scene.run(async move {
        let mut socket = builder.connect().await.unwrap();
        assert_eq!(socket.recv().await.unwrap(), None);
        assert_eq!(socket.close_frame().unwrap().code, CloseCode::Normal);
    });
    scene.finish().unwrap();
}

#[test]
fn the_subprotocol_is_the_handlers_choice_among_those_asked_for() {
    let (mut scene, _) = scene(app());
    let (decided, called) = (scene.at("/decide?speak=v1"), scene.at("/called"));
    scene.run(async move {
        let builder = decided.subprotocol("v3").subprotocol("v1");
        let mut socket = builder.connect().await.unwrap();
        assert_eq!(socket.subprotocol(), Some("v1"));
        says(&mut socket, "Some(\"v1\")").await;

        let builder = called.subprotocol("v3").subprotocol("v1");
        let socket = builder.connect().await.unwrap();
        assert_eq!(socket.subprotocol(), Some("v1"));
    });
    scene.finish().unwrap();
}

#[test]
fn the_routes_first_subprotocol_that_the_client_asks_for_is_spoken() {
    let (mut scene, _) = scene(app());
    let routes = ["/route", "/route/called", "/route/reader"].map(|path| scene.at(path));
    scene.run(async move {
        for route in routes {
            for (asked, agreed) in [
                (&["v1", "v2"][..], Some("v2")),
                (&["v3", "v1"], Some("v1")),
                (&["V1", "v3"], None),
                (&[], None),
            ] {
                let builder = asked
                    .iter()
                    .fold(route.clone(), |builder, name| builder.subprotocol(name));
                let socket = builder.connect().await.unwrap();
                assert_eq!(socket.subprotocol(), agreed, "{asked:?}");
            }
        }
    });
    scene.finish().unwrap();
}

#[test]
#[cfg(debug_assertions)]
fn a_subprotocol_that_was_not_asked_for_is_a_mistake_that_shows() {
    let (mut scene, _) = scene(app());
    let builder = scene.at("/decide?speak=v2").subprotocol("v1");
    scene.run(async move {
        assert_eq!(refusal(&builder).await.status(), 500);
    });
    scene.finish().unwrap();
}

#[test]
fn a_page_of_another_origin_opens_nothing_and_no_handler_hears_of_it() {
    let (mut scene, seen) = scene(app());
    let (builder, listed) = (scene.at("/decide"), scene.at("/route"));
    let host = scene.host();
    scene.run(async move {
        let other = listed.clone().header("origin", &format!("http://{host}"));
        assert_eq!(refusal(&other).await.status(), 403);
        let evil = builder.clone().header("origin", "http://evil.example");
        assert_eq!(refusal(&evil).await.status(), 403);
        let null = builder.clone().header("origin", "null");
        assert_eq!(refusal(&null).await.status(), 403);
        let own = builder.header("origin", &format!("http://{host}"));
        own.connect().await.unwrap();
        let listed = listed.header("origin", "https://app.example");
        listed.connect().await.unwrap();
    });
    scene.finish().unwrap();
    seen.with(|seen| assert_eq!(seen.begun, 2));
}

/// What a client sends without waiting for the answer to its handshake.
const EARLY_MESSAGES: u32 = 200;
const EARLY_BYTES: usize = 10_000;

async fn send_early(address: SocketAddr, sent: Rc<Cell<usize>>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "GET /decide?then=count&thought=5 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for number in 0..EARLY_MESSAGES {
        let mut frame = vec![0x82, 0x80 | 126];
        frame.extend((EARLY_BYTES as u16).to_be_bytes());
        // A key of zeros leaves everything as it is.
        frame.extend([0; 4]);
        frame.extend(number.to_be_bytes());
        frame.resize(8 + EARLY_BYTES, b'x');
        stream.write_all(&frame).await.unwrap();
        sent.set(sent.get() + EARLY_BYTES);
    }
    let mut received = Vec::new();
    while !received.ends_with(b"all are here") {
        assert!(stream.read_vec(&mut received).await.unwrap() > 0);
    }
    assert!(received.starts_with(b"HTTP/1.1 101 "));
}

#[test]
fn what_a_client_sends_before_the_decision_is_bounded_and_read_after_it() {
    let (mut scene, seen) = scene(app());
    let (server, sent) = (scene.server.clone(), Rc::new(Cell::new(0)));
    scene.run(send_early((scene.host(), 80).into(), Rc::clone(&sent)));
    scene.run(async move {
        sleep(4 * SECOND).await;
        seen.with(|seen| assert_eq!((seen.begun, seen.over), (1, 0)));
        // The rest is where the network keeps it, and with the client.
        assert!(sent.get() < 1_000_000, "{} bytes are sent", sent.get());
        // One read's worth, in a buffer that may have grown by doubling.
        let held = server.counts().bytes;
        assert!(held <= 2 * RECEIVE_BYTES, "{held} bytes are held");
    });
    scene.finish().unwrap();
}
