//! WebSockets, frame by frame.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender as Tells, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tourbillon::event_loop::Ctx;
use tourbillon::proto::ws::WsLimits;
use tourbillon::web::{
    App, CloseCode, CloseReason, Limits, Message, OutboxPolicy, OwnedMessage, Peer, RemoteSender,
    Request, Response, SendOutcome, Shared, Socket, WebSocket, WhenFull, task,
};

use crate::support::{
    BINARY, CLOSE, CONTINUATION, FINAL, PING, PONG, Running, TEXT, frame, handshake, next, serve,
};

/// What the sockets tell a test, and what they are told.
struct State {
    tells: Tells<String>,
    remote: Arc<Mutex<Option<RemoteSender>>>,
}

/// Echoes; some messages are commands. Its fields are the connection's own.
struct Echo {
    name: String,
    messages: u32,
}

impl Socket<State> for Echo {
    fn opened(&mut self, peer: &mut Peer<'_>, state: &mut State) {
        *state.remote.lock().unwrap() = Some(peer.sender().remote());
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut State) {
        self.messages += 1;
        match message {
            Message::Text("count") => {
                peer.send(&format!("{} {}", self.name, self.messages));
            }
            Message::Text("later") => {
                let sender = peer.sender().clone();
                let handle = peer.ctx().handle().clone();
                peer.ctx().spawn(async move {
                    handle.sleep(Duration::from_millis(1)).await;
                    sender.send("from a task");
                    sender.send(&b"and bytes"[..]);
                });
            }
            Message::Text("ping") => assert!(peer.ping(b"are you there")),
            Message::Text("close") => {
                peer.send("before");
                peer.close(CloseCode::Library(4001), "as you wish");
                assert_eq!(peer.send("after"), SendOutcome::Closed);
            }
            message => {
                peer.send(message);
            }
        }
    }

    fn pong(&mut self, peer: &mut Peer<'_>, payload: &[u8], _: &mut State) {
        peer.send(&format!("pong {}", String::from_utf8_lossy(payload)));
    }

    fn closed(&mut self, _: &mut Ctx<'_>, reason: &CloseReason, state: &mut State) {
        state.tells.send(format!("{reason:?}")).unwrap();
    }
}

async fn reader(mut ws: WebSocket, state: Shared<State>) {
    let name = ws.request().query("name").unwrap_or_default().into_owned();
    while let Some(message) = ws.next().await {
        if message == OwnedMessage::Text("leave".into()) {
            return;
        }
        ws.send(&message);
    }
    let reason = ws.reason();
    // The clean-up may take its time: the task outlives its connection.
    ws.request().handle().sleep(Duration::from_millis(1)).await;
    state.with(|state| state.tells.send(format!("{name} {reason:?}")).unwrap());
}

struct Fixture {
    server: Running,
    told: Receiver<String>,
    remote: Arc<Mutex<Option<RemoteSender>>>,
}

impl Fixture {
    fn remote(&self) -> RemoteSender {
        self.remote.lock().unwrap().clone().unwrap()
    }
}

fn fixture() -> Fixture {
    fixture_within(Limits::default())
}

fn fixture_within(limits: Limits) -> Fixture {
    let (tells, told) = channel();
    let remote = Arc::new(Mutex::new(None));
    let state = State {
        tells,
        remote: Arc::clone(&remote),
    };
    let open = |request: &Request, _: &mut State| match request.query("name") {
        Some(name) => Ok(Echo {
            name: name.into_owned(),
            messages: 0,
        }),
        None => Err(Response::of_status(403)),
    };
    let server = serve(move || {
        App::new(state)
            .limits(limits)
            .get("/fine", |_: &Request, _: &mut State| "fine")
            .ws("/ws", open)
            .ws("/reader", task(reader))
    });
    Fixture {
        server,
        told,
        remote,
    }
}

