//! Topics in a world with faults: everyone hears what a model says, in the order in which it was said, whichever way it
//! was sent; and who has gone is in nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use tourbillon::event_loop::{Ctx, EventLoop};
use tourbillon::proto::ws::CloseCode;
use tourbillon::sim::{Client, Failure, Faults, Simulation, World, check};
use tourbillon::web::{
    App, CloseReason, History, Joining, Limits, Message, OwnedMessage, Peer, Presence,
    PresenceEvent, Request, Sender, Shared, Socket, TopicSettings, Topics,
};

const FILTERS: [&str; 6] = ["a/b", "a/+", "+/b", "a/#", "#", "kept"];
const TOPICS: [&str; 5] = ["a/b", "a/c", "b/b", "a", "kept"];

/// As the standard has it, for the filters above.
fn matches(filter: &str, topic: &str) -> bool {
    match filter {
        "#" => true,
        "a/#" => topic == "a" || topic.starts_with("a/"),
        "a/+" => topic.starts_with("a/"),
        "+/b" => topic.ends_with("/b"),
        name => name == topic,
    }
}

struct State {
    world: World,
    topics: Topics,
    members: Vec<Model>,
    said: usize,
    /// What was said in the topic that keeps its last three.
    kept: Vec<String>,
}

/// A member, and what it is to hear.
struct Model {
    sender: Sender,
    filters: BTreeSet<&'static str>,
    hears: Vec<String>,
}

impl State {
    fn next(&mut self) -> String {
        self.said += 1;
        self.said.to_string()
    }

    fn draw_member(&self) -> usize {
        self.world.range(0..=self.members.len() as u64 - 1) as usize
    }

    /// Do something, here and in the model.
    fn act(&mut self, mut peer: Option<(&mut Peer<'_>, usize)>) {
        let number = self.draw_member();
        match self.world.range(0..=9) {
            0 => {
                let filter = *self.world.pick(&FILTERS);
                let member = &mut self.members[number];
                let is_new = self.topics.subscribe(filter, &member.sender);
                assert_eq!(is_new, Ok(member.filters.insert(filter)));
                if is_new == Ok(true) && matches(filter, "kept") {
                    member.hears.extend_from_slice(&self.kept);
                }
            }
            1 => {
                let filter = *self.world.pick(&FILTERS);
                let member = &mut self.members[number];
                let was_in = self.topics.unsubscribe(filter, &member.sender);
                assert_eq!(was_in, member.filters.remove(filter));
            }
            // To one, by its sender or from its handler.
            2 | 3 => {
                let text = self.next();
                match &mut peer {
                    Some((peer, number)) => {
                        peer.send(&text);
                        self.members[*number].hears.push(text);
                    }
                    None => {
                        self.members[number].sender.send(&text);
                        self.members[number].hears.push(text);
                    }
                }
            }
            way => {
                let (topic, text) = (*self.world.pick(&TOPICS), self.next());
                let except = (way == 4).then(|| self.members[number].sender.clone());
                let published = match &except {
                    Some(except) => self.topics.publish_except(topic, except, &text).unwrap(),
                    None if way == 5 => self.topics.rooms().publish(topic, &text),
                    None => self.topics.publish(topic, &text).unwrap(),
                };
                let mut delivered = 0;
                for (place, member) in self.members.iter_mut().enumerate() {
                    let is_for_it = member.filters.iter().any(|filter| matches(filter, topic));
                    if is_for_it && (except.is_none() || place != number) {
                        member.hears.push(text.clone());
                        delivered += 1;
                    }
                }
                assert_eq!(published.delivered + published.queued, delivered);
                if topic == "kept" {
                    self.kept.push(text);
                    let over = self.kept.len().saturating_sub(3);
                    self.kept.drain(..over);
                }
            }
        }
    }
}

struct Member(usize);

impl Socket<State> for Member {
    fn opened(&mut self, peer: &mut Peer<'_>, state: &mut State) {
        self.0 = state.members.len();
        state.members.push(Model {
            sender: peer.sender().clone(),
            filters: BTreeSet::new(),
            hears: Vec::new(),
        });
    }

