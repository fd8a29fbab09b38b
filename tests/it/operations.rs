//! `/metrics`, the census and the actions, over sockets.

use std::time::Duration;

use serde_json::Value;
use tourbillon::operations::Fleet;
use tourbillon::web::{
    App, CloseCode, Engine, Guard, Message, Peer, Request, Shared, Socket, Threads, task,
};

use crate::support::{Answer, Client, PATIENCE, Running, serve};

struct Echo;

impl Socket<()> for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut ()) {
        peer.send(message);
    }
}

async fn long(request: Request, _: Shared<()>) -> &'static str {
    request.handle().sleep(Duration::from_secs(3600)).await;
    "at last"
}

fn app(fleet: &Fleet) -> App<()> {
    App::new(())
        .get("/fine", |_: &Request, _: &mut ()| "fine")
        .get("/long", task(long))
        .ws("/echo", |_: &Request, _: &mut ()| Ok(Echo))
        .metrics("/metrics", fleet)
        .operations("/ops", fleet, &Guard::with_token("abracadabra"))
}

fn server() -> Running {
    serve(|| app(&Fleet::new()))
}

/// One request, with further fields.
fn ask(server: &Running, method: &str, target: &str, fields: &str) -> Answer {
    let mut client = server.connect();
    client.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
    ));
    client.answer()
}

const TOKEN: &str = "Authorization: Bearer abracadabra\r\n";

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// The value of a sample, with its labels as they stand there.
fn sample(page: &str, name: &str) -> Option<f64> {
    let rest = page.lines().find_map(|line| line.strip_prefix(name))?;
    rest.trim().parse().ok()
}

