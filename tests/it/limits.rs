//! How many, and how much memory.

use std::time::Duration;

use tourbillon::web::{App, Limits, Request};

use crate::support::{Running, serve};

fn server(limits: Limits) -> Running {
    serve(|| {
        App::new(())
            .limits(limits)
            .get("/fine", |_: &Request, _: &mut ()| "fine")
    })
}

#[test]
fn one_connection_too_many_is_told_to_come_again() {
    let server = server(Limits {
        connections_max: Some(2),
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
fn keep_alive_is_cut_short_when_connections_run_short() {
    // Nobody waits ten seconds here: it is enough to see the deadline of those that are idle move.
    let server = server(Limits {
        connections_max: Some(10),
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
