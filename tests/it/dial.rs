//! The dial over sockets: its protocol, spoken by the crate's own client, beside a server whose chat goes on.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::{Value, json};
use tourbillon::client::{WebSocket, WebSocketError};
use tourbillon::dial::{self, Dial, DialServer};
use tourbillon::event_loop::{Control, Ctx, EventLoop, What};
use tourbillon::task::{sleep, timeout};
use tourbillon::web::{App, CloseCode, Message, OwnedMessage, Peer, Request, Socket};

use super::support::{Answer, Client, PATIENCE, Running, serve_with};

struct Echo;

impl Socket<()> for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut ()) {
        peer.send(message);
    }
}

fn chat() -> App<()> {
    App::new(())
        .get("/", |_: &Request, _: &mut ()| "hello")
        .ws("/chat", |_: &Request, _: &mut ()| Ok(Echo))
}

/// A chat with a dial beside it.
struct Watched {
    server: Running,
    control: Control,
    dial: DialServer,
}

fn watched() -> Watched {
    let (send, controls) = channel();
    let server = serve_with(chat, move |ctx, _| send.send(ctx.attach_control()).unwrap());
    let control = controls.recv_timeout(PATIENCE).unwrap();
    let dial = Dial::new(control.clone()).server(server.address);
    let dial = dial.serve("127.0.0.1:0").unwrap();
    Watched {
        server,
        control,
        dial,
    }
}

impl Watched {
    fn token(&self) -> String {
        self.dial.url().split_once("#token=").unwrap().1.to_owned()
    }

    async fn chat(&self) -> WebSocket {
        let url = format!("ws://{}/chat", self.server.address);
        WebSocket::connect(&url).await.unwrap()
    }

    /// A page that may only look, and what it was greeted with.
    async fn look(&self) -> (Page, Value) {
        let mut page = Page::open(&format!("ws://{}/live", self.dial.address())).await;
        let hello = page.next("hello").await;
        (page, hello)
    }

    /// A page that may do everything.
    async fn page(&self) -> Page {
        let (mut page, _) = self.look().await;
        let token = self.token();
        page.ask(json!({ "do": "control", "token": token }))
            .await
            .unwrap();
        page
    }
}

/// A page's end of the protocol.
struct Page {
    socket: WebSocket,
    id: u64,
    /// The turns that ticks told of.
    turns: Vec<Value>,
    /// The last tick that told of more than the time.
    tick: Value,
    /// Heard while something else was waited for, but for ticks.
    heard: Vec<Value>,
}

impl Page {
    async fn open(url: &str) -> Self {
        Self {
            socket: WebSocket::connect(url).await.unwrap(),
            id: 0,
            turns: Vec::new(),
            tick: Value::Null,
            heard: Vec::new(),
        }
    }

    async fn hear(&mut self) -> Value {
        let message = timeout(PATIENCE, self.socket.recv()).await;
        let message = message.expect("the dial says something");
        let Some(OwnedMessage::Text(text)) = message.unwrap() else {
            panic!("the dial has closed")
        };
        let message: Value = serde_json::from_str(&text).unwrap();
        if message["type"] == "tick" {
            if let Some(turns) = message["turns"].as_array() {
                self.turns.extend(turns.iter().cloned());
                self.tick = message.clone();
            }
        } else {
            self.heard.push(message.clone());
        }
        message
    }

