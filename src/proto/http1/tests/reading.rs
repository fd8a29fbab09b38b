//! Whole messages, and where reading stands.

use super::*;

#[test]
fn a_plain_request_is_a_head_and_an_end() {
    check("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "head GET /, end, eof");
}

#[test]
fn nothing_at_all_is_a_quiet_end() {
    check("", "eof");
    check("\r\n", "eof");
}

#[test]
fn a_request_that_stops_in_its_middle_is_truncated() {
    check("G", "fault Truncated");
    check("\r", "fault Truncated");
    check("GET / HTTP/1.1\r\nHost: h\r\n", "fault Truncated");
    check(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nabc",
        "head POST /, data abc, fault Truncated",
    );
    check_chunks("3\r\nabc\r\n", "data abc, fault Truncated");
    check_chunks("0\r\n", "fault Truncated");
}

#[test]
fn pipelined_requests_are_read_one_after_the_other() {
    check(
        "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\
         POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nGET /4 HTTP/1.1\r\nHost: h\r\n\r\n",
        "head GET /1, end, head POST /2, data abc, end, head POST /3, data x, end, head GET /4, end, eof",
    );
}

#[test]
fn a_pipelined_request_waits_until_the_one_before_is_answered() {
    let (mut server, mut head, limits) = (Server::new(), RequestHead::new(), HeadLimits::default());
    let input = b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(server.next(input, &mut head, &limits), Ok((28, Step::Head)));
    assert_eq!(
        server.next(&input[28..], &mut head, &limits),
        Ok((0, Step::End))
    );
    assert_eq!(
        server.next(&input[28..], &mut head, &limits),
        Ok((0, Step::Paused))
    );
    assert_eq!(server.after(), After::NotYet);
    assert_eq!(head.path(), "/1");
}

#[test]
fn one_empty_line_before_a_request_is_skipped() {
    check(
        "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "head GET /, end, eof",
    );
    check(
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\r\n",
        "head GET /, end, eof",
    );
}

#[test]
fn more_empty_lines_are_refused() {
    check(
        "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "fault EmptyRequestLine",
    );
    check("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "fault BareLf");
    check("\r\n\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "fault BareLf");
    check("\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", "fault BareCr");
    check("\r\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "fault BareCr");
}

#[test]
fn a_body_by_length_is_handed_on_as_it_comes() {
    check(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello world",
        "head POST /, data hello world, end, eof",
    );
    check(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "head POST /, end, eof",
    );
    check(
        "POST / HTTP/1.1\r\nHost: h\r\ncontent-length:  007 \r\n\r\n\r\n\r\nGET",
        "head POST /, data \\r\\n\\r\\nGET, end, eof",
    );
}

#[test]
fn chunks_are_taken_out_of_their_framing() {
    check_chunks("0\r\n\r\n", "end, eof");
    check_chunks("000\r\n\r\n", "end, eof");
    check_chunks(
        "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        "data hello world, end, eof",
    );
    check_chunks(
        "a\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
        "data 0\\r\\n\\r\\n0\\r\\n\\r\\n, end, eof",
    );
    check_chunks(
        format!("{}A\r\n0123456789\r\n0\r\n\r\n", "0".repeat(15)),
        "data 0123456789, end, eof",
    );
}

#[test]
fn used_bytes_are_exactly_those_of_the_message() {
    let (mut server, mut head, limits) = (Server::new(), RequestHead::new(), HeadLimits::default());
    let request = b"\r\nPOST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let input = [request.as_slice(), b"2;a=b\r\nok\r\n0\r\nX: y\r\n\r\nrest"].concat();
    let mut used = 0;
    let mut steps = Vec::new();
    loop {
        let (more, step) = server.next(&input[used..], &mut head, &limits).unwrap();
        used += more;
        steps.push((used, step));
        if step == Step::Paused {
            break;
        }
    }
    let at = request.len();
    let end = input.len() - 4;
    assert_eq!(
        steps,
        [
            (at, Step::Head),
            (at + 9, Step::Data(b"ok")),
            (end, Step::End),
            (end, Step::Paused)
        ]
    );
}

#[test]
fn framing_of_chunks_is_used_up_as_it_comes() {
    let (mut server, mut head, limits) = (Server::new(), RequestHead::new(), HeadLimits::default());
    let request = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    server.next(request, &mut head, &limits).unwrap();
    for byte in b"00003;name=\"value\"\r\n" {
        assert_eq!(
            server.next(&[*byte], &mut head, &limits),
            Ok((1, Step::NeedMore))
        );
    }
    assert_eq!(
        server.next(b"ab", &mut head, &limits),
        Ok((2, Step::Data(b"ab")))
    );
}

#[test]
fn the_machine_is_small() {
    assert!(size_of::<Server>() <= 56, "{}", size_of::<Server>());
}

#[test]
fn deadlines_can_ask_where_reading_stands() {
    let (mut server, mut head, limits) = (Server::new(), RequestHead::new(), HeadLimits::default());
    let state = |server: &Server| {
        (
            server.is_idle(),
            server.has_begun(),
            server.is_reading_body(),
        )
    };
    assert_eq!(state(&server), (true, false, false));
    server.next(b"", &mut head, &limits).unwrap();
    assert_eq!(state(&server), (true, false, false));
    server.next(b"\r\n", &mut head, &limits).unwrap();
    assert_eq!(state(&server), (true, false, false));
    server.next(b"P", &mut head, &limits).unwrap();
    assert_eq!(state(&server), (false, true, false));
    server
        .next(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n",
            &mut head,
            &limits,
        )
        .unwrap();
    assert_eq!(state(&server), (false, false, true));
    server.next(b"x", &mut head, &limits).unwrap();
    server.next(b"", &mut head, &limits).unwrap();
    assert_eq!(state(&server), (false, false, false));
}
