//! The WebSocket client against our server, each on a host of its own, in a world where everything goes wrong.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tourbillon::client::{
    Reconnect, WebSocket, WebSocketBuilder, WebSocketError, WebSocketTimeout,
};
use tourbillon::event_loop::{Ctx, EventLoop};
use tourbillon::net::{StreamExt, TcpListener, TcpStream};
use tourbillon::proto::ws::{
    CloseCode, DeflateOptions, Endpoint, Message, OwnedMessage, PeerError, Role, Step, WsLimits,
};
use tourbillon::sim::{Failure, Faults, Simulation, World, check};
use tourbillon::task::{sleep, spawn, timeout};
use tourbillon::web::{
    App, CloseReason, Limits, OutboxPolicy, Peer, Request, Response, Rooms, Server, Socket,
    WhenFull,
};

const SERVER: usize = 0;
const CLIENT: usize = 1;
const PORT: u16 = 80;

/// How each WebSocket of the server ended.
type Ends = Rc<RefCell<Vec<CloseReason>>>;

/// Sends back what comes; does what it is told by some messages.
struct Echo(Ends);

impl Socket<()> for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut ()) {
        match message {
            Message::Text("close") => peer.close(CloseCode::from(4001), "as you like"),
            Message::Text("ping") => drop(peer.ping(b"there?")),
            message => drop(peer.send(message)),
        }
    }

    fn pong(&mut self, peer: &mut Peer<'_>, payload: &[u8], _: &mut ()) {
        // Those that the server itself asks for, after a long silence, are empty.
        if !payload.is_empty() {
            peer.send(payload);
        }
    }

    fn closed(&mut self, _: &mut Ctx<'_>, reason: &CloseReason, _: &mut ()) {
        self.0.borrow_mut().push(reason.clone());
    }
}

/// Says to its room what it hears.
struct Member;

impl Socket<Rooms> for Member {
    fn opened(&mut self, peer: &mut Peer<'_>, rooms: &mut Rooms) {
        rooms.join("room", peer.sender());
    }

    fn message(&mut self, _: &mut Peer<'_>, message: Message<'_>, rooms: &mut Rooms) {
        rooms.publish("room", message);
    }
}

/// A server, a host with clients, and how many of its tasks are still at it.
pub(crate) struct Scene {
    pub(crate) simulation: Simulation,
    world: World,
    pub(crate) server: Server,
    ends: Ends,
    busy: Rc<Cell<usize>>,
}

impl Scene {
    fn new(seed: u64, faults: Faults) -> Self {
        let ends = Ends::default();
        let echo = |ends: &Ends| {
            let ends = Rc::clone(ends);
            move |_: &Request, _: &mut ()| Ok(Echo(Rc::clone(&ends)))
        };
        let limits = Limits {
            outbox: OutboxPolicy {
                bytes_max: 1 << 20,
                when_full: WhenFull::Close,
            },
            ..Limits::default()
        };
        let app = App::new(())
            .limits(limits)
            .ws("/echo", echo(&ends))
            .ws_deflate("/shared", DeflateOptions::default(), echo(&ends))
            .ws_deflate("/own", DeflateOptions::own_context(), echo(&ends))
            .ws("/no", |_: &Request, _: &mut ()| {
                Err::<Echo, _>(Response::text("not you\n").with_status(403))
            })
            .get("/page", |_: &Request, _: &mut ()| "a page");
        Self {
            ends,
            ..Self::serving(World::with_faults(seed, faults), app)
        }
    }

