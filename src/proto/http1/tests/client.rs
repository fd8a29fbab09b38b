//! The client's machine: responses, whole, byte by byte, and cut at every position.

use super::*;

/// Requests that are sent one after the other, each when the one before is answered, and what came of them.
struct Exchanges<'r> {
    client: Client,
    head: IncomingResponse,
    limits: HeadLimits,
    requests: std::slice::Iter<'r, &'r str>,
    input: Vec<u8>,
    events: Vec<String>,
    data: Vec<u8>,
    is_over: bool,
}

impl<'r> Exchanges<'r> {
    fn new(requests: &'r [&'r str], limits: &HeadLimits) -> Self {
        let mut exchanges = Self {
            client: Client::new(),
            head: IncomingResponse::new(),
            limits: limits.clone(),
            requests: requests.iter(),
            input: Vec::new(),
            events: Vec::new(),
            data: Vec::new(),
            is_over: false,
        };
        exchanges.request();
        exchanges
    }

    /// A request is a method; behind it may stand `close` and `upgrade`.
    fn request(&mut self) {
        let Some(request) = self.requests.next() else {
            return;
        };
        let method = request.split(' ').next().unwrap();
        let mut fields = Fields::new();
        if request.contains("upgrade") {
            fields.push("Upgrade", "echo").unwrap();
        }
        if request.contains("close") {
            self.client.close_after_this();
        }
        let (target, host) = match method {
            "CONNECT" => ("h:1", "h:1"),
            _ => ("/", "h"),
        };
        let request = OutgoingRequest {
            target,
            host,
            fields: &fields,
            ..bare(method)
        };
        let mut out = Vec::new();
        self.client.request(&request, &mut out).unwrap();
        self.client.end(&mut out).unwrap();
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while !self.is_over {
            let next = self.client.next(&self.input, &mut self.head, &self.limits);
            let (used, step) = match next {
                Ok(next) => next,
                Err(error) => return self.fault(error),
            };
            let is_waiting = step == ResponseStep::NeedMore;
            match step {
                ResponseStep::Interim => {
                    self.events.push(format!("interim {}", self.head.status()))
                }
                ResponseStep::Head => self.events.push(format!("head {}", self.head.status())),
                ResponseStep::Data(data) => self.data.extend_from_slice(data),
                ResponseStep::End => self.ended(),
                ResponseStep::NeedMore => {}
                ResponseStep::Paused => panic!("every end is followed up"),
            }
            self.input.drain(..used);
            if is_waiting {
                return;
            }
        }
    }

    fn ended(&mut self) {
        self.flush_data();
        self.events.push("end".into());
        match self.client.after() {
            After::NextExchange => self.request(),
            After::Close => {
                self.events.push("close".into());
                self.is_over = true;
            }
            After::Upgraded => {
                self.events.push("upgraded".into());
                self.is_over = true;
            }
            After::NotYet => panic!("the request was sent whole"),
        }
    }

    fn eof(&mut self) {
        if self.is_over {
            return;
        }
        match self.client.eof() {
            Ok(()) => {
                self.events.push("eof".into());
                self.feed_nothing();
                assert_eq!(self.client.after(), After::Close);
            }
            Err(error) => self.fault(error),
        }
    }

    /// Behind the end of the stream only the end of a response may come.
    fn feed_nothing(&mut self) {
        loop {
            match self.client.next(b"", &mut self.head, &self.limits) {
                Ok((0, ResponseStep::End)) => {
                    self.flush_data();
                    self.events.push("end".into());
                }
                Ok((0, ResponseStep::Paused)) => return,
                other => panic!("{other:?} behind the end"),
            }
        }
    }

    fn fault(&mut self, error: PeerError) {
        self.flush_data();
        self.events.push(format!("fault {error:?}"));
        self.is_over = true;
        let again = b"HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(
            self.client.next(again, &mut self.head, &self.limits),
            Err(error)
        );
        assert_eq!(self.client.eof(), Err(error));
        assert_eq!(self.client.after(), After::Close);
    }

    fn flush_data(&mut self) {
        if !self.data.is_empty() {
            self.events
                .push(format!("data {}", self.data.escape_ascii()));
            self.data.clear();
        }
    }
}

