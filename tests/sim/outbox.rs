//! WebSockets whose peers are slow, silent, or too talkative: outboxes and their policies, heartbeat, ends by time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tourbillon::event_loop::{Ctx, EventLoop};
use tourbillon::proto::ws::{CloseCode, Endpoint, Role, Step, WsLimits};
use tourbillon::sim::{Client, Faults, Simulation, World};
use tourbillon::web::{
    App, CloseReason, Dropped, Limits, Message, OutboxPolicy, Peer, Request, Rooms, SendOutcome,
    Sender, Server, Shared, Socket, WebSocket, WebSocketSettings, WhenFull, task,
};

const BYTES_MAX: usize = 16 * 1024;

/// What the handlers have heard and hold.
#[derive(Default)]
struct Hall {
    rooms: Rooms,
    members: Vec<Sender>,
    drained: usize,
    dropped: Dropped,
    ends: Vec<CloseReason>,
}

/// In the room, and quiet.
struct Member;

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
        assert_eq!(peer.sender().dropped(), hall.dropped + dropped);
        hall.dropped = hall.dropped + dropped;
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
                Ok(Member)
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
        let client = self.world.connect((self.world.address("server"), 80));
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{fields}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ));
        client
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