#[test]
fn text_and_binary_are_echoed_and_kept_apart() {
    let fixture = fixture();
    for target in ["/ws?name=a", "/reader"] {
        let mut ws = fixture.server.websocket(target);
        for size in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
            let payload = vec![b'x'; size];
            ws.send(FINAL | TEXT, &payload);
            assert!(ws.frame() == (FINAL | TEXT, payload.clone()), "{size}");
            ws.send(FINAL | BINARY, &payload);
            assert!(ws.frame() == (FINAL | BINARY, payload), "{size}");
        }
        assert_eq!(fixture.server.counts().websockets, 1);
        drop(ws);
        fixture.server.wait_until_empty();
    }
}

#[test]
fn messages_may_come_with_the_handshake_and_byte_by_byte() {
    let fixture = fixture();
    let mut client = fixture.server.connect();
    client.send(
        [
            handshake("/ws?name=a").as_bytes(),
            &frame(FINAL | TEXT, b"early"),
        ]
        .concat(),
    );
    assert_eq!(client.head().status, 101);
    let mut ws = crate::support::WsClient { client };
    assert_eq!(ws.read_text(), "early");
    for byte in frame(FINAL | TEXT, "h\u{e9}llo".as_bytes()) {
        ws.client.send([byte]);
    }
    assert_eq!(ws.read_text(), "h\u{e9}llo");
}

#[test]
fn fragments_are_put_together_with_pings_inside_them() {
    let fixture = fixture();
    let mut ws = fixture.server.websocket("/ws?name=a");
    ws.send(TEXT, "one ");
    ws.send(FINAL | PING, "now");
    // A character cut in two.
    ws.send(CONTINUATION, b"two \xc3");
    ws.send(FINAL | PONG, "unasked");
    ws.send(FINAL | CONTINUATION, b"\xa9");
    assert_eq!(ws.frame(), (FINAL | PONG, b"now".to_vec()));
    assert_eq!(ws.read_text(), "pong unasked");
    assert_eq!(ws.read_text(), "one two \u{e9}");
}

#[test]
fn a_message_in_pieces_is_held_until_it_is_answered_and_no_longer() {
    let fixture = fixture();
    let mut ws = fixture.server.websocket("/ws?name=a");
    let held = |server: &Running| -> usize {
        let connections = server.connections();
        connections.iter().map(|one| one.bytes_held).sum()
    };
    ws.send(TEXT, [b'x'; 10_000]);
    fixture
        .server
        .wait_until("the first piece is held", |server| held(server) >= 10_000);
    ws.send(FINAL | CONTINUATION, b"y");
    assert_eq!(ws.frame().1.len(), 10_001);
    assert_eq!(held(&fixture.server), 0);
}

#[test]
fn a_burst_of_messages_is_answered_in_order() {
    let fixture = fixture();
    for target in ["/ws?name=a", "/reader"] {
        let mut ws = fixture.server.websocket(target);
        let burst: Vec<u8> = (0..1000)
            .flat_map(|n: u32| frame(FINAL | TEXT, n.to_string().as_bytes()))
            .collect();
        ws.client.send(burst);
        for n in 0..1000 {
            assert_eq!(ws.read_text(), n.to_string());
        }
    }
}

#[test]
fn each_connection_has_its_own_data() {
    let fixture = fixture();
    let mut ada = fixture.server.websocket("/ws?name=ada");
    let mut bob = fixture.server.websocket("/ws?name=bob");
    ada.text("count");
    assert_eq!(ada.read_text(), "ada 1");
    ada.text("count");
    assert_eq!(ada.read_text(), "ada 2");
    bob.text("count");
    assert_eq!(bob.read_text(), "bob 1");
}

#[test]
fn a_request_may_be_refused() {
    let fixture = fixture();
    let mut client = fixture.server.connect();
    client.send(handshake("/ws"));
    assert_eq!(client.answer().status, 403);
    client.get("/fine");
    assert_eq!(client.answer().text(), "fine");
}

