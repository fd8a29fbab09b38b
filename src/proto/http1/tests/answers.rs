//! The writing side.

use super::*;

/// A machine that has read `request` whole.
#[track_caller]
fn answering(request: &str) -> Server {
    let (mut server, mut head) = (Server::new(), RequestHead::new());
    let mut input = request.as_bytes();
    loop {
        let (used, step) = server
            .next(input, &mut head, &HeadLimits::default())
            .unwrap();
        input = &input[used..];
        match step {
            Step::End => return server,
            Step::NeedMore | Step::Paused => panic!("{request:?} is incomplete"),
            Step::Head | Step::Data(_) => {}
        }
    }
}

fn head(status: u16, length: BodyLength, fields: &Fields) -> ResponseHead<'_> {
    ResponseHead {
        status,
        fields,
        content_type: None,
        length,
        date: &DATE,
    }
}

/// The answer of `status` to `request`, its body being `ab`, then `c`: the bytes without the date, and what
/// follows.
#[track_caller]
fn answer(request: &str, status: u16, length: BodyLength) -> (String, After) {
    let mut server = answering(request);
    let (fields, mut out) = (Fields::new(), Vec::new());
    server
        .respond(&head(status, length, &fields), &mut out)
        .unwrap();
    server.body(b"ab", &mut out).unwrap();
    server.body(b"", &mut out).unwrap();
    server.body(b"c", &mut out).unwrap();
    server.end(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(
        text.matches("\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n")
            .count(),
        1
    );
    (
        text.replace("Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", ""),
        server.after(),
    )
}

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n";
const OLD: &str = "GET / HTTP/1.0\r\n\r\n";
const OLD_KEEP: &str = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";

#[test]
fn a_known_length_is_declared() {
    let expected = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(
        answer(GET, 200, BodyLength::Known(3)),
        (expected.into(), After::NextExchange)
    );
}

#[test]
fn an_unknown_length_goes_in_chunks() {
    let expected =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    assert_eq!(
        answer(GET, 200, BodyLength::Unknown),
        (expected.into(), After::NextExchange)
    );
}

#[test]
fn an_unknown_length_to_http_1_0_goes_until_the_connection_closes() {
    let expected = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc";
    assert_eq!(
        answer(OLD, 200, BodyLength::Unknown),
        (expected.into(), After::Close)
    );
    assert_eq!(
        answer(OLD_KEEP, 200, BodyLength::Unknown),
        (expected.into(), After::Close)
    );
}

#[test]
fn http_1_0_is_told_that_the_connection_is_kept_if_it_asked_for_that() {
    let expected = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc";
    assert_eq!(
        answer(OLD_KEEP, 200, BodyLength::Known(3)),
        (expected.into(), After::NextExchange)
    );
    let expected = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
    assert_eq!(
        answer(OLD, 200, BodyLength::Known(3)),
        (expected.into(), After::Close)
    );
}

#[test]
fn head_has_the_head_of_get_and_no_body() {
    let expected = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(
        answer(HEAD, 200, BodyLength::Known(3)),
        (expected.into(), After::NextExchange)
    );
    let expected = "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        answer(HEAD, 404, BodyLength::Unknown),
        (expected.into(), After::NextExchange)
    );
}

#[test]
fn statuses_without_a_body_have_neither_body_nor_framing() {
    for length in [BodyLength::Known(3), BodyLength::Unknown] {
        assert_eq!(
            answer(GET, 204, length),
            (
                "HTTP/1.1 204 No Content\r\n\r\n".into(),
                After::NextExchange
            )
        );
        assert_eq!(
            answer(GET, 304, length),
            (
                "HTTP/1.1 304 Not Modified\r\n\r\n".into(),
                After::NextExchange
            )
        );
        let expected = "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(
            answer(GET, 205, length),
            (expected.into(), After::NextExchange)
        );
    }
}

