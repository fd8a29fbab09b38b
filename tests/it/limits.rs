//! How many, and how much memory.

use std::io::Write;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tourbillon::event_loop::{EventLoop, TurnBudget};
use tourbillon::web::{
    App, Budget, Limits, OutboxPolicy, Refusal, Request, Response, SendOutcome, Shared, WebSocket,
    task,
};

use crate::support::{BINARY, Client, FINAL, Running, next, serve};

/// More than the sockets between a server and a client that does not read can hold.
static LARGE: [u8; 20_000_000] = [b'x'; 20_000_000];

/// Begins to read when the connection has ended, and says how many messages there were.
async fn behind(mut ws: WebSocket, told: Shared<Sender<usize>>) {
    while ws.sender().is_open() {
        tourbillon::task::sleep(Duration::from_millis(1)).await;
    }
    let mut messages = 0;
    while ws.next().await.is_some() {
        messages += 1;
    }
    told.with(|told| told.send(messages).unwrap());
}

/// Sends to whoever has come, as long as it can.
async fn flood(ws: WebSocket, _: Shared<()>) {
    let message = vec![b'x'; 60_000];
    while ws.send(&message) != SendOutcome::Closed {
        tourbillon::task::yield_now().await;
    }
}

fn server(limits: Limits) -> Running {
    serve(|| {
        App::new(())
            .limits(limits)
            .get("/fine", |_: &Request, _: &mut ()| "fine")
            .get("/static", |_: &Request, _: &mut ()| {
                Response::new(&LARGE[..])
            })
            .get("/owned", |_: &Request, _: &mut ()| LARGE.to_vec())
            .post("/length", |request: &Request, _: &mut ()| {
                request.body().len().to_string()
            })
    })
}

#[test]
fn one_connection_too_many_is_told_to_come_again() {
    let server = server(Limits {
        budget: Budget {
            connections_max: Some(2),
            ..Budget::default()
        },
        ..Limits::default()
    });
    let mut kept: Vec<_> = (0..2).map(|_| server.connect()).collect();
    server.wait_until("both are in", |server| server.counts().open == 2);
    for n in 1..=3 {
        let mut client = server.connect();
        let answer = client.answer();
        assert_eq!(
            (answer.status, answer.field("connection")),
            (503, Some("close"))
        );
        assert_eq!(answer.field("retry-after"), Some("1"));
        client.assert_closed();
        assert_eq!(server.hits("connections"), n);
    }
    for client in &mut kept {
        client.get("/fine");
        assert_eq!(client.answer().text(), "fine");
    }
    drop(kept);
    server.wait_until_empty();
    server.assert_it_goes_on();
}

#[test]
fn one_connection_too_many_may_be_closed_without_a_word() {
    let server = server(Limits {
        budget: Budget {
            connections_max: Some(1),
            ..Budget::default()
        },
        refusal: Refusal::Drop,
        ..Limits::default()
    });
    let mut kept = server.connect();
    server.wait_until("it is in", |server| server.counts().open == 1);
    let mut client = server.connect();
    let _ = client
        .stream
        .write_all(b"GET /fine HTTP/1.1\r\nHost: a\r\n\r\n");
    client.assert_gone();
    assert_eq!(server.hits("connections"), 1);
    kept.get("/fine");
    assert_eq!(kept.answer().text(), "fine");
}

#[test]
fn one_peer_has_its_share_of_the_connections_and_no_more() {
    let server = server(Limits {
        connections_per_peer_max: Some(2),
        ..Limits::default()
    });
    let mut kept: Vec<_> = (0..2).map(|_| server.connect()).collect();
    server.wait_until("both are in", |server| server.counts().open == 2);
    assert_eq!(server.get("/fine").status, 503);
    assert_eq!(server.hits("connections_per_peer"), 1);
    assert_eq!(server.hits("connections"), 0);
    kept.pop();
    server.wait_until("there is room again", |server| {
        server.counts().open < 2 && server.get("/fine").status == 200
    });
}

#[test]
fn by_default_one_peer_may_have_all_connections_over_loopback() {
    let server = server(Limits {
        budget: Budget {
            connections_max: Some(8),
            ..Budget::default()
        },
        ..Limits::default()
    });
    let kept: Vec<_> = (0..8).map(|_| server.connect()).collect();
    server.wait_until("all are in", |server| server.counts().open == 8);
    drop(kept);
}