/// A request of this method and nothing else.
pub(super) fn bare(method: &str) -> OutgoingRequest<'_> {
    const NO_FIELDS: &Fields = &Fields::new();
    OutgoingRequest {
        method,
        target: "/",
        host: "h",
        fields: NO_FIELDS,
        length: BodyLength::Known(0),
        expects_continue: false,
    }
}

fn run<'a>(
    requests: &[&str],
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &HeadLimits,
) -> (String, IncomingResponse) {
    let mut exchanges = Exchanges::new(requests, limits);
    pieces.into_iter().for_each(|piece| exchanges.feed(piece));
    exchanges.eof();
    (exchanges.events.join(", "), exchanges.head)
}

#[track_caller]
fn check_with(limits: &HeadLimits, requests: &[&str], input: impl AsRef<[u8]>, expected: &str) {
    let input = input.as_ref();
    let whole = run(requests, [input], limits);
    assert_eq!(whole.0, expected, "whole");
    let is_fault = expected.contains("fault");
    let same = |cut: (String, IncomingResponse), how: &str| {
        assert_eq!(cut.0, whole.0, "{how}");
        assert!(is_fault || cut.1 == whole.1, "{how}");
    };
    same(run(requests, input.chunks(1), limits), "byte by byte");
    for cut in 0..=input.len() {
        let (front, back) = input.split_at(cut);
        same(
            run(requests, [front, back], limits),
            &format!("cut at {cut}"),
        );
    }
}

/// The answers to GET.
#[track_caller]
fn check(input: impl AsRef<[u8]>, expected: &str) {
    check_with(&HeadLimits::default(), &["GET"], input, expected);
}

/// The answers to these requests.
#[track_caller]
fn check_requests(requests: &[&str], input: impl AsRef<[u8]>, expected: &str) {
    check_with(&HeadLimits::default(), requests, input, expected);
}

/// A field line in the middle of an otherwise good head.
#[track_caller]
fn check_field(line: impl AsRef<[u8]>, expected: &str) {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
    check(
        [head, line.as_ref(), b"\r\nX: y\r\n\r\n"].concat(),
        expected,
    );
}

#[track_caller]
fn check_chunks(body: impl AsRef<[u8]>, expected: &str) {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(
        [head, body.as_ref()].concat(),
        &format!("head 200, {expected}"),
    );
}

#[test]
fn a_response_by_length_leaves_the_connection_for_the_next() {
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "head 200, data hi, end, eof",
    );
    check_requests(
        &["GET", "POST"],
        "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nnoHTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        "head 404, data no, end, head 200, end, eof",
    );
}

#[test]
fn a_head_can_be_asked_for_its_parts() {
    let input = "HTTP/1.0 299 All \u{e9}\r\nVary:  a b \r\nvary: c\r\nContent-Length: 7\r\nConnection: keep-alive\r\n\r\n";
    let (_, head) = run(&["HEAD"], [input.as_bytes()], &HeadLimits::default());
    assert_eq!(
        (head.status(), &*head.reason(), head.version()),
        (299, "All \u{e9}", Version::Http10)
    );
    assert_eq!(
        (head.header("VARY"), head.header("none")),
        (Some("a b"), None)
    );
    assert_eq!(
        (head.content_length(), head.is_chunked(), head.keep_alive()),
        (Some(7), false, true)
    );
    assert_eq!(head.headers().count(), 4);
    assert_eq!(
        format!("{head:?}"),
        format!("IncomingResponse({:?})", input)
    );
    let mut head = head;
    head.clear();
    assert_eq!(head, IncomingResponse::default());
    assert_eq!((head.status(), &*head.reason()), (0, ""));
}