#[test]
fn the_metrics_count_what_happened() {
    let server = server();
    for _ in 0..3 {
        assert_eq!(server.get("/fine").status, 200);
    }
    assert_eq!(server.get("/nowhere").status, 404);
    let mut socket = server.websocket("/echo");
    socket.text("hello");
    assert_eq!(socket.read_text(), "hello");
    let answer = server.get("/metrics");
    assert_eq!(
        answer.field("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let page = answer.text();
    for (name, value) in [
        (
            "tourbillon_http_answers_total{route=\"/fine\",method=\"GET\",status=\"2xx\"}",
            3.0,
        ),
        (
            "tourbillon_http_answers_total{route=\"\",method=\"\",status=\"4xx\"}",
            1.0,
        ),
        (
            "tourbillon_http_answers_total{route=\"/echo\",method=\"GET\",status=\"1xx\"}",
            1.0,
        ),
        (
            "tourbillon_http_request_duration_seconds_count{route=\"/fine\",method=\"GET\"}",
            3.0,
        ),
        (
            "tourbillon_http_requests_in_flight{route=\"/metrics\"}",
            1.0,
        ),
        ("tourbillon_websocket_open{route=\"/echo\"}", 1.0),
        (
            "tourbillon_websocket_received_messages_total{loop=\"0\"}",
            1.0,
        ),
        ("tourbillon_websocket_received_bytes_total{loop=\"0\"}", 5.0),
        ("tourbillon_websocket_sent_messages_total{loop=\"0\"}", 1.0),
        ("tourbillon_websocket_sent_bytes_total{loop=\"0\"}", 5.0),
        (
            "tourbillon_server_limit_hits_total{loop=\"0\",limit=\"bytes\"}",
            0.0,
        ),
        ("tourbillon_loop_up{loop=\"0\"}", 1.0),
    ] {
        assert_eq!(sample(page, name), Some(value), "{name} in\n{page}");
    }
    // Whoever waits long enough is accepted, heard and answered in one.
    assert!(sample(page, "tourbillon_loop_turns_total{loop=\"0\"}") > Some(0.0));
    assert!(sample(page, "tourbillon_loop_awake_seconds_total{loop=\"0\"}") > Some(0.0));
    if cfg!(target_os = "linux") {
        assert!(sample(page, "process_resident_memory_bytes") > Some(1e6));
        assert!(sample(page, "process_open_fds") >= Some(3.0));
    }
    socket.close(CloseCode::Normal);
    server.wait_until("the close is counted", |server| {
        let page = server.get("/metrics");
        sample(
            page.text(),
            "tourbillon_websocket_closed_total{loop=\"0\",code=\"1000\"}",
        ) == Some(1.0)
    });
    let page = ask(
        &server,
        "GET",
        "/metrics",
        "Accept: application/openmetrics-text\r\n",
    );
    assert!(
        page.field("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    assert!(page.text().ends_with("# EOF\n"));
}

#[test]
fn each_loop_of_an_engine_shows_all_of_them() {
    let fleet = Fleet::new();
    let running = Engine::Loops(2)
        .start("127.0.0.1:0", move || app(&fleet))
        .unwrap();
    let get = |target: &str| {
        let mut client = Client::connect(running.address());
        client.get(target);
        client.answer()
    };
    for _ in 0..8 {
        assert_eq!(get("/fine").status, 200);
    }
    let answer = get("/metrics");
    let page = answer.text();
    for number in 0..2 {
        let name = format!("tourbillon_loop_up{{loop=\"{number}\"}}");
        assert_eq!(sample(page, &name), Some(1.0), "{page}");
    }
    // Wherever they were served.
    let name = "tourbillon_http_request_duration_seconds_count{route=\"/fine\",method=\"GET\"}";
    assert_eq!(sample(page, name), Some(8.0), "{page}");
    let census = json(&get("/ops/census"));
    assert_eq!(census["loops"].as_array().unwrap().len(), 2);
    running.shutdown(PATIENCE);
}

#[test]
fn of_an_engine_of_threads_the_loop_that_takes_in_is_shown() {
    let fleet = Fleet::new();
    let engine = Engine::Threads(Threads::default());
    let running = engine.start("127.0.0.1:0", move || app(&fleet)).unwrap();
    let mut client = Client::connect(running.address());
    client.get("/metrics");
    let answer = client.answer();
    assert_eq!(
        sample(answer.text(), "tourbillon_loop_up{loop=\"0\"}"),
        Some(1.0)
    );
    assert_eq!(
        sample(answer.text(), "tourbillon_loop_up{loop=\"1\"}"),
        None
    );
    drop(client);
    running.shutdown(PATIENCE);
}

#[test]
fn the_guard_lets_this_machine_look_and_the_token_act() {
    let server = server();
    assert_eq!(server.get("/ops/census").status, 200);
    let status = |method, target, fields| ask(&server, method, target, fields).status;
    assert_eq!(
        status("GET", "/ops/census", "Origin: http://example.org\r\n"),
        403
    );
    assert_eq!(status("POST", "/ops/debug?on=true", ""), 401);
    assert_eq!(
        status(
            "POST",
            "/ops/debug?on=true",
            "Authorization: Bearer abra\r\n"
        ),
        401
    );
    assert!(!server.ask(|ctx, _| ctx.is_debug()));
    assert_eq!(status("POST", "/ops/debug?on=true", TOKEN), 200);
    assert!(server.ask(|ctx, _| ctx.is_debug()));
    assert_eq!(status("GET", "/ops/close?token=1.0", TOKEN), 405);
    let mut client = server.connect();
    client.send("GET /ops/census HTTP/1.1\r\nHost: rebound.example\r\n\r\n");
    assert_eq!(client.answer().status, 403);
}

#[test]
fn the_census_shows_a_connection_and_closes_it() {
    let server = server();
    let mut waiting = server.connect();
    waiting.get("/long");
    server.wait_until("its handler is at work", |server| {
        server
            .connections()
            .iter()
            .any(|one| one.state == "in its handler")
    });
    let census = json(&server.get("/ops/census"));
    let of_long = |census: &Value| {
        let connections = census["loops"][0]["connections"]
            .as_array()
            .unwrap()
            .clone();
        connections.into_iter().find(|one| one["route"] == "/long")
    };
    let found = of_long(&census).unwrap_or_else(|| panic!("{census}"));
    assert_eq!(
        (&found["kind"], &found["state"]),
        (&"http".into(), &"in its handler".into())
    );
    assert_eq!(found["phase"], "handler");
    assert!(found["deadline_ms"].as_f64().unwrap() > 1000.0, "{found}");
    let peer = waiting.stream.local_addr().unwrap().to_string();
    assert_eq!(found["peer"], peer.as_str());
    if cfg!(unix) {
        assert!(found["descriptor"].as_i64().unwrap() > 2, "{found}");
    }
    let table = server.get("/ops/census?as=text");
    assert!(table.text().contains(&peer), "{}", table.text());

    let target = format!("/ops/close?token={}", found["token"].as_str().unwrap());
    let closed = ask(&server, "POST", &target, TOKEN);
    assert_eq!(
        (closed.status, json(&closed)["done"].as_bool()),
        (200, Some(true))
    );
    waiting.assert_gone();
    assert!(of_long(&json(&server.get("/ops/census"))).is_none());
    let again = ask(&server, "POST", &target, TOKEN);
    assert_eq!(
        (again.status, json(&again)["done"].as_bool()),
        (404, Some(false))
    );
    server.assert_it_goes_on();
}

#[test]
fn a_task_is_cancelled_by_its_token() {
    let server = server();
    let (tell, told) = std::sync::mpsc::channel();
    server.ask(move |ctx, _| {
        let sleeping = ctx.spawn(tourbillon::task::sleep(Duration::from_secs(3600)));
        sleeping.on_done(move |_, ended| tell.send(ended.is_err()).unwrap());
    });
    server.wait_until("it waits", |server| {
        server.ask(|ctx, _| ctx.tasks().tasks.iter().any(|task| task.kind == "task"))
    });
    let token = server.ask(|ctx, _| {
        let tasks = ctx.tasks().tasks;
        tasks
            .iter()
            .find(|task| task.kind == "task")
            .map(|task| task.token)
    });
    let target = format!("/ops/cancel?token={}", token.unwrap());
    assert_eq!(ask(&server, "POST", &target, TOKEN).status, 200);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(true));
    // A connection is no task.
    let mut idle = server.connect();
    idle.get("/fine");
    assert_eq!(idle.answer().status, 200);
    let census = json(&server.get("/ops/census"));
    let token = &census["loops"][0]["connections"][0]["token"];
    let target = format!("/ops/cancel?token={}", token.as_str().unwrap());
    assert_eq!(ask(&server, "POST", &target, TOKEN).status, 404);
}

#[test]
fn what_cannot_be_done_is_said() {
    let server = server();
    let act = |target: &str| {
        let answer = ask(&server, "POST", target, TOKEN);
        (
            answer.status,
            json(&answer)["error"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    let said = |status: u16, error: &str| (status, error.to_owned());
    assert_eq!(act("/ops/close"), said(400, "?token= is missing"));
    assert_eq!(
        act("/ops/close?token=x"),
        said(400, "token: a token is written as index.generation")
    );
    assert_eq!(
        act("/ops/close?token=1.0&loop=7"),
        said(404, "no such loop")
    );
    assert_eq!(
        act("/ops/log?level=loud"),
        said(
            400,
            "level: \"loud\" is no level: off, error, warn, info or debug"
        )
    );
    assert_eq!(act("/ops/log?level=info"), said(200, ""));
    assert_eq!(act("/ops/record?on=true"), said(200, ""));
    assert!(server.ask(|ctx, _| ctx.recorder().is_on()));
}

#[test]
fn what_went_wrong_is_listed() {
    let server = serve(|| {
        app(&Fleet::new()).get("/panics", |_: &Request, _: &mut ()| -> &'static str {
            panic!("not today")
        })
    });
    assert_eq!(server.get("/panics").status, 500);
    let incidents = json(&server.get("/ops/incidents"));
    let found = incidents["loops"][0]["incidents"].as_array().unwrap();
    let panic = found.iter().find(|one| one["kind"] == "panic").unwrap();
    assert!(
        panic["text"].as_str().unwrap().contains("not today"),
        "{panic}"
    );
    assert!(
        panic["origin"].as_str().unwrap().contains("operations.rs"),
        "{panic}"
    );
    assert!(
        server
            .get("/ops/incidents?as=text")
            .text()
            .contains("panicked: not today")
    );
    assert!(
        server
            .get("/ops/limits")
            .text()
            .contains("keep_alive_timeout")
    );
    assert!(server.get("/ops/tasks").text().contains("other source"));
}