#[test]
fn a_ping_of_ours_is_answered_by_a_pong() {
    let fixture = fixture();
    let mut ws = fixture.server.websocket("/ws?name=a");
    ws.text("ping");
    assert_eq!(ws.frame(), (FINAL | PING, b"are you there".to_vec()));
    ws.send(FINAL | PONG, "are you there");
    assert_eq!(ws.read_text(), "pong are you there");
}

#[test]
fn a_close_of_the_peer_is_answered_with_its_code() {
    let fixture = fixture();
    for (payload, answer, reason) in [
        (&b"\x03\xe9bye"[..], &b"\x03\xe9"[..], "Peer(Away, \"bye\")"),
        (b"\x0b\xb8", b"\x0b\xb8", "Peer(Iana(3000), \"\")"),
        (b"", b"", "Peer(Status, \"\")"),
    ] {
        let mut ws = fixture.server.websocket("/ws?name=a");
        ws.text("last");
        ws.send(FINAL | CLOSE, payload);
        assert_eq!(ws.read_text(), "last");
        assert_eq!(ws.frame(), (FINAL | CLOSE, answer.to_vec()));
        // The server is the one to close first (RFC 6455, 7.1.1).
        ws.client.assert_closed();
        assert_eq!(next(&fixture.told), reason);
    }
    assert_eq!(fixture.server.counts().websockets, 0);
}

#[test]
fn a_close_of_ours_goes_behind_what_was_sent_and_waits_for_the_peers() {
    let fixture = fixture();
    let mut ws = fixture.server.websocket("/ws?name=a");
    ws.text("close");
    ws.text("not heard any more");
    assert_eq!(ws.read_text(), "before");
    let (first, payload) = ws.frame();
    assert_eq!(
        (first, &payload[..]),
        (FINAL | CLOSE, &b"\x0f\xa1as you wish"[..])
    );
    ws.send(FINAL | PING, "no answer is owed");
    ws.close(CloseCode::Normal);
    ws.client.assert_closed();
    assert_eq!(next(&fixture.told), "Us(Library(4001))");
}

#[test]
fn a_peer_that_does_not_answer_a_close_is_left_after_a_time() {
    let fixture = fixture_within(Limits {
        close_timeout: Duration::from_millis(50),
        ..Limits::default()
    });
    let mut ws = fixture.server.websocket("/ws?name=a");
    ws.text("close");
    assert_eq!(ws.read_text(), "before");
    assert_eq!(ws.read_close(), 4001);
    ws.client.assert_closed();
    assert_eq!(next(&fixture.told), "Us(Library(4001))");
    assert_eq!(fixture.server.hits("close_timeout"), 1);
}

