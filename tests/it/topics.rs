//! Topics: who hears what, in which order, who is there, what those hear who come late; over loops and over processes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tourbillon::web::{
    App, CloseCode, Cursor, Engine, Fanout, History, Hub, Inlet, Interest, Joined, Joining,
    LinkDown, LinkState, Message, OutboxPolicy, OwnedMessage, Peer, Presence, PresenceEvent,
    Relayed, Replay, Request, Socket, Threads, TopicSettings, Topics, WhenFull,
};

use crate::support::{Client, PATIENCE, Running, WsClient, handshake, serve};

/// Does what its client says, and says what came of it.
struct Member;

impl Socket<Topics> for Member {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, topics: &mut Topics) {
        let Message::Text(text) = message else {
            panic!("a text was expected")
        };
        let me = peer.sender().clone();
        let mut words = text.splitn(3, ' ');
        let verb = words.next().unwrap();
        let (topic, rest) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let said = |joined: Option<Joined>| match joined {
            None => "none".to_owned(),
            Some(joined) => format!("replayed {} gap {}", joined.replayed, joined.has_gap),
        };
        let with = |joining: &Joining<'_>| topics.subscribe_with(topic, &me, joining).map(said);
        let answer = match verb {
            "subscribe" => topics
                .subscribe(topic, &me)
                .map(|is_new| is_new.to_string()),
            "as" => with(&Joining {
                present_as: Some(rest),
                ..Joining::default()
            }),
            "since" => with(&Joining {
                replay: Replay::Since(rest.parse().unwrap()),
                ..Joining::default()
            }),
            "last" => with(&Joining {
                replay: Replay::Last(rest.parse().unwrap()),
                ..Joining::default()
            }),
            "unsubscribe" => Ok(topics.unsubscribe(topic, &me).to_string()),
            "is-subscribed" => Ok(topics.is_subscribed(topic, &me).to_string()),
            "say" => topics
                .publish(topic, rest)
                .map(|published| format!("{published:?}")),
            "others" => topics
                .publish_except(topic, &me, rest)
                .map(|published| format!("{published:?}")),
            "keyed" => {
                let (key, text) = rest.split_once(' ').unwrap();
                topics
                    .publish_keyed(topic, key, text)
                    .map(|published| format!("{published:?}"))
            }
            "tick" => {
                for n in 0..100 {
                    for tick in ["ticks/a", "ticks/b"] {
                        let text = format!("{tick} {n}");
                        topics.publish_keyed(tick, "price", &text).unwrap();
                    }
                }
                Ok("ticked".to_owned())
            }
            "numbered" => {
                let make = |cursor: Cursor| format!("{cursor} {rest}").into();
                topics.publish_numbered(topic, make).unwrap();
                return;
            }
            "misuse" => {
                let theirs = topics.clone();
                let make = move |_: Cursor| {
                    theirs.publish("news/misuse", "inside").unwrap();
                    "outside".into()
                };
                topics
                    .publish_numbered("news/misuse", make)
                    .map(|published| format!("{published:?}"))
            }
            "count" => Ok(topics.count(topic).to_string()),
            "counts" => Ok(format!("{:?}", topics.counts())),
            "present" => {
                let present = topics.present(topic);
                let texts: Vec<_> = present.iter().map(|one| &*one.text).collect();
                Ok(texts.join(" "))
            }
            // As rooms.
            "join" => Ok(topics.rooms().join(topic, &me).to_string()),
            "tell" => Ok(topics.rooms().publish(topic, rest).delivered.to_string()),
            _ => panic!("what is {verb}?"),
        };
        peer.send(&answer.unwrap_or_else(|error| format!("error: {error}")));
    }
}

fn announce(event: PresenceEvent<'_>) -> Option<OwnedMessage> {
    Some(match event {
        PresenceEvent::Joined { who, .. } => format!("+{}", who.text).into(),
        PresenceEvent::Left { who, .. } => format!("-{}", who.text).into(),
    })
}

