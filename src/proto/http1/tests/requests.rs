//! The client's machine: what it writes, and what it refuses to write.

use super::client::bare;
use super::*;

/// The head of `request`.
#[track_caller]
fn written(request: &OutgoingRequest<'_>) -> String {
    let mut out = Vec::new();
    Client::new().request(request, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[track_caller]
fn refused(request: &OutgoingRequest<'_>) -> Misuse {
    let mut out = Vec::new();
    let misuse = Client::new().request(request, &mut out).unwrap_err();
    assert!(out.is_empty(), "nothing has been written");
    misuse
}

fn fields(list: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in list {
        fields.push(name, value).unwrap();
    }
    fields
}

/// Answered by an empty 200 of HTTP/1.`minor`.
fn answered(client: &mut Client, minor: u8) {
    let (mut head, limits) = (IncomingResponse::new(), HeadLimits::default());
    let answer = format!("HTTP/1.{minor} 204 \r\nConnection: keep-alive\r\n\r\n");
    let step = client.next(answer.as_bytes(), &mut head, &limits);
    assert_eq!(step, Ok((answer.len(), ResponseStep::Head)));
    let step = client.next(b"", &mut head, &limits);
    assert_eq!(step, Ok((0, ResponseStep::End)));
}

#[test]
fn a_request_is_its_line_its_host_and_its_fields() {
    let fields = fields(&[("Accept", "*/*"), ("X", "a\tb")]);
    let request = OutgoingRequest {
        target: "/a?b",
        host: "example.com:8080",
        fields: &fields,
        ..bare("GET")
    };
    assert_eq!(
        written(&request),
        "GET /a?b HTTP/1.1\r\nHost: example.com:8080\r\nAccept: */*\r\nX: a\tb\r\n\r\n"
    );
}

#[test]
fn a_known_length_is_declared_and_kept_to() {
    let request = OutgoingRequest {
        length: BodyLength::Known(3),
        ..bare("POST")
    };
    let (mut client, mut out) = (Client::new(), Vec::new());
    client.request(&request, &mut out).unwrap();
    client.body(b"ab", &mut out).unwrap();
    client.body(b"", &mut out).unwrap();
    assert_eq!(client.body(b"cd", &mut out), Err(Misuse::BodyTooLong));
    assert_eq!(client.end(&mut out), Err(Misuse::BodyTooShort));
    client.body(b"c", &mut out).unwrap();
    client.end(&mut out).unwrap();
    assert_eq!(
        out,
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
    );
    assert_eq!(client.end(&mut out), Err(Misuse::NotInBody));
    assert_eq!(client.body(b"x", &mut out), Err(Misuse::NotInBody));
}

#[test]
fn an_unknown_length_goes_in_chunks() {
    let request = OutgoingRequest {
        length: BodyLength::Unknown,
        ..bare("PUT")
    };
    let (mut client, mut out) = (Client::new(), Vec::new());
    client.request(&request, &mut out).unwrap();
    for piece in [&b"hello"[..], b"", b"!"] {
        client.body(piece, &mut out).unwrap();
    }
    client.end(&mut out).unwrap();
    assert_eq!(
        out,
        b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
    );
}

#[test]
fn no_body_is_declared_where_one_is_usual() {
    for method in ["POST", "PUT", "PATCH"] {
        let text = written(&bare(method));
        assert_eq!(
            text,
            format!("{method} / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        );
    }
    for method in ["GET", "HEAD", "DELETE", "TRACE", "PURGE"] {
        assert_eq!(
            written(&bare(method)),
            format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n")
        );
    }
}

#[test]
fn a_body_of_unknown_length_is_not_sent_to_http_1_0() {
    let (mut client, mut out) = (Client::new(), Vec::new());
    let chunked = OutgoingRequest {
        length: BodyLength::Unknown,
        ..bare("POST")
    };
    for (minor, expected) in [(0, Err(Misuse::ChunkedToHttp10)), (1, Ok(()))] {
        client.request(&bare("GET"), &mut out).unwrap();
        client.end(&mut out).unwrap();
        answered(&mut client, minor);
        assert_eq!(client.after(), After::NextExchange);
        assert_eq!(client.request(&chunked, &mut out), expected);
    }
}

#[test]
fn the_connection_says_close_and_upgrade_when_they_are_meant() {
    let upgrade = fields(&[("Upgrade", "websocket")]);
    let request = OutgoingRequest {
        fields: &upgrade,
        ..bare("GET")
    };
    assert_eq!(
        written(&request),
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    for (request, expected) in [(bare("GET"), "close"), (request, "close, upgrade")] {
        let (mut client, mut out) = (Client::new(), Vec::new());
        client.close_after_this();
        client.request(&request, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let field = format!("\r\nConnection: {expected}\r\n");
        assert_eq!(text.matches(&field).count(), 1, "{text}");
    }
}

#[test]
fn a_target_has_the_form_that_its_method_wants() {
    let of = |method, target, host| OutgoingRequest {
        target,
        host,
        ..bare(method)
    };
    for (method, target, host) in [
        ("GET", "/", "h"),
        ("GET", "http://h:1/x?y", "h:1"),
        ("OPTIONS", "*", "h"),
        ("CONNECT", "[::1]:443", "[::1]:443"),
    ] {
        let line = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        assert!(written(&of(method, target, host)).starts_with(&line));
    }
    for (method, target) in [
        ("GET", ""),
        ("GET", "x"),
        ("GET", "*"),
        ("GET", "/ HTTP/1.1\r\nX: y"),
        ("GET", "/a b"),
        ("GET", "/a#b"),
        ("GET", "/\u{e9}"),
        ("GET", "http://user@h/"),
        ("CONNECT", "/"),
        ("CONNECT", "h"),
    ] {
        assert_eq!(
            refused(&of(method, target, "h")),
            Misuse::BadTarget,
            "{target}"
        );
    }
    for method in ["", "G T", "GET\r\n", "G\u{e9}T", "GET / HTTP/1.1\r\n"] {
        assert_eq!(refused(&bare(method)), Misuse::BadMethod, "{method:?}");
    }
}

#[test]
fn the_host_is_one_and_that_of_the_target() {
    let of = |target, host| OutgoingRequest {
        target,
        host,
        ..bare("GET")
    };
    for host in ["", "a b", "h\r\nX: y", "user@h", "h:99999", "h/"] {
        assert_eq!(refused(&of("/", host)), Misuse::BadHost, "{host:?}");
    }
    assert_eq!(refused(&of("http://a/", "b")), Misuse::BadHost);
    assert_eq!(refused(&of("http://a:1/", "a")), Misuse::BadHost);
    let two = fields(&[("host", "b")]);
    let request = OutgoingRequest {
        fields: &two,
        ..bare("GET")
    };
    assert_eq!(refused(&request), Misuse::OwnField);
}

#[test]
fn fields_that_the_machine_cannot_stand_for_are_refused() {
    for name in ["Expect", "te", "HOST"] {
        let fields = fields(&[("A", "b"), (name, "x")]);
        let request = OutgoingRequest {
            fields: &fields,
            ..bare("GET")
        };
        assert_eq!(refused(&request), Misuse::OwnField, "{name}");
    }
}

#[test]
fn connect_and_trace_have_no_body() {
    for length in [BodyLength::Known(1), BodyLength::Unknown] {
        for (method, target, host) in [("TRACE", "/", "h"), ("CONNECT", "h:1", "h:1")] {
            let request = OutgoingRequest {
                target,
                host,
                length,
                ..bare(method)
            };
            assert_eq!(refused(&request), Misuse::NoBodyAllowed);
        }
    }
}

#[test]
fn the_body_waits_for_100_until_something_settles_it() {
    let request = OutgoingRequest {
        length: BodyLength::Known(1),
        expects_continue: true,
        ..bare("POST")
    };
    let (mut head, limits) = (IncomingResponse::new(), HeadLimits::default());
    let mut out = Vec::new();
    let mut sent = || {
        let mut client = Client::new();
        out.clear();
        client.request(&request, &mut out).unwrap();
        assert!(out.ends_with(b"Content-Length: 1\r\nExpect: 100-continue\r\n\r\n"));
        assert!(client.waits_for_continue());
        client
    };
    let mut client = sent();
    let hints = b"HTTP/1.1 103 \r\n\r\n";
    client.next(hints, &mut head, &limits).unwrap();
    assert!(client.waits_for_continue());
    let go_on = b"HTTP/1.1 100 \r\n\r\n";
    client.next(go_on, &mut head, &limits).unwrap();
    assert!(!client.waits_for_continue());

    let mut client = sent();
    let no = b"HTTP/1.1 417 \r\nContent-Length: 0\r\n\r\n";
    client.next(no, &mut head, &limits).unwrap();
    assert!(!client.waits_for_continue());
    client.next(b"", &mut head, &limits).unwrap();
    assert_eq!(client.after(), After::NotYet);
    client.close_after_this();
    assert_eq!(client.after(), After::Close);

    let mut client = sent();
    client.body(b"x", &mut Vec::new()).unwrap();
    assert!(!client.waits_for_continue());

    let nothing = OutgoingRequest {
        length: BodyLength::Known(0),
        ..request
    };
    assert_eq!(refused(&nothing), Misuse::NothingToContinue);
}

#[test]
fn a_response_may_come_before_its_request_is_sent_whole() {
    let request = OutgoingRequest {
        length: BodyLength::Unknown,
        ..bare("POST")
    };
    let (mut client, mut out) = (Client::new(), Vec::new());
    client.request(&request, &mut out).unwrap();
    answered(&mut client, 1);
    assert_eq!(client.after(), After::NotYet);
    client.body(b"x", &mut out).unwrap();
    client.end(&mut out).unwrap();
    assert_eq!(client.after(), After::NextExchange);

    // With close, the rest is not to be sent.
    let (mut client, mut head) = (Client::new(), IncomingResponse::new());
    client.request(&request, &mut out).unwrap();
    let answer = b"HTTP/1.1 413 \r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let limits = HeadLimits::default();
    client.next(answer, &mut head, &limits).unwrap();
    assert_eq!(client.after(), After::NotYet);
    client.next(b"", &mut head, &limits).unwrap();
    assert_eq!(client.after(), After::Close);
}

#[test]
fn requests_are_sent_one_at_a_time() {
    let (mut client, mut out) = (Client::new(), Vec::new());
    assert_eq!(client.body(b"x", &mut out), Err(Misuse::NotInBody));
    assert_eq!(client.end(&mut out), Err(Misuse::NotInBody));
    assert_eq!(client.after(), After::NextExchange);
    client.request(&bare("GET"), &mut out).unwrap();
    client.end(&mut out).unwrap();
    out.clear();
    assert_eq!(
        client.request(&bare("GET"), &mut out),
        Err(Misuse::ExchangeUnderWay)
    );
    answered(&mut client, 1);
    assert_eq!(
        client.request(&bare("GET"), &mut out),
        Err(Misuse::ExchangeUnderWay)
    );
    assert!(out.is_empty());
    assert_eq!(client.after(), After::NextExchange);
    client.request(&bare("GET"), &mut out).unwrap();
}

#[test]
fn nothing_is_requested_on_a_connection_that_has_ended() {
    let mut client = Client::new();
    client.eof().unwrap();
    assert_eq!(
        client.request(&bare("GET"), &mut Vec::new()),
        Err(Misuse::ExchangeUnderWay)
    );
    assert_eq!(client.after(), After::Close);
}