#[test]
fn connect_is_never_granted_a_tunnel() {
    let request = "CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n";
    let expected = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    assert_eq!(
        answer(request, 200, BodyLength::Known(3)),
        (expected.into(), After::Close)
    );
    let expected = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    assert_eq!(
        answer(request, 204, BodyLength::Known(3)),
        (expected.into(), After::Close)
    );
    let expected = "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(
        answer(request, 405, BodyLength::Known(3)),
        (expected.into(), After::NextExchange)
    );
}

#[test]
fn an_unregistered_status_has_no_phrase() {
    let expected = "HTTP/1.1 299 \r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(answer(GET, 299, BodyLength::Known(3)).0, expected);
}

#[test]
fn fields_and_content_type_stand_in_the_head() {
    let mut server = answering(GET);
    let mut fields = Fields::new();
    fields.push("X-A", "1").unwrap();
    fields.push("X-B", "2").unwrap();
    let mut out = b"before".to_vec();
    let head = ResponseHead {
        content_type: Some("text/html"),
        ..head(200, BodyLength::Known(0), &fields)
    };
    server.respond(&head, &mut out).unwrap();
    server.end(&mut out).unwrap();
    let expected = "beforeHTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/html\r\n\
                    Content-Length: 0\r\nX-A: 1\r\nX-B: 2\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_content_type_cannot_end_its_line() {
    let mut server = answering(GET);
    let (fields, mut out) = (Fields::new(), Vec::new());
    for content_type in ["text/html\r\nX: y", "a\nb", "a\0", "\r", "a\x7f"] {
        let head = ResponseHead {
            content_type: Some(content_type),
            ..head(200, BodyLength::Known(0), &fields)
        };
        assert_eq!(server.respond(&head, &mut out), Err(Misuse::BadContentType));
    }
    assert!(out.is_empty());
    assert!(server.owes_response());
}

#[test]
fn a_declared_length_is_kept_to() {
    let mut server = answering(GET);
    let (fields, mut out) = (Fields::new(), Vec::new());
    server
        .respond(&head(200, BodyLength::Known(3), &fields), &mut out)
        .unwrap();
    let len = out.len();
    assert_eq!(server.body(b"abcd", &mut out), Err(Misuse::BodyTooLong));
    assert_eq!(server.end(&mut out), Err(Misuse::BodyTooShort));
    server.body(b"abc", &mut out).unwrap();
    assert_eq!(server.body(b"d", &mut out), Err(Misuse::BodyTooLong));
    assert_eq!(&out[len..], b"abc");
    assert!(server.is_writing_body());
    server.end(&mut out).unwrap();
}

#[test]
fn calls_out_of_order_are_refused_and_write_nothing() {
    let (fields, mut out) = (Fields::new(), Vec::new());
    let mut server = Server::new();
    assert_eq!(
        server.respond(&head(200, BodyLength::Known(0), &fields), &mut out),
        Err(Misuse::NotOwed)
    );
    let mut server = answering(GET);
    assert_eq!(server.body(b"a", &mut out), Err(Misuse::NotInBody));
    assert_eq!(server.end(&mut out), Err(Misuse::NotInBody));
    assert_eq!(
        server.respond(&head(99, BodyLength::Known(0), &fields), &mut out),
        Err(Misuse::BadStatus)
    );
    assert_eq!(
        server.respond(&head(1000, BodyLength::Known(0), &fields), &mut out),
        Err(Misuse::BadStatus)
    );
    assert_eq!(
        server.respond(&head(101, BodyLength::Known(0), &fields), &mut out),
        Err(Misuse::NoUpgradeOffered)
    );
    assert!(out.is_empty());
    server
        .respond(&head(200, BodyLength::Known(0), &fields), &mut out)
        .unwrap();
    assert_eq!(
        server.respond(&head(200, BodyLength::Known(0), &fields), &mut out),
        Err(Misuse::NotOwed)
    );
    server.end(&mut out).unwrap();
    assert_eq!(server.end(&mut out), Err(Misuse::NotInBody));
    assert_eq!(server.body(b"", &mut out), Err(Misuse::NotInBody));
}