#[test]
fn connections_that_come_too_fast_are_told_to_come_again() {
    let server = server(Limits {
        accept_rate_max: Some(3),
        ..Limits::default()
    });
    let mut statuses: Vec<_> = (0..20).map(|_| server.get("/fine").status).collect();
    assert_eq!(statuses[..3], [200, 200, 200]);
    statuses.retain(|status| *status == 503);
    // However slow the machine is, it was not slower than three a second by much.
    assert!(!statuses.is_empty(), "none was refused");
    assert_eq!(server.hits("accept_rate"), statuses.len() as u64);
    server.wait_until("they may come again", |server| {
        server.get("/fine").status == 200
    });
}

const BYTES_MAX: usize = 1 << 20;

fn with_little_memory() -> Running {
    server(Limits {
        budget: Budget {
            bytes_max: BYTES_MAX,
            ..Budget::default()
        },
        ..Limits::default()
    })
}

/// Send a request with a body of `length` bytes but for its last ones, if the server lets us.
fn send_most(client: &mut Client, length: usize) {
    let head = format!("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let _ = client.stream.write_all(head.as_bytes());
    let _ = client.stream.write_all(&vec![b'x'; length - 100]);
}

#[test]
fn a_flood_of_unfinished_bodies_stays_within_the_budget() {
    let server = with_little_memory();
    let mut polite = server.connect();
    polite.get("/fine");
    assert_eq!(polite.answer().text(), "fine");
    // Thirty times what there is.
    let flood: Vec<_> = (0..150)
        .map(|_| {
            let mut client = server.connect();
            send_most(&mut client, 200_000);
            let bytes = server.counts().bytes;
            assert!(bytes <= BYTES_MAX, "{bytes}");
            client
        })
        .collect();
    assert!(server.hits("bytes") > 100, "{}", server.hits("bytes"));
    // Who is in and asks for little is served.
    polite.get("/fine");
    assert_eq!(polite.answer().text(), "fine");
    drop(flood);
    server.wait_until("only the polite one is left", |server| {
        server.counts().open == 1
    });
    assert_eq!(server.counts().bytes, 0);
    polite.post("/length", &"x".repeat(500_000));
    assert_eq!(polite.answer().text(), "500000");
    server.assert_it_goes_on();
}

#[test]
fn near_the_end_of_the_budget_nothing_new_is_begun() {
    let server = with_little_memory();
    let mut small = server.connect();
    small.get("/fine");
    assert_eq!(small.answer().text(), "fine");
    let mut large = server.connect();
    send_most(&mut large, 1_000_000);
    server.wait_until("most is held", |server| server.counts().bytes >= 999_900);

    // A connection, and a body that would have to be collected; not one that is here already.
    let answer = server.get("/fine");
    assert_eq!(
        (answer.status, answer.field("retry-after")),
        (503, Some("1"))
    );
    small.post("/length", "hello");
    assert_eq!(small.answer().text(), "5");
    send_most(&mut small, 300);
    let answer = small.answer();
    assert_eq!(
        (answer.status, answer.field("connection")),
        (503, Some("close"))
    );
    assert_eq!(server.hits("bytes"), 2);

    // Who was let in comes to its end.
    large.send("x".repeat(100));
    assert_eq!(large.answer().text(), "1000000");
    assert_eq!(server.counts().bytes, 0);
    server.assert_it_goes_on();
}

#[test]
fn who_holds_most_goes_first_and_is_told_if_it_can_be() {
    let server = with_little_memory();
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.get("/fine");
        assert_eq!(client.answer().text(), "fine");
    }
    let [large, small, last] = &mut clients[..] else {
        unreachable!("there are three")
    };
    send_most(large, 600_000);
    send_most(small, 200_000);
    server.wait_until("both are held", |server| server.counts().bytes >= 799_800);
    send_most(last, 400_000);
    let answer = large.answer();
    assert_eq!(
        (answer.status, answer.field("connection")),
        (503, Some("close"))
    );
    assert_eq!(server.hits("bytes"), 1);
    for (client, length) in [(small, "200000"), (last, "400000")] {
        client.send("x".repeat(100));
        assert_eq!(client.answer().text(), length);
    }
}

#[test]
fn an_answer_that_is_not_taken_counts_and_one_of_the_program_does_not() {
    let server = with_little_memory();
    let mut client = server.connect();
    client.get("/static");
    server.wait_until("it does not take it all", |server| {
        server.connections().iter().any(|one| one.paused)
    });
    assert!(server.counts().bytes < 100_000);
    assert_eq!(server.hits("bytes"), 0);
    drop(client);
    let mut client = server.connect();
    client.get("/owned");
    server.wait_until("it was cut", |server| server.hits("bytes") == 1);
    client.head();
    server.wait_until_empty();
    assert_eq!(server.counts().bytes, 0);
}