fn settings(topics: Topics) -> Topics {
    let with_history = |messages_max| TopicSettings {
        history: Some(History {
            messages_max,
            ..History::default()
        }),
        ..TopicSettings::default()
    };
    let with_outbox = |when_full| TopicSettings {
        outbox: Some(OutboxPolicy {
            when_full,
            ..OutboxPolicy::default()
        }),
        ..TopicSettings::default()
    };
    topics
        .with("flood/#", with_outbox(WhenFull::DropNewest))
        .with("ticks/#", with_outbox(WhenFull::KeepLatest))
        .with("news/short", with_history(2))
        .with("news/#", with_history(1_000))
        .with(
            "chat/quiet",
            TopicSettings {
                presence: Presence::Off,
                ..TopicSettings::default()
            },
        )
        .with(
            "chat/#",
            TopicSettings {
                presence: Presence::announced(announce),
                ..TopicSettings::default()
            },
        )
}

fn app(topics: Topics) -> App<Topics> {
    App::new(settings(topics)).ws("/ws", |_: &Request, _: &mut Topics| Ok(Member))
}

fn server() -> Running {
    serve(|| app(Topics::new()))
}

/// Have one member do something, and hear what came of it.
#[track_caller]
fn tell(member: &mut WsClient, command: &str) -> String {
    member.text(command);
    member.read_text()
}

#[track_caller]
fn subscribe(member: &mut WsClient, filter: &str) {
    assert_eq!(tell(member, &format!("subscribe {filter}")), "true");
}

fn published(delivered: usize) -> String {
    format!("Published {{ delivered: {delivered}, queued: 0, dropped: 0, closed: 0 }}")
}