#[test]
fn a_status_line_is_a_version_a_status_and_perhaps_a_phrase() {
    let line = |line: &str, expected: &str| {
        check(format!("{line}\r\nContent-Length: 0\r\n\r\n"), expected);
    };
    for good in [
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 ",
        "HTTP/1.1 200",
        "HTTP/1.1 200  a\tb\u{e9} ",
    ] {
        line(good, "head 200, end, eof");
    }
    line("HTTP/1.1 999 ", "head 999, end, eof");
    for bad in [
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 20",
        "HTTP/1.1 2000",
        "HTTP/1.1 099 x",
        "HTTP/1.1 000 x",
        "HTTP/1.1 +20 x",
        "HTTP/1.1 2x0 x",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1 200OK",
        " HTTP/1.1 200 OK",
        "http/1.1 200 OK",
        "HTTP/1 200 OK",
        "HTTP/1.10 200 OK",
        "HTTP/11 200 OK",
        "HTTP/a.1 200 OK",
        "ICY 200 OK",
        "HTTP/1.1 200 a\0b",
        "HTTP/1.1 200 a\x7fb",
        "",
        "\r\nHTTP/1.1 200 OK",
    ] {
        line(bad, "fault BadStatusLine");
    }
    for other in ["HTTP/2.0 200 OK", "HTTP/0.9 200 OK", "HTTP/1.2 200 OK"] {
        line(other, "fault VersionNotSupported");
    }
}

#[test]
fn what_is_no_http_is_known_before_its_line_ends() {
    check("\x15\x03\x01\x00\x02\x02\x46", "fault BadStatusLine");
    check("<html>", "fault BadStatusLine");
    check("HTTPS", "fault BadStatusLine");
}

#[test]
fn only_crlf_ends_a_line() {
    check("HTTP/1.1 200 OK\n\n", "fault BareLf");
    check("HTTP/1.1 200 O\rK\r\n\r\n", "fault BareCr");
    check("HTTP/1.1 200 OK\r\r\n\r\n", "fault BareCr");
    check("HTTP/1.1 200 OK\r\nA: b\n\r\n", "fault BareLf");
    check("HTTP/1.1 200 OK\r\nA: b\r\n\n", "fault BareLf");
    check("HTTP/1.1 200 OK\r\n\r\r\n", "fault BareCr");
    check_field("A: b\rSet-Cookie: c", "fault BareCr");
}

#[test]
fn fields_are_held_to_the_grammar() {
    check_field("A : b", "fault SpaceBeforeColon");
    check_field(" A: b", "fault ObsFold");
    check_field("A: b\r\n\tc", "fault ObsFold");
    check("HTTP/1.1 200 OK\r\n A: b\r\n\r\n", "fault ObsFold");
    check_field("A", "fault NoColon");
    check_field(": b", "fault BadFieldName");
    check_field("A b: c", "fault BadFieldName");
    check_field("A: \0", "fault BadFieldValue");
    check_field("A: b\x0b", "fault BadFieldValue");
    check_field("A:\tb\u{e9} ", "head 200, end, eof");
}

#[test]
fn fields_of_requests_mean_nothing_in_a_response() {
    check_field("Host: a b\r\nHost: c\r\nExpect: more", "head 200, end, eof");
}