    pub(crate) fn serving<S: 'static>(world: World, app: App<S>) -> Self {
        let mut simulation = Simulation::new(world.clone());
        simulation.limit_busy_turns(20_000);
        for host in ["server", "client"] {
            simulation.add(host, EventLoop::with_driver);
        }
        let server = simulation.loop_mut(SERVER);
        let (server, _) = app.listen(&mut server.ctx(), ("0.0.0.0", PORT)).unwrap();
        Self {
            simulation,
            world,
            server,
            ends: Ends::default(),
            busy: Rc::default(),
        }
    }

    fn calm() -> Self {
        Self::new(1, Faults::none())
    }

    pub(crate) fn host(&self) -> Ipv4Addr {
        self.world.address("server")
    }

    pub(crate) fn at(&self, path: &str) -> WebSocketBuilder {
        WebSocket::builder(&format!("ws://{}{path}", self.host()))
    }

    /// Run `task` at the clients' host; the scene is over when all are.
    pub(crate) fn run(&mut self, task: impl Future<Output = ()> + 'static) {
        self.busy.set(self.busy.get() + 1);
        let busy = Rc::clone(&self.busy);
        self.simulation.loop_mut(CLIENT).spawn(async move {
            task.await;
            busy.set(busy.get() - 1);
        });
    }

    /// Let everything happen, and see that nothing is left at the clients' host, nor of a WebSocket at the server.
    pub(crate) fn finish(mut self) -> Result<Vec<CloseReason>, Failure> {
        let (busy, server) = (Rc::clone(&self.busy), self.server.clone());
        self.simulation.run_until(|_| busy.get() == 0)?;
        self.simulation.run_for(Duration::from_secs(120))?;
        assert_eq!(server.counts().websockets, 0);
        let stats = self.simulation.loops()[CLIENT].stats();
        assert_eq!(
            (stats.sources, stats.timers_set, stats.panics),
            (0, 0, 0),
            "sources, timers, panics"
        );
        assert_eq!(self.simulation.open_sockets(CLIENT), 0);
        Ok(self.ends.take())
    }
}

fn text(text: &str) -> OwnedMessage {
    OwnedMessage::Text(text.to_owned())
}

#[test]
fn messages_come_back_and_both_sides_close() {
    let mut scene = Scene::calm();
    let builder = scene.at("/echo");
    scene.run(async move {
        let mut socket = builder.connect().await.unwrap();
        assert_eq!(socket.response().status(), 101);
        assert_eq!(socket.subprotocol(), None);
        socket.send("one").await.unwrap();
        socket.send(&[2, 3][..]).await.unwrap();
        assert_eq!(socket.recv().await.unwrap(), Some(text("one")));
        assert_eq!(
            socket.recv().await.unwrap(),
            Some(OwnedMessage::Binary(vec![2, 3]))
        );
        let frame = socket.close(CloseCode::Normal, "enough").await.unwrap();
        assert_eq!(frame.code, CloseCode::Normal);
        assert!(matches!(
            socket.send("x").await,
            Err(WebSocketError::Closed)
        ));
        assert_eq!(socket.recv().await.unwrap(), None);
    });
    let ends = scene.finish().unwrap();
    let expected = CloseReason::Peer(CloseCode::Normal, "enough".to_owned());
    assert_eq!(ends, [expected]);
}

#[test]
fn what_the_server_closes_with_is_told() {
    let mut scene = Scene::calm();
    let builder = scene.at("/echo");
    scene.run(async move {
        let mut socket = builder.connect().await.unwrap();
        socket.send("close").await.unwrap();
        assert_eq!(socket.recv().await.unwrap(), None);
        let frame = socket.close_frame().unwrap();
        assert_eq!(
            (u16::from(frame.code), &*frame.reason),
            (4001, "as you like")
        );
    });
    let ends = scene.finish().unwrap();
    assert_eq!(ends, [CloseReason::Us(CloseCode::from(4001))]);
}

#[test]
fn dropping_a_websocket_closes_it_with_1000() {
    let mut scene = Scene::calm();
    let builder = scene.at("/echo");
    scene.run(async move {
        let socket = builder.connect().await.unwrap();
        socket.send("this gets there").await.unwrap();
    });
    let ends = scene.finish().unwrap();
    let expected = CloseReason::Peer(CloseCode::Normal, String::new());
    assert_eq!(ends, [expected]);
}

#[test]
fn pings_are_answered_while_nobody_reads() {
    let mut scene = Scene::calm();
    let builder = scene.at("/echo");
    scene.run(async move {
        let mut socket = builder.connect().await.unwrap();
        socket.send("ping").await.unwrap();
        sleep(Duration::from_secs(1)).await;
        // The server sends back what came in the pong.
        assert_eq!(
            socket.recv().await.unwrap(),
            Some(OwnedMessage::Binary(b"there?".to_vec()))
        );
    });
    scene.finish().unwrap();
}