#[test]
fn a_member_hears_what_its_filters_match_and_each_message_once() {
    let server = server();
    let [mut one, mut all, mut many, mut speaker] = [(); 4].map(|()| server.websocket("/ws"));
    subscribe(&mut one, "sport/tennis/+");
    subscribe(&mut all, "sport/#");
    for filter in [
        "sport/#",
        "sport/+/final",
        "+/tennis/#",
        "sport/tennis/final",
    ] {
        subscribe(&mut many, filter);
    }
    assert_eq!(tell(&mut many, "subscribe sport/#"), "false", "it has");
    assert_eq!(
        tell(&mut speaker, "say sport/tennis/final 6:4"),
        published(3)
    );
    assert_eq!(
        tell(&mut speaker, "say sport/tennis/final 7:5"),
        published(3)
    );
    assert_eq!(tell(&mut speaker, "say sport 0"), published(2));
    assert_eq!(tell(&mut speaker, "say music/tennis 1"), published(1));
    assert_eq!(tell(&mut speaker, "say music 2"), published(0));
    assert_eq!(tell(&mut many, "unsubscribe sport/+/final"), "6:4");
    // What came before the answer.
    for text in ["7:5", "0", "1", "true"] {
        assert_eq!(many.read_text(), text);
    }
    assert_eq!(
        tell(&mut many, "others sport/tennis/final 8:6"),
        published(2)
    );
    for text in ["6:4", "7:5", "8:6"] {
        assert_eq!(one.read_text(), text);
    }
    for text in ["6:4", "7:5", "0", "8:6"] {
        assert_eq!(all.read_text(), text);
    }
    assert_eq!(tell(&mut one, "count sport/#"), "2");
    assert_eq!(tell(&mut one, "count sport/tennis/final"), "1");
    assert_eq!(tell(&mut one, "is-subscribed sport/#"), "false");
    assert_eq!(tell(&mut all, "is-subscribed sport/#"), "true");
    drop(many);
    drop(all);
    server.wait_until("they have left", |server| server.counts().open == 2);
    assert_eq!(tell(&mut one, "counts"), r#"[("sport/tennis/+", 1)]"#);
}

#[test]
fn a_topic_has_an_outbox_policy_of_its_own() {
    let server = server();
    let [mut slow, mut speaker] = [(); 2].map(|()| server.websocket("/ws"));
    subscribe(&mut slow, "flood/#");
    subscribe(&mut slow, "a");
    let mut flood = |topic: &str, outcome: &str| {
        let message = format!("say {topic} {}", "x".repeat(50_000));
        let accepted = (0..2_000).find(|_| tell(&mut speaker, &message).contains(outcome));
        accepted.expect("100 MB do not fit into an outbox")
    };
    let accepted = flood("flood/x", "dropped: 1");
    // What was accepted comes, and it is not closed; but by the policy of its route it is.
    for _ in 0..accepted {
        assert_eq!(slow.read_text().len(), 50_000);
    }
    assert_eq!(tell(&mut slow, "is-subscribed a"), "true");
    flood("a", "closed: 1");
}

#[test]
fn of_messages_with_a_key_the_latest_of_each_topic_is_kept() {
    let server = server();
    let [mut one, mut speaker] = [(); 2].map(|()| server.websocket("/ws"));
    subscribe(&mut one, "ticks/+");
    assert_eq!(tell(&mut speaker, "tick"), "ticked");
    assert_eq!(one.read_text(), "ticks/a 99");
    assert_eq!(one.read_text(), "ticks/b 99");
    assert_eq!(tell(&mut one, "is-subscribed ticks/+"), "true");
}

#[test]
fn what_is_no_topic_is_refused_with_the_reason() {
    let server = server();
    let mut member = server.websocket("/ws");
    for (command, error) in [
        ("subscribe a/#/b", "a # in a filter is its last level"),
        ("subscribe a+", "a + or # in a filter is a whole level"),
        ("say a/+ x", "the name of one topic has no + and no # in it"),
        ("say  x", "a topic has a name of at least one character"),
    ] {
        assert_eq!(tell(&mut member, command), format!("error: {error}"));
    }
    assert_eq!(tell(&mut member, "unsubscribe a/#/b"), "false");
    assert_eq!(tell(&mut member, "count a/#/b"), "0");
}

#[test]
fn a_connection_has_no_more_subscriptions_than_it_may() {
    let server = serve(|| app(Topics::new().subscriptions_max(2)));
    let [mut greedy, mut other] = [(); 2].map(|()| server.websocket("/ws"));
    subscribe(&mut greedy, "a");
    subscribe(&mut greedy, "b");
    assert_eq!(
        tell(&mut greedy, "subscribe c"),
        "error: there are too many subscriptions on this connection"
    );
    assert_eq!(tell(&mut greedy, "subscribe a"), "false", "it has");
    assert_eq!(tell(&mut greedy, "unsubscribe a"), "true");
    subscribe(&mut greedy, "c");
    subscribe(&mut other, "a");
}

#[test]
fn a_room_is_a_topic_whatever_its_name_says() {
    let server = server();
    let [mut room, mut filter] = [(); 2].map(|()| server.websocket("/ws"));
    assert_eq!(tell(&mut room, "join a/+"), "true");
    subscribe(&mut filter, "a/#");
    // The filter of the same name is something else.
    assert_eq!(tell(&mut room, "is-subscribed a/+"), "false");
    assert_eq!(tell(&mut filter, "say a/b x"), "x");
    assert_eq!(filter.read_text(), published(1));
    assert_eq!(tell(&mut room, "tell a/+ y"), "y");
    assert_eq!(room.read_text(), "2");
    assert_eq!(filter.read_text(), "y");
}

#[test]
fn who_comes_late_hears_what_is_kept_and_who_comes_back_what_it_missed() {
    let server = server();
    let [mut first, mut late] = [(); 2].map(|()| server.websocket("/ws"));
    subscribe(&mut first, "news/#");
    for n in 0..4 {
        first.text(&format!("numbered news/rain {n}"));
        first.text(&format!("numbered news/short {n}"));
    }
    let heard: Vec<_> = (0..8).map(|_| first.read_text()).collect();
    let cursor = |n: usize| heard[n].split_once(' ').unwrap().0;

    late.text("subscribe news/#");
    for n in [0, 2, 4, 5, 6, 7] {
        assert_eq!(late.read_text(), heard[n], "the last two of news/short");
    }
    assert_eq!(late.read_text(), "true");
    first.text("numbered news/rain new");
    assert!(late.read_text().ends_with(" new"));

    let mut back = server.websocket("/ws");
    back.text(&format!("since news/rain {}", cursor(4)));
    assert_eq!(back.read_text(), heard[6]);
    assert!(back.read_text().ends_with(" new"));
    assert_eq!(back.read_text(), "replayed 2 gap false");
    back.text(&format!("since news/short {}", cursor(3)));
    assert_eq!(back.read_text(), heard[5]);
    assert_eq!(back.read_text(), heard[7]);
    assert_eq!(back.read_text(), "replayed 2 gap false");
    let mut missed = server.websocket("/ws");
    missed.text(&format!("since news/short {}", cursor(1)));
    assert_eq!(missed.read_text(), heard[5]);
    assert_eq!(missed.read_text(), heard[7]);
    assert_eq!(
        missed.read_text(),
        "replayed 2 gap true",
        "the second is gone"
    );
    missed.text("last news/rain 1");
    assert!(missed.read_text().ends_with(" new"));
    assert_eq!(missed.read_text(), "replayed 1 gap false");

    // What is published without its number is kept as well, and by key only the latest.
    tell(&mut first, "keyed news/prices gold 1");
    tell(&mut first, "keyed news/prices silver 2");
    tell(&mut first, "keyed news/prices gold 3");
    let mut buyer = server.websocket("/ws");
    assert_eq!(tell(&mut buyer, "subscribe news/prices"), "2");
    assert_eq!(buyer.read_text(), "3");
    assert_eq!(buyer.read_text(), "true");
}

#[test]
fn who_uses_topics_while_making_a_message_for_them_panics_and_the_others_go_on() {
    let server = server();
    let mut member = server.websocket("/ws");
    member.text("misuse");
    assert_eq!(member.read_close(), 1011);
    let reports = server.reports();
    assert!(
        reports[0].message.contains("numbered message"),
        "{reports:?}"
    );
    let mut other = server.websocket("/ws");
    subscribe(&mut other, "news/#");
    other.text("numbered news/a x");
    assert!(other.read_text().ends_with(" x"));
}

#[test]
fn those_present_are_listed_and_the_others_hear_who_comes_and_goes() {
    let server = server();
    let [mut watcher, mut ann, mut bob] = [(); 3].map(|()| server.websocket("/ws"));
    subscribe(&mut watcher, "chat/+");
    assert_eq!(tell(&mut ann, "as chat/lobby ann"), "replayed 0 gap false");
    assert_eq!(watcher.read_text(), "+ann");
    assert_eq!(tell(&mut bob, "as chat/lobby bob"), "replayed 0 gap false");
    assert_eq!(ann.read_text(), "+bob");
    assert_eq!(watcher.read_text(), "+bob");
    // Who only listens is not seen, and in a topic where nobody is seen, nobody is.
    assert_eq!(
        tell(&mut watcher, "as chat/# watcher"),
        "replayed 0 gap false"
    );
    assert_eq!(
        tell(&mut watcher, "as chat/quiet watcher"),
        "replayed 0 gap false"
    );
    assert_eq!(tell(&mut watcher, "present chat/lobby"), "ann bob");
    assert_eq!(tell(&mut watcher, "present chat/quiet"), "");
    // By its own will, and by the end of its connection.
    assert_eq!(tell(&mut ann, "unsubscribe chat/lobby"), "true");
    assert_eq!(bob.read_text(), "-ann");
    assert_eq!(watcher.read_text(), "-ann");
    assert_eq!(
        tell(&mut ann, "as chat/lobby again"),
        "replayed 0 gap false"
    );
    assert_eq!(watcher.read_text(), "+again");
    bob.close(CloseCode::Normal);
    assert_eq!(ann.read_text(), "-bob");
    assert_eq!(watcher.read_text(), "-bob");
    drop(ann);
    assert_eq!(watcher.read_text(), "-again");
    assert_eq!(tell(&mut watcher, "present chat/lobby"), "");
}

// ---- several loops --------------------------------------------------------------------------------------------------

fn start(engine: Engine, hub: &Hub) -> tourbillon::web::Running {
    let hub = hub.clone();
    engine
        .start("127.0.0.1:0", move || app(Topics::spanning(&hub)))
        .unwrap()
}

fn connect(address: SocketAddr) -> WsClient {
    let mut client = Client::connect(address);
    client.send(handshake("/ws"));
    assert_eq!(client.head().status, 101);
    WsClient { client }
}

#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

fn engines() -> [Engine; 2] {
    [Engine::Loops(2), Engine::Threads(Threads::default())]
}

#[test]
fn topics_span_all_loops_of_an_engine() {
    for engine in engines() {
        let hub = Hub::new();
        let running = start(engine, &hub);
        // Enough of them that two loops have some each.
        let mut members: Vec<_> = (0..16)
            .map(|n| {
                let mut member = connect(running.address());
                subscribe(&mut member, ["sport/#", "sport/+"][n % 2]);
                if n % 4 == 0 {
                    subscribe(&mut member, "sport/tennis");
                }
                member
            })
            .collect();
        let counts = [("sport/#", 8), ("sport/+", 8), ("sport/tennis", 4)];
        assert_eq!(
            hub.counts(),
            counts.map(|(filter, n)| (filter.to_owned(), n))
        );
        for n in 0..50 {
            members[5].text(&format!("others sport/tennis {n}"));
            members[5].text("others music x");
        }
        for (place, member) in members.iter_mut().enumerate() {
            for n in 0..50 {
                if place == 5 {
                    member.read_text();
                    member.read_text();
                } else {
                    assert_eq!(member.read_text(), n.to_string(), "{engine}, once");
                }
            }
        }
        assert_eq!(tell(&mut members[0], "count sport/tennis"), "4");
        members.truncate(1);
        wait_until("they have left", || hub.count("sport/tennis") == 1);
        assert_eq!(tell(&mut members[0], "others sport/a x"), published(0));
        drop(members);
        drop(running);
        assert_eq!(hub.counts(), [], "{engine}");
    }
}

#[test]
fn presence_spans_all_loops_of_an_engine() {
    for engine in engines() {
        let running = start(engine, &Hub::new());
        let mut members: Vec<_> = (0..8).map(|_| connect(running.address())).collect();
        for place in 0..members.len() {
            let answer = tell(&mut members[place], &format!("as chat/lobby {place}"));
            assert_eq!(answer, "replayed 0 gap false");
            for earlier in &mut members[..place] {
                assert_eq!(earlier.read_text(), format!("+{place}"), "{engine}");
            }
        }
        assert_eq!(
            tell(&mut members[3], "present chat/lobby"),
            "0 1 2 3 4 5 6 7"
        );
        drop(members.pop());
        for member in &mut members {
            assert_eq!(member.read_text(), "-7", "{engine}");
        }
        assert_eq!(tell(&mut members[0], "present chat/lobby"), "0 1 2 3 4 5 6");
    }
}

/// Several say things at once in topics with a history: everyone hears the same in the same order, whoever comes in the
/// middle hears what was said before, and whoever comes back misses nothing and hears nothing twice.
#[test]
fn a_history_has_one_order_for_all_loops_and_everyone_who_comes_late() {
    let engine = Engine::Loops(2);
    let running = start(engine, &Hub::new());
    let mut speakers: Vec<_> = (0..4).map(|_| connect(running.address())).collect();
    for speaker in &mut speakers {
        subscribe(speaker, "news/#");
    }
    let (rounds, each) = (5, 20);
    let mut late = Vec::new();
    for round in 0..rounds {
        for n in 0..each {
            for (name, speaker) in speakers.iter_mut().enumerate() {
                speaker.text(&format!("numbered news/{name} {name}:{round}:{n}"));
            }
        }
        // While these are on their way.
        let mut newcomer = connect(running.address());
        newcomer.text("subscribe news/#");
        late.push(newcomer);
    }
    let total = rounds * each * speakers.len();
    let hear = |member: &mut WsClient| {
        let mut heard = Vec::new();
        while heard.len() < total {
            let text = member.read_text();
            if text != "true" {
                heard.push(text);
            }
        }
        heard
    };
    let said = hear(&mut speakers[0]);
    let numbers: Vec<u64> = said
        .iter()
        .map(|text| {
            let (cursor, _) = text.split_once(' ').unwrap();
            cursor.parse::<Cursor>().unwrap().number()
        })
        .collect();
    assert!(
        numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "{numbers:?}"
    );
    for member in speakers[1..].iter_mut().chain(&mut late) {
        assert_eq!(hear(member), said);
    }
    let mut back = connect(running.address());
    let (cursor, _) = said[123].split_once(' ').unwrap();
    back.text(&format!("since news/# {cursor}"));
    for text in &said[124..] {
        assert_eq!(&back.read_text(), text);
    }
    assert_eq!(
        back.read_text(),
        format!("replayed {} gap false", total - 124)
    );
}

// ---- several processes ----------------------------------------------------------------------------------------------

/// A broker in memory. It gives everyone everything they want, their own messages, too, as brokers do.
#[derive(Clone, Default)]
struct Exchange(Arc<Mutex<BTreeMap<usize, Link>>>);

/// One hub at the exchange.
struct Link {
    inlet: Inlet,
    is_up: bool,
    members: BTreeMap<Interest, usize>,
    log: Vec<String>,
}

struct Port(Exchange, usize);

impl Exchange {
    fn links(&self) -> MutexGuard<'_, BTreeMap<usize, Link>> {
        self.0.lock().unwrap()
    }

    fn hub(&self, number: usize) -> Hub {
        Hub::linked(Port(self.clone(), number))
    }

    fn set_up(&self, number: usize, is_up: bool) {
        let mut links = self.links();
        let link = links.get_mut(&number).unwrap();
        link.is_up = is_up;
        // As a broker does that has its link again.
        link.members = match is_up {
            true => link.inlet.interests().into_iter().collect(),
            false => BTreeMap::new(),
        };
    }

    fn log(&self, number: usize) -> Vec<String> {
        std::mem::take(&mut self.links().get_mut(&number).unwrap().log)
    }
}