    /// The next message for which `is_it` says so, also among those heard before.
    async fn find(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(place) = self.heard.iter().position(&is_it) {
                return self.heard.remove(place);
            }
            let message = self.hear().await;
            if message["type"] == "tick" && is_it(&message) {
                return message;
            }
        }
    }

    async fn next(&mut self, kind: &str) -> Value {
        self.find(|message| message["type"] == kind).await
    }

    /// Ask for something, and wait for the answer.
    async fn ask(&mut self, mut wish: Value) -> Result<(), String> {
        self.id += 1;
        let id = self.id;
        wish["id"] = id.into();
        self.socket.send(wish.to_string().as_str()).await.unwrap();
        let answer = self
            .find(|message| message["type"] == "answer" && message["id"] == id)
            .await;
        match answer["ok"].as_bool().unwrap() {
            true => Ok(()),
            false => Err(answer["error"].as_str().unwrap().to_owned()),
        }
    }

    async fn order(&mut self, order: &str) {
        self.ask(json!({ "do": order })).await.unwrap();
    }

    /// The slot of a source of this kind, from a tick that has one.
    async fn slot(&mut self, kind: &str) -> Value {
        let slot = |message: &Value| {
            let slots = message["slab"]["slots"].as_array()?;
            slots.iter().find(|slot| slot["kind"] == kind).cloned()
        };
        if let Some(slot) = slot(&self.tick) {
            return slot;
        }
        let tick = self.find(|message| slot(message).is_some()).await;
        slot(&tick).unwrap()
    }

    fn turn_numbers(&self) -> Vec<u64> {
        self.turns
            .iter()
            .map(|turn| turn["n"].as_u64().unwrap())
            .collect()
    }
}

fn token_of(slot: &Value) -> String {
    format!("{}.{}", slot["i"], slot["g"])
}

async fn say(chat: &mut WebSocket, text: &str) {
    chat.send(text).await.unwrap();
    assert_eq!(hear(chat).await, text);
}

async fn hear(chat: &mut WebSocket) -> String {
    match timeout(PATIENCE, chat.recv()).await.expect("an echo") {
        Ok(Some(OwnedMessage::Text(text))) => text,
        other => panic!("{other:?}"),
    }
}

/// What is answered to whoever calls the server so.
fn get_as(address: SocketAddr, target: &str, host: &str) -> Answer {
    let mut client = Client::connect(address);
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    client.answer()
}

fn get(address: SocketAddr, target: &str) -> Answer {
    get_as(address, target, &address.to_string())
}

fn run(test: impl Future<Output = ()> + 'static) {
    EventLoop::new().unwrap().run_until(test).unwrap();
}

#[test]
fn a_page_pauses_the_loop_steps_three_turns_and_the_chat_goes_on() {
    run(async {
        let watched = watched();
        let mut chat = watched.chat().await;
        say(&mut chat, "before").await;
        let (mut page, hello) = watched.look().await;
        assert_eq!(hello["own_loop"], true);
        assert_eq!(hello["may_control"], false);
        assert_eq!(hello["phases"].as_array().unwrap().len(), 7);
        let refused = page.ask(json!({ "do": "pause" })).await;
        assert_eq!(refused.unwrap_err(), "this needs the token");
        let token = watched.token();
        page.ask(json!({ "do": "control", "token": token }))
            .await
            .unwrap();

        page.order("pause").await;
        let stopped = page.next("stopped").await;
        assert_eq!(
            (&stopped["why"], &stopped["phase"]),
            (&json!("pause"), &Value::Null)
        );
        assert_eq!(page.tick["state"], "paused");
        let first = stopped["turn"].as_u64().unwrap();
        page.turns.clear();
        chat.send("meanwhile").await.unwrap();
        for step in 1..=3 {
            page.order("step_turn").await;
            let stopped = page.next("stopped").await;
            assert_eq!(stopped["why"], "step");
            assert_eq!(stopped["turn"], first + step);
            let ran = stopped["ran"].as_array().unwrap();
            assert!(ran.iter().all(|ran| ran["turn"] == first + step - 1));
        }
        let stepped = vec![first, first + 1, first + 2];
        assert_eq!(page.turn_numbers(), stepped);
        let recorded = watched.control.ask(PATIENCE, |ctx| {
            let turns = ctx
                .recorder()
                .since(0)
                .filter_map(|record| match record.what() {
                    What::Turn { number, .. } => Some(number),
                    _ => None,
                });
            turns.collect::<Vec<_>>()
        });
        let recorded = recorded.unwrap();
        assert_eq!(recorded[recorded.len() - 3..], stepped);

        page.order("resume").await;
        page.next("resumed").await;
        assert_eq!(hear(&mut chat).await, "meanwhile");
        say(&mut chat, "after").await;
        let counts = watched.server.counts();
        assert_eq!((counts.accepted, counts.open, counts.websockets), (1, 1, 1));
    });
}

