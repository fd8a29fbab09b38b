//! What becomes of a handler when its client goes: dropped, left to itself, or told.

use std::net::Shutdown;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tourbillon::web::{App, Body, Budget, Limits, OnDisconnect, Request, Response, Shared, task};

use crate::support::{Client, DropGuard, Running, Told, forever, next, serve};

/// Works for a while, and says how far it came.
async fn work(request: Request, told: Shared<Told>) -> &'static str {
    let say = |what| told.with(|told| told.send(what).unwrap());
    let _guard = told.with(|told| DropGuard("dropped", told.clone()));
    say("begun");
    request.handle().sleep(Duration::from_millis(30)).await;
    say("ended");
    "worked"
}

/// Ends when it is told that its peer has gone, and still has an answer then.
async fn told(request: Request, told: Shared<Told>) -> &'static str {
    assert!(!request.is_disconnected());
    told.with(|told| told.send("begun").unwrap());
    request.disconnected().await;
    assert!(request.is_disconnected());
    told.with(|told| told.send("told").unwrap());
    "goodbye"
}

async fn upload(mut request: Request, told: Shared<Told>) -> &'static str {
    told.with(|told| told.send("begun").unwrap());
    let mut body = request.take_body();
    while let Ok(Some(_)) = body.chunk().await {}
    request.handle().sleep(Duration::from_millis(5)).await;
    told.with(|told| told.send("ended").unwrap());
    "uploaded"
}

async fn hiccup(_: Request, told: Shared<Told>) -> Response {
    let (mut sender, body) = Body::channel();
    let told = told.with(|told| told.clone());
    tourbillon::task::spawn(async move {
        let _guard = DropGuard("sender dropped", told);
        sender.send("one ").await.unwrap();
        tourbillon::task::sleep(Duration::from_millis(50)).await;
        if sender.send("two").await.is_ok() {
            sender.finish();
        }
    });
    Response::text(body)
}

fn server(limits: Limits) -> (Running, Receiver<&'static str>) {
    let (tell, tells) = channel();
    let server = serve(move || {
        let detach = OnDisconnect::Detach;
        App::new(tell)
            .limits(limits)
            .get("/fine", |_: &Request, _: &mut Told| "fine")
            .get("/cancel", task(work))
            .get("/detach", task(work).on_disconnect(detach))
            .get(
                "/overdue",
                task(forever)
                    .on_disconnect(detach)
                    .timeout(Duration::from_millis(60)),
            )
            .get(
                "/stuck",
                task(forever).on_disconnect(detach).timeout(Duration::MAX),
            )
            .get("/notify", task(told).on_disconnect(OnDisconnect::Notify))
            .post("/upload", task(upload).streaming().on_disconnect(detach))
            .get("/body", task(hiccup))
            .get("/body/detach", task(hiccup).on_disconnect(detach))
    });
    (server, tells)
}

/// A client whose task has begun, and that has left the answer before unread: a reset is what its close becomes.
#[track_caller]
fn begun(server: &Running, target: &str, tells: &Receiver<&'static str>) -> Client {
    let mut client = server.connect();
    client.get("/fine");
    client.get(target);
    assert_eq!(next(tells), "begun");
    client
}

fn half_closed(server: &Running, target: &str) -> Client {
    let mut client = server.connect();
    client.get(target);
    client.stream.shutdown(Shutdown::Write).unwrap();
    client
}

#[test]
fn a_task_is_dropped_when_its_client_closes_and_its_connection_with_it() {
    let (server, tells) = server(Limits::default());
    for break_off in [|client: Client| drop(client), Client::reset] {
        let client = begun(&server, "/cancel", &tells);
        break_off(client);
        assert_eq!(next(&tells), "dropped");
        server.wait_until_empty();
    }
    server.assert_it_goes_on();
}

#[test]
fn a_client_that_ends_its_half_has_gone() {
    let (server, tells) = server(Limits::default());
    let mut client = half_closed(&server, "/cancel");
    assert_eq!((next(&tells), next(&tells)), ("begun", "dropped"));
    client.assert_closed();
    server.wait_until_empty();
}