impl Port {
    fn with(&self, change: impl FnOnce(&mut Link)) {
        change(self.0.links().get_mut(&self.1).unwrap());
    }
}

impl Fanout for Port {
    fn attach(&self, inlet: Inlet) {
        let link = Link {
            inlet,
            is_up: true,
            members: BTreeMap::new(),
            log: Vec::new(),
        };
        self.0.links().insert(self.1, link);
    }

    fn subscribe(&self, interest: &Interest) {
        self.with(|link| link.log.push(format!("subscribe {}", interest.as_str())));
    }

    fn unsubscribe(&self, interest: &Interest) {
        self.with(|link| {
            link.log.push(format!("unsubscribe {}", interest.as_str()));
            link.members.remove(interest);
        });
    }

    fn publish(&self, message: &Relayed) -> Result<(), LinkDown> {
        let links = self.0.links();
        if !links[&self.1].is_up {
            return Err(LinkDown);
        }
        // As if it had been written down and read again.
        let (topic, key) = (message.topic(), message.key());
        let message = Relayed::new(message.origin(), topic, key, message.message());
        for link in links.values().filter(|link| link.is_up) {
            if link.members.keys().any(|interest| interest.matches(topic)) {
                link.inlet.deliver(&message);
            }
        }
        Ok(())
    }

