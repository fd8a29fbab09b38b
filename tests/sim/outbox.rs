//! WebSockets whose peers are slow, silent, or too talkative: outboxes and their policies, heartbeat, ends by time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tourbillon::event_loop::{Ctx, EventLoop, TurnBudget};
use tourbillon::proto::ws::{CloseCode, Endpoint, Role, Step, WsLimits};
use tourbillon::sim::{Client, Faults, Simulation, World};
use tourbillon::web::{
    App, CloseReason, Dropped, Limits, Message, OutboxPolicy, Peer, Published, Request, Rooms,
    SendOutcome, Sender, Server, Shared, Socket, TopicSettings, Topics, WebSocket,
    WebSocketSettings, WhenFull, task,
};

const BYTES_MAX: usize = 16 * 1024;

/// What the handlers have heard and hold.
#[derive(Default)]
struct Hall {
    rooms: Rooms,
    members: Vec<Sender>,
    drained: usize,
    dropped: Dropped,
    /// What who hears of a drop says to the room.
    complaints: Vec<String>,
    ends: Vec<CloseReason>,
}

/// In the room, and quiet.
#[derive(Default)]
struct Member {
    /// What it was told was dropped.
    dropped: Dropped,
}

impl Socket<Hall> for Member {
    fn opened(&mut self, peer: &mut Peer<'_>, hall: &mut Hall) {
        hall.rooms.join("room", peer.sender());
        hall.members.push(peer.sender().clone());
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut Hall) {
        peer.send(message);
    }

    fn drained(&mut self, _: &mut Peer<'_>, hall: &mut Hall) {
        hall.drained += 1;
    }

    fn dropped(&mut self, peer: &mut Peer<'_>, dropped: Dropped, hall: &mut Hall) {
        self.dropped = self.dropped + dropped;
        assert_eq!(peer.sender().dropped(), self.dropped);
        hall.dropped = hall.dropped + dropped;
        for complaint in hall.complaints.drain(..) {
            hall.rooms.publish("room", &complaint);
        }
    }

    fn closed(&mut self, _: &mut Ctx<'_>, reason: &CloseReason, hall: &mut Hall) {
        hall.ends.push(reason.clone());
    }
}

/// Echoes, and asks for no sender.
struct Echo;

impl Socket<Hall> for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut Hall) {
        peer.send(message);
    }

    fn closed(&mut self, _: &mut Ctx<'_>, reason: &CloseReason, hall: &mut Hall) {
        hall.ends.push(reason.clone());
    }
}

const COUNTED: u32 = 20_000;

/// Says numbers as fast as its peer takes them.
async fn count(socket: WebSocket, _: Shared<Hall>) {
    for number in 0..COUNTED {
        socket.send(&number.to_be_bytes()[..]);
        socket.drained().await;
    }
    socket.close(CloseCode::Normal, "");
}

struct Scene {
    simulation: Simulation<EventLoop>,
    world: World,
    server: Server,
    hall: Shared<Hall>,
}

impl Scene {
    fn new(settings: WebSocketSettings) -> Self {
        // Buffers that soon are full.
        let faults = Faults {
            send_buffer_bytes: 8 * 1024..=8 * 1024,
            receive_buffer_bytes: 8 * 1024..=8 * 1024,
            ..Faults::none()
        };
        let world = World::with_faults(1, faults);
        let mut simulation = Simulation::new(world.clone());
        simulation.add("server", EventLoop::with_driver);
        let limits = Limits {
            connections_per_peer_max: Some(usize::MAX),
            ..Limits::default()
        };
        let app = App::new(Hall::default())
            .limits(limits)
            .ws_with("/room", settings.clone(), |_: &Request, _: &mut Hall| {
                Ok(Member::default())
            })
            .ws_with("/echo", settings.clone(), |_: &Request, _: &mut Hall| {
                Ok(Echo)
            })
            .ws_with("/count", settings, task(count));
        let hall = app.state();
        let mut ctx = simulation.loop_mut(0).ctx();
        let (server, _) = app.listen(&mut ctx, "0.0.0.0:80").unwrap();
        Self {
            simulation,
            world,
            server,
            hall,
        }
    }

    fn with_outbox(when_full: WhenFull) -> Self {
        Self::new(WebSocketSettings {
            outbox: Some(OutboxPolicy {
                bytes_max: BYTES_MAX,
                when_full,
            }),
            ..WebSocketSettings::default()
        })
    }

    fn connect(&self, path: &str, fields: &str) -> Client {
        connect(&self.world, "server", path, fields)
    }

