//! Requests and answers on connections that persist.

use std::time::Duration;

use tourbillon::web::{App, Body, Limits, Request, Response, Shared, task};

use crate::support::{Running, serve};

fn app() -> App<u32> {
    async fn slow(request: Request, _: Shared<u32>) -> &'static str {
        request.handle().sleep(Duration::from_millis(30)).await;
        "slow"
    }
    async fn parts(_: Request, _: Shared<u32>) -> Response {
        let (mut sender, body) = Body::channel();
        tourbillon::task::spawn(async move {
            for part in ["one ", "two ", "three"] {
                if sender.send(part).await.is_err() {
                    return;
                }
            }
            sender.finish();
        });
        Response::text(body)
    }
    App::new(0)
        .get("/fine", |_: &Request, _: &mut u32| "fine")
        .get("/count", |_: &Request, count: &mut u32| {
            *count += 1;
            count.to_string()
        })
        .get("/slow", task(slow))
        .get("/parts", task(parts))
        .get("/204", |_: &Request, _: &mut u32| 204)
        .get("/304", |_: &Request, _: &mut u32| 304)
        .get("/large", |_: &Request, _: &mut u32| vec![b'x'; 3_000_000])
        .get(
            "/user/{name}/post/{id}",
            |request: &Request, _: &mut u32| {
                let name = request.param("name").unwrap_or_default();
                let id = request.param("id").unwrap_or_default();
                format!("{name} {id} {:?}", request.query("q"))
            },
        )
        .get("/files/{*path}", |request: &Request, _: &mut u32| {
            request.param("path").map(|path| path.into_owned())
        })
        .post("/echo", |request: &Request, _: &mut u32| {
            request.body().to_vec()
        })
        .put("/thing", |_: &Request, _: &mut u32| ())
        .delete("/thing", |_: &Request, _: &mut u32| ())
}

fn server() -> Running {
    serve(app)
}

#[test]
fn a_connection_carries_one_request_after_another() {
    let server = server();
    let mut client = server.connect();
    for n in 1..=3 {
        client.get("/count");
        let answer = client.answer();
        assert_eq!(
            (answer.status, answer.text()),
            (200, n.to_string().as_str())
        );
        assert_eq!(answer.field("connection"), None);
        assert!(answer.field("date").is_some());
    }
    assert_eq!((server.counts().accepted, server.counts().requests), (1, 3));
}

#[test]
fn a_body_leaves_nothing_to_the_requests_behind_it() {
    let server = server();
    for client in [server.connect(), server.connect()].iter_mut() {
        for body in ["the first body", "the 2nd", "", "the last body of all"] {
            client.post("/echo", body);
            assert_eq!(client.answer().text(), body);
        }
    }
}

#[test]
fn pipelined_answers_keep_their_order_behind_a_slow_task() {
    let server = server();
    let mut client = server.connect();
    let targets = [
        "/slow", "/fine", "/parts", "/count", "/204", "/slow", "/large", "/fine",
    ];
    let requests: String = targets
        .iter()
        .map(|target| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    client.send(requests);
    for (target, text) in targets.iter().zip(["slow", "fine", "one two three", "1"]) {
        assert_eq!(client.answer().text(), text, "{target}");
    }
    assert_eq!(client.head().status, 204);
    assert_eq!(client.answer().text(), "slow");
    assert_eq!(client.answer().body.len(), 3_000_000);
    assert_eq!(client.answer().text(), "fine");
}

#[test]
fn a_pipeline_longer_than_a_visit_is_answered_whole() {
    let server = server();
    let mut client = server.connect();
    const REQUESTS: usize = 5_000;
    let mut writer = client.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        use std::io::Write;
        let requests = "GET /count HTTP/1.1\r\nHost: a\r\n\r\n".repeat(REQUESTS);
        writer.write_all(requests.as_bytes()).unwrap();
    });
    for n in 1..=REQUESTS {
        assert_eq!(client.answer().text(), n.to_string());
    }
    sending.join().unwrap();
}

#[test]
fn pipelined_requests_are_answered_also_when_the_client_has_ended_its_half() {
    let server = server();
    let mut client = server.connect();
    client.send("GET /fine HTTP/1.1\r\nHost: a\r\n\r\n".repeat(200));
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    for _ in 0..200 {
        assert_eq!(client.answer().text(), "fine");
    }
    client.assert_closed();
}

#[test]
fn requests_behind_a_streamed_answer_are_answered_also_when_the_client_has_ended_its_half() {
    // Else an end that comes while the answer is being made would be the end of it, too.
    let server = serve(|| {
        app().limits(Limits {
            half_close: true,
            ..Limits::default()
        })
    });
    let mut client = server.connect();
    client.send("GET /parts HTTP/1.1\r\nHost: a\r\n\r\nGET /fine HTTP/1.1\r\nHost: a\r\n\r\n");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.answer().text(), "one two three");
    assert_eq!(client.answer().text(), "fine");
    client.assert_closed();
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = server();
    let mut client = server.connect();
    for _ in 0..2 {
        for byte in b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" {
            client.send([*byte]);
        }
        assert_eq!(client.answer().text(), "hello");
    }
}