    fn is_up(&self) -> bool {
        self.0.links()[&self.1].is_up
    }

    fn members_here(&self, interest: &Interest, members: usize) {
        self.with(|link| {
            if link.is_up {
                link.members.insert(interest.clone(), members);
            }
        });
    }

    fn members_elsewhere(&self, interest: &Interest) -> usize {
        let links = self.0.links();
        let others = links.iter().filter(|(number, _)| **number != self.1);
        others
            .filter_map(|(_, link)| link.members.get(interest))
            .sum()
    }
}

#[test]
fn a_broker_links_servers_and_their_own_members_hear_each_other_without_it() {
    let exchange = Exchange::default();
    let hubs = [exchange.hub(0), exchange.hub(1)];
    let running = [
        start(Engine::Loops(2), &hubs[0]),
        start(Engine::Loop, &hubs[1]),
    ];
    let mut here: Vec<_> = (0..6).map(|_| connect(running[0].address())).collect();
    let mut there: Vec<_> = (0..2).map(|_| connect(running[1].address())).collect();
    assert_eq!(Hub::new().link(), LinkState::Alone);
    assert_eq!(hubs[0].link(), LinkState::Up);

    // The first one asks the broker, the others do not.
    for member in &mut here {
        subscribe(member, "a/#");
    }
    subscribe(&mut there[0], "a/b");
    subscribe(&mut there[1], "+/b");
    assert_eq!(exchange.log(0), ["subscribe a/#"]);
    assert_eq!(exchange.log(1), ["subscribe a/b", "subscribe +/b"]);

    // Everyone once and in order, in whichever process; and those in the other process as well.
    for n in 0..20 {
        here[0].text(&format!("others a/b {n}"));
    }
    for member in here[1..].iter_mut().chain(&mut there) {
        for n in 0..20 {
            assert_eq!(member.read_text(), n.to_string());
        }
    }
    for _ in 0..20 {
        here[0].read_text();
    }
    assert_eq!(tell(&mut there[0], "others a/b back"), published(1));
    assert_eq!(there[1].read_text(), "back");
    for member in &mut here {
        assert_eq!(member.read_text(), "back");
    }
    assert_eq!(tell(&mut there[1], "count a/#"), "6");
    assert_eq!(hubs[1].count("a/b"), 1);
    assert_eq!(hubs[0].count("a/b"), 1, "in the other process");

    // Without the broker.
    exchange.set_up(0, false);
    assert_eq!(hubs[0].link(), LinkState::Down);
    assert_eq!(tell(&mut here[0], "count a/b"), "1");
    here[0].text("others a/b alone");
    here[0].read_text();
    for member in &mut here[1..] {
        assert_eq!(member.read_text(), "alone");
    }
    assert_eq!(hubs[0].unsent(), 1);
    assert_eq!(tell(&mut here[0], "unsubscribe a/#"), "true");
    // And with it again: it is asked for what is wanted now.
    exchange.set_up(0, true);
    assert_eq!(hubs[0].link(), LinkState::Up);
    there[1].text("others a/c again");
    there[1].read_text();
    for member in &mut here[1..] {
        assert_eq!(member.read_text(), "again");
    }

    // The last one ends it.
    exchange.log(0);
    for member in &mut here[2..] {
        assert_eq!(tell(member, "unsubscribe a/#"), "true");
    }
    assert_eq!(exchange.log(0), [""; 0]);
    drop(here);
    wait_until("the last one has left", || {
        exchange.log(0) == ["unsubscribe a/#"]
    });
    assert_eq!(hubs[1].count("a/#"), 0);
}

#[test]
fn what_another_process_says_is_kept_for_who_comes_late() {
    let exchange = Exchange::default();
    let hubs = [exchange.hub(0), exchange.hub(1)];
    let running = hubs.each_ref().map(|hub| start(Engine::Loops(2), hub));
    let [mut here, mut there] = running.each_ref().map(|running| connect(running.address()));
    subscribe(&mut here, "news/#");
    for n in 0..3 {
        tell(&mut there, &format!("say news/a {n}"));
    }
    for n in 0..3 {
        assert_eq!(here.read_text(), n.to_string());
    }
    let mut late = connect(running[0].address());
    late.text("last news/a 2");
    assert_eq!(late.read_text(), "1");
    assert_eq!(late.read_text(), "2");
    assert_eq!(late.read_text(), "replayed 2 gap false");
}