#[test]
fn a_wrong_token_controls_nothing_and_five_of_them_end_the_connection() {
    run(async {
        let watched = watched();
        let (mut page, _) = watched.look().await;
        for _ in 0..4 {
            let refused = page
                .ask(json!({ "do": "control", "token": "guessed" }))
                .await;
            assert_eq!(refused.unwrap_err(), "the token is wrong");
        }
        let last = json!({ "id": 5, "do": "control", "token": "" });
        page.socket.send(last.to_string().as_str()).await.unwrap();
        while let Ok(Some(_)) = page.socket.recv().await {}
        let frame = page.socket.close_frame().unwrap();
        assert_eq!(frame.code, CloseCode::Policy);
    });
}

#[test]
fn pages_of_other_sites_and_other_names_of_this_machine_are_refused() {
    run(async {
        let watched = watched();
        let url = format!("ws://{}/live", watched.dial.address());
        let foreign = WebSocket::builder(&url).header("origin", "http://example.org");
        match foreign.connect().await.unwrap_err() {
            WebSocketError::Refused(refusal) => assert_eq!(refusal.status(), 403),
            other => panic!("{other}"),
        }
        for path in [
            "/",
            "/dial.js",
            "/source/event_loop/mod.rs",
            "/trace",
            "/live",
        ] {
            let rebound = get_as(watched.dial.address(), path, "evil.example");
            assert_eq!(rebound.status, 403, "{path}");
        }
        let own = get(watched.dial.address(), "/");
        assert_eq!(own.status, 200);
        let policy = own.field("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'self';"), "{policy}");
        let source = get(watched.dial.address(), "/source/event_loop/mod.rs");
        assert!(source.text().contains("pub fn turn("));
    });
}

#[test]
fn a_dial_is_not_served_to_other_machines_unasked() {
    let event_loop = &mut EventLoop::new().unwrap();
    let control = event_loop.attach_control();
    let refused = Dial::new(control.clone()).serve("0.0.0.0:0").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    let allowed = Dial::new(control).allow_remote(true).serve("0.0.0.0:0");
    assert!(allowed.is_ok());
}

#[test]
fn a_callback_that_was_injected_to_block_is_named_with_its_place_and_its_victims() {
    run(async {
        let watched = watched();
        let mut page = watched.page().await;
        // Somebody who will have to wait.
        let wait_often = |ctx: &mut Ctx<'_>| {
            drop(ctx.spawn(async {
                loop {
                    sleep(Duration::from_millis(5)).await;
                }
            }));
        };
        watched.control.ask(PATIENCE, wait_often).unwrap();
        let wish = json!({ "do": "inject", "what": "block", "ms": 200 });
        page.ask(wish).await.unwrap();
        let finding = page.next("finding").await;
        assert_eq!(finding["kind"], "slow");
        assert_eq!(finding["work"]["kind"], "callback");
        let origin = finding["work"]["origin"].as_str().unwrap();
        let (file, place) = origin.split_once(':').unwrap();
        assert_eq!(file, "src/dial/inject.rs");
        let line: usize = place.split(':').next().unwrap().parse().unwrap();
        let source = include_str!("../../src/dial/inject.rs");
        let line = source.lines().nth(line - 1).unwrap();
        assert!(line.contains("compute(ctx, length)"), "{line}");
        assert!(finding["took_ns"].as_u64().unwrap() >= 200_000_000);
        let victims = &finding["victims"];
        assert!(victims["timers"].as_u64().unwrap() >= 1, "{victims}");
        assert!(
            victims["longest_wait_ns"].as_u64().unwrap() > 0,
            "{victims}"
        );
    });
}