#[test]
fn senders_send_while_another_task_reads() {
    let mut scene = Scene::calm();
    let builder = scene.at("/echo");
    scene.run(async move {
        let mut socket = builder.connect().await.unwrap();
        let senders = (0..3).map(|number| {
            let sender = socket.sender();
            spawn(async move {
                for i in 0..50 {
                    sender.send(&format!("{number} {i}")).await.unwrap();
                }
            })
        });
        let senders: Vec<_> = senders.collect();
        let mut next = [0; 3];
        for _ in 0..150 {
            let Some(OwnedMessage::Text(text)) = socket.recv().await.unwrap() else {
                panic!("a text");
            };
            let (number, i) = text.split_once(' ').unwrap();
            let number: usize = number.parse().unwrap();
            assert_eq!(i, next[number].to_string(), "of sender {number}");
            next[number] += 1;
        }
        for sender in senders {
            sender.await.unwrap();
        }
        let sender = socket.sender();
        assert!(sender.is_open());
        drop(socket);
        assert!(!sender.is_open());
        let refused = sender.send("too late").await;
        assert!(matches!(refused, Err(WebSocketError::Closed)));
    });
    scene.finish().unwrap();
}

#[test]
fn a_refusal_has_its_status_headers_and_body() {
    let mut scene = Scene::calm();
    let (no, page, none) = (scene.at("/no"), scene.at("/page"), scene.at("/nowhere"));
    scene.run(async move {
        for (builder, status, body) in [
            (no, 403, "not you\n"),
            (page, 200, "a page"),
            (none, 404, "404 Not Found\n"),
        ] {
            match builder.connect().await {
                Err(WebSocketError::Refused(refusal)) => {
                    assert_eq!(refusal.status(), status);
                    assert_eq!(String::from_utf8_lossy(refusal.body()), body);
                    assert!(refusal.header("content-length").is_some());
                }
                other => panic!("{other:?}"),
            }
        }
    });
    scene.finish().unwrap();
}

#[test]
fn what_cannot_be_asked_for_is_not_asked_for() {
    let mut scene = Scene::calm();
    let here = scene.at("/echo");
    scene.run(async move {
        for url in ["http://a/", "ws:/a", "a", "ws://a/#b"] {
            let error = WebSocket::connect(url).await.unwrap_err();
            assert!(
                matches!(error, WebSocketError::NotWebSocketUrl),
                "{url}: {error}"
            );
        }
        let error = WebSocket::connect("ws://a b/").await.unwrap_err();
        assert!(matches!(error, WebSocketError::Url(_)));
        for (name, value) in [
            ("Upgrade", "h2c"),
            ("sec-websocket-key", "x"),
            ("Connection", "close"),
            ("a", "b\r\nc: d"),
        ] {
            let error = here
                .clone()
                .header(name, value)
                .connect()
                .await
                .unwrap_err();
            assert!(matches!(error, WebSocketError::Field(_)), "{name}: {error}");
        }
        let error = here.subprotocol("a b").connect().await.unwrap_err();
        assert!(matches!(error, WebSocketError::Subprotocol(_)));
    });
    scene.finish().unwrap();
}

/// Take a client's handshake, by hand.
async fn take_handshake(stream: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if let Ok(0) | Err(_) = stream.read_vec(&mut request).await {
            return;
        }
    }
    let request = String::from_utf8(request).unwrap();
    let mut lines = request.lines();
    let key = lines.find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = tourbillon::proto::ws::accept_key(key.unwrap());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        std::str::from_utf8(&accept).unwrap()
    );
    let _ = stream.write_all(head.as_bytes()).await;
}

/// A server on a listener of its own: it takes one handshake, and then does as `serve` does.
fn serve_by<F: Future<Output = ()>>(
    scene: &mut Scene,
    serve: impl FnOnce(TcpStream) -> F + 'static,
) -> WebSocketBuilder {
    let address: SocketAddr = (scene.world.address("server"), 81).into();
    let server = scene.simulation.loop_mut(SERVER);
    let mut listener = TcpListener::listen(&mut server.ctx(), address).unwrap();
    server.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        take_handshake(&mut stream).await;
        serve(stream).await;
    });
    WebSocket::builder(&format!("ws://{address}/"))
}