#[test]
fn large_bodies_can_be_sent_by_reference() {
    let framed = |length, len| {
        let mut server = answering(GET);
        let (fields, mut out) = (Fields::new(), Vec::new());
        server
            .respond(&head(200, length, &fields), &mut out)
            .unwrap();
        out.clear();
        let is_sent = server.body_frame_start(len, &mut out).unwrap();
        out.push(b'|');
        server.body_frame_end(&mut out);
        out.push(b'|');
        server.end(&mut out).unwrap();
        (is_sent, String::from_utf8(out).unwrap())
    };
    assert_eq!(
        framed(BodyLength::Known(70_000), 70_000),
        (true, "||".into())
    );
    assert_eq!(
        framed(BodyLength::Unknown, 70_000),
        (true, "11170\r\n|\r\n|0\r\n\r\n".into())
    );
}

#[test]
fn a_body_that_will_not_be_sent_need_not_be_made() {
    let wants = |request, status| {
        let mut server = answering(request);
        let (fields, mut out) = (Fields::new(), Vec::new());
        let before = server.wants_body();
        server
            .respond(&head(status, BodyLength::Known(3), &fields), &mut out)
            .unwrap();
        assert!(server.wants_body() || !server.body_frame_start(3, &mut out).unwrap());
        (before, server.wants_body())
    };
    assert_eq!(wants(GET, 200), (true, true));
    assert_eq!(wants(HEAD, 200), (false, false));
    assert_eq!(wants(GET, 204), (true, false));
    assert_eq!(wants(GET, 304), (true, false));
}

#[test]
fn closing_is_announced_if_the_head_is_not_written_yet() {
    let mut server = answering(GET);
    let (fields, mut out) = (Fields::new(), Vec::new());
    server.close_after_this();
    server
        .respond(&head(200, BodyLength::Known(0), &fields), &mut out)
        .unwrap();
    server.end(&mut out).unwrap();
    assert!(
        String::from_utf8(out)
            .unwrap()
            .contains("\r\nConnection: close\r\n")
    );
    assert_eq!(server.after(), After::Close);

    let mut server = answering(GET);
    let mut out = Vec::new();
    server
        .respond(&head(200, BodyLength::Known(0), &fields), &mut out)
        .unwrap();
    server.close_after_this();
    server.end(&mut out).unwrap();
    assert!(!String::from_utf8(out).unwrap().contains("Connection"));
    assert_eq!(server.after(), After::Close);
}

#[test]
fn closing_asked_for_before_the_request_holds_for_it() {
    let mut server = Server::new();
    server.close_after_this();
    server
        .next(
            GET.as_bytes(),
            &mut RequestHead::new(),
            &HeadLimits::default(),
        )
        .unwrap();
    let (fields, mut out) = (Fields::new(), Vec::new());
    server
        .respond(&head(200, BodyLength::Known(0), &fields), &mut out)
        .unwrap();
    assert!(
        String::from_utf8(out)
            .unwrap()
            .contains("\r\nConnection: close\r\n")
    );
}

#[test]
fn interim_answers_leave_the_final_one_owed() {
    let mut server = answering(GET);
    let (mut fields, mut out) = (Fields::new(), Vec::new());
    fields.push("Link", "</a.css>; rel=preload").unwrap();
    server
        .respond(&head(103, BodyLength::Unknown, &fields), &mut out)
        .unwrap();
    assert_eq!(
        out,
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    );
    assert!(server.owes_response());
    assert_eq!(server.after(), After::NotYet);

    let mut server = answering(OLD);
    out.clear();
    server
        .respond(&head(103, BodyLength::Unknown, &fields), &mut out)
        .unwrap();
    assert!(out.is_empty());
    assert!(server.owes_response());
}