    /// Connected, with the handshake read.
    fn join(&mut self, path: &str) -> Client {
        let client = self.connect(path, "");
        self.run(10);
        let answer = client.take_received();
        assert!(answer.starts_with(b"HTTP/1.1 101") && answer.ends_with(b"\r\n\r\n"));
        client
    }

    fn run(&mut self, milliseconds: u64) {
        self.run_for(Duration::from_millis(milliseconds));
    }

    fn run_for(&mut self, duration: Duration) {
        self.simulation.run_for(duration).unwrap();
    }

    fn hits(&self, name: &str) -> u64 {
        let all = self.server.hits().all();
        all.iter().find(|(of, _)| *of == name).unwrap().1
    }

    /// In the loop, as a callback of its own.
    fn act(&mut self, act: impl FnOnce(&mut Hall) + 'static) {
        let hall = self.hall.clone();
        self.simulation
            .loop_mut(0)
            .ctx()
            .call_soon(move |_| hall.with(act));
    }

    fn publish(&mut self, message: String) {
        self.act(move |hall| {
            hall.rooms.publish("room", &message);
        });
    }

    /// Send to a member that takes nothing, until its socket takes nothing either.
    fn stall(&mut self, client: &Client, number: usize) {
        client.pause_reading();
        for _ in 0..100 {
            self.act(move |hall| {
                hall.members[number].send(&[b'f'; 1_000][..]);
            });
            self.run(1);
            let waits = self.hall.with(|hall| hall.members[number].outbox_bytes());
            if waits > 0 {
                return;
            }
        }
        panic!("the buffers hold 100,000 bytes");
    }
}

fn connect(world: &World, host: &str, path: &str, fields: &str) -> Client {
    let client = world.connect((world.address(host), 80));
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{fields}\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ));
    client
}

/// A frame of a client, masked with nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