/// One that sends `bytes`, and then only listens.
fn serve_raw(scene: &mut Scene, bytes: &'static [u8]) -> WebSocketBuilder {
    serve_by(scene, async move |mut stream: TcpStream| {
        let _ = stream.write_all(bytes).await;
        let mut thrown_away = Vec::new();
        while let Ok(1..) = stream.read_vec(&mut thrown_away).await {}
    })
}

#[test]
fn a_server_that_breaks_the_rules_is_told_and_left() {
    for (bytes, error) in [
        (&b"\x81\x85\x00\x00\x00\x00Hello"[..], PeerError::Masked),
        (b"\xc1\x05Hello", PeerError::ReservedBits),
        (b"\x81\x02\xff\xff", PeerError::InvalidUtf8),
        (
            b"\x82\x7f\x00\x00\x00\x00\x7f\xff\xff\xff",
            PeerError::MessageTooBig,
        ),
        (
            b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
            PeerError::LengthTopBit,
        ),
    ] {
        let mut scene = Scene::calm();
        let builder = serve_raw(&mut scene, bytes);
        scene.run(async move {
            let mut socket = builder.connect().await.unwrap();
            for _ in 0..2 {
                match socket.recv().await {
                    Err(WebSocketError::Protocol(found)) => assert_eq!(found, error),
                    other => panic!("{other:?}"),
                }
            }
            assert!(socket.send("x").await.is_err());
        });
        scene.finish().unwrap();
    }
}

#[test]
fn what_came_before_the_fault_is_read_first() {
    let mut scene = Scene::calm();
    let builder = serve_raw(&mut scene, b"\x81\x03one\x81\x03two\xc1\x00");
    scene.run(async move {
        let mut socket = builder.connect().await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(socket.recv().await.unwrap(), Some(text("one")));
        assert_eq!(socket.recv().await.unwrap(), Some(text("two")));
        // It can still be answered.
        socket.send("two").await.unwrap();
        assert!(socket.recv().await.is_err());
        assert!(socket.send("three").await.is_err());
    });
    scene.finish().unwrap();
}

#[test]
fn a_close_that_is_not_answered_has_its_limit() {
    let mut scene = Scene::calm();
    let builder = serve_raw(&mut scene, b"").close_timeout(Duration::from_secs(3));
    let world = scene.world.clone();
    scene.run(async move {
        let mut socket = builder.connect().await.unwrap();
        let begun = world.elapsed();
        let error = socket.close(CloseCode::Normal, "").await.unwrap_err();
        assert!(matches!(
            error,
            WebSocketError::Timeout(WebSocketTimeout::Close)
        ));
        let took = world.elapsed() - begun;
        assert!(
            took >= Duration::from_secs(3) && took < Duration::from_secs(4),
            "{took:?}"
        );
    });
    scene.finish().unwrap();
}

#[test]
fn a_silent_server_is_pinged_and_given_up() {
    let mut scene = Scene::calm();
    let silent = serve_raw(&mut scene, b"").heartbeat(Duration::from_secs(10));
    let alive = scene.at("/echo").heartbeat(Duration::from_secs(10));
    let world = scene.world.clone();
    scene.run(async move {
        let mut socket = silent.connect().await.unwrap();
        let begun = world.elapsed();
        let error = socket.recv().await.unwrap_err();
        assert!(
            matches!(error, WebSocketError::Timeout(WebSocketTimeout::Heartbeat)),
            "{error}"
        );
        let took = world.elapsed() - begun;
        assert!(
            took >= Duration::from_secs(20) && took < Duration::from_secs(21),
            "{took:?}"
        );
    });
    scene.run(async move {
        let mut socket = alive.connect().await.unwrap();
        sleep(Duration::from_secs(100)).await;
        socket.send("still here").await.unwrap();
        assert_eq!(socket.recv().await.unwrap(), Some(text("still here")));
    });
    scene.finish().unwrap();
}