/// The limits and the counters that go with them; for those without, why.
const COUNTED: &[(&str, Result<&str, &str>)] = &[
    ("first_byte_timeout", Ok("first_byte_timeout")),
    ("header_timeout", Ok("header_timeout")),
    ("body_timeout", Ok("body_timeout")),
    ("body_rate_min", Ok("body_timeout")),
    ("handler_timeout", Ok("handler_timeout")),
    ("write_timeout", Ok("write_timeout")),
    ("keep_alive_timeout", Ok("keep_alive_timeout")),
    ("requests_per_connection_max", Ok("requests_per_connection")),
    ("connection_age_max", Ok("connection_age")),
    ("ping_after", Ok("ping_after")),
    ("pong_timeout", Ok("pong_timeout")),
    ("websocket_idle_timeout", Ok("websocket_idle_timeout")),
    ("websocket_lifetime_max", Ok("websocket_lifetime_max")),
    ("half_close", Err("a choice")),
    ("linger_timeout", Ok("linger")),
    ("linger_bytes_max", Ok("linger")),
    ("head.head_bytes_max", Ok("refused_requests")),
    ("head.line_bytes_max", Ok("refused_requests")),
    ("head.fields_max", Ok("refused_requests")),
    ("head.chunk_extension_bytes_max", Ok("refused_requests")),
    ("head.chunk_extensions_bytes_max", Ok("refused_requests")),
    ("head.trailer_bytes_max", Ok("refused_requests")),
    ("body_bytes_max", Ok("body_bytes")),
    ("pipe_bytes_max", Err("nothing is lost: its source waits")),
    ("websocket.message_bytes_max", Ok("refused_messages")),
    ("websocket.fragments_max", Ok("refused_messages")),
    ("outbox.bytes_max", Ok("outbox_bytes")),
    ("outbox.when_full", Err("a choice")),
    ("budget.connections_max", Ok("connections")),
    ("budget.bytes_max", Ok("bytes")),
    (
        "budget.callbacks_max",
        Err("each turn counts its callbacks"),
    ),
    ("connections_per_peer_max", Ok("connections_per_peer")),
    ("accept_rate_max", Ok("accept_rate")),
    ("refusal", Err("a choice")),
    ("close_timeout", Ok("close_timeout")),
    (
        "shutdown_timeout",
        Err("the shutdown's report says what was cut"),
    ),
];

/// The fields of `limits`, those of its parts included, as its `Debug` has them.
fn fields(limits: &Limits) -> Vec<String> {
    let mut path = Vec::new();
    let mut fields = Vec::new();
    for line in format!("{limits:#?}").lines().skip(1) {
        match line.trim().split_once(": ") {
            Some((name, value)) if value.ends_with('{') => path.push(format!("{name}.")),
            Some((name, _)) => fields.push(path.concat() + name),
            None => {
                path.pop();
            }
        }
    }
    fields
}

#[test]
fn every_limit_is_printed_with_its_unit_and_counted_or_not_for_a_reason() {
    let limits = Limits::default();
    let fields = fields(&limits);
    let counted: Vec<_> = COUNTED.iter().map(|(limit, _)| *limit).collect();
    assert_eq!(fields, counted);

    let printed = limits.to_string();
    let names: Vec<_> = (printed.lines())
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(names, fields);
    for line in [
        "first_byte_timeout               10 s",
        "body_rate_min                    1024 bytes/s",
        "head.fields_max                  100 fields",
        "outbox.when_full                 Close",
        "budget.bytes_max                 268435456 bytes",
        "budget.callbacks_max             1024 callbacks/turn",
        "accept_rate_max                  any",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{printed}");
    }

    let server = server(limits);
    let hits: Vec<_> = server.ask(|_, server| server.hits().all().map(|(name, _)| name).to_vec());
    for (limit, counter) in COUNTED {
        if let Ok(counter) = counter {
            assert!(
                hits.contains(counter),
                "{limit} is to be counted by {counter}"
            );
        }
    }
    for name in hits {
        assert!(
            COUNTED.iter().any(|(_, counter)| *counter == Ok(name)),
            "{name} counts nothing"
        );
    }
    // What was not said is found out.
    let connections_max = server.ask(|_, server| server.limits().budget.connections_max);
    assert_eq!(connections_max.is_some(), cfg!(target_os = "linux"));
}

#[test]
fn messages_that_are_not_taken_count_also_while_nobody_visits() {
    let server = serve(|| {
        let limits = Limits {
            budget: Budget {
                bytes_max: BYTES_MAX,
                ..Budget::default()
            },
            // That one is not to be what stops it.
            outbox: OutboxPolicy {
                bytes_max: 64 * BYTES_MAX,
                ..OutboxPolicy::default()
            },
            ..Limits::default()
        };
        App::new(())
            .limits(limits)
            .get("/fine", |_: &Request, (): &mut ()| "fine")
            .ws("/flood", task(flood))
    });
    let ws = server.websocket("/flood");
    server.wait_until("it was cut", |server| server.hits("bytes") > 0);
    assert_eq!(server.hits("outbox_bytes"), 0);
    server.wait_until_empty();
    assert_eq!(server.counts().bytes, 0);
    drop(ws);
    server.assert_it_goes_on();
}

