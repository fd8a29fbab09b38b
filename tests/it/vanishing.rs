//! Clients that go away: whatever was done for them ends, and the loop goes on.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tourbillon::event_loop::Ctx;
use tourbillon::web::{
    App, Body, CloseReason, Message, OwnedMessage, Peer, Request, Response, Shared, Socket,
    WebSocket, task,
};

use crate::support::{DropGuard, FINAL, Running, TEXT, Told, forever, frame, next, serve};

async fn nap(request: Request, _: Shared<Told>) -> &'static str {
    request.handle().sleep(Duration::from_millis(30)).await;
    "rested"
}

async fn endless(_: Request, told: Shared<Told>) -> Response {
    let (mut sender, body) = Body::channel();
    let guard = told.with(|told| DropGuard("sender dropped", told.clone()));
    tourbillon::task::spawn(async move {
        let _guard = guard;
        while sender.send(vec![b'x'; 10_000]).await.is_ok() {}
    });
    Response::new(body)
}

async fn upload(mut request: Request, told: Shared<Told>) -> &'static str {
    let _guard = told.with(|told| {
        told.send("begun").unwrap();
        DropGuard("dropped", told.clone())
    });
    let mut body = request.take_body();
    while let Ok(Some(_)) = body.chunk().await {}
    "uploaded"
}

struct Told2(Told);

impl Socket<Told> for Told2 {
    fn message(&mut self, _: &mut Peer<'_>, _: Message<'_>, _: &mut Told) {}
    fn closed(&mut self, _: &mut Ctx<'_>, reason: &CloseReason, _: &mut Told) {
        assert_eq!(*reason, CloseReason::Lost);
        self.0.send("closed").unwrap();
    }
}

async fn reader(mut ws: WebSocket, told: Shared<Told>) {
    let mut count = 0;
    while let Some(OwnedMessage::Text(_)) = ws.next().await {
        count += 1;
        // So slowly that the peer has gone long before the last one.
        ws.request().handle().sleep(Duration::from_millis(1)).await;
    }
    assert!(ws.reason().is_some());
    told.with(|told| {
        told.send(if count == 200 { "all" } else { "some" })
            .unwrap()
    });
}

fn server() -> (Running, Receiver<&'static str>) {
    let (told, tells) = channel();
    let server = serve(move || {
        App::new(told)
            .get("/fine", |_: &Request, _: &mut Told| "fine")
            .get("/large", |_: &Request, _: &mut Told| vec![b'x'; 20_000_000])
            .get("/forever", task(forever))
            .get("/nap", task(nap))
            .get("/endless", task(endless))
            .post("/upload", task(upload).streaming())
            .post("/length", |request: &Request, _: &mut Told| {
                request.body().len().to_string()
            })
            .ws("/ws", |_: &Request, told: &mut Told| {
                Ok(Told2(told.clone()))
            })
            .ws("/reader", task(reader))
    });
    (server, tells)
}

#[test]
fn a_client_that_goes_in_the_middle_of_a_request_is_forgotten() {
    let (server, _) = server();
    for part in [
        "",
        "GET /fi",
        "GET /fine HTTP/1.1\r\nHost: a\r\n",
        "POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf",
        "POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha",
    ] {
        let mut client = server.connect();
        client.send(part);
        drop(client);
    }
    server.wait_until("all were taken in", |server| server.counts().accepted == 5);
    server.wait_until_empty();
    server.assert_it_goes_on();
}

#[test]
fn a_request_that_ends_in_its_middle_is_answered_to_a_client_that_still_reads() {
    let (server, _) = server();
    let mut client = server.connect();
    client.send("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.answer().status, 400);
    client.assert_closed();
}

#[test]
fn a_client_that_goes_in_the_middle_of_an_answer_is_forgotten() {
    let (server, tells) = server();
    let mut client = server.connect();
    client.get("/large");
    client.exactly(1000).unwrap();
    client.reset();
    server.wait_until_empty();

    let mut client = server.connect();
    client.get("/endless");
    client.exactly(1000).unwrap();
    drop(client);
    assert_eq!(next(&tells), "sender dropped");
    server.wait_until_empty();
    server.assert_it_goes_on();
}

#[test]
fn a_task_whose_client_has_closed_ends_and_its_connection_too() {
    let (server, _) = server();
    let mut client = server.connect();
    client.get("/nap");
    drop(client);
    server.wait_until("it was taken in", |server| server.counts().accepted == 1);
    server.wait_until_empty();
    server.assert_it_goes_on();
}

#[test]
fn a_task_is_dropped_when_its_client_resets() {
    let (server, tells) = server();
    let mut client = server.connect();
    client.send("GET /fine HTTP/1.1\r\nHost: a\r\n\r\nGET /forever HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(next(&tells), "begun");
    client.reset();
    assert_eq!(next(&tells), "dropped");
    server.wait_until_empty();
    server.assert_it_goes_on();
}

#[test]
fn a_task_that_reads_a_body_is_dropped_when_its_client_goes() {
    let (server, tells) = server();
    let mut client = server.connect();
    client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(next(&tells), "begun");
    drop(client);
    assert_eq!(next(&tells), "dropped");
    server.wait_until_empty();
}

#[test]
fn a_websocket_hears_when_its_client_goes_in_the_middle_of_a_message() {
    let (server, tells) = server();
    for part in [&b""[..], b"\x81", &frame(FINAL | TEXT, b"hello")[..8]] {
        let mut ws = server.websocket("/ws");
        ws.client.send(part);
        drop(ws);
        assert_eq!(next(&tells), "closed");
    }
    server.wait_until_empty();
    assert_eq!(server.counts().websockets, 0);
    server.assert_it_goes_on();
}

#[test]
fn what_a_client_sent_before_it_went_reaches_a_task_that_is_behind() {
    let (server, tells) = server();
    let mut ws = server.websocket("/reader");
    let burst = frame(FINAL | TEXT, b"hello").repeat(200);
    ws.client.send(burst);
    drop(ws);
    assert_eq!(next(&tells), "all");
    server.wait_until_empty();
}