#[test]
fn a_handshake_that_is_not_answered_has_its_limit() {
    let mut scene = Scene::calm();
    let address: SocketAddr = (scene.world.address("server"), 82).into();
    let server = scene.simulation.loop_mut(SERVER);
    let listener = TcpListener::listen(&mut server.ctx(), address).unwrap();
    let builder = WebSocket::builder(&format!("ws://{address}/"));
    scene.run(async move {
        let error = builder.connect().await.unwrap_err();
        assert!(matches!(
            error,
            WebSocketError::Timeout(WebSocketTimeout::Connect)
        ));
    });
    scene.finish().unwrap();
    drop(listener);
}

#[test]
fn a_server_that_takes_nothing_makes_senders_wait() {
    let mut scene = Scene::calm();
    // It never reads again.
    let builder = serve_by(&mut scene, async |stream: TcpStream| {
        sleep(Duration::from_secs(60)).await;
        drop(stream);
    });
    scene.run(async move {
        let mut socket = builder.connect().await.unwrap();
        let sender = socket.sender();
        let sent = Rc::new(Cell::new(0));
        let counted = Rc::clone(&sent);
        let task = spawn(async move {
            while sender.send(&vec![7; 10_000]).await.is_ok() {
                counted.set(counted.get() + 10_000);
            }
        });
        sleep(Duration::from_secs(30)).await;
        let stuck = sent.get();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(sent.get(), stuck, "it waits");
        assert!(
            socket.sender().outbox_bytes() < 200_000,
            "and little is held"
        );
        assert!(socket.close(CloseCode::Normal, "").await.is_err());
        task.await.unwrap();
    });
    scene.finish().unwrap();
}

#[test]
fn a_client_that_does_not_read_makes_the_server_wait() {
    let mut scene = Scene::calm();
    let builder = scene.at("/echo");
    scene.run(async move {
        let mut socket = builder.connect().await.unwrap();
        let sender = socket.sender();
        let task = spawn(async move {
            for i in 0..100_u8 {
                sender.send(&vec![i; 3_000]).await.unwrap();
            }
        });
        sleep(Duration::from_secs(5)).await;
        for i in 0..100_u8 {
            let message = socket.recv().await.unwrap();
            assert_eq!(message, Some(OwnedMessage::Binary(vec![i; 3_000])));
        }
        task.await.unwrap();
    });
    scene.finish().unwrap();
}

#[test]
fn compression_is_used_where_both_sides_agree() {
    for (path, offers, agrees) in [
        ("/shared", true, true),
        ("/own", true, true),
        ("/shared", false, false),
        ("/echo", true, false),
    ] {
        for own in [false, true] {
            let mut scene = Scene::calm();
            let mut builder = scene.at(path);
            if offers {
                builder = builder.deflate(match own {
                    true => DeflateOptions::own_context(),
                    false => DeflateOptions::default(),
                });
            }
            scene.run(async move {
                let mut socket = builder.connect().await.unwrap();
                assert_eq!(socket.is_compressed(), agrees);
                for number in 0..20 {
                    let message = format!("{number} and again and again ").repeat(100);
                    socket.send(&message).await.unwrap();
                    socket.send("short").await.unwrap();
                    assert_eq!(socket.recv().await.unwrap(), Some(text(&message)));
                    assert_eq!(socket.recv().await.unwrap(), Some(text("short")));
                }
            });
            scene.finish().unwrap();
        }
    }
}