#[test]
fn answers_that_are_made_at_once_are_sent_to_a_client_that_has_ended_its_half() {
    let (server, tells) = server(Limits::default());
    let mut client = half_closed(&server, "/fine");
    assert_eq!(client.answer().text(), "fine");
    client.assert_closed();

    let mut client = server.connect();
    client.send("GET /fine HTTP/1.1\r\nHost: a\r\n\r\nGET /cancel HTTP/1.1\r\nHost: a\r\n\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.answer().text(), "fine");
    client.assert_closed();
    assert_eq!((next(&tells), next(&tells)), ("begun", "dropped"));
}

#[test]
fn a_client_that_ends_its_half_may_be_held_to_read_on() {
    let (server, tells) = server(Limits {
        half_close: true,
        ..Limits::default()
    });
    let mut client = half_closed(&server, "/cancel");
    assert_eq!(client.answer().text(), "worked");
    client.assert_closed();
    assert_eq!((next(&tells), next(&tells)), ("begun", "ended"));
    let mut client = half_closed(&server, "/body");
    assert_eq!(client.answer().text(), "one two");
}

#[test]
fn a_task_that_is_detached_runs_to_its_end() {
    let (server, tells) = server(Limits::default());
    for break_off in [|client: Client| drop(client), Client::reset] {
        let client = begun(&server, "/detach", &tells);
        break_off(client);
        assert_eq!((next(&tells), next(&tells)), ("ended", "dropped"));
        server.wait_until_empty();
    }
    server.assert_it_goes_on();
}

#[test]
fn a_task_that_is_detached_answers_a_client_that_has_ended_its_half() {
    let (server, _tells) = server(Limits::default());
    let mut client = half_closed(&server, "/detach");
    assert_eq!(client.answer().text(), "worked");
    client.assert_closed();
    let mut client = half_closed(&server, "/body/detach");
    assert_eq!(client.answer().text(), "one two");
    client.assert_closed();
}

#[test]
fn a_streamed_answer_that_waits_for_its_sender_ends_with_the_client() {
    let (server, tells) = server(Limits::default());
    let mut client = half_closed(&server, "/body");
    let _ = client.rest();
    server.wait_until_empty();
    assert_eq!(next(&tells), "sender dropped");
}

#[test]
fn a_task_that_is_detached_in_the_middle_of_its_body_sees_that_it_is_cut() {
    let (server, tells) = server(Limits::default());
    let mut client = server.connect();
    client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(next(&tells), "begun");
    drop(client);
    assert_eq!(next(&tells), "ended");
}

#[test]
fn a_task_that_is_detached_has_its_timeout_all_the_same() {
    let (server, tells) = server(Limits::default());
    let client = begun(&server, "/overdue", &tells);
    client.reset();
    server.wait_until_empty();
    assert_eq!(next(&tells), "dropped");
    server.wait_until("it was counted", |server| {
        server.hits("handler_timeout") == 1
    });
}

#[test]
fn a_task_that_is_detached_has_a_place_among_the_connections() {
    let (server, tells) = server(Limits {
        budget: Budget {
            connections_max: Some(1),
            ..Budget::default()
        },
        ..Limits::default()
    });
    let client = begun(&server, "/overdue", &tells);
    client.reset();
    server.wait_until_empty();
    assert_eq!(next(&tells), "dropped");
    assert_eq!(server.get("/fine").status, 200);
    server.wait_until_empty();
    let client = begun(&server, "/stuck", &tells);
    client.reset();
    server.wait_until_empty();
    assert_eq!(server.get("/fine").status, 503);
    assert_eq!(server.hits("connections"), 1);
}

#[test]
fn a_task_that_wants_to_know_is_told() {
    let (server, tells) = server(Limits::default());
    // By a close, by a reset, and by an end of the half that is sent: that client still gets the answer.
    for break_off in [|client: Client| drop(client), Client::reset] {
        let client = begun(&server, "/notify", &tells);
        break_off(client);
        assert_eq!(next(&tells), "told");
        server.wait_until_empty();
    }
    let mut client = half_closed(&server, "/notify");
    assert_eq!((next(&tells), next(&tells)), ("begun", "told"));
    assert_eq!(client.answer().text(), "goodbye");
    client.assert_closed();
}