#[test]
fn messages_that_wait_for_a_task_count_and_are_thrown_away_with_their_connection() {
    let (tell, told) = channel();
    let server = serve(move || {
        let limits = Limits {
            budget: Budget {
                bytes_max: BYTES_MAX,
                ..Budget::default()
            },
            ..Limits::default()
        };
        App::new(tell).limits(limits).ws("/behind", task(behind))
    });
    let mut sockets: Vec<_> = (0..8).map(|_| server.websocket("/behind")).collect();
    // More than there is room for, one after another.
    for ws in &mut sockets {
        let before = server.counts().bytes;
        ws.send(FINAL | BINARY, vec![b'x'; 200_000]);
        server.wait_until("it is held, or somebody was cut", |server| {
            server.counts().bytes >= before + 200_000 || server.hits("bytes") > 0
        });
        assert!(server.counts().bytes <= BYTES_MAX);
    }
    assert!(server.hits("bytes") > 0);
    // Whose connection was cut has nothing to read any more.
    assert_eq!(next(&told), 0);
    drop(sockets);
    server.wait_until_empty();
    assert_eq!(server.counts().bytes, 0);
}

#[test]
fn a_server_bounds_the_callbacks_of_its_loop() {
    let mut event_loop = EventLoop::new().unwrap();
    let limits = Limits {
        budget: Budget {
            callbacks_max: 3,
            ..Budget::default()
        },
        ..Limits::default()
    };
    let listening = App::new(())
        .limits(limits)
        .listen(&mut event_loop.ctx(), "127.0.0.1:0");
    assert!(listening.is_ok());
    for _ in 0..10 {
        event_loop.call_soon(|_| {});
    }
    let mut turn = || event_loop.turn(TurnBudget::no_wait()).unwrap().callbacks;
    assert_eq!([turn(), turn(), turn(), turn(), turn()], [3, 3, 3, 1, 0]);
}

#[test]
fn keep_alive_is_cut_short_when_connections_run_short() {
    // Nobody waits ten seconds here: it is enough to see the deadline of those that are idle move.
    let server = server(Limits {
        budget: Budget {
            connections_max: Some(10),
            ..Budget::default()
        },
        keep_alive_timeout: Duration::from_secs(60),
        ..Limits::default()
    });
    let mut clients: Vec<_> = (0..9).map(|_| server.connect()).collect();
    server.wait_until("all are in", |server| server.counts().open == 9);
    let ranks = |server: &Running| {
        let connections = server.connections();
        connections
            .iter()
            .filter_map(|one| one.idle_rank)
            .min()
            .unwrap()
    };
    let deadline = |server: &Running| ranks(server);
    clients[0].get("/fine");
    assert_eq!(clients[0].answer().text(), "fine");
    let crowded = deadline(&server);
    clients.truncate(1);
    server.wait_until("one is left", |server| server.counts().open == 1);
    clients[0].get("/fine");
    assert_eq!(clients[0].answer().text(), "fine");
    assert!(deadline(&server) > crowded + 20_000);
}

#[test]
fn a_thousand_idle_connections_hold_no_buffers() {
    let server = server(Limits::default());
    let mut clients: Vec<_> = (0..1_000)
        .map(|_| {
            let mut client = server.connect();
            client.get("/fine");
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.answer().text(), "fine");
        // And a second one, that came in two pieces.
        client.send("GET /fi");
    }
    for client in &mut clients {
        client.send("ne HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().text(), "fine");
    }
    let connections = server.connections();
    assert_eq!(connections.len(), 1_000);
    for connection in connections {
        assert_eq!((connection.state, connection.bytes_held), ("idle", 0));
        assert!(connection.idle_rank.is_some() && !connection.paused);
    }
}

#[test]
fn connections_that_are_accepted_and_closed_leave_nothing_behind() {
    let server = server(Limits::default());
    let before = server.ask(|ctx, _| (ctx.stats().sources, ctx.driver().open_sockets()));
    for _ in 0..300 {
        assert_eq!(server.get("/fine").text(), "fine");
    }
    server.wait_until_empty();
    let after = server.ask(|ctx, _| (ctx.stats().sources, ctx.driver().open_sockets()));
    assert_eq!(before, after);
    server.wait_until("no timer is left", |server| {
        server.ask(|ctx, _| ctx.stats().timers_set) == 0
    });
}