#[test]
fn a_room_hears_the_same_however_each_of_its_members_compresses() {
    let mut scene = Scene::calm();
    let address: SocketAddr = (scene.world.address("server"), 84).into();
    let open = |_: &Request, _: &mut Rooms| Ok(Member);
    let small = DeflateOptions {
        window_bits: 9,
        ..DeflateOptions::default()
    };
    let app = App::new(Rooms::new())
        .ws("/plain", open)
        .ws_deflate("/shared", DeflateOptions::default(), open)
        .ws_deflate("/small", small, open)
        .ws_deflate("/own", DeflateOptions::own_context(), open);
    app.listen(&mut scene.simulation.loop_mut(SERVER).ctx(), address)
        .unwrap();
    let joined = Rc::new(Cell::new(0));
    let paths = ["/plain", "/shared", "/small", "/own", "/shared", "/own"];
    for (number, path) in paths.into_iter().enumerate() {
        let builder = WebSocket::builder(&format!("ws://{address}{path}"))
            .deflate(DeflateOptions::own_context());
        let joined = Rc::clone(&joined);
        scene.run(async move {
            let mut socket = builder.connect().await.unwrap();
            assert_eq!(socket.is_compressed(), path != "/plain");
            joined.set(joined.get() + 1);
            while joined.get() < paths.len() {
                sleep(Duration::from_millis(1)).await;
            }
            let said = |number: usize| format!("{number} says it again and ").repeat(200);
            socket.send(&said(number)).await.unwrap();
            let mut heard = Vec::new();
            for _ in paths {
                match socket.recv().await.unwrap() {
                    Some(OwnedMessage::Text(text)) => heard.push(text),
                    other => panic!("{other:?}"),
                }
            }
            heard.sort();
            let expected: Vec<_> = (0..paths.len()).map(said).collect();
            assert!(heard == expected, "{path}");
        });
    }
    scene.finish().unwrap();
}

#[test]
fn a_bomb_from_the_server_is_refused_with_1009() {
    let mut scene = Scene::calm();
    let limits = WsLimits {
        message_bytes_max: 1_000,
        ..WsLimits::default()
    };
    let builder = scene
        .at("/shared")
        .deflate(DeflateOptions::default())
        .limits(limits);
    scene.run(async move {
        let mut socket = builder.connect().await.unwrap();
        socket.send(&"0".repeat(100_000)).await.unwrap();
        let error = socket.recv().await.unwrap_err();
        assert!(matches!(
            error,
            WebSocketError::Protocol(PeerError::MessageTooBig)
        ));
    });
    let ends = scene.finish().unwrap();
    let expected = CloseReason::Peer(CloseCode::Size, "message too big".to_owned());
    assert_eq!(ends, [expected]);
}

#[test]
fn reconnecting_goes_on_until_there_is_a_server() {
    let mut scene = Scene::calm();
    let address: SocketAddr = (scene.world.address("server"), 83).into();
    let builder = WebSocket::builder(&format!("ws://{address}/echo"));
    let (world, ends) = (scene.world.clone(), Rc::clone(&scene.ends));
    scene.simulation.loop_mut(SERVER).spawn(async move {
        sleep(Duration::from_secs(60)).await;
        tourbillon::event_loop::Handle::current().call_soon(move |ctx| {
            let app = App::new(()).ws("/echo", move |_: &Request, _: &mut ()| {
                Ok(Echo(Rc::clone(&ends)))
            });
            app.listen(ctx, address).unwrap();
        });
    });
    scene.run(async move {
        let mut reconnect = Reconnect::new(builder);
        let mut socket = reconnect.connect().await.unwrap();
        let took = world.elapsed();
        assert!(
            took > Duration::from_secs(60) && took < Duration::from_secs(95),
            "{took:?}"
        );
        socket.send("close").await.unwrap();
        assert_eq!(socket.recv().await.unwrap(), None);
        // And again, after a pause, for that one did not last.
        let begun = world.elapsed();
        let mut socket = reconnect.connect().await.unwrap();
        assert!(world.elapsed() - begun > Duration::from_secs(10));
        socket.send("again").await.unwrap();
        assert_eq!(socket.recv().await.unwrap(), Some(text("again")));
        // What would not get better is told at once.
        let mut hopeless = Reconnect::new(WebSocket::builder("ws://127.0.0.1/#x"));
        assert!(hopeless.connect().await.is_err());
    });
    scene.finish().unwrap();
}

/// Echo one connection's messages until it closes.
async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    take_handshake(&mut stream).await;
    let mut endpoint = Endpoint::new(Role::Server);
    let (mut input, mut output) = (Vec::new(), Vec::new());
    while !endpoint.is_over() && stream.read_vec(&mut input).await? > 0 {
        loop {
            let (reader, writer) = endpoint.split();
            let (used, step) = reader.next(&mut input, &WsLimits::default()).unwrap();
            match step {
                Step::Text(text) => writer.text(text, &mut output).unwrap(),
                Step::Close(close) => {
                    let code = close.map(|(code, _)| code);
                    writer.close_reply(code, &mut output).unwrap();
                }
                Step::NeedMore => {
                    input.drain(..used);
                    break;
                }
                other => panic!("{other:?}"),
            }
            input.drain(..used);
        }
        stream.write_all(&output).await?;
        output.clear();
    }
    Ok(())
}