#[test]
fn a_length_is_one_plain_number() {
    let length = |fields: &str, expected: &str| {
        check(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"), expected);
    };
    for bad in ["", "+1", "-1", "1 2", "0x1", "18446744073709551616", "a"] {
        length(&format!("Content-Length: {bad}"), "fault BadLength");
    }
    length("Content-Length: 0, 0", "fault TwoLengths");
    length("Content-Length: 0\r\nContent-Length: 0", "fault TwoLengths");
    length("content-length: 00", "head 200, end, eof");
}

#[test]
fn chunked_stands_alone_and_last() {
    let coding = |fields: &str, expected: &str| {
        check(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"), expected);
    };
    for bad in [
        "",
        "identity",
        "chunked, gzip",
        "gzip",
        "xchunked",
        "chunked,",
    ] {
        let field = format!("Transfer-Encoding: {bad}");
        coding(&field, "fault BadTransferEncoding");
    }
    coding(
        "Transfer-Encoding: gzip, chunked",
        "fault UnknownTransferCoding",
    );
    coding(
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "fault BadTransferEncoding",
    );
    coding(
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "fault LengthAndChunked",
    );
    coding(
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "fault LengthAndChunked",
    );
    check(
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "fault ChunkedInHttp10",
    );
}

#[test]
fn chunks_are_taken_out_of_their_framing_and_trailers_dropped() {
    check_chunks(
        "5\r\nhello\r\n6;a=\"b\"\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n",
        "data hello world, end, eof",
    );
    check_chunks("0\r\n\r\n", "end, eof");
    check_chunks("x\r\n", "fault BadChunkSize");
    check_chunks("1\r\nabc", "data a, fault BadChunkEnd");
    check_chunks("0\r\nContent-Length: 3\r\n\r\n", "fault BadTrailer");
    check_chunks("0\r\nA: b\n\r\n", "fault BareLf");
    check_chunks("2\r\na", "data a, fault Truncated");
    check_chunks("1\r\na\r\n", "data a, fault Truncated");
    check_chunks("0\r\n", "fault Truncated");
}

#[test]
fn without_framing_a_body_goes_until_the_close() {
    check(
        "HTTP/1.1 200 OK\r\n\r\nall of it",
        "head 200, eof, data all of it, end",
    );
    check("HTTP/1.0 200 OK\r\n\r\n", "head 200, eof, end");
    check(
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\na\r\n\r\n",
        "head 200, eof, data a\\r\\n\\r\\n, end",
    );
}

#[test]
fn some_responses_have_no_body_whatever_their_fields_say() {
    let fields = "Content-Length: 5\r\n\r\n";
    check_requests(
        &["HEAD", "GET"],
        format!("HTTP/1.1 200 OK\r\n{fields}HTTP/1.1 204 No Content\r\n\r\n"),
        "head 200, end, head 204, end, eof",
    );
    for status in [204, 304] {
        for fields in [fields, "Transfer-Encoding: chunked\r\n\r\n", "\r\n"] {
            check(
                format!("HTTP/1.1 {status} \r\n{fields}"),
                &format!("head {status}, end, eof"),
            );
        }
    }
    check_requests(&["HEAD"], "HTTP/1.1 200 OK\r\n\r\n", "head 200, end, eof");
}

#[test]
fn interim_responses_come_before_the_final_one() {
    check(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 199 \r\nContent-Length: 3\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
        "interim 100, interim 103, interim 199, head 200, data a, end, eof",
    );
    check(
        "HTTP/1.1 100 Continue\r\n\r\n",
        "interim 100, fault Truncated",
    );
    check(
        "HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\nHTTP/1.1 204 \r\n\r\n",
        "interim 100, head 204, end, eof",
    );
}

#[test]
fn interim_responses_do_not_come_without_end() {
    let hints = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let limits = HeadLimits {
        head_bytes_max: 3 * hints.len(),
        ..HeadLimits::default()
    };
    let input = |interims| format!("{}HTTP/1.1 204 \r\n\r\n", hints.repeat(interims));
    check_with(
        &limits,
        &["GET"],
        input(2),
        "interim 103, interim 103, head 204, end, eof",
    );
    check_with(
        &limits,
        &["GET"],
        input(3),
        "interim 103, interim 103, interim 103, fault HeadTooLarge",
    );
}

#[test]
fn a_switch_hands_the_rest_to_the_other_protocol() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    check_requests(
        &["GET upgrade"],
        format!("{switch}HTTP"),
        "head 101, end, upgraded",
    );
    check_requests(
        &["GET upgrade"],
        format!("HTTP/1.1 100 \r\n\r\n{switch}"),
        "interim 100, head 101, end, upgraded",
    );
    check("HTTP/1.1 101 \r\n\r\n", "fault UnofferedUpgrade");
    let (_, head) = run(
        &["GET upgrade"],
        [switch.as_bytes()],
        &HeadLimits::default(),
    );
    assert_eq!(head.upgrade(), Some("echo"));
    check_requests(
        &["GET upgrade", "GET"],
        "HTTP/1.1 426 \r\nUpgrade: other\r\nContent-Length: 0\r\n\r\nHTTP/1.1 204 \r\n\r\n",
        "head 426, end, head 204, end, eof",
    );
}

#[test]
fn an_upgrade_counts_only_if_the_connection_lists_it() {
    let upgrade = |input: &str| {
        let (_, head) = run(&["GET"], [input.as_bytes()], &HeadLimits::default());
        head.upgrade().map(str::to_owned)
    };
    assert_eq!(
        upgrade("HTTP/1.1 426 \r\nUpgrade: a\r\nConnection: x, Upgrade\r\n\r\n"),
        Some("a".into())
    );
    assert_eq!(upgrade("HTTP/1.1 426 \r\nUpgrade: a\r\n\r\n"), None);
    assert_eq!(
        upgrade("HTTP/1.0 426 \r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n"),
        None
    );
}

#[test]
fn connect_that_is_granted_is_a_tunnel_and_its_framing_ignored() {
    for fields in [
        "",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
        "Connection: close\r\n",
    ] {
        check_requests(
            &["CONNECT"],
            format!("HTTP/1.1 200 OK\r\n{fields}\r\nSSH-2.0"),
            "head 200, end, upgraded",
        );
    }
    check_requests(
        &["CONNECT", "GET"],
        "HTTP/1.1 407 No\r\nContent-Length: 1\r\n\r\naHTTP/1.1 204 \r\n\r\n",
        "head 407, data a, end, head 204, end, eof",
    );
    check_requests(
        &["CONNECT"],
        "HTTP/1.1 407 No\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "fault LengthAndChunked",
    );
}

#[test]
fn the_connection_goes_on_unless_a_side_wants_to_close() {
    let empty = "Content-Length: 0\r\n\r\n";
    check(format!("HTTP/1.1 200 OK\r\n{empty}"), "head 200, end, eof");
    check(
        format!("HTTP/1.1 200 OK\r\nConnection: x, Close\r\n{empty}"),
        "head 200, end, close",
    );
    check(
        format!("HTTP/1.0 200 OK\r\n{empty}"),
        "head 200, end, close",
    );
    check(
        format!("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n{empty}"),
        "head 200, end, eof",
    );
    check_requests(
        &["GET close"],
        format!("HTTP/1.1 200 OK\r\n{empty}"),
        "head 200, end, close",
    );
    check_requests(
        &["GET close"],
        "HTTP/1.1 204 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "head 204, end, close",
    );
}

#[test]
fn bytes_that_nobody_asked_for_are_no_response() {
    check(
        "HTTP/1.1 204 \r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "head 204, end, fault UnaskedResponse",
    );
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
        "head 200, data a, end, fault UnaskedResponse",
    );
    check_requests(&[], "\r\n", "fault UnaskedResponse");
}

