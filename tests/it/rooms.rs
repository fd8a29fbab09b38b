//! Rooms: who is in, who hears what, and that nobody waits for the slow.

use std::cell::RefCell;
use std::rc::Rc;

use tourbillon::event_loop::Ctx;
use tourbillon::web::{
    App, CloseCode, CloseReason, Limits, Message, OutboxPolicy, Peer, Published, Request, Rooms,
    Sender, Socket, WhenFull,
};

use crate::support::{FINAL, Running, TEXT, WsClient, frame, serve};

thread_local! {
    /// The loop's thread: the rooms, for a test to ask about.
    static ROOMS: RefCell<Option<Rooms>> = const { RefCell::new(None) };
    static KEPT: RefCell<Vec<Sender>> = const { RefCell::new(Vec::new()) };
}

struct Member;

impl Socket<Rooms> for Member {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, rooms: &mut Rooms) {
        let Message::Text(text) = message else {
            panic!("a text was expected")
        };
        let me = peer.sender().clone();
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (room, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let answer = match verb {
            "join" => rooms.join(room, &me).to_string(),
            "leave" => rooms.leave(room, &me).to_string(),
            "is-member" => rooms.is_member(room, &me).to_string(),
            "say" => {
                rooms.publish(room, text);
                return;
            }
            "others" => {
                let Published {
                    delivered,
                    queued,
                    dropped,
                    closed,
                } = rooms.publish_except(room, &me, text);
                format!("{delivered} {queued} {dropped} {closed}")
            }
            "count" => rooms.count(room).to_string(),
            "keep" => {
                KEPT.with_borrow_mut(|kept| kept.push(me));
                "kept".into()
            }
            _ => panic!("what is {verb}?"),
        };
        peer.send(&answer);
    }

    fn closed(&mut self, _: &mut Ctx<'_>, _: &CloseReason, rooms: &mut Rooms) {
        rooms.publish("lobby", "someone left");
    }
}

fn server() -> Running {
    server_within(Limits::default())
}

fn server_within(limits: Limits) -> Running {
    serve(move || {
        let rooms = Rooms::new();
        ROOMS.set(Some(rooms.clone()));
        App::new(rooms)
            .limits(limits)
            .get("/fine", |_: &Request, _: &mut Rooms| "fine")
            .ws("/ws", |_: &Request, _: &mut Rooms| Ok(Member))
    })
}

fn ask<T: Send + 'static>(
    server: &Running,
    question: impl FnOnce(&Rooms) -> T + Send + 'static,
) -> T {
    server.ask(|_, _| ROOMS.with_borrow(|rooms| question(rooms.as_ref().unwrap())))
}

/// Ask one member something, and get its answer.
#[track_caller]
fn tell(member: &mut WsClient, command: &str) -> String {
    member.text(command);
    member.read_text()
}

fn join(server: &Running, room: &str) -> WsClient {
    let mut member = server.websocket("/ws");
    assert_eq!(tell(&mut member, &format!("join {room}")), "true");
    member
}

#[test]
fn everyone_in_the_room_hears_it_and_nobody_else() {
    let server = server();
    let mut lobby: Vec<_> = (0..3).map(|_| join(&server, "lobby")).collect();
    let mut attic = join(&server, "attic");
    lobby[0].text("say lobby hello");
    for member in &mut lobby {
        assert_eq!(member.read_text(), "hello");
    }
    assert_eq!(tell(&mut lobby[1], "others lobby psst"), "2 0 0 0");
    assert_eq!(lobby[0].read_text(), "psst");
    assert_eq!(lobby[2].read_text(), "psst");
    assert_eq!(tell(&mut attic, "say attic alone"), "alone");
    assert_eq!(tell(&mut attic, "others nowhere x"), "0 0 0 0");
}