    fn message(&mut self, peer: &mut Peer<'_>, _: Message<'_>, state: &mut State) {
        for _ in 0..state.world.range(1..=12) {
            state.act(Some((peer, self.0)));
        }
    }
}

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A short text, masked with a key of zeros.
fn text(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// The texts in what a client got behind the handshake, all of them short.
fn texts(received: &[u8]) -> Vec<String> {
    let end = received.windows(4).position(|end| end == b"\r\n\r\n");
    let mut rest = &received[end.expect("the handshake is done") + 4..];
    let mut texts = Vec::new();
    while let [first, len, behind @ ..] = rest {
        let (payload, behind) = behind.split_at(usize::from(*len));
        match first {
            0x81 => texts.push(String::from_utf8(payload.to_vec()).unwrap()),
            0x89 => assert!(payload.is_empty(), "a ping of the server's"),
            first => panic!("{first:#x}"),
        }
        rest = behind;
    }
    texts
}

fn keeping_three() -> TopicSettings {
    TopicSettings {
        history: Some(History {
            messages_max: 3,
            ..History::default()
        }),
        ..TopicSettings::default()
    }
}

#[test]
fn each_member_hears_each_message_once_in_the_order_of_all_that_was_said_to_it() {
    check(0..300, |seed| {
        let faults = Faults {
            // So that nobody is turned away.
            accept_error: 0.0,
            ..Faults::gentle(seed)
        };
        let world = World::with_faults(seed, faults);
        let mut simulation = Simulation::new(world.clone());
        simulation.add("server", EventLoop::with_driver);
        let app = App::new(State {
            world: world.clone(),
            topics: Topics::new().with("kept", keeping_three()),
            members: Vec::new(),
            said: 0,
            kept: Vec::new(),
        })
        .limits(Limits {
            // These clients answer none.
            ping_after: Duration::from_secs(3_600),
            ..Limits::default()
        })
        .ws("/ws", |_: &Request, _: &mut State| Ok(Member(0)));
        let state = app.state();
        let mut ctx = simulation.loop_mut(0).ctx();
        let (server, _) = app.listen(&mut ctx, "0.0.0.0:80").unwrap();
        let mut clients: Vec<Client> = Vec::new();
        for opened in 1..=5 {
            let client = world.connect((world.address("server"), 80));
            client.send(HANDSHAKE);
            clients.push(client);
            // One after the other, so that they are numbered as here.
            simulation.run_until(|_| server.counts().websockets == opened)?;
        }
        for _ in 0..30 {
            let speaker = world.pick(&clients);
            speaker.send(text("go"));
            if world.chance(0.3) {
                // By callbacks, in one turn or several.
                let ctx = simulation.loop_mut(0).ctx();
                for _ in 0..world.range(1..=5) {
                    let state = state.clone();
                    ctx.call_soon(move |_| state.with(|state| state.act(None)));
                }
            }
            simulation.run_for(Duration::from_micros(world.range(0..=20_000)))?;
        }
        // The callbacks that are to close, and all that is on the road.
        simulation.run_for(Duration::from_secs(15))?;
        for (number, client) in clients.iter().enumerate() {
            let hears = state.with(|state| state.members[number].hears.clone());
            assert_eq!(client.with_received(texts), hears, "member {number}");
        }
        Ok(())
    });
}

// ---- who has gone ---------------------------------------------------------------------------------------------------

struct Guest {
    told: Shared<Vec<String>>,
    name: String,
}

impl Socket<Topics> for Guest {
    fn opened(&mut self, peer: &mut Peer<'_>, topics: &mut Topics) {
        for topic in ["lobby", "garden"] {
            let joining = Joining {
                present_as: Some(&self.name),
                ..Joining::default()
            };
            topics
                .subscribe_with(topic, peer.sender(), &joining)
                .unwrap();
        }
        topics.subscribe("#", peer.sender()).unwrap();
    }

    fn message(&mut self, peer: &mut Peer<'_>, _: Message<'_>, _: &mut Topics) {
        peer.close(CloseCode::Policy, "go");
    }

    fn closed(&mut self, _: &mut Ctx<'_>, _: &CloseReason, topics: &mut Topics) {
        let counts = topics.counts();
        self.told
            .with(|told| told.push(format!("{} {counts:?}", self.name)));
    }
}

fn announce(event: PresenceEvent<'_>) -> Option<OwnedMessage> {
    match event {
        PresenceEvent::Left { topic, who } => Some(format!("-{} {topic}", who.text).into()),
        PresenceEvent::Joined { .. } => None,
    }
}

/// A guest ends in this way: it is in nothing then, at the latest when its `closed` is called, and the others know.
#[track_caller]
fn check_it_leaves(end: impl FnOnce(&Client), seconds: u64) -> Result<(), Failure> {
    let world = World::with_faults(1, Faults::none());
    let mut simulation = Simulation::new(world.clone());
    simulation.add("server", EventLoop::with_driver);
    let announced = TopicSettings {
        presence: Presence::announced(announce),
        ..TopicSettings::default()
    };
    let topics = Topics::new().with("#", announced);
    let told = Shared::new(Vec::new());
    let theirs = told.clone();
    let open = move |request: &Request, _: &mut Topics| {
        Ok(Guest {
            told: theirs.clone(),
            name: request.query("name").unwrap_or_default().into_owned(),
        })
    };
    let app = App::new(topics.clone()).ws("/ws", open);
    let mut ctx = simulation.loop_mut(0).ctx();
    app.listen(&mut ctx, "0.0.0.0:80").unwrap();
    let [stays, goes] = ["stays", "goes"].map(|name| {
        let client = world.connect((world.address("server"), 80));
        client.send(HANDSHAKE.replace("/ws", &format!("/ws?name={name}")));
        client
    });
    simulation.run_for(Duration::from_secs(1))?;
    assert_eq!(topics.count("lobby"), 2);
    end(&goes);
    for _ in 0..seconds {
        simulation.run_for(Duration::from_secs(1))?;
        // An unasked pong: it is there.
        stays.send([0x8a, 0x80, 0, 0, 0, 0]);
    }
    let left = r##"[("#", 1), ("garden", 1), ("lobby", 1)]"##;
    assert_eq!(told.with(|told| told.clone()), [format!("goes {left}")]);
    assert_eq!(format!("{:?}", topics.counts()), left);
    let present = topics.present("lobby");
    assert_eq!(
        present.iter().map(|one| &*one.text).collect::<Vec<_>>(),
        ["stays"]
    );
    let heard = stays.with_received(texts);
    assert_eq!(heard, ["-goes lobby", "-goes garden"]);
    Ok(())
}

#[test]
fn who_has_gone_in_whatever_way_is_in_nothing_and_the_others_hear_it() {
    let close = [0x88, 0x80, 0, 0, 0, 0];
    check_it_leaves(|guest| guest.send(close), 5).unwrap();
    check_it_leaves(|guest| guest.close(), 5).unwrap();
    check_it_leaves(|guest| guest.reset(), 5).unwrap();
    check_it_leaves(|guest| guest.shutdown_write(), 5).unwrap();
    // Unmasked, which is against the rules.
    check_it_leaves(|guest| guest.send([0x81, 0]), 30).unwrap();
    // Closed by its handler, with a peer that does not answer.
    check_it_leaves(|guest| guest.send(text("bye")), 30).unwrap();
    // Silent, and not there any more when it is asked.
    check_it_leaves(|guest| guest.pause_reading(), 300).unwrap();
}