#[test]
fn the_lesson_runs_in_the_order_that_its_file_tells() {
    run(async {
        let watched = watched();
        let mut page = watched.page().await;
        page.order("pause").await;
        page.next("stopped").await;
        page.ask(json!({ "do": "inject", "what": "lesson" }))
            .await
            .unwrap();
        let source = include_str!("../../src/dial/lesson.rs");
        let lines: Vec<&str> = source.lines().collect();
        let mut ran = Vec::new();
        while ran.len() < 6 {
            page.order("step_callback").await;
            let stopped = page.next("stopped").await;
            for block in stopped["ran"].as_array().unwrap() {
                let origin = block["origin"].as_str().unwrap();
                if let Some(place) = origin.strip_prefix("src/dial/lesson.rs:") {
                    let line: usize = place.split(':').next().unwrap().parse().unwrap();
                    let line = lines[line - 1].trim_end_matches([')', ';']);
                    ran.push(line.rsplit([' ', '(']).next().unwrap());
                }
            }
        }
        // This one depends on how long the steps took.
        ran.retain(|name| *name != "timer_of_5_ms");
        let expected = [
            "first",
            "second",
            "from_another_thread",
            "third",
            "timer_of_nothing",
        ];
        assert_eq!(ran, expected);
    });
}

#[test]
fn clients_that_misbehave_come_and_go_and_the_chat_goes_on() {
    run(async {
        let watched = watched();
        let mut chat = watched.chat().await;
        let mut page = watched.page().await;
        let injections = [
            (json!({ "what": "connections", "count": 20, "ms": 300 }), 20),
            (json!({ "what": "slow_headers", "count": 3, "ms": 300 }), 3),
            (json!({ "what": "slow_reader", "ms": 300 }), 1),
            (json!({ "what": "reset" }), 1),
        ];
        let mut accepted = watched.server.counts().accepted;
        for (mut wish, count) in injections {
            wish["do"] = "inject".into();
            page.ask(wish).await.unwrap();
            accepted += count;
            while watched.server.counts().accepted < accepted {
                sleep(Duration::from_millis(1)).await;
            }
            say(&mut chat, "still here").await;
        }
        while watched.server.counts().open > 1 {
            sleep(Duration::from_millis(5)).await;
        }
        say(&mut chat, "and now alone").await;
        let too_many = json!({ "do": "inject", "what": "connections", "count": 500, "ms": 100 });
        page.ask(too_many.clone()).await.unwrap();
        let refused = page.ask(too_many).await.unwrap_err();
        assert!(refused.contains("still there"), "{refused}");
    });
}

#[test]
fn a_connection_is_broken_on_travelled_with_and_closed() {
    run(async {
        let watched = watched();
        let mut chat = watched.chat().await;
        let mut page = watched.page().await;
        say(&mut chat, "hello").await;
        let token = token_of(&page.slot("websocket").await);

        let mut wish =
            json!({ "do": "break_on", "what": "connection", "value": token, "on": true });
        page.ask(wish.clone()).await.unwrap();
        chat.send("stop here").await.unwrap();
        let stopped = page.next("stopped").await;
        assert_eq!(stopped["break"], format!("source {token}"));
        assert_eq!(stopped["next"]["token"], token);
        assert_eq!(stopped["phase"], 1);
        wish["on"] = false.into();
        page.ask(wish).await.unwrap();
        page.order("resume").await;
        assert_eq!(hear(&mut chat).await, "stop here");

        page.ask(json!({ "do": "journey", "token": token }))
            .await
            .unwrap();
        let journey = page.next("journey").await;
        let steps = journey["steps"].as_array().unwrap();
        let last = steps.last().unwrap();
        assert_eq!(last["gap_is"], "the peer");
        let what = last["what"].as_str().unwrap();
        // Masked, and not: RFC 6455, 5.2.
        assert!(
            what.contains("read 15 bytes") && what.contains("wrote 11 bytes"),
            "{what}"
        );

        let refused = page.ask(json!({ "do": "cancel", "token": token })).await;
        assert_eq!(refused.unwrap_err(), "no task has this token");
        page.ask(json!({ "do": "close", "token": token }))
            .await
            .unwrap();
        assert!(matches!(chat.recv().await, Err(_) | Ok(None)));
    });
}