/// What a client has received, message by message; every frame is whole and in order, or this fails.
fn heard(client: &Client) -> Vec<String> {
    let mut received = client.take_received();
    let mut endpoint = Endpoint::new(Role::Client);
    let (mut at, mut heard) = (0, Vec::new());
    loop {
        let next = endpoint.next(&mut received[at..], &WsLimits::default());
        let (used, step) = next.expect("no frame was cut");
        at += used;
        heard.push(match step {
            Step::Text(text) => text.to_owned(),
            Step::Binary(bytes) if bytes.iter().all(|byte| *byte == b'f') => "filler".to_owned(),
            Step::Pong(payload) => format!("pong {}", String::from_utf8_lossy(payload)),
            Step::Ping(_) => "ping".to_owned(),
            Step::Close(close) => format!("close {}", u16::from(close.unwrap().0)),
            Step::NeedMore => break,
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(at, received.len(), "the last frame is whole, too");
    heard
}

/// How a room of 1,000 fares.
struct Fared {
    /// From each message to each of the others, in tenths of a millisecond and in order.
    latencies: Vec<u64>,
    /// Of the server's loop, while they were published.
    visits: u64,
    /// The most that waited for the member that was stalled, if one was.
    outbox_bytes_max: usize,
}

impl Fared {
    fn p99(&self) -> u64 {
        self.latencies[self.latencies.len() * 99 / 100]
    }
}

const MEMBERS: usize = 1_000;
const MESSAGES: usize = 100;
const MESSAGE_BYTES: usize = 500;

/// Publish to 1,000 members, the first of whom may take nothing.
fn publish_to_a_thousand(when_full: WhenFull, is_stalled: bool) -> (Scene, Vec<Client>, Fared) {
    let mut scene = Scene::with_outbox(when_full);
    let clients: Vec<_> = (0..MEMBERS).map(|_| scene.connect("/room", "")).collect();
    scene.run(1_000);
    for client in &clients {
        assert!(client.take_received().starts_with(b"HTTP/1.1 101"));
    }
    if is_stalled {
        scene.stall(&clients[0], 0);
    }
    let before = scene.simulation.loops()[0].stats().visits;
    let mut fared = Fared {
        latencies: Vec::new(),
        visits: 0,
        outbox_bytes_max: 0,
    };
    for number in 0..MESSAGES {
        let message = format!("{number:0width$}", width = MESSAGE_BYTES);
        scene.publish(message);
        let mut waiting: Vec<_> = clients[1..].iter().collect();
        for latency in 0..100 {
            waiting.retain(|client| {
                let has_heard = client.received_len() > MESSAGE_BYTES;
                if has_heard {
                    assert_eq!(heard(client).len(), 1);
                    fared.latencies.push(latency);
                }
                !has_heard
            });
            scene.run_for(Duration::from_micros(100));
        }
        assert!(
            waiting.is_empty(),
            "{} others have not heard",
            waiting.len()
        );
        let waits = scene.hall.with(|hall| hall.members[0].outbox_bytes());
        fared.outbox_bytes_max = fared.outbox_bytes_max.max(waits);
    }
    fared.visits = scene.simulation.loops()[0].stats().visits - before;
    fared.latencies.sort_unstable();
    (scene, clients, fared)
}

#[test]
fn one_stalled_member_among_a_thousand_delays_nobody_and_its_policy_acts_at_its_limit() {
    let (_, _, undisturbed) = publish_to_a_thousand(WhenFull::Close, false);
    assert_eq!(undisturbed.latencies.len(), (MEMBERS - 1) * MESSAGES);
    for when_full in [
        WhenFull::Close,
        WhenFull::DropNewest,
        WhenFull::DropOldest,
        WhenFull::KeepLatest,
    ] {
        let (mut scene, clients, fared) = publish_to_a_thousand(when_full, true);
        // Less than a tenth more, in time and in the loop's work.
        assert!(fared.p99() * 10 <= undisturbed.p99() * 11, "{when_full:?}");
        assert!(
            fared.visits * 10 <= undisturbed.visits * 11,
            "{when_full:?}"
        );
        let most = BYTES_MAX + MESSAGE_BYTES + 10;
        assert!(
            fared.outbox_bytes_max <= most,
            "{when_full:?}: {}",
            fared.outbox_bytes_max
        );
        assert!(scene.hits("outbox_bytes") > 0, "{when_full:?}");

        clients[0].resume_reading();
        scene.run(1_000);
        let heard = heard(&clients[0]);
        let last = heard.last().unwrap();
        let newest = format!("{:0width$}", MESSAGES - 1, width = MESSAGE_BYTES);
        match when_full {
            WhenFull::Close => assert_eq!(last, "close 1013"),
            WhenFull::DropOldest => assert_eq!(*last, newest),
            WhenFull::DropNewest | WhenFull::KeepLatest => assert!(*last < newest),
        }
        let (told, dropped) = scene
            .hall
            .with(|hall| (hall.dropped, hall.members[0].dropped()));
        assert_eq!(told, dropped, "{when_full:?}");
        if when_full != WhenFull::Close {
            let published = heard
                .iter()
                .filter(|text| text.len() == MESSAGE_BYTES)
                .count();
            assert_eq!(
                published + dropped.messages as usize,
                MESSAGES,
                "{when_full:?}"
            );
            assert_eq!(scene.hall.with(|hall| hall.drained), 1, "{when_full:?}");
        }
    }
}

#[test]
fn of_each_key_the_latest_reaches_a_member_that_was_away() {
    let mut scene = Scene::with_outbox(WhenFull::KeepLatest);
    let client = scene.join("/room");
    scene.stall(&client, 0);
    for round in 0..100 {
        scene.act(move |hall| {
            for key in ["EUR", "USD", "CHF"] {
                let sent = hall.members[0].send_keyed(key, &format!("{key} {round}"));
                assert_eq!(sent, SendOutcome::Queued);
            }
        });
        scene.run(1);
    }
    client.resume_reading();
    scene.run(100);
    let heard = heard(&client);
    let prices: Vec<_> = heard.iter().filter(|text| *text != "filler").collect();
    assert_eq!(prices, ["EUR 99", "USD 99", "CHF 99"]);
    assert_eq!(scene.hits("outbox_bytes"), 0);
    assert_eq!(scene.hall.with(|hall| hall.dropped.messages), 297);
}

#[test]
fn a_task_that_waits_until_its_peer_has_caught_up_never_meets_the_limit() {
    let mut scene = Scene::with_outbox(WhenFull::Close);
    let client = scene.connect("/count", "");
    for _ in 0..20 {
        client.pause_reading();
        scene.run(100);
        client.resume_reading();
        scene.run(100);
    }
    let received = client.take_received();
    let head = received.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let received = received.len() - head.unwrap() - 4;
    // Each number is a frame of six bytes; behind them the close frame.
    assert_eq!(received, COUNTED as usize * 6 + 4);
    assert_eq!(scene.hits("outbox_bytes"), 0);
}

#[test]
fn control_frames_are_exempt_from_the_outbox_and_a_close_goes_behind_what_waits() {
    let mut scene = Scene::with_outbox(WhenFull::DropNewest);
    let client = scene.join("/room");
    scene.stall(&client, 0);
    for number in 0..100 {
        scene.publish(format!("{number:0500}"));
        scene.run(1);
    }
    scene.act(|hall| hall.members[0].close(CloseCode::Normal, "enough"));
    scene.run(100);
    client.resume_reading();
    scene.run(100);
    let heard = heard(&client);
    assert_eq!(heard.last().unwrap(), "close 1000");
    assert!(heard.len() > 30);
}

#[test]
fn ten_pings_have_ten_pongs_and_of_a_flood_only_the_newest_is_answered_behind_sixteen() {
    let mut scene = Scene::new(WebSocketSettings::default());
    let client = scene.join("/echo");
    let pings = |count: u32| -> Vec<u8> {
        (0..count)
            .flat_map(|number| frame(0x89, format!("{number}").as_bytes()))
            .collect()
    };
    client.send(pings(10));
    scene.run(10);
    let expected: Vec<_> = (0..10).map(|number| format!("pong {number}")).collect();
    assert_eq!(heard(&client), expected);

    let mut flood = pings(50);
    flood.extend(frame(0x81, b"still here"));
    client.send(flood);
    scene.run(10);
    let mut expected: Vec<_> = (0..16).map(|number| format!("pong {number}")).collect();
    expected.extend(["still here".to_owned(), "pong 49".to_owned()]);
    assert_eq!(heard(&client), expected);
}

// ---- a room within one turn -----------------------------------------------------------------------------------------

/// Members of the room, in order.
fn join_many<const N: usize>(scene: &mut Scene) -> [Client; N] {
    [(); N].map(|()| scene.join("/room"))
}

fn published(delivered: usize, queued: usize, dropped: usize, closed: usize) -> Published {
    Published {
        delivered,
        queued,
        dropped,
        closed,
    }
}

#[test]
fn what_is_said_to_rooms_and_to_one_alone_comes_in_the_order_in_which_it_was_said() {
    let mut scene = Scene::with_outbox(WhenFull::Close);
    let clients: [_; 2] = join_many(&mut scene);
    scene.act(|hall| {
        let Hall { rooms, members, .. } = hall;
        let [ann, bob] = &members[..] else { panic!() };
        rooms.join("den", ann);
        rooms.join("den", bob);
        rooms.publish("room", "a");
        rooms.publish("room", "b");
        ann.send("to ann");
        rooms.publish("den", "c");
        rooms.publish_except("room", bob, "d");
        bob.send("to bob");
        rooms.publish("room", "e");
        rooms.publish_except("den", ann, "f");
        rooms.leave("den", bob);
        rooms.publish("den", "g");
        rooms.publish("room", "h");
        rooms.join("den", bob);
        rooms.publish("den", "i");
        rooms.publish("room", "j");
    });
    scene.run(10);
    let heard = clients.each_ref().map(|client| heard(client).join(" "));
    assert_eq!(heard[0], "a b to ann c d e g h i j");
    assert_eq!(heard[1], "a b c to bob e f h i j");
}

#[test]
fn what_became_of_a_message_is_told_of_each_member_when_no_two_are_alike() {
    let mut scene = Scene::with_outbox(WhenFull::DropNewest);
    let clients: [_; 4] = join_many(&mut scene);
    scene.stall(&clients[1], 1);
    scene.stall(&clients[2], 2);
    scene.act(|hall| {
        let Hall { rooms, members, .. } = hall;
        let [open, slow, full, closes] = &members[..] else {
            panic!()
        };
        while full.send(&[b'f'; 1_000][..]) == SendOutcome::Queued {}
        assert_eq!(rooms.publish("room", "a"), published(2, 1, 1, 0));
        assert_eq!(rooms.publish("room", "b"), published(2, 1, 1, 0));
        closes.close(CloseCode::Normal, "");
        assert_eq!(rooms.publish("room", "c"), published(1, 1, 1, 1));
        let others = rooms.publish_except("room", open, "d");
        assert_eq!(others, published(0, 1, 1, 1));
        let others = rooms.publish_except("room", slow, "e");
        assert_eq!(others, published(1, 0, 1, 1));
        rooms.leave("room", full);
        assert_eq!(rooms.publish("room", "f"), published(1, 1, 0, 1));
        rooms.leave("room", closes);
        assert_eq!(rooms.publish("room", "g"), published(1, 1, 0, 0));
    });
    scene.run(10);
    clients[1].resume_reading();
    clients[2].resume_reading();
    scene.run(100);
    let heard = clients.each_ref().map(|client| {
        let mut heard = heard(client);
        heard.retain(|text| text != "filler");
        heard.join(" ")
    });
    assert_eq!(heard, ["a b c e f g", "a b c d f g", "", "a b close 1000"]);
}

/// What a member of the room below has been sent in a turn, by the rule as it is written.
#[derive(Default)]
struct Turn {
    bytes: usize,
    messages: usize,
}

impl Turn {
    fn takes(&mut self, bytes: usize) -> bool {
        let takes = self.bytes <= 16 * BYTES_MAX;
        if takes {
            self.bytes += bytes;
            self.messages += 1;
        }
        takes
    }
}

#[test]
fn each_member_may_be_sent_sixteen_times_its_limit_in_a_turn_whichever_way_it_comes() {
    let mut scene = Scene::with_outbox(WhenFull::DropNewest);
    let clients: [_; 3] = join_many(&mut scene);
    let turns: Rc<RefCell<[Turn; 3]>> = Rc::default();
    let theirs = Rc::clone(&turns);
    scene.act(move |hall| {
        let Hall { rooms, members, .. } = hall;
        rooms.join("den", &members[1]);
        rooms.join("den", &members[2]);
        let turns = &mut *theirs.borrow_mut();
        let message = "x".repeat(500);
        let frame_bytes = message.len() + 4;
        for number in 0..1_000 {
            let taken = turns.each_mut().map(|turn| turn.takes(frame_bytes));
            let taken = taken.iter().filter(|taken| **taken).count();
            let expected = published(taken, 0, 3 - taken, 0);
            assert_eq!(rooms.publish("room", &message), expected, "{number}");
            if number % 3 == 0 {
                let taken = turns[1..].iter_mut().map(|turn| turn.takes(frame_bytes));
                let taken = taken.filter(|taken| *taken).count();
                let expected = published(taken, 0, 2 - taken, 0);
                assert_eq!(rooms.publish("den", &message), expected, "{number}");
            }
            if number % 100 == 50 {
                // More than its limit, and once more than sixteen times that.
                let bytes = if number < 300 { 20_000 } else { 300_000 };
                let is_taken = turns[2].takes(bytes + 10);
                let sent = members[2].send(&"x".repeat(bytes));
                assert_eq!(sent == SendOutcome::Sent, is_taken, "{number}");
            }
        }
    });
    scene.run(1_000);
    for (client, turn) in clients.iter().zip(&*turns.borrow()) {
        assert!(turn.messages > 300);
        assert_eq!(heard(client).len(), turn.messages);
    }
}

#[test]
fn who_was_sent_very_much_alone_gets_no_more_with_the_others_in_that_turn() {
    let mut scene = Scene::with_outbox(WhenFull::DropNewest);
    let clients: [_; 2] = join_many(&mut scene);
    scene.act(|hall| {
        assert_eq!(hall.rooms.publish("room", "a"), published(2, 0, 0, 0));
        hall.members[1].send(&vec![b'f'; 16 * BYTES_MAX][..]);
        assert_eq!(hall.rooms.publish("room", "b"), published(1, 0, 1, 0));
        assert_eq!(hall.rooms.publish("room", "c"), published(1, 0, 1, 0));
    });
    scene.run(1_000);
    assert_eq!(heard(&clients[0]), ["a", "b", "c"]);
    assert_eq!(heard(&clients[1]), ["a", "filler"]);
}

#[test]
fn who_is_blocked_in_the_middle_of_a_turn_is_slow_from_there_on() {
    let mut scene = Scene::with_outbox(WhenFull::DropNewest);
    let clients: [_; 2] = join_many(&mut scene);
    clients[1].pause_reading();
    // Three callbacks of one turn, and a visit to the second member behind the first.
    scene.publish("x".repeat(12_000));
    let slow = scene.hall.with(|hall| hall.members[1].id());
    scene.simulation.loop_mut(0).handle().wake(slow);
    for text in ["a", "b"] {
        scene.act(move |hall| {
            assert_eq!(hall.rooms.publish("room", text), published(1, 1, 0, 0));
        });
    }
    scene.run(10);
    clients[1].resume_reading();
    scene.run(100);
    for client in &clients {
        assert_eq!(heard(client)[1..], ["a", "b"]);
    }
}

#[test]
fn what_was_published_is_dropped_in_its_turn_as_what_was_sent_to_one_alone() {
    let mut scene = Scene::with_outbox(WhenFull::DropOldest);
    let clients: [_; 2] = join_many(&mut scene);
    clients[1].pause_reading();
    scene.act(|hall| {
        let filler = [b'f'; 1_000];
        // More than its buffers hold, and than it is offered beyond them.
        for _ in 0..16 {
            hall.members[1].send(&filler[..]);
        }
        for _ in 0..10 {
            hall.rooms.publish("room", &filler[..]);
        }
        hall.rooms.publish("room", "published");
        for number in 0..20 {
            hall.members[1].send(&format!("{number:01000}"));
        }
    });
    scene.run(10);
    clients[1].resume_reading();
    scene.run(100);
    assert_eq!(heard(&clients[0]).last().unwrap(), "published");
    let heard = heard(&clients[1]);
    let sent: Vec<_> = heard.iter().filter(|text| *text != "filler").collect();
    assert!(sent.is_sorted() && sent.len() < 20, "{}", sent.len());
    assert_eq!(*sent[sent.len() - 1], format!("{:01000}", 19));
}

#[test]
fn each_topic_has_its_policy_also_where_a_filter_matches_several() {
    let mut scene = Scene::with_outbox(WhenFull::Close);
    let clients: [_; 2] = join_many(&mut scene);
    scene.act(|hall| {
        let strict = OutboxPolicy {
            bytes_max: 100,
            when_full: WhenFull::DropNewest,
        };
        let settings = TopicSettings {
            outbox: Some(strict),
            ..TopicSettings::default()
        };
        let topics = Topics::new().with("strict", settings);
        for member in &hall.members {
            assert_eq!(topics.subscribe("#", member), Ok(true));
        }
        let message = "x".repeat(400);
        for number in 0..10 {
            // Sixteen times the limit are before the fifth of 404 bytes, and "lax" comes before.
            let expected = if number < 4 {
                published(2, 0, 0, 0)
            } else {
                published(0, 0, 2, 0)
            };
            assert_eq!(topics.publish("lax", "x"), Ok(published(2, 0, 0, 0)));
            assert_eq!(topics.publish("strict", &message), Ok(expected));
        }
    });
    scene.run(100);
    for client in &clients {
        assert_eq!(heard(client).len(), 14);
    }
}

#[test]
fn a_message_with_a_key_takes_the_place_of_the_one_before_it_among_others() {
    let mut scene = Scene::with_outbox(WhenFull::KeepLatest);
    let clients: [_; 2] = join_many(&mut scene);
    scene.act(|hall| {
        hall.rooms.publish("room", "a");
        hall.rooms.publish_keyed("room", "price", "1");
        hall.rooms.publish("room", "b");
        hall.rooms.publish_keyed("room", "price", "2");
        hall.rooms.publish("room", "c");
    });
    scene.run(10);
    for client in &clients {
        assert_eq!(heard(client), ["a", "2", "b", "c"]);
    }
}

#[test]
fn what_is_said_while_members_are_flushed_reaches_those_before_and_behind() {
    let mut scene = Scene::with_outbox(WhenFull::DropNewest);
    let clients: [_; 3] = join_many(&mut scene);
    scene.act(|hall| {
        hall.complaints = vec!["why".to_owned(), "stop".to_owned()];
        hall.rooms.publish("room", "a");
        // The one in the middle is told of it when it is flushed.
        while hall.members[1].send(&[b'f'; 10_000][..]) == SendOutcome::Sent {}
    });
    // In the turn that has the flush of what is said in the flush.
    let hall = scene.hall.clone();
    scene.simulation.loop_mut(0).ctx().call_soon(move |ctx| {
        ctx.call_soon(move |_| {
            hall.with(|hall| hall.rooms.publish("room", "b"));
        });
    });
    scene.run(1_000);
    let heard = clients.each_ref().map(|client| {
        let mut heard = heard(client);
        heard.retain(|text| text != "filler");
        heard.join(" ")
    });
    assert_eq!(heard, ["a why stop b", "a", "a why stop b"]);
}

#[test]
fn what_is_published_counts_once_for_each_member_that_is_to_have_it() {
    let mut scene = Scene::with_outbox(WhenFull::DropNewest);
    let clients: [_; 3] = join_many(&mut scene);
    scene.stall(&clients[2], 2);
    let before = scene.server.websocket_counts();
    scene.act(|hall| {
        hall.rooms.publish("room", "a");
        hall.rooms.publish_except("room", &hall.members[0], "b");
        hall.members[0].send("c");
        hall.rooms.publish("room", "d");
    });
    scene.run(10);
    let after = scene.server.websocket_counts();
    assert_eq!(after.messages_out - before.messages_out, 3 + 2 + 1 + 3);
    assert_eq!(after.bytes_out - before.bytes_out, 9 * 3);
}

#[test]
fn a_room_may_have_members_in_several_loops_of_one_thread() {
    struct Joins;

    impl Socket<Rooms> for Joins {
        fn opened(&mut self, peer: &mut Peer<'_>, rooms: &mut Rooms) {
            rooms.join("room", peer.sender());
        }

        fn message(&mut self, _: &mut Peer<'_>, _: Message<'_>, _: &mut Rooms) {}
    }

    let world = World::with_faults(1, Faults::none());
    let mut simulation = Simulation::new(world.clone());
    let rooms = Rooms::new();
    let clients = ["one", "two"].map(|host| {
        let number = simulation.add(host, EventLoop::with_driver);
        let app = App::new(rooms.clone()).ws("/", |_: &Request, _: &mut Rooms| Ok(Joins));
        let mut ctx = simulation.loop_mut(number).ctx();
        app.listen(&mut ctx, "0.0.0.0:80").unwrap();
        let client = connect(&world, host, "/", "");
        simulation.run_for(Duration::from_millis(10)).unwrap();
        client.take_received();
        client
    });
    rooms.publish("room", "a");
    // Only the second turns before the next message.
    let second = simulation.loop_mut(1);
    second.turn(TurnBudget::no_wait()).unwrap();
    assert_eq!(rooms.publish("room", "b").delivered, 2);
    simulation.run_for(Duration::from_secs(1)).unwrap();
    for client in &clients {
        assert_eq!(heard(client), ["a", "b"]);
    }
}

// ---- heartbeat, and ends by time ------------------------------------------------------------------------------------

const PING_AFTER: u64 = 20_000;

#[test]
fn ten_thousand_that_were_opened_at_once_are_pinged_one_by_one_after_silence() {
    let mut scene = Scene::new(WebSocketSettings {
        ping_after: Some(Duration::from_millis(PING_AFTER)),
        ..WebSocketSettings::default()
    });
    let mut clients = Vec::new();
    for _ in 0..10 {
        // As many as may wait for the listener.
        clients.extend((0..1_000).map(|_| scene.connect("/echo", "")));
        scene.run(100);
    }
    assert_eq!(scene.server.counts().websockets, clients.len());
    scene.run(PING_AFTER * 3 / 4 - 1_100);
    assert_eq!(scene.hits("ping_after"), 0, "none is pinged before");
    let (mut before, mut most) = (0, 0);
    for _ in 0..(PING_AFTER / 4 + 1_200) / 10 {
        scene.run(10);
        let pinged = scene.hits("ping_after");
        (before, most) = (pinged, most.max(pinged - before));
    }
    assert_eq!(before, clients.len() as u64, "all are pinged by then");
    // Evenly it would be 20 in each 10 ms. They were opened in ten bursts, each of which is spread by itself.
    assert!(most <= 40, "{most} within 10 ms");
}

/// With and without ends by time, which share its entry in the wheel.
#[test]
fn who_speaks_is_not_pinged_and_who_falls_silent_is_pinged_then() {
    for idle_timeout in [None, Some(Duration::from_secs(10_000))] {
        let mut scene = Scene::new(WebSocketSettings {
            ping_after: Some(Duration::from_millis(PING_AFTER)),
            idle_timeout,
            ..WebSocketSettings::default()
        });
        let client = scene.join("/echo");
        // Out of step with the entry, which fires where it was.
        for _ in 0..50 {
            client.send(frame(0x81, b"hm"));
            scene.run(PING_AFTER / 4 + 77);
        }
        assert_eq!(heard(&client), ["hm"; 50]);
        scene.run(PING_AFTER / 2 - 200);
        assert_eq!(
            scene.hits("ping_after"),
            0,
            "silent for less than three quarters"
        );
        scene.run(PING_AFTER / 4 + 1_200);
        assert_eq!(scene.hits("ping_after"), 1, "silent for longer");
        assert_eq!(heard(&client), ["ping"]);
    }
}

/// Milliseconds until a client that does `each_second` is closed, and with what.
fn life(settings: WebSocketSettings, each_second: impl Fn(&Client)) -> (u64, Vec<String>, Scene) {
    let mut scene = Scene::new(settings);
    // The first has its times in full: this is another.
    let _first = scene.join("/echo");
    let client = scene.join("/echo");
    let mut all = Vec::new();
    for milliseconds in (0..).step_by(1_000) {
        assert!(milliseconds < 200_000, "it never ends");
        let heard = heard(&client);
        let is_closed = heard.iter().any(|text| text.starts_with("close"));
        all.extend(heard);
        if is_closed {
            return (milliseconds, all, scene);
        }
        each_second(&client);
        scene.run(1_000);
    }
    unreachable!()
}

#[test]
fn a_websocket_without_messages_ends_after_its_idle_timeout_however_many_pongs_come() {
    let settings = WebSocketSettings {
        ping_after: Some(Duration::from_secs(5)),
        idle_timeout: Some(Duration::from_secs(40)),
        ..WebSocketSettings::default()
    };
    let (milliseconds, heard, scene) = life(settings, |client| client.send(frame(0x8a, b"")));
    assert!((30_000..=41_000).contains(&milliseconds), "{milliseconds}");
    assert_eq!(heard.last().unwrap(), "close 1001");
    assert_eq!(scene.hits("websocket_idle_timeout"), 1);
    assert_eq!(scene.hits("websocket_lifetime_max"), 0);
}

#[test]
fn messages_keep_a_websocket_from_being_idle_and_its_lifetime_ends_it_all_the_same() {
    let settings = WebSocketSettings {
        idle_timeout: Some(Duration::from_secs(8)),
        lifetime_max: Some(Duration::from_secs(100)),
        ..WebSocketSettings::default()
    };
    let (milliseconds, heard, scene) = life(settings, |client| client.send(frame(0x81, b"hm")));
    assert!((75_000..=101_000).contains(&milliseconds), "{milliseconds}");
    assert!(heard.iter().filter(|text| *text == "hm").count() > 70);
    assert_eq!(heard.last().unwrap(), "close 1001");
    assert_eq!(scene.hits("websocket_lifetime_max"), 1);
}

#[test]
fn what_is_sent_to_a_silent_listener_keeps_it_from_being_idle() {
    let mut scene = Scene::new(WebSocketSettings {
        idle_timeout: Some(Duration::from_secs(8)),
        ..WebSocketSettings::default()
    });
    let client = scene.join("/room");
    for number in 0..10 {
        scene.publish(format!("{number}"));
        scene.run(2_000);
    }
    assert_eq!(heard(&client).len(), 10);
    scene.run(9_000);
    assert_eq!(heard(&client), ["close 1001"]);
}

/// What compressed messages come to, with the client's own context.
#[cfg(feature = "deflate")]
mod deflated {
    use tourbillon::proto::ws::{Deflate, DeflateOptions, DeflatePool};

    use super::*;

    #[test]
    fn what_is_dropped_leaves_no_gap_in_a_context_for_compression() {
        let options = DeflateOptions {
            threshold_bytes: 0,
            ..DeflateOptions::own_context()
        };
        let mut scene = Scene::new(WebSocketSettings {
            outbox: Some(OutboxPolicy {
                bytes_max: BYTES_MAX,
                when_full: WhenFull::DropOldest,
            }),
            deflate: Some(options.clone()),
            ..WebSocketSettings::default()
        });
        let client = scene.connect("/room", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
        scene.run(10);
        let answer = String::from_utf8(client.take_received()).unwrap();
        let (_, agreed) = answer.split_once("Sec-WebSocket-Extensions: ").unwrap();
        let agreement = options
            .choose(agreed.lines().next().unwrap())
            .unwrap()
            .unwrap();
        client.pause_reading();
        // What does not shrink much, but refers to what was before.
        let texts: Rc<RefCell<Vec<String>>> = Rc::default();
        for number in 0..400_u64 {
            let digits: String = (0..40)
                .map(|place| {
                    (number + place)
                        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                        .to_string()
                })
                .collect();
            texts.borrow_mut().push(digits.clone());
            scene.publish(digits);
            scene.run(1);
        }
        assert!(scene.hits("outbox_bytes") > 0);
        client.resume_reading();
        scene.run(1_000);

        let mut received = client.take_received();
        let mut endpoint = Endpoint::new(Role::Client);
        endpoint.agree_on_deflate();
        let mut deflate = Deflate::new(&agreement, Role::Client, &options);
        let (mut pool, mut at, mut next) = (DeflatePool::default(), 0, 0);
        let mut count = 0;
        while at < received.len() {
            let (used, step) = endpoint
                .next(&mut received[at..], &WsLimits::default())
                .unwrap();
            at += used;
            let Step::Deflated(message) = step else {
                panic!("{step:?}")
            };
            let mut text = Vec::new();
            deflate
                .inflate(message.payload(), 1 << 20, &mut pool, &mut text)
                .unwrap();
            let texts = texts.borrow();
            let found = texts[next..].iter().position(|one| one.as_bytes() == text);
            next += found.expect("a message as it was sent, and in order") + 1;
            count += 1;
        }
        assert_eq!(next, 400, "the last is among them");
        assert!(count < 400, "and not all are");
    }
}