#[test]
fn who_joins_stays_until_leaving() {
    let server = server();
    let mut member = server.websocket("/ws");
    assert_eq!(tell(&mut member, "is-member lobby"), "false");
    assert_eq!(tell(&mut member, "join lobby"), "true");
    assert_eq!(tell(&mut member, "join lobby"), "false", "is in already");
    for n in 0..10 {
        assert_eq!(tell(&mut member, &format!("say lobby {n}")), n.to_string());
        assert_eq!(tell(&mut member, "is-member lobby"), "true");
    }
    assert_eq!(tell(&mut member, "count lobby"), "1");
    assert_eq!(tell(&mut member, "leave lobby"), "true");
    assert_eq!(tell(&mut member, "leave lobby"), "false");
    assert_eq!(tell(&mut member, "count lobby"), "0");
    assert_eq!(
        ask(&server, Rooms::counts),
        [],
        "a room without members is gone"
    );
}

#[test]
fn one_may_be_in_many_rooms() {
    let server = server();
    let mut member = server.websocket("/ws");
    for room in ["b", "a", "c"] {
        assert_eq!(tell(&mut member, &format!("join {room}")), "true");
    }
    let _other = join(&server, "b");
    let counts = |server: &Running| ask(server, |rooms| format!("{:?}", rooms.counts()));
    assert_eq!(counts(&server), r#"[("a", 1), ("b", 2), ("c", 1)]"#);
    assert_eq!(ask(&server, |rooms| rooms.members("b").len()), 2);
    drop(member);
    server.wait_until("it has left them", |server| {
        counts(server) == r#"[("b", 1)]"#
    });
}

#[test]
fn members_leave_by_every_kind_of_close() {
    let server = server();
    let mut stays = join(&server, "lobby");
    let count = |server: &Running| ask(server, |rooms| rooms.count("lobby"));

    let mut polite = join(&server, "lobby");
    polite.close(CloseCode::Normal);
    assert_eq!(polite.read_close(), 1000);
    assert_eq!(stays.read_text(), "someone left");
    assert_eq!(count(&server), 1);

    drop(join(&server, "lobby"));
    assert_eq!(stays.read_text(), "someone left");
    assert_eq!(count(&server), 1);

    let mut rude = join(&server, "lobby");
    rude.client.send([0xff; 14]);
    assert_eq!(rude.read_close(), 1002);
    assert_eq!(stays.read_text(), "someone left");
    assert_eq!(count(&server), 1);
    assert_eq!(tell(&mut stays, "is-member lobby"), "true");
    assert_eq!(server.counts().websockets, 1);
}

#[test]
fn a_sender_that_is_kept_after_the_end_neither_sends_nor_joins() {
    let server = server();
    let mut member = join(&server, "lobby");
    assert_eq!(tell(&mut member, "keep"), "kept");
    drop(member);
    server.wait_until("it has left", |server| server.counts().websockets == 0);
    let (outcome, joined, held) = server.ask(|_, _| {
        let kept = KEPT.with_borrow_mut(|kept| kept.pop().unwrap());
        let outcome = kept.send("anyone there?");
        let rooms = ROOMS.with_borrow(|rooms| rooms.clone().unwrap());
        (outcome, rooms.join("lobby", &kept), kept.outbox_bytes())
    });
    assert_eq!(outcome, tourbillon::web::SendOutcome::Closed);
    assert!(!joined);
    assert_eq!(held, 0);
}

#[test]
fn a_burst_in_one_turn_is_not_held_against_members_that_read() {
    let server = server();
    let mut members: Vec<_> = (0..4).map(|_| join(&server, "lobby")).collect();
    // More than an outbox may hold, all of it read in one visit: nobody had a chance to take it yet.
    let message = "x".repeat(2_000);
    let burst = frame(FINAL | TEXT, format!("say lobby {message}").as_bytes()).repeat(120);
    members[0].client.send(burst);
    for member in &mut members {
        for _ in 0..120 {
            assert_eq!(member.read_text(), message);
        }
    }
    assert_eq!(server.hits("outbox_bytes"), 0);
}

/// Publishes to a room with one member that does not read until its outbox is over its limit. The others hear all.
fn publish_past_a_slow_member(when_full: WhenFull) -> (Running, WsClient) {
    let server = server_within(Limits {
        outbox: OutboxPolicy {
            when_full,
            ..OutboxPolicy::default()
        },
        ..Limits::default()
    });
    let slow = join(&server, "lobby");
    let mut quick = join(&server, "lobby");
    let message = Rc::new("x".repeat(50_000));
    let mut published = 0;
    while server.hits("outbox_bytes") < 3 {
        quick.text(&format!("say lobby {message}"));
        assert_eq!(quick.read_text(), *message);
        published += 1;
        assert!(published < 2_000, "100 MB fit into an outbox");
        if when_full == WhenFull::Close && server.hits("outbox_bytes") > 0 {
            break;
        }
    }
    for connection in server.connections() {
        assert!(
            connection.bytes_held <= 64 * 1024 + 2 * 50_010,
            "{connection:?}"
        );
    }
    (server, slow)
}

#[test]
fn a_slow_member_delays_nobody_and_is_closed() {
    let (server, mut slow) = publish_past_a_slow_member(WhenFull::Close);
    loop {
        let (first, payload) = slow.frame();
        if first != FINAL | TEXT {
            assert_eq!(payload[..2], 1013_u16.to_be_bytes());
            break;
        }
        assert_eq!(payload.len(), 50_000);
    }
    slow.close(CloseCode::Normal);
    server.wait_until("it has left", |server| server.counts().websockets == 0);
    server.assert_it_goes_on();
}

#[test]
fn a_slow_member_misses_what_it_has_no_room_for() {
    let (server, mut slow) = publish_past_a_slow_member(WhenFull::DropNewest);
    slow.text("is-member lobby");
    loop {
        let text = slow.read_text();
        if text.len() < 50_000 {
            assert_eq!(text, "true");
            break;
        }
    }
    assert!(server.hits("outbox_bytes") >= 3);
}

/// Bytes that may wait for a member.
const LITTLE: usize = 4 * 1024;

#[test]
fn past_a_member_that_takes_nothing_999_others_hear_all_and_what_waits_for_it_is_bounded() {
    let server = server_within(Limits {
        outbox: OutboxPolicy {
            bytes_max: LITTLE,
            when_full: WhenFull::DropOldest,
        },
        ..Limits::default()
    });
    let mut stalled = join(&server, "lobby");
    assert_eq!(tell(&mut stalled, "keep"), "kept");
    let mut others: Vec<_> = (0..999).map(|_| join(&server, "lobby")).collect();
    // First the kernel's buffers: they are full when something waits from one turn to the next.
    let filler = [b'f'; 2 * LITTLE];
    server.wait_until("it takes nothing more", |server| {
        server.ask(move |_, _| {
            KEPT.with_borrow(|kept| {
                let waits = kept[0].outbox_bytes() > 0;
                kept[0].send(&filler[..]);
                waits
            })
        })
    });
    let outbox_bytes =
        |server: &Running| server.ask(|_, _| KEPT.with_borrow(|kept| kept[0].outbox_bytes()));
    let most = outbox_bytes(&server).max(LITTLE) + filler.len();
    for number in 0..50 {
        let text = format!("{number:0400}");
        let published = ask(&server, move |rooms| rooms.publish("lobby", &text));
        assert_eq!((published.delivered, published.queued), (999, 1));
        let waits = outbox_bytes(&server);
        assert!(waits <= most, "{waits} bytes wait");
        for other in &mut others {
            assert_eq!(other.read_text(), format!("{number:0400}"));
        }
    }
    let dropped = server.ask(|_, _| KEPT.with_borrow(|kept| kept[0].dropped()));
    assert!(dropped.messages > 0 && server.hits("outbox_bytes") > 0);
    // It has whole messages only, and the newest among them.
    let newest = format!("{:0400}", 49);
    let mut heard = 0;
    loop {
        let (first, payload) = stalled.frame();
        match first & 0x0f {
            TEXT => heard += 1,
            _ => assert!(payload.iter().all(|byte| *byte == b'f')),
        }
        if payload == newest.as_bytes() {
            break;
        }
    }
    assert!(heard < 50, "some were dropped");
    server.assert_it_goes_on();
}
