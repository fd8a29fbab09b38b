//! Rooms, and topics with wildcards: who hears what, who is there, what those hear who come late, and prices of which
//! only the latest counts.
//!
//!     cargo run --example 11_rooms                     # the scene below, all in one program
//!     cargo run --example 11_rooms 127.0.0.1:8080      # the same server, for several terminals
//!
//! With any WebSocket client at `ws://127.0.0.1:8080/ws?to=chat/lobby&name=ann`, `ws://…/ws?to=chat/%2B` and so on:
//! what is sent is `TOPIC TEXT`, such as `chat/lobby hello` or `prices/gold 3710`. Those who come with a name are seen
//! where they are, if that is one topic. The first word of what is said is a cursor; `&since=CURSOR` asks for what was
//! missed.
//!
//! ```text
//! 1. A room
//! ann: * you are with nobody
//! bob: * you are with ann
//! ann: * bob comes in
//! bob: chat/lobby ann: hello, bob
//!
//! 2. Wildcards
//! eve listens to chat/+, and to prices/#
//! eve: chat/garden ann: is anyone here?
//! eve: chat/lobby ann: nobody is in the garden
//! bob: chat/lobby ann: nobody is in the garden
//!
//! 3. Late, and back again
//! * bob's connection ends
//! ann: * bob goes out
//! dan: chat/lobby ann: hello, bob
//! dan: chat/lobby ann: nobody is in the garden
//! dan: chat/lobby ann: where is bob?
//! dan: * you are with ann
//! bob: chat/lobby ann: where is bob?
//! bob: * you are with ann, dan
//! eve: * bob goes out
//! eve: chat/lobby ann: where is bob?
//! eve: * dan comes in
//! eve: * bob comes in
//!
//! 4. A thousand prices in one turn
//! published: 2000, to be written 2000
//! eve: prices/gold 1000
//! eve: prices/silver 1000
//!
//! {"chat/+": 1, "chat/lobby": 3, "prices/#": 1}
//! ```
//!
//! What to look at: nobody keeps a list of members, and nobody tells the others that somebody came or went. The topics
//! do, also when a connection just ends (`Presence::Announced`). Eve listens to two filters, and is seen nowhere, for she is
//! in no room. Of the prices she gets the last of each, since by `WhenFull::KeepLatest` a message takes the place of the
//! one with its key that still waits.
//!
//! A question: what does bob hear if he stays away until 101 messages were said? And how does he learn that it is not
//! all?

use std::io;

use tourbillon::client::{WebSocket, WebSocketError};
use tourbillon::event_loop::EventLoop;
use tourbillon::proto::ws::OwnedMessage;
use tourbillon::web::{
    App, CloseCode, Cursor, History, Joining, Message, NoCursor, OutboxPolicy, Peer, Presence,
    PresenceEvent, Replay, Request, Response, Socket, TopicSettings, Topics, WhenFull,
};

// ---- the server -----------------------------------------------------------------------------------------------------

/// Somebody with a connection.
struct Visitor {
    /// What it listens to.
    filters: Vec<String>,
    name: Option<String>,
    since: Option<Cursor>,
}

/// `/ws?to=FILTER,FILTER&name=NAME&since=CURSOR`
fn visit(request: &Request, _: &mut Topics) -> Result<Visitor, Response> {
    let since = request.query("since").map(|text| text.parse());
    let since = since
        .transpose()
        .map_err(|error: NoCursor| Response::text(format!("{error}\n")).with_status(400))?;
    let filters = request.query("to").unwrap_or_default();
    Ok(Visitor {
        filters: filters.split(',').map(str::to_owned).collect(),
        name: request.query("name").map(|name| name.into_owned()),
        since,
    })
}

impl Socket<Topics> for Visitor {
    fn opened(&mut self, peer: &mut Peer<'_>, topics: &mut Topics) {
        let joining = Joining {
            present_as: self.name.as_deref(),
            replay: self.since.map_or(Replay::All, Replay::Since),
        };
        for filter in &self.filters {
            match topics.subscribe_with(filter, peer.sender(), &joining) {
                Ok(Some(joined)) if joined.id.is_some() => {
                    let others = topics.present(filter).into_iter();
                    let others = others.filter(|other| Some(other.id) != joined.id);
                    let names: Vec<_> = others.map(|other| other.text.to_string()).collect();
                    peer.send(&match &names[..] {
                        [] => "* you are with nobody".to_owned(),
                        names => format!("* you are with {}", names.join(", ")),
                    });
                }
                Ok(_) => {}
                Err(error) => peer.close(CloseCode::Policy, &error.to_string()),
            }
        }
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, topics: &mut Topics) {
        let Message::Text(text) = message else { return };
        let (topic, text) = text.split_once(' ').unwrap_or((text, ""));
        let published = if topic.starts_with("prices/") {
            topics.publish_keyed(topic, "price", &format!("{topic} {text}"))
        } else {
            let name = self.name.as_deref().unwrap_or("somebody");
            topics.publish_numbered(topic, |cursor| {
                format!("{cursor} {topic} {name}: {text}").into()
            })
        };
        if let Err(error) = published {
            peer.send(&format!("* {error}"));
        }
    }
}