#[test]
fn an_upgrade_hands_the_rest_of_the_input_to_the_other_protocol() {
    let input =
        b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00";
    let (mut server, mut request, limits) =
        (Server::new(), RequestHead::new(), HeadLimits::default());
    let (used, _) = server.next(input, &mut request, &limits).unwrap();
    assert_eq!(&input[used..], b"\x81\x00");
    assert_eq!(
        server.next(&input[used..], &mut request, &limits),
        Ok((0, Step::End))
    );
    let (mut fields, mut out) = (Fields::new(), Vec::new());
    fields.push("Upgrade", "websocket").unwrap();
    server
        .respond(&head(101, BodyLength::Unknown, &fields), &mut out)
        .unwrap();
    assert_eq!(
        out,
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    assert_eq!(
        server.next(&input[used..], &mut request, &limits),
        Ok((0, Step::Paused))
    );
    assert_eq!(server.after(), After::Upgraded);
    assert_eq!(server.after(), After::Upgraded);
}

#[test]
fn an_answer_that_names_protocols_lists_upgrade_in_its_connection() {
    let answered = |request: &str, fields: &Fields| {
        let mut out = Vec::new();
        let mut server = answering(request);
        server
            .respond(&head(103, BodyLength::Unknown, fields), &mut out)
            .unwrap();
        server
            .respond(&head(426, BodyLength::Known(0), fields), &mut out)
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines = text.split("\r\n");
        let options = lines.filter_map(|line| line.strip_prefix("Connection: "));
        options.collect::<Vec<_>>().join(" / ")
    };
    let mut fields = Fields::new();
    assert_eq!(answered(GET, &fields), "");
    fields.push("upgrade", "websocket").unwrap();
    let closing = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_eq!(answered(GET, &fields), "upgrade / upgrade");
    assert_eq!(answered(closing, &fields), "upgrade / close, upgrade");
    assert_eq!(answered(OLD_KEEP, &fields), "keep-alive, upgrade");
    fields.set("Upgrade", "h2c").unwrap();
    assert_eq!(answered(GET, &fields), "upgrade / upgrade");
    fields.remove("UPGRADE");
    assert_eq!(answered(GET, &fields), "");
    fields.push("Upgrade", "h2c").unwrap();
    fields.clear();
    assert_eq!(answered(GET, &fields), "");
}

#[test]
fn an_upgrade_that_is_declined_leaves_http_in_place() {
    let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(
        answer(request, 200, BodyLength::Known(3)).1,
        After::NextExchange
    );
}

const EXPECTING: &str =
    "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n";

#[test]
fn continue_is_said_once_and_only_to_those_who_wait() {
    let (mut server, mut request, limits) =
        (Server::new(), RequestHead::new(), HeadLimits::default());
    let (fields, mut out) = (Fields::new(), Vec::new());
    assert!(!server.continue_100(&mut out));
    server
        .next(EXPECTING.as_bytes(), &mut request, &limits)
        .unwrap();
    assert!(request.expects_continue());
    assert!(server.continue_100(&mut out));
    assert!(!server.continue_100(&mut out));
    assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.next(b"abc", &mut request, &limits).unwrap();
    server.next(b"", &mut request, &limits).unwrap();
    server
        .respond(&head(200, BodyLength::Known(0), &fields), &mut out)
        .unwrap();
    server.end(&mut out).unwrap();
    assert_eq!(server.after(), After::NextExchange);

    server
        .next(EXPECTING.as_bytes(), &mut request, &limits)
        .unwrap();
    server.next(b"a", &mut request, &limits).unwrap();
    assert!(!server.continue_100(&mut out), "the body has begun");
    assert!(!answering(GET).continue_100(&mut out));
    let mut server =
        answering("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx");
    assert!(!server.continue_100(&mut out));
}

#[test]
fn an_answer_instead_of_continue_closes() {
    let (mut server, mut request) = (Server::new(), RequestHead::new());
    server
        .next(EXPECTING.as_bytes(), &mut request, &HeadLimits::default())
        .unwrap();
    let (fields, mut out) = (Fields::new(), Vec::new());
    server
        .respond(&head(403, BodyLength::Known(0), &fields), &mut out)
        .unwrap();
    server.end(&mut out).unwrap();
    assert!(
        String::from_utf8(out)
            .unwrap()
            .contains("\r\nConnection: close\r\n")
    );
    assert_eq!(server.after(), After::Close);
}

#[test]
fn an_answer_may_end_before_its_request() {
    let (mut server, mut request, limits) =
        (Server::new(), RequestHead::new(), HeadLimits::default());
    server
        .next(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n",
            &mut request,
            &limits,
        )
        .unwrap();
    let (fields, mut out) = (Fields::new(), Vec::new());
    server
        .respond(&head(200, BodyLength::Known(0), &fields), &mut out)
        .unwrap();
    server.end(&mut out).unwrap();
    assert_eq!(server.after(), After::NotYet);
    assert_eq!(
        server.next(b"abcGET", &mut request, &limits),
        Ok((3, Step::Data(b"abc")))
    );
    assert_eq!(
        server.next(b"GET", &mut request, &limits),
        Ok((0, Step::End))
    );
    assert_eq!(server.after(), After::NextExchange);
    assert!(server.is_idle());
}

#[test]
fn a_fault_is_answered_and_closes() {
    let (mut server, mut request, limits) =
        (Server::new(), RequestHead::new(), HeadLimits::default());
    let fault = server
        .next(b"GET / HTTP/1.1\r\n\r\n", &mut request, &limits)
        .unwrap_err();
    assert_eq!(server.after(), After::NotYet);
    let (fields, mut out) = (Fields::new(), Vec::new());
    server
        .respond(
            &head(fault.status(), BodyLength::Known(0), &fields),
            &mut out,
        )
        .unwrap();
    server.end(&mut out).unwrap();
    let expected = "HTTP/1.1 400 Bad Request\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(server.after(), After::Close);
}

#[test]
fn a_fault_in_the_body_leaves_an_answer_under_way_alone() {
    let (mut server, mut request, limits) =
        (Server::new(), RequestHead::new(), HeadLimits::default());
    server
        .next(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
            &mut request,
            &limits,
        )
        .unwrap();
    let (fields, mut out) = (Fields::new(), Vec::new());
    server
        .respond(&head(200, BodyLength::Known(1), &fields), &mut out)
        .unwrap();
    assert_eq!(
        server.next(b"x", &mut request, &limits),
        Err(PeerError::BadChunkSize)
    );
    assert!(!server.owes_response());
    assert_eq!(server.after(), After::NotYet);
    server.body(b"a", &mut out).unwrap();
    server.end(&mut out).unwrap();
    assert_eq!(server.after(), After::Close);
}

#[test]
fn the_caller_can_refuse_what_only_it_can_see() {
    let (mut server, mut request, limits) =
        (Server::new(), RequestHead::new(), HeadLimits::default());
    server.next(b"GET", &mut request, &limits).unwrap();
    server.refuse(PeerError::TooSlow);
    server.refuse(PeerError::BodyTooLarge);
    assert_eq!(
        server.next(b"GET /", &mut request, &limits),
        Err(PeerError::TooSlow)
    );
    assert_eq!(server.eof(), Err(PeerError::TooSlow));
    assert!(server.owes_response());
}

#[test]
fn a_peer_that_has_finished_sending_still_gets_its_answer() {
    let mut server = answering(GET);
    assert_eq!(server.eof(), Ok(()));
    assert_eq!(server.after(), After::NotYet);
    let (fields, mut out) = (Fields::new(), Vec::new());
    server
        .respond(&head(200, BodyLength::Known(0), &fields), &mut out)
        .unwrap();
    server.end(&mut out).unwrap();
    assert_eq!(server.after(), After::Close);
}
