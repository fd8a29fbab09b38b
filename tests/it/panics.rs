//! A handler that panics costs its own request, and is reported with the line of its route.

use std::sync::mpsc::channel;
use std::time::Duration;

use tourbillon::event_loop::Ctx;
use tourbillon::web::{
    App, Body, CloseReason, Message, Peer, Request, Response, Shared, Socket, WebSocket, task,
};

use crate::support::{Report, Running, serve};

/// What the loop reports for what was created on that line of this file.
#[track_caller]
fn assert_reported(server: &Running, message: &str, line: u32) {
    server.wait_until("the panic is reported", |server| {
        !server.reports().is_empty()
    });
    let report = Report {
        message: message.into(),
        origin: format!("{}:{line}", file!()),
    };
    assert_eq!(server.reports(), [report]);
    server.assert_it_goes_on();
}

fn fine() -> App<u32> {
    App::new(0).get("/fine", |_: &Request, _: &mut u32| "fine")
}

#[test]
fn a_called_handler_that_panics_is_answered_with_500() {
    fn broken(_: &Request, _: &mut u32) -> &'static str {
        panic!("called")
    }
    const LINE: u32 = line!() + 1;
    let server = serve(|| fine().get("/broken", broken));
    let mut client = server.connect();
    client.send("GET /fine HTTP/1.1\r\nHost: a\r\n\r\nGET /broken HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().text(), "fine");
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.field("connection")),
        (500, Some("close"))
    );
    client.assert_closed();
    assert_reported(&server, "called", LINE);
}

#[test]
fn a_task_that_panics_is_answered_with_500() {
    async fn broken(request: Request, state: Shared<u32>) -> &'static str {
        request.handle().sleep(Duration::from_millis(1)).await;
        state.with(|_| panic!("task"))
    }
    const LINE: u32 = line!() + 1;
    let server = serve(|| fine().get("/broken", task(broken)));
    let mut client = server.connect();
    client.get("/broken");
    assert_eq!(client.answer().status, 500);
    client.assert_closed();
    assert_reported(&server, "task", LINE);
}

#[test]
fn an_answer_that_was_begun_when_its_task_panics_is_cut_off() {
    async fn broken(_: Request, _: Shared<u32>) -> Response {
        let (mut sender, body) = Body::channel();
        tourbillon::task::spawn(async move {
            sender.send("half").await.unwrap();
            panic!("in the middle")
        });
        Response::text(body)
    }
    let server = serve(|| fine().get("/broken", task(broken)));
    let mut client = server.connect();
    client.send("GET /fine HTTP/1.1\r\nHost: a\r\n\r\nGET /broken HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().text(), "fine");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.chunk().unwrap().unwrap(), b"half");
    assert!(
        client.chunk().is_err(),
        "half an answer looks like a whole one"
    );
    assert_eq!(server.reports()[0].message, "in the middle");
    server.assert_it_goes_on();
}

/// Panics where it is told to, and says how it ended.
struct Broken {
    on_opened: bool,
    ended: std::sync::mpsc::Sender<CloseReason>,
}

impl Socket<u32> for Broken {
    fn opened(&mut self, peer: &mut Peer<'_>, _: &mut u32) {
        peer.send("welcome");
        assert!(!self.on_opened, "opened");
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut u32) {
        assert!(message != Message::Text("break"), "message");
        peer.send(message);
    }

    fn closed(&mut self, _: &mut Ctx<'_>, reason: &CloseReason, _: &mut u32) {
        let _ = self.ended.send(reason.clone());
    }
}

#[test]
fn a_websocket_that_panics_at_a_message_is_closed_with_1011() {
    let (ended, end) = channel();
    const LINE: u32 = line!() + 2;
    let server = serve(|| {
        fine().ws("/ws", move |_: &Request, _: &mut u32| {
            Ok(Broken {
                on_opened: false,
                ended: ended.clone(),
            })
        })
    });
    let mut ws = server.websocket("/ws");
    assert_eq!(ws.read_text(), "welcome");
    ws.text("one");
    ws.text("break");
    ws.text("two");
    assert_eq!(ws.read_text(), "one");
    ws.assert_closes_with(1011);
    assert_reported(&server, "message", LINE);
    let reason = crate::support::next(&end);
    assert_eq!(reason, CloseReason::Us(tourbillon::web::CloseCode::Error));
}

#[test]
fn a_websocket_that_panics_when_it_opens_is_closed_with_1011() {
    let (ended, _end) = channel();
    const LINE: u32 = line!() + 2;
    let server = serve(|| {
        fine().ws("/ws", move |_: &Request, _: &mut u32| {
            Ok(Broken {
                on_opened: true,
                ended: ended.clone(),
            })
        })
    });
    let mut ws = server.websocket("/ws");
    assert_eq!(ws.read_text(), "welcome");
    ws.assert_closes_with(1011);
    assert_reported(&server, "opened", LINE);
}

#[test]
fn a_websocket_that_panics_when_it_closes_is_reported() {
    struct Last;
    impl Socket<u32> for Last {
        fn message(&mut self, _: &mut Peer<'_>, _: Message<'_>, _: &mut u32) {}
        fn closed(&mut self, _: &mut Ctx<'_>, _: &CloseReason, _: &mut u32) {
            panic!("closed")
        }
    }
    const LINE: u32 = line!() + 1;
    let server = serve(|| fine().ws("/ws", |_: &Request, _: &mut u32| Ok(Last)));
    let ws = server.websocket("/ws");
    drop(ws);
    assert_reported(&server, "closed", LINE);
    assert_eq!(server.counts().websockets, 0);
}

#[test]
fn a_websocket_task_that_panics_is_closed_with_1011() {
    async fn broken(mut ws: WebSocket, _: Shared<u32>) {
        ws.next().await;
        panic!("websocket task")
    }
    const LINE: u32 = line!() + 1;
    let server = serve(|| fine().ws("/ws", task(broken)));
    let mut ws = server.websocket("/ws");
    ws.text("go");
    ws.assert_closes_with(1011);
    assert_reported(&server, "websocket task", LINE);
}

#[test]
fn a_function_that_panics_at_the_handshake_is_answered_with_500() {
    struct Never;
    impl Socket<u32> for Never {
        fn message(&mut self, _: &mut Peer<'_>, _: Message<'_>, _: &mut u32) {}
    }
    fn broken(_: &Request, _: &mut u32) -> Result<Never, Response> {
        panic!("handshake")
    }
    const LINE: u32 = line!() + 1;
    let server = serve(|| fine().ws("/ws", broken));
    let mut client = server.connect();
    client.send(crate::support::handshake("/ws"));
    assert_eq!(client.answer().status, 500);
    assert_reported(&server, "handshake", LINE);
}