/// What members of a room hear of each other.
fn announce(event: PresenceEvent<'_>) -> Option<OwnedMessage> {
    Some(match event {
        PresenceEvent::Joined { who, .. } => format!("* {} comes in", who.text).into(),
        PresenceEvent::Left { who, .. } => format!("* {} goes out", who.text).into(),
    })
}

fn topics() -> Topics {
    let chat = TopicSettings {
        history: Some(History {
            messages_max: 100,
            ..History::default()
        }),
        presence: Presence::announced(announce),
        ..TopicSettings::default()
    };
    let prices = TopicSettings {
        outbox: Some(OutboxPolicy {
            when_full: WhenFull::KeepLatest,
            ..OutboxPolicy::default()
        }),
        ..TopicSettings::default()
    };
    Topics::new().with("chat/#", chat).with("prices/#", prices)
}

fn app(topics: &Topics) -> App<Topics> {
    App::new(topics.clone()).ws("/ws", visit)
}

// ---- the scene ------------------------------------------------------------------------------------------------------

struct Client {
    name: &'static str,
    socket: WebSocket,
    /// How much it has heard.
    cursor: String,
}

impl Client {
    async fn connect(url: &str, name: &'static str, query: &str) -> Result<Self, WebSocketError> {
        Ok(Self {
            name,
            socket: WebSocket::connect(&format!("{url}?{query}")).await?,
            cursor: String::new(),
        })
    }

    /// Come with its name into the lobby.
    async fn enter(url: &str, name: &'static str, since: &str) -> Result<Self, WebSocketError> {
        let query = match since {
            "" => format!("to=chat/lobby&name={name}"),
            since => format!("to=chat/lobby&name={name}&since={since}"),
        };
        Self::connect(url, name, &query).await
    }

    async fn say(&mut self, text: &str) -> Result<(), WebSocketError> {
        self.socket.send(text).await
    }

    /// Print the next so many messages, without their cursors.
    async fn hear(&mut self, count: usize) -> Result<(), WebSocketError> {
        for _ in 0..count {
            let Some(OwnedMessage::Text(text)) = self.socket.recv().await? else {
                println!("{}: * the end", self.name);
                return Ok(());
            };
            let (first, rest) = text.split_once(' ').unwrap_or((&text, ""));
            let is_numbered = first.parse::<Cursor>().is_ok();
            println!("{}: {}", self.name, if is_numbered { rest } else { &text });
            if is_numbered {
                self.cursor = first.to_owned();
            }
        }
        Ok(())
    }

    /// Take the next message without a word about it: what it has said itself comes back.
    async fn skip(&mut self) -> Result<(), WebSocketError> {
        self.socket.recv().await.map(drop)
    }
}

async fn scene(url: String, topics: Topics) -> Result<(), WebSocketError> {
    println!("1. A room");
    let mut ann = Client::enter(&url, "ann", "").await?;
    ann.hear(1).await?;
    let mut bob = Client::enter(&url, "bob", "").await?;
    bob.hear(1).await?;
    ann.hear(1).await?;
    ann.say("chat/lobby hello, bob").await?;
    ann.skip().await?;
    bob.hear(1).await?;

    println!("\n2. Wildcards");
    println!("eve listens to chat/+, and to prices/#");
    let mut eve = Client::connect(&url, "eve", "to=chat/%2B,prices/%23").await?;
    // What ann said before, which is in the history.
    eve.skip().await?;
    ann.say("chat/garden is anyone here?").await?;
    ann.say("chat/lobby nobody is in the garden").await?;
    ann.skip().await?;
    eve.hear(2).await?;
    bob.hear(1).await?;

    println!("\n3. Late, and back again");
    println!("* bob's connection ends");
    let cursor = std::mem::take(&mut bob.cursor);
    drop(bob);
    ann.hear(1).await?;
    ann.say("chat/lobby where is bob?").await?;
    ann.skip().await?;
    let mut dan = Client::enter(&url, "dan", "").await?;
    dan.hear(4).await?;
    let mut bob = Client::enter(&url, "bob", &cursor).await?;
    bob.hear(2).await?;
    eve.hear(4).await?;

    println!("\n4. A thousand prices in one turn");
    let (mut published, mut written) = (0, 0);
    for price in 1..=1000 {
        for topic in ["prices/gold", "prices/silver"] {
            let all = topics.publish_keyed(topic, "price", &format!("{topic} {price}"));
            published += 1;
            written += all.map_or(0, |all| all.delivered);
        }
    }
    println!("published: {published}, to be written {written}");
    eve.hear(2).await?;

    println!("\n{topics:?}");
    Ok(())
}

fn main() -> io::Result<()> {
    let topics = topics();
    if let Some(address) = std::env::args().nth(1) {
        let report = app(&topics).serve(&*address)?;
        println!("stopped: {report}");
        return Ok(());
    }
    let mut event_loop = EventLoop::new()?;
    let (_server, address) = app(&topics).listen(&mut event_loop.ctx(), "127.0.0.1:0")?;
    let url = format!("ws://{address}/ws");
    if let Err(error) = event_loop.run_until(scene(url, topics))? {
        eprintln!("11_rooms: {error}");
        std::process::exit(1);
    }
    Ok(())
}