#[test]
fn cancelled_at_any_await_a_conversation_leaves_nothing_behind() {
    let awaits = tourbillon::sim::cancel_at_each_await(|| {
        let conversation = async {
            let mut listener = TcpListener::bind("127.0.0.1:7".parse().unwrap())
                .await
                .unwrap();
            spawn(async move {
                let accepted = timeout(Duration::from_secs(1), listener.accept()).await;
                if let Ok(accepted) = accepted {
                    let _ = echo(accepted.unwrap().0).await;
                }
            });
            let mut socket = WebSocket::connect("ws://127.0.0.1:7/").await.unwrap();
            let long = "a message that fills the outbox ".repeat(3_000);
            for _ in 0..3 {
                socket.send(&long).await.unwrap();
            }
            for _ in 0..3 {
                assert_eq!(socket.recv().await.unwrap(), Some(text(&long)));
            }
            let frame = socket.close(CloseCode::Normal, "").await.unwrap();
            assert_eq!(frame.code, CloseCode::Normal);
        };
        // Until the other side has noticed.
        (conversation, sleep(Duration::from_secs(20)))
    });
    assert!(awaits > 5, "{awaits}");
}

/// Some clients that talk for a while through faults; what comes back is what was said, as far as it comes.
fn talks(seed: u64, faults: Faults, is_whole: bool) -> Result<(), Failure> {
    let mut scene = Scene::new(seed, faults);
    let world = scene.world.clone();
    for _ in 0..world.range(1..=3) {
        let path = *world.pick(&["/echo", "/shared", "/own"]);
        let mut builder = scene.at(path);
        if world.chance(0.7) {
            let mut options = match world.chance(0.5) {
                true => DeflateOptions::own_context(),
                false => DeflateOptions::default(),
            };
            options.threshold_bytes = world.range(0..=600) as usize;
            options.window_bits = world.range(9..=15) as u8;
            options.peer_window_bits = world.range(9..=15) as u8;
            builder = builder.deflate(options);
        }
        let world = world.clone();
        scene.run(async move {
            let talked = talk(&world, builder, is_whole).await;
            assert!(talked.is_ok() || !is_whole, "{talked:?}");
        });
    }
    scene.finish().map(drop)
}

async fn talk(
    world: &World,
    builder: WebSocketBuilder,
    is_whole: bool,
) -> Result<(), WebSocketError> {
    let mut socket = match is_whole {
        // A server that is out of descriptors turns people away.
        true => {
            let (first, max) = (Duration::from_millis(10), Duration::from_millis(100));
            Reconnect::new(builder).pauses(first, max).connect().await?
        }
        false => builder.connect().await?,
    };
    let messages: Vec<OwnedMessage> = (0..world.range(0..=12))
        .map(|_| match world.chance(0.5) {
            true => OwnedMessage::Text("abc ".repeat(world.range(0..=300) as usize)),
            false => OwnedMessage::Binary(world.bytes(world.range(0..=1_500) as usize)),
        })
        .collect();
    let sender = socket.sender();
    let (ours, pause) = (
        messages.clone(),
        Duration::from_micros(world.range(0..=500)),
    );
    let speaker = spawn(async move {
        for message in &ours {
            sender.send(message).await?;
            sleep(pause).await;
        }
        Ok::<(), WebSocketError>(())
    });
    for message in &messages {
        let heard = socket.recv().await?;
        assert_eq!(heard.as_ref(), Some(message));
    }
    speaker.await.unwrap()?;
    match world.chance(0.5) {
        true => socket.close(CloseCode::Normal, "").await.map(drop),
        false => Ok(()),
    }
}

#[test]
fn conversations_are_whole_through_any_gentle_fault() {
    check(0..300, |seed| talks(seed, Faults::gentle(seed), true));
}

#[test]
fn conversations_through_any_fault_end_and_leave_nothing() {
    check(0..300, |seed| talks(seed, Faults::drawn(seed), false));
}