#[test]
fn a_task_is_shown_with_what_it_waits_on_and_cancelled() {
    run(async {
        let watched = watched();
        let mut page = watched.page().await;
        let (send, ended) = channel();
        watched
            .control
            .order(move |ctx| {
                let task = ctx.spawn_named("patient", sleep(Duration::from_secs(3_600)));
                task.on_done(move |_, result| send.send(result.is_err()).unwrap());
            })
            .unwrap();
        let named = |message: &Value| {
            let tasks = message["tasks"].as_array()?;
            tasks.iter().find(|task| task["name"] == "patient").cloned()
        };
        let task = named(&page.find(|message| named(message).is_some()).await).unwrap();
        assert_eq!(task["state"], "waiting");
        assert_eq!(task["wakes"], "timer");
        let waits_on = task["waits_on"].as_str().unwrap();
        assert!(waits_on.starts_with("timer, due in "), "{waits_on}");
        page.ask(json!({ "do": "cancel", "token": task["token"] }))
            .await
            .unwrap();
        assert!(ended.recv_timeout(PATIENCE).unwrap());
    });
}

#[test]
fn a_page_that_goes_takes_its_pause_along() {
    run(async {
        let watched = watched();
        let mut chat = watched.chat().await;
        let mut page = watched.page().await;
        page.ask(json!({ "do": "break_on", "what": "timer", "on": true }))
            .await
            .unwrap();
        page.order("pause").await;
        page.next("stopped").await;
        chat.send("is anyone there?").await.unwrap();
        page.socket.close(CloseCode::Normal, "").await.unwrap();
        assert_eq!(hear(&mut chat).await, "is anyone there?");
        let (_, hello) = watched.look().await;
        assert_eq!(hello["breaks"], json!([]));
    });
}

#[test]
fn a_loop_that_sleeps_is_not_woken_to_be_looked_at() {
    run(async {
        let watched = watched();
        let (mut page, _) = watched.look().await;
        page.ask(json!({ "do": "rate", "hz": 30 })).await.unwrap();
        // Some ticks after the last thing has happened.
        let mut quiet = (0, 0);
        while quiet.1 < 5 {
            let tick = page.next("tick").await;
            let turn = tick["turn"].as_u64().unwrap();
            quiet = match tick["state"] == "asleep" && quiet.0 == turn {
                true => (turn, quiet.1 + 1),
                false => (turn, 0),
            };
        }
        assert_eq!(
            page.tick["stats"]["turns"],
            quiet.0 - 1,
            "what is shown is how it is"
        );
    });
}

#[test]
fn what_was_recorded_can_be_fetched_as_a_trace() {
    run(async {
        let watched = watched();
        let mut page = watched.page().await;
        let mut chat = watched.chat().await;
        say(&mut chat, "recorded").await;
        page.order("pause").await;
        page.next("stopped").await;
        let trace = get(watched.dial.address(), "/trace");
        assert_eq!(trace.field("content-type"), Some("application/json"));
        let trace: Value = serde_json::from_str(trace.text()).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        assert!(events.len() > 20, "{}", events.len());
    });
}

#[test]
fn an_app_shows_its_own_loop_and_says_why_it_does_not_pause_it() {
    run(async {
        let server = serve_with(|| chat().mount("/loop", dial::view()), |_, _| {});
        let page = get(server.address, "/loop");
        assert_eq!((page.status, page.field("location")), (308, Some("loop/")));
        let page = get(server.address, "/loop/");
        assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
        let mut page = Page::open(&format!("ws://{}/loop/live", server.address)).await;
        let hello = page.next("hello").await;
        assert_eq!(hello["own_loop"], false);
        let refused = page.ask(json!({ "do": "pause" })).await.unwrap_err();
        assert_eq!(refused, hello["why_not"].as_str().unwrap());
        let busy = |message: &Value| {
            let turns = message["turns"].as_array();
            turns.is_some_and(|turns| turns.iter().any(|turn| turn["events"] != 0))
        };
        page.find(busy).await;
        page.slot("listener").await;
    });
}

#[test]
fn what_is_no_message_is_told_so() {
    run(async {
        let watched = watched();
        let mut page = watched.page().await;
        for wish in [
            json!({ "do": "fly" }),
            json!({ "do": "journey", "token": "five" }),
            json!({ "do": "break_on", "what": "connection", "on": true }),
        ] {
            page.ask(wish.clone()).await.expect_err(&wish.to_string());
        }
        page.socket.send("[]").await.unwrap();
        while let Ok(Some(_)) = page.socket.recv().await {}
        assert_eq!(page.socket.close_frame().unwrap().code, CloseCode::Policy);
    });
}