#[test]
fn peers_that_break_the_rules_are_closed_with_the_code_for_it() {
    let fixture = fixture_within(Limits {
        websocket: WsLimits {
            message_bytes_max: 1000,
            fragments_max: 10,
        },
        ..Limits::default()
    });
    let unmasked = b"\x81\x05hello".to_vec();
    let too_large = frame(FINAL | TEXT, &[b'x'; 1001]);
    let large_pieces = [
        frame(TEXT, &[b'x'; 600]),
        frame(FINAL | CONTINUATION, &[b'x'; 401]),
    ]
    .concat();
    // Nothing of it comes: the length alone is too much.
    let claimed = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffmask".to_vec();
    let many_pieces = [frame(TEXT, b""), frame(CONTINUATION, b"").repeat(20)].concat();
    let not_utf8 = frame(FINAL | TEXT, b"\xff");
    let not_utf8_in_pieces = [frame(TEXT, b"\xed"), frame(CONTINUATION, b"\xa0")].concat();
    let reserved = frame(FINAL | 0x40 | TEXT, b"x");
    let unknown = frame(FINAL | 0x3, b"x");
    let long_ping = frame(FINAL | PING, &[0; 126]);
    let bad_close = frame(FINAL | CLOSE, &1005_u16.to_be_bytes());
    for (what, bytes, code) in [
        ("unmasked", unmasked, 1002),
        ("too large", too_large, 1009),
        ("large pieces", large_pieces, 1009),
        ("claimed", claimed, 1009),
        ("many pieces", many_pieces, 1009),
        ("not UTF-8", not_utf8, 1007),
        ("not UTF-8, in pieces", not_utf8_in_pieces, 1007),
        ("reserved bit", reserved, 1002),
        ("unknown opcode", unknown, 1002),
        ("long ping", long_ping, 1002),
        ("bad close code", bad_close, 1002),
    ] {
        let mut ws = fixture.server.websocket("/ws?name=a");
        ws.text("good");
        ws.client.send(bytes);
        // What comes behind is not looked at, and does not destroy the answer.
        ws.text("behind");
        assert_eq!(ws.read_text(), "good", "{what}");
        assert_eq!(ws.read_close(), code, "{what}");
        ws.client.assert_closed();
        assert_eq!(
            next(&fixture.told),
            format!("Us({:?})", CloseCode::from(code))
        );
    }
    assert_eq!(fixture.server.hits("refused_messages"), 11);
    fixture.server.assert_it_goes_on();
}

#[test]
fn a_sender_works_from_a_task() {
    let fixture = fixture();
    let mut ws = fixture.server.websocket("/ws?name=a");
    ws.text("later");
    assert_eq!(ws.read_text(), "from a task");
    assert_eq!(ws.frame(), (FINAL | BINARY, b"and bytes".to_vec()));
}

#[test]
fn a_sender_works_from_other_threads() {
    let fixture = fixture();
    let mut ws = fixture.server.websocket("/ws?name=a");
    ws.text("here");
    assert_eq!(ws.read_text(), "here");
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let remote = fixture.remote();
            std::thread::spawn(move || {
                for n in 0..200 {
                    remote.send_text(format!("{thread} {n}")).unwrap();
                }
            })
        })
        .collect();
    let mut following = [0; 4];
    for _ in 0..800 {
        let text = ws.read_text();
        let (thread, n) = text.split_once(' ').unwrap();
        let expected = &mut following[thread.parse::<usize>().unwrap()];
        assert_eq!(
            n.parse::<u32>().unwrap(),
            *expected,
            "each thread's in its order"
        );
        *expected += 1;
    }
    for thread in threads {
        thread.join().unwrap();
    }
    fixture.remote().send_binary([1, 2, 3]).unwrap();
    fixture.remote().close(CloseCode::Away, "enough").unwrap();
    assert_eq!(ws.frame(), (FINAL | BINARY, vec![1, 2, 3]));
    ws.assert_closes_with(1001);
}

#[test]
fn a_remote_sender_outlives_its_connection_and_its_loop() {
    let fixture = fixture();
    let mut ws = fixture.server.websocket("/ws?name=a");
    ws.text("here");
    assert_eq!(ws.read_text(), "here");
    let remote = fixture.remote();
    drop(ws);
    assert_eq!(next(&fixture.told), "Lost");
    for _ in 0..100 {
        remote.send_text("to nobody").unwrap();
    }
    fixture.server.assert_it_goes_on();
    drop(fixture);
    assert!(remote.send_text("to nothing").is_err());
}

#[test]
fn a_task_hears_the_end_and_cleans_up() {
    let fixture = fixture();
    let mut ws = fixture.server.websocket("/reader?name=ada");
    ws.text("hello");
    assert_eq!(ws.read_text(), "hello");
    drop(ws);
    assert_eq!(next(&fixture.told), "ada Some(Lost)");
    let mut ws = fixture.server.websocket("/reader?name=bob");
    ws.close(CloseCode::Away);
    assert_eq!(ws.read_close(), 1001);
    assert_eq!(next(&fixture.told), "bob Some(Peer(Away, \"\"))");
    fixture.server.wait_until("no task is left", |server| {
        server.ask(|ctx, _| ctx.census().all(|(_, source)| source.kind != "task"))
    });
}