#[test]
fn a_chunked_body_is_put_together() {
    let server = server();
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("3\r\nhel\r\n");
    client.send("2;x=y\r\nlo\r\n0\r\nX-Trailer: x\r\n\r\n");
    assert_eq!(client.answer().text(), "hello");
    client.get("/fine");
    assert_eq!(client.answer().text(), "fine");
}

#[test]
fn a_peer_that_expects_100_is_told_to_continue_once() {
    let server = server();
    let mut client = server.connect();
    client.send(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.head().status, 100);
    client.send("hello");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text()), (200, "hello"));
    client.get("/fine");
    assert_eq!(client.answer().text(), "fine");
}

#[test]
fn a_peer_that_expects_100_may_be_refused_at_once() {
    let server = server();
    for (target, status) in [("/nowhere", 404), ("/thing", 405)] {
        let mut client = server.connect();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        ));
        let answer = client.answer();
        assert_eq!(answer.status, status);
        assert_eq!(answer.field("connection"), Some("close"));
        client.assert_closed();
    }
}

#[test]
fn head_gets_the_fields_of_get_and_no_body() {
    let server = server();
    let mut client = server.connect();
    for (target, length) in [
        ("/fine", Some("4")),
        ("/large", Some("3000000")),
        ("/parts", None),
    ] {
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let head = client.head();
        assert_eq!(head.status, 200);
        assert_eq!(head.field("content-length"), length);
    }
    client.get("/fine");
    assert_eq!(client.answer().text(), "fine");
}

#[test]
fn statuses_without_a_body_have_none() {
    let server = server();
    let mut client = server.connect();
    for target in ["/204", "/304"] {
        client.get(target);
        let head = client.head();
        assert_eq!(head.status.to_string(), target[1..]);
        assert_eq!(head.field("transfer-encoding"), None);
    }
    client.get("/fine");
    assert_eq!(client.answer().text(), "fine");
}

#[test]
fn the_connection_closes_when_the_peer_asks_for_it() {
    let server = server();
    let mut client = server.connect();
    client
        .send("GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /fine HTTP/1.1\r\n");
    let answer = client.answer();
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(answer.body.len(), 3_000_000);
    client.assert_closed();
}

#[test]
fn http_1_0_closes_unless_the_peer_asks_for_more() {
    let server = server();
    let mut client = server.connect();
    client.send("GET /fine HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.field("connection"), Some("keep-alive"));
    client.send("GET /fine HTTP/1.0\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.field("connection"), Some("close"));
    client.assert_closed();
}

#[test]
fn http_1_0_gets_a_body_of_unknown_length_until_the_close() {
    let server = server();
    let mut client = server.connect();
    client.send("GET /parts HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.text(), "one two three");
}

#[test]
fn unknown_paths_and_methods_have_their_answers() {
    let server = server();
    let mut client = server.connect();
    client.get("/nowhere");
    assert_eq!(client.answer().status, 404);
    client.post("/fine", "");
    let answer = client.answer();
    assert_eq!(answer.status, 405);
    assert_eq!(answer.field("allow"), Some("GET, HEAD, OPTIONS"));
    client.send("OPTIONS /thing HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.head();
    assert_eq!(answer.status, 204);
    assert_eq!(answer.field("allow"), Some("DELETE, OPTIONS, PUT"));
    client.send("BREW /thing HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().status, 405);
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().status, 404);
    client.get("/fine");
    assert_eq!(client.answer().text(), "fine");
}

#[test]
fn a_body_that_nobody_wants_does_not_cost_the_connection_when_it_is_all_there() {
    let server = server();
    let mut client = server.connect();
    client.post("/nowhere", "hello");
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("connection")), (404, None));
    client.get("/fine");
    assert_eq!(client.answer().text(), "fine");
}

#[test]
fn parameters_and_queries_are_decoded() {
    let server = server();
    let get = |target| server.get(target).text().to_owned();
    assert_eq!(get("/user/ada/post/7"), "ada 7 None");
    assert_eq!(
        get("/user/J%C3%BCrgen%20M/post/a%2Fb?q=x%20y+z&q=2"),
        "J\u{fc}rgen M a/b Some(\"x y z\")"
    );
    assert_eq!(get("/files/a/b%20c/d"), "a/b c/d");
    assert_eq!(server.get("/user//post/7").status, 404);
}

#[test]
fn the_absolute_form_finds_the_same_route() {
    let server = server();
    let mut client = server.connect();
    client.send("GET http://localhost/files/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.answer().text(), "x");
}

#[test]
fn two_clients_that_take_their_time_are_served_side_by_side() {
    let server = server();
    let mut slow = server.connect();
    slow.get("/slow");
    let mut reader = server.connect();
    reader.get("/large");
    assert_eq!(server.get("/fine").text(), "fine");
    assert_eq!(slow.answer().text(), "slow");
    assert_eq!(reader.answer().body.len(), 3_000_000);
}