#[test]
fn the_end_of_the_stream_is_judged_by_where_it_comes() {
    check_requests(&[], "", "eof");
    check("", "fault NoResponse");
    check("H", "fault Truncated");
    check("HTTP/1.1 200 OK\r\n", "fault Truncated");
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        "head 200, data ab, fault Truncated",
    );
    check_requests(
        &["GET", "GET"],
        "HTTP/1.1 204 \r\n\r\n",
        "head 204, end, fault NoResponse",
    );
}

#[test]
fn an_end_that_comes_with_the_last_byte_still_ends_the_response() {
    let (mut client, mut head, limits) = (
        Client::new(),
        IncomingResponse::new(),
        HeadLimits::default(),
    );
    client.request(&bare("GET"), &mut Vec::new()).unwrap();
    client.end(&mut Vec::new()).unwrap();
    let input = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    client.next(input, &mut head, &limits).unwrap();
    assert_eq!(client.eof(), Ok(()));
    assert_eq!(
        client.next(b"", &mut head, &limits),
        Ok((0, ResponseStep::End))
    );
    assert_eq!(client.after(), After::Close);
}

#[test]
fn sizes_are_bounded() {
    let limits = HeadLimits {
        line_bytes_max: 20,
        head_bytes_max: 60,
        fields_max: 2,
        trailer_bytes_max: 12,
        ..HeadLimits::default()
    };
    let check = |input: &str, expected| check_with(&limits, &["HEAD"], input, expected);
    check("HTTP/1.1 200 1234\r\n\r\n", "head 200, end, eof");
    check("HTTP/1.1 200 123456\r\n\r\n", "fault StatusLineTooLong");
    check(
        "HTTP/1.1 200 \r\nA: 6789012345678901\r\n\r\n",
        "fault LineTooLong",
    );
    check(
        "HTTP/1.1 200 \r\nA: b\r\nC: d\r\n\r\n",
        "head 200, end, eof",
    );
    check(
        "HTTP/1.1 200 \r\nA: b\r\nC: d\r\nE: f\r\n\r\n",
        "fault TooManyFields",
    );
    let heads = HeadLimits {
        fields_max: 100,
        ..limits.clone()
    };
    let fields = "A: 678901234567\r\n";
    check_with(
        &heads,
        &["HEAD"],
        format!("HTTP/1.1 200 \r\n{}\r\n", fields.repeat(2)),
        "head 200, end, eof",
    );
    check_with(
        &heads,
        &["HEAD"],
        format!("HTTP/1.1 200 \r\n{}\r\n", fields.repeat(3)),
        "fault HeadTooLarge",
    );
    let chunked = HeadLimits {
        line_bytes_max: 40,
        ..limits
    };
    check_with(
        &chunked,
        &["GET"],
        "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: 345678901\r\n\r\n",
        "head 200, fault TrailerTooLarge",
    );
    let tiny = HeadLimits {
        line_bytes_max: 3,
        ..HeadLimits::default()
    };
    check_with(&tiny, &["GET"], "HTXP", "fault BadStatusLine");
    check_with(&tiny, &["GET"], "HTTX", "fault StatusLineTooLong");
}

#[test]
fn only_the_caller_sees_that_a_peer_is_slow() {
    let (mut client, mut head, limits) = (
        Client::new(),
        IncomingResponse::new(),
        HeadLimits::default(),
    );
    client.request(&bare("GET"), &mut Vec::new()).unwrap();
    assert!(client.is_waiting() && !client.is_idle());
    client.refuse(PeerError::TooSlow);
    client.refuse(PeerError::BodyTooLarge);
    let next = client.next(b"HTTP/1.1 200 OK\r\n\r\n", &mut head, &limits);
    assert_eq!(next, Err(PeerError::TooSlow));
    assert_eq!(client.after(), After::Close);
}

#[test]
#[should_panic(expected = "one head is filled for one response")]
fn a_head_that_is_swapped_in_the_middle_is_noticed() {
    let (mut client, limits) = (Client::new(), HeadLimits::default());
    client.request(&bare("GET"), &mut Vec::new()).unwrap();
    let (mut first, mut second) = (IncomingResponse::new(), IncomingResponse::new());
    client
        .next(b"HTTP/1.1 200 OK\r\n", &mut first, &limits)
        .unwrap();
    let _ = client.next(b"\r\n", &mut second, &limits);
}