#[test]
fn a_task_that_returns_closes_its_websocket() {
    let fixture = fixture();
    let mut ws = fixture.server.websocket("/reader");
    ws.text("leave");
    ws.assert_closes_with(1000);
}

/// Sends 10 MB to a peer that reads nothing, in pieces of 10,000 bytes, one a turn. What became of them.
fn flood(when_full: WhenFull) -> (Fixture, crate::support::WsClient, Vec<String>) {
    let fixture = fixture_within(Limits {
        outbox: OutboxPolicy {
            when_full,
            ..OutboxPolicy::default()
        },
        ..Limits::default()
    });
    let ws = fixture.server.websocket("/ws?name=a");
    fixture
        .server
        .wait_until("it is open", |_| fixture.remote.lock().unwrap().is_some());
    let remote = fixture.remote();
    let sent = Arc::new(AtomicUsize::new(0));
    let mut held = Vec::new();
    for _ in 0..2_000 {
        remote.send_binary(vec![b'x'; 10_000]).unwrap();
        sent.fetch_add(10_000, Ordering::SeqCst);
        let most = fixture
            .server
            .connections()
            .iter()
            .map(|one| one.bytes_held)
            .max();
        if let Some(most) = most {
            assert!(most <= 64 * 1024 + 3 * 10_010, "{most} bytes are held");
            held.push(most.to_string());
        }
    }
    (fixture, ws, held)
}

#[test]
fn a_peer_that_does_not_read_is_closed_with_1013() {
    let (fixture, mut ws, _) = flood(WhenFull::Close);
    assert!(fixture.server.hits("outbox_bytes") > 0);
    let mut messages = 0;
    loop {
        let (first, payload) = ws.frame();
        if first == FINAL | CLOSE {
            assert_eq!(payload[..2], 1013_u16.to_be_bytes());
            break;
        }
        assert_eq!(payload.len(), 10_000);
        messages += 1;
    }
    assert!(messages < 2_000);
    ws.close(CloseCode::Normal);
    assert_eq!(next(&fixture.told), "Us(Again)");
    fixture.server.assert_it_goes_on();
}

#[test]
fn to_a_peer_that_does_not_read_the_newest_messages_are_dropped_and_counted() {
    let (fixture, mut ws, _) = flood(WhenFull::DropNewest);
    let dropped = fixture.server.hits("outbox_bytes");
    assert!(dropped > 0);
    for _ in 0..2_000 - dropped {
        assert_eq!(ws.frame().1.len(), 10_000);
    }
    // It has caught up, and takes part again.
    ws.text("count");
    assert_eq!(ws.read_text(), "a 1");
}

#[test]
fn posts_to_a_peer_that_does_not_read_are_bounded_too() {
    let fixture = fixture_within(Limits {
        outbox: OutboxPolicy {
            when_full: WhenFull::DropNewest,
            ..OutboxPolicy::default()
        },
        ..Limits::default()
    });
    let mut ws = fixture.server.websocket("/ws?name=a");
    fixture
        .server
        .wait_until("it is open", |_| fixture.remote.lock().unwrap().is_some());
    let remote = fixture.remote();
    // First the kernel's buffers, then ours.
    fixture.server.wait_until("it is blocked", |server| {
        remote.send_binary(vec![b'x'; 50_000]).unwrap();
        server.hits("outbox_bytes") > 0
    });
    let before = fixture.server.hits("outbox_bytes");
    for _ in 0..100 {
        remote.send_text("one more").unwrap();
    }
    fixture.server.wait_until("they were judged", |server| {
        server.hits("outbox_bytes") == before + 100
    });
    ws.text("count");
    while ws.frame().0 != FINAL | TEXT {}
}
