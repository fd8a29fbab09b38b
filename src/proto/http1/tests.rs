//! The machine from outside: bytes in, events and answers out. Every input is fed whole, byte by byte, cut at every
//! position, and with another request behind it.

use proptest::prelude::*;

use super::*;

const DATE: [u8; 29] = *b"Thu, 01 Jan 1970 00:00:00 GMT";

/// A connection on which every request is answered by an empty 200, and what happened on it.
struct Run {
    server: Server,
    head: RequestHead,
    limits: HeadLimits,
    input: Vec<u8>,
    events: Vec<String>,
    heads: Vec<RequestHead>,
    data: Vec<u8>,
    is_over: bool,
}

impl Run {
    fn new(limits: &HeadLimits) -> Self {
        Self {
            server: Server::new(),
            head: RequestHead::new(),
            limits: limits.clone(),
            input: Vec::new(),
            events: Vec::new(),
            heads: Vec::new(),
            data: Vec::new(),
            is_over: false,
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while !self.is_over {
            let (used, step) = match self.server.next(&self.input, &mut self.head, &self.limits) {
                Ok(next) => next,
                Err(error) => return self.fault(error),
            };
            let is_waiting = step == Step::NeedMore;
            match step {
                Step::Head => {
                    self.events.push(format!(
                        "head {} {}",
                        self.head.method_str(),
                        self.head.target()
                    ));
                    self.heads.push(self.head.clone());
                }
                Step::Data(data) => self.data.extend_from_slice(data),
                Step::End => {
                    self.flush_data();
                    self.events.push("end".into());
                    self.answer();
                }
                Step::NeedMore => {}
                Step::Paused => panic!("every request is answered at its end"),
            }
            self.input.drain(..used);
            if is_waiting {
                return;
            }
        }
    }

    fn answer(&mut self) {
        let fields = Fields::new();
        let mut out = Vec::new();
        let answer = ResponseHead {
            status: 200,
            fields: &fields,
            content_type: None,
            length: BodyLength::Known(0),
            date: &DATE,
        };
        self.server.respond(&answer, &mut out).unwrap();
        self.server.end(&mut out).unwrap();
        match self.server.after() {
            After::NextExchange => {}
            After::Close => {
                self.events.push("close".into());
                self.is_over = true;
            }
            after => panic!("{after:?} behind an answered request"),
        }
    }

    fn eof(&mut self) {
        if self.is_over {
            return;
        }
        match self.server.eof() {
            Ok(()) => {
                self.events.push("eof".into());
                assert_eq!(self.server.after(), After::Close);
            }
            Err(error) => self.fault(error),
        }
    }

    fn fault(&mut self, error: PeerError) {
        self.flush_data();
        self.events.push(format!("fault {error:?}"));
        self.is_over = true;
        assert_eq!(
            self.server
                .next(b"GET / HTTP/1.0\r\n\r\n", &mut self.head, &self.limits),
            Err(error)
        );
        assert!(self.server.owes_response());
    }

    fn flush_data(&mut self) {
        if !self.data.is_empty() {
            self.events
                .push(format!("data {}", self.data.escape_ascii()));
            self.data.clear();
        }
    }
}

fn run<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &HeadLimits,
) -> (String, Vec<RequestHead>) {
    let mut run = Run::new(limits);
    for piece in pieces {
        run.feed(piece);
    }
    run.eof();
    (run.events.join(", "), run.heads)
}

#[track_caller]
fn check_with(limits: &HeadLimits, input: impl AsRef<[u8]>, expected: &str) {
    let input = input.as_ref();
    let whole = run([input], limits);
    assert_eq!(whole.0, expected, "whole");
    assert_eq!(run(input.chunks(1), limits), whole, "byte by byte");
    for cut in 0..=input.len() {
        let (front, back) = input.split_at(cut);
        assert_eq!(run([front, back], limits), whole, "cut at {cut}");
    }
    let behind = b"GET /behind HTTP/1.1\r\nHost: b\r\n\r\n";
    let with_behind = match expected.strip_suffix("eof") {
        Some(front) => format!("{front}head GET /behind, end, eof"),
        None if expected.ends_with("Truncated") => return,
        None => expected.into(),
    };
    assert_eq!(
        run([&[input, behind].concat()[..]], limits).0,
        with_behind,
        "with a request behind"
    );
}

#[track_caller]
fn check(input: impl AsRef<[u8]>, expected: &str) {
    check_with(&HeadLimits::default(), input, expected);
}

/// A request line of these words, and a good `Host`.
#[track_caller]
fn check_request_line(line: &str, expected: &str) {
    check(format!("{line}\r\nHost: h\r\n\r\n"), expected);
}

/// A field line in the middle of an otherwise good head.
#[track_caller]
fn check_field(line: impl AsRef<[u8]>, expected: &str) {
    check(
        [
            b"GET / HTTP/1.1\r\nHost: h\r\n",
            line.as_ref(),
            b"\r\nX-Last: 1\r\n\r\n",
        ]
        .concat(),
        expected,
    );
}

/// A body behind a head that announces chunks.
#[track_caller]
fn check_chunks(body: impl AsRef<[u8]>, expected: &str) {
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(
        [head, body.as_ref()].concat(),
        &format!("head POST /, {expected}"),
    );
}

#[track_caller]
fn head_of(text: &str) -> RequestHead {
    let (events, mut heads) = run([text.as_bytes()], &HeadLimits::default());
    assert_eq!(heads.len(), 1, "{events}");
    heads.remove(0)
}

mod reading {
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
        let (mut server, mut head, limits) =
            (Server::new(), RequestHead::new(), HeadLimits::default());
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
        let (mut server, mut head, limits) =
            (Server::new(), RequestHead::new(), HeadLimits::default());
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
        let (mut server, mut head, limits) =
            (Server::new(), RequestHead::new(), HeadLimits::default());
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
        let (mut server, mut head, limits) =
            (Server::new(), RequestHead::new(), HeadLimits::default());
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
}

mod request_lines {
    use super::*;

    #[test]
    fn more_or_less_than_one_space_between_words_is_refused() {
        for line in [
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET\t/ HTTP/1.1",
            "GET /",
            "GET",
            "GET / a HTTP/1.1",
        ] {
            check_request_line(line, "fault BadRequestLine");
        }
    }

    #[test]
    fn a_line_that_begins_with_no_letter_of_a_method_is_refused_at_its_first_byte() {
        check(" GET / HTTP/1.1\r\nHost: h\r\n\r\n", "fault BadMethod");
        check([0x16, 3, 1, 2], "fault BadMethod");
        check("\0", "fault BadMethod");
        check("\r\n(", "fault BadMethod");
    }

    #[test]
    fn a_method_is_any_token() {
        check_request_line("PURGE / HTTP/1.1", "head PURGE /, end, eof");
        check_request_line(
            "M-SEARCH!#$%&'*+.^_`|~9 / HTTP/1.1",
            "head M-SEARCH!#$%&'*+.^_`|~9 /, end, eof",
        );
        check_request_line("G@T / HTTP/1.1", "fault BadMethod");
        check_request_line("GÉT / HTTP/1.1", "fault BadMethod");
        assert_eq!(
            head_of("get / HTTP/1.1\r\nHost: h\r\n\r\n").method(),
            Method::Other
        );
    }

    #[test]
    fn every_known_method_is_recognised() {
        for name in [
            "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE",
        ] {
            let head = head_of(&format!("{name} / HTTP/1.1\r\nHost: h\r\n\r\n"));
            assert_eq!((head.method().as_str(), head.method_str()), (name, name));
        }
        let head = head_of("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(
            (head.method(), head.method().as_str()),
            (Method::Connect, "CONNECT")
        );
    }

    #[test]
    fn other_versions_are_not_supported() {
        for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3.0"] {
            check_request_line(&format!("GET / {version}"), "fault VersionNotSupported");
        }
        check(
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "fault VersionNotSupported",
        );
    }

    #[test]
    fn nonsense_in_place_of_a_version_is_refused() {
        for version in [
            "http/1.1",
            "HTTP/1.10",
            "HTTP/11",
            "HTTP/1",
            "HTTP/",
            "HTTPS/1.1",
            "HTTP/1.1x",
            "HTTP/a.b",
            "XTTP/1.1",
            "",
        ] {
            check_request_line(&format!("GET / {version}"), "fault BadVersion");
        }
    }

    #[test]
    fn targets_outside_visible_ascii_or_with_a_fragment_are_refused() {
        for target in ["/é", "/a#b", "/?#", "/\u{7f}", "/\0", "/\u{1}", "/a\tb"] {
            check_request_line(&format!("GET {target} HTTP/1.1"), "fault BadTarget");
        }
        check(b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", "fault BadTarget");
    }

    #[test]
    fn each_method_has_its_forms_of_target() {
        check_request_line("OPTIONS * HTTP/1.1", "head OPTIONS *, end, eof");
        check_request_line("OPTIONS /a HTTP/1.1", "head OPTIONS /a, end, eof");
        check_request_line(
            "CONNECT a.example:443 HTTP/1.1",
            "head CONNECT a.example:443, end, close",
        );
        check_request_line(
            "CONNECT [::1]:443 HTTP/1.1",
            "head CONNECT [::1]:443, end, close",
        );
        for line in [
            "GET *",
            "OPTIONS **",
            "GET a",
            "GET a:80",
            "GET ?a",
            "CONNECT /",
            "CONNECT a",
            "CONNECT a:",
            "CONNECT :1",
            "CONNECT a:b",
            "CONNECT a:65536",
            "CONNECT http://a:80/",
            "CONNECT a:1?x",
            "CONNECT u@a:1",
            "CONNECT *",
        ] {
            check_request_line(&format!("{line} HTTP/1.1"), "fault BadTarget");
        }
    }

    #[test]
    fn an_absolute_target_needs_a_scheme_we_serve_and_a_host() {
        for target in [
            "http://h/",
            "HTTPS://h:443",
            "http://h?x",
            "http://[2001:db8::1]:8080/",
            "http://1.2.3.4",
            "http://a%20b/",
        ] {
            check_request_line(
                &format!("GET {target} HTTP/1.1"),
                &format!("head GET {target}, end, eof"),
            );
        }
        for target in [
            "ftp://h/",
            "http:/h",
            "http://",
            "http:///a",
            "http://?a",
            "http://u@h/",
            "http://u:p@h/",
            "http://h:x/",
            "http://h:99999/",
            "http://[::1/",
            "http://[]/",
            "http://[g]/",
            "http://[::1]x/",
            "http://a%2/",
            "http://a b/",
        ] {
            let fault = if target.contains(' ') {
                "fault BadRequestLine"
            } else {
                "fault BadTarget"
            };
            check_request_line(&format!("GET {target} HTTP/1.1"), fault);
        }
    }

    #[test]
    fn a_target_is_taken_apart() {
        let parts = |line: &str| {
            let head = head_of(&format!("{line} HTTP/1.1\r\nHost: field\r\n\r\n"));
            format!("{} {:?} {}", head.path(), head.query(), head.host())
        };
        assert_eq!(parts("GET /"), "/ None field");
        assert_eq!(
            parts("GET /a%20b/c?x=1&y=?/"),
            "/a%20b/c Some(\"x=1&y=?/\") field"
        );
        assert_eq!(parts("GET /?"), "/ Some(\"\") field");
        assert_eq!(parts("GET //a"), "//a None field");
        assert_eq!(
            parts("GET http://target:81/p?q"),
            "/p Some(\"q\") target:81"
        );
        assert_eq!(parts("GET http://target"), "/ None target");
        assert_eq!(parts("GET https://target?q=/"), "/ Some(\"q=/\") target");
        assert_eq!(parts("GET /http://x"), "/http://x None field");
        assert_eq!(parts("OPTIONS *"), "* None field");
        assert_eq!(parts("CONNECT target:443"), " None target:443");
    }
}

mod fields {
    use super::*;

    #[test]
    fn whitespace_around_a_value_is_not_part_of_it() {
        for line in ["X: v", "X:v", "X:\t v \t"] {
            let head = head_of(&format!(
                "GET / HTTP/1.1\r\nHost: h\r\n{line}\r\nY:\r\nZ:  \r\n\r\n"
            ));
            assert_eq!(
                (head.header("x"), head.header("Y"), head.header("z")),
                (Some("v"), Some(""), Some(""))
            );
        }
    }

    #[test]
    fn fields_keep_their_order_and_their_spelling() {
        let head = head_of("GET / HTTP/1.1\r\nHost: h\r\nB: 1\r\na: 2\r\nb: 3\r\n\r\n");
        let fields = head
            .headers()
            .map(|(name, value)| format!("{name}={}", value.escape_ascii()))
            .collect::<Vec<_>>();
        assert_eq!(fields, ["Host=h", "B=1", "a=2", "b=3"]);
        assert_eq!(head.header("b"), Some("1"));
        assert_eq!(head.header("c"), None);
    }

    #[test]
    fn a_value_may_hold_bytes_that_are_no_text() {
        check_field(b"X: caf\xe9 \xff", "head GET /, end, eof");
        let mut run = Run::new(&HeadLimits::default());
        run.feed(b"GET / HTTP/1.1\r\nHost: h\r\nX: \xe9\r\n\r\n");
        assert_eq!(
            (run.head.header("x"), run.head.header_bytes("x")),
            (None, Some(&b"\xe9"[..]))
        );
    }

    #[test]
    fn a_line_without_a_colon_is_refused() {
        check_field("X", "fault NoColon");
        check_field("X y", "fault NoColon");
    }

    #[test]
    fn whitespace_before_the_colon_is_refused() {
        check_field("X : y", "fault SpaceBeforeColon");
        check_field("X\t: y", "fault SpaceBeforeColon");
        check_field("Content-Length : 5", "fault SpaceBeforeColon");
    }

    #[test]
    fn a_name_that_is_no_token_is_refused() {
        for line in [": y", "a b: y", "a(b): y", "é: y", "a\0: y", "\"a\": y"] {
            check_field(line, "fault BadFieldName");
        }
    }

    #[test]
    fn control_characters_in_a_value_are_refused() {
        for byte in (0..0x20)
            .chain([0x7f])
            .filter(|byte| !b"\t\r\n".contains(byte))
        {
            check_field([b"X: a", &[byte][..], b"b"].concat(), "fault BadFieldValue");
        }
    }

    #[test]
    fn folded_lines_and_whitespace_before_the_first_field_are_refused() {
        check_field("X: a\r\n b", "fault ObsFold");
        check_field("X: a\r\n\tb", "fault ObsFold");
        check_field("X:\r\n y", "fault ObsFold");
        check("GET / HTTP/1.1\r\n Host: h\r\n\r\n", "fault ObsFold");
        check(
            "GET / HTTP/1.1\r\n\tX: y\r\nHost: h\r\n\r\n",
            "fault ObsFold",
        );
        check("GET / HTTP/1.1\r\nHost: h\r\n \r\n\r\n", "fault ObsFold");
    }

    #[test]
    fn a_bare_lf_is_refused_wherever_it_stands() {
        check("GET / HTTP/1.1\nHost: h\r\n\r\n", "fault BareLf");
        check("GET / HTTP/1.1\r\nHost: h\n\r\n", "fault BareLf");
        check("GET / HTTP/1.1\r\nHost: h\r\n\n", "fault BareLf");
        check(
            "GET / HTTP/1.1\r\nHost: h\r\nX: y\nZ: z\r\n\r\n",
            "fault BareLf",
        );
        check("GET / HTTP/1.1\r\nHost: h\r\nX: \n\r\n", "fault BareLf");
        check("GET / HTTP/1.1\nHost: h\n\n", "fault BareLf");
        check("GET /\n HTTP/1.1\r\nHost: h\r\n\r\n", "fault BareLf");
        check("GET / HTTP/1.0\n\r\n", "fault BareLf");
        check("GET / HTTP/1.0\r\n\n", "fault BareLf");
    }

    #[test]
    fn a_bare_cr_is_refused_wherever_it_stands() {
        check("GET / HTTP/1.1\rHost: h\r\n\r\n", "fault BareCr");
        check("GET /\r HTTP/1.1\r\nHost: h\r\n\r\n", "fault BareCr");
        check("GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", "fault BareCr");
        check("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", "fault BareCr");
        check_field("X: a\rb", "fault BareCr");
        check_field("X\r: a", "fault BareCr");
        check_field("X: a\rTransfer-Encoding: chunked", "fault BareCr");
        check(
            "GET / HTTP/1.1\r\nHost: h\r\n\rX: y\r\n\r\n",
            "fault BareCr",
        );
    }

    #[test]
    fn the_first_offending_line_decides() {
        check(
            "GET / HTTP/1.1\r\nX\r\n y\r\nZ: \0\r\n\r\n",
            "fault NoColon",
        );
        check("GET / HTTP/1.1\r\nA: b\nX\r\n\r\n", "fault BareLf");
        check(
            "GET / HTTP/1.1\r\nContent-Length: 1, 1\r\nX y\r\n\r\n",
            "fault TwoLengths",
        );
        check("GET / HTTP/1.1\r\nContent-Length: x\r\n", "fault BadLength");
        check("GET / HTTP/9.9\r\n", "fault VersionNotSupported");
    }
}

mod host {
    use super::*;

    #[test]
    fn http_1_1_needs_exactly_one() {
        check("GET / HTTP/1.1\r\n\r\n", "fault NoHost");
        check("GET http://h/ HTTP/1.1\r\n\r\n", "fault NoHost");
        check(
            "GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n",
            "fault TwoHosts",
        );
        check(
            "GET / HTTP/1.0\r\nHost: h\r\nhost: h\r\n\r\n",
            "fault TwoHosts",
        );
        check("GET / HTTP/1.0\r\n\r\n", "head GET /, end, close");
    }

    #[test]
    fn an_empty_or_malformed_host_is_refused() {
        for host in [
            "",
            " ",
            "a b",
            "a, b",
            "a/b",
            "u@h",
            "h:x",
            "h:80:80",
            "h:65536",
            ":80",
            "[::1",
            "[]",
            "[::1]80",
            "::1",
            "a\\b",
            "http://h",
            "h?x",
            "h#x",
            "é",
            "a%",
            "a%zz",
            "[fe80::1%25eth0]",
            "<h>",
            "\"h\"",
        ] {
            check(
                format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
                "fault BadHost",
            );
        }
    }

    #[test]
    fn hosts_of_all_kinds_are_accepted() {
        for host in [
            "h",
            "example.com",
            "h:80",
            "h:",
            "127.0.0.1:8080",
            "[::1]",
            "[2001:db8::1]:443",
            "a_b-c~",
            "x%41",
        ] {
            let head = head_of(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!(head.host(), host);
        }
        assert_eq!(head_of("GET / HTTP/1.0\r\n\r\n").host(), "");
    }
}

mod framing {
    use super::*;

    #[track_caller]
    fn check_post(fields: &str, expected: &str) {
        check(
            format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n"),
            expected,
        );
    }

    #[test]
    fn length_and_chunked_together_are_refused_in_either_order() {
        check_post(
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "fault LengthAndChunked",
        );
        check_post(
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "fault LengthAndChunked",
        );
        check_post(
            "Content-Length: 0\r\nX: y\r\nTransfer-Encoding: gzip",
            "fault LengthAndChunked",
        );
    }

    #[test]
    fn more_than_one_length_is_refused_even_if_they_agree() {
        check_post("Content-Length: 5\r\nContent-Length: 5", "fault TwoLengths");
        check_post("Content-Length: 5\r\ncontent-length: 6", "fault TwoLengths");
        check_post("Content-Length: 5, 5", "fault TwoLengths");
        check_post("Content-Length: 5,", "fault TwoLengths");
    }

    #[test]
    fn a_length_is_a_plain_number_that_fits() {
        for length in [
            "+5",
            "-5",
            "",
            "5 5",
            "0x5",
            "5a",
            "5.0",
            "٥",
            "18446744073709551616",
            "99999999999999999999999",
        ] {
            check_post(&format!("Content-Length: {length}"), "fault BadLength");
        }
        let head =
            head_of("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551615\r\n\r\n");
        assert_eq!(head.content_length(), Some(u64::MAX));
    }

    #[test]
    fn transfer_encoding_is_one_chunked() {
        for value in [
            "",
            "identity",
            "gzip",
            "chunked, identity",
            "chunked, chunked",
            "xchunked",
            "chunkedx",
            "chunked;q=1",
            "\"chunked\"",
            "chunked,",
            ",chunked",
            "cow",
            "gzip, chunked, chunked",
            "chunk ed",
            "a b, chunked",
        ] {
            check_post(
                &format!("Transfer-Encoding: {value}"),
                "fault BadTransferEncoding",
            );
        }
        check_post(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "fault BadTransferEncoding",
        );
        check_post(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "fault BadTransferEncoding",
        );
        check_post(
            "Transfer-Encoding:  ChunKED \r\n\r\n0",
            "head POST /, end, eof",
        );
        check_post("Transfer-Encoding:\x0bchunked", "fault BadFieldValue");
    }

    #[test]
    fn another_coding_before_chunked_is_not_implemented() {
        check_post(
            "Transfer-Encoding: gzip, chunked",
            "fault UnknownTransferCoding",
        );
        check_post(
            "Transfer-Encoding: a,b ,chunked",
            "fault UnknownTransferCoding",
        );
    }

    #[test]
    fn http_1_0_has_no_chunks() {
        check(
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "fault ChunkedInHttp10",
        );
    }

    #[test]
    fn an_unknown_expectation_is_refused() {
        check_post("Expect: 200-ok", "fault UnknownExpectation");
        check_post("Expect: 100-continue, x", "fault UnknownExpectation");
        check_post("Expect: ", "fault UnknownExpectation");
        check(
            "GET / HTTP/1.0\r\nExpect: x\r\n\r\n",
            "head GET /, end, close",
        );
    }

    #[test]
    fn has_body_says_whether_bytes_may_follow() {
        let has_body = |fields: &str| {
            head_of(&format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n")).has_body()
        };
        assert!(!has_body("X: y"));
        assert!(!has_body("Content-Length: 0"));
        assert!(has_body("Content-Length: 1"));
        assert!(has_body("Transfer-Encoding: chunked"));
    }
}

mod chunks {
    use super::*;

    #[test]
    fn a_size_is_one_to_sixteen_hexadecimal_digits() {
        for size in [
            "", "x", "0x5", "-1", "+1", "g", "5g", "1.0", "\t5", " 5", "5\t", ";a", "5,", "\0",
        ] {
            check_chunks(
                format!("{size}\r\nhello\r\n0\r\n\r\n"),
                "fault BadChunkSize",
            );
        }
        check_chunks("ffffffffffffffff0\r\n", "fault BadChunkSize");
        check_chunks("00000000000000005\r\nhello\r\n", "fault BadChunkSize");
        check_chunks("ffffffffffffffff\r\nab", "data ab, fault Truncated");
    }

    #[test]
    fn only_crlf_ends_a_size_line() {
        check_chunks("5\nhello\r\n0\r\n\r\n", "fault BareLf");
        check_chunks("5\rhello\r\n0\r\n\r\n", "fault BareCr");
        check_chunks("5\r\rhello", "fault BareCr");
        check_chunks("5;a\nhello\r\n0\r\n\r\n", "fault BareLf");
        check_chunks("5;a\rb\r\nhello\r\n0\r\n\r\n", "fault BareCr");
        check_chunks("5;\nhello", "fault BareLf");
        check_chunks("5;a=\"\n\"\r\nhello", "fault BareLf");
        check_chunks("0\n\r\n", "fault BareLf");
    }

    #[test]
    fn data_ends_where_its_size_says() {
        check_chunks("5\r\nhelloX\r\n0\r\n\r\n", "data hello, fault BadChunkEnd");
        check_chunks("5\r\nhello0\r\n\r\n", "data hello, fault BadChunkEnd");
        check_chunks("5\r\nhello\n0\r\n\r\n", "data hello, fault BadChunkEnd");
        check_chunks("5\r\nhello\rX", "data hello, fault BadChunkEnd");
        check_chunks("5\r\nhello\r\r\n", "data hello, fault BadChunkEnd");
        check_chunks("5\r\nhell\r\n0\r\n\r\n", "data hell\\r, fault BadChunkEnd");
    }

    #[test]
    fn extensions_are_read_over() {
        for extension in [
            ";a",
            ";a=b",
            ";a=b;c",
            "; a = b ; c",
            " ;a",
            ";a=\"\"",
            ";a=\"b;c\\\"d\"",
            ";a=\"b\" ;c=d",
            ";a=\"\\\\\"",
            ";a=\"\u{e9}\"",
        ] {
            check_chunks(
                format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n"),
                "data hello, end, eof",
            );
        }
    }

    #[test]
    fn malformed_extensions_are_refused() {
        for extension in [
            " ",
            ";",
            ";;",
            ";a;",
            ";=b",
            ";a=",
            ";a==b",
            ";a=b c",
            ";a b",
            ";a=\"",
            ";a=\"b",
            ";a=\"b\"c",
            ";a=\"\\",
            ";a=\"\r\n0\r\n\r\n\"",
            ";\0",
            ";a=\t",
            ";a\x7f",
            ";a=\"\x01\"",
            ";a=(b)",
            ";a ",
            ";a=b ",
            " x",
            ";é",
        ] {
            check_chunks(
                format!("5{extension}\r\nhello\r\n0\r\n\r\n"),
                "fault BadChunkExtension",
            );
        }
    }

    #[test]
    fn extensions_are_bounded_a_chunk_and_a_message() {
        check_chunks(
            format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(255)),
            "data x, end, eof",
        );
        check_chunks(
            format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(256)),
            "fault ChunkExtensionTooLarge",
        );
        let limits = HeadLimits {
            chunk_extensions_bytes_max: 6,
            ..HeadLimits::default()
        };
        let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body = |times: usize| format!("{head}{}0\r\n\r\n", "1;a\r\nx\r\n".repeat(times));
        check_with(&limits, body(3), "head POST /, data xxx, end, eof");
        check_with(
            &limits,
            body(4),
            "head POST /, data xxx, fault ChunkExtensionTooLarge",
        );
    }

    #[test]
    fn trailers_are_judged_and_dropped() {
        check_chunks("0\r\nX-Sum: 1\r\nExpires: never\r\n\r\n", "end, eof");
        check_chunks("0\r\nX\r\n\r\n", "fault NoColon");
        check_chunks("0\r\nX : y\r\n\r\n", "fault SpaceBeforeColon");
        check_chunks("0\r\n x\r\n\r\n", "fault ObsFold");
        check_chunks("0\r\nX: y\r\n z\r\n\r\n", "fault ObsFold");
        check_chunks("0\r\nX: y\n\r\n", "fault BareLf");
        check_chunks("0\r\n\n", "fault BareLf");
        check_chunks("0\r\nX: y\rz\r\n\r\n", "fault BareCr");
        check_chunks("0\r\n\rX", "fault Truncated");
        check_chunks("0\r\nX: \0\r\n\r\n", "fault BadFieldValue");
    }

    #[test]
    fn trailers_that_change_framing_or_routing_are_refused() {
        for field in [
            "Content-Length: 5",
            "transfer-encoding: chunked",
            "HOST: x",
            "Connection: close",
            "Upgrade: x",
            "TE: x",
            "Trailer: x",
        ] {
            check_chunks(format!("0\r\nA: b\r\n{field}\r\n\r\n"), "fault BadTrailer");
        }
    }

    #[test]
    fn trailers_are_bounded() {
        let limits = HeadLimits {
            trailer_bytes_max: 12,
            ..HeadLimits::default()
        };
        let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
        check_with(
            &limits,
            format!("{head}A: b\r\nC: d\r\n\r\n"),
            "head POST /, end, eof",
        );
        check_with(
            &limits,
            format!("{head}A: b\r\nC: dd\r\n\r\n"),
            "head POST /, fault TrailerTooLarge",
        );
        check_with(
            &limits,
            format!("{head}{}", "x".repeat(20)),
            "head POST /, fault TrailerTooLarge",
        );
    }
}

mod limits {
    use super::*;

    #[test]
    fn a_line_may_be_just_as_long_as_its_limit() {
        let limits = HeadLimits {
            line_bytes_max: 24,
            ..HeadLimits::default()
        };
        // "GET " + target + " HTTP/1.1\r\n" is 15 bytes more than the target.
        let request = |target: usize, value: usize| {
            format!(
                "GET {} HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n",
                "/".repeat(target),
                "v".repeat(value)
            )
        };
        check_with(&limits, request(9, 19), "head GET /////////, end, eof");
        check_with(&limits, request(10, 19), "fault RequestLineTooLong");
        check_with(&limits, request(9, 20), "fault LineTooLong");
        check_with(&limits, "x".repeat(25), "fault RequestLineTooLong");
        check_with(&limits, "x".repeat(24), "fault Truncated");
        // A size is known before the line's end, so it comes before what the line says.
        check_with(
            &limits,
            request(9, 19).replace("X:", "X\0").replace('v', "vv"),
            "fault LineTooLong",
        );
    }

    #[test]
    fn a_head_may_be_just_as_long_as_its_limit() {
        let request = "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
        let limits = |bytes| HeadLimits {
            head_bytes_max: bytes,
            ..HeadLimits::default()
        };
        check_with(&limits(request.len()), request, "head GET /, end, eof");
        check_with(
            &limits(request.len()),
            format!("\r\n{request}"),
            "head GET /, end, eof",
        );
        check_with(&limits(request.len() - 1), request, "fault HeadTooLarge");
        check_with(&limits(20), request, "fault HeadTooLarge");
        check_with(&limits(10), request, "fault HeadTooLarge");
    }

    #[test]
    fn of_two_sizes_the_one_that_is_broken_first_counts() {
        let limits = HeadLimits {
            line_bytes_max: 20,
            head_bytes_max: 40,
            ..HeadLimits::default()
        };
        let request = |value: usize| {
            format!(
                "GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n",
                "v".repeat(value)
            )
        };
        check_with(&limits, request(30), "fault HeadTooLarge");
        check_with(
            &limits,
            format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "v".repeat(30)),
            "fault LineTooLong",
        );
    }

    #[test]
    fn as_many_fields_as_the_limit_says_are_taken() {
        let limits = |fields_max| HeadLimits {
            fields_max,
            ..HeadLimits::default()
        };
        let request = |fields: usize| {
            format!(
                "GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
                "A: b\r\n".repeat(fields - 1)
            )
        };
        check_with(&limits(3), request(3), "head GET /, end, eof");
        check_with(&limits(3), request(4), "fault TooManyFields");
        check_with(&limits(100), request(100), "head GET /, end, eof");
        check_with(&limits(100), request(101), "fault TooManyFields");
        check_with(&limits(300), request(300), "head GET /, end, eof");
    }

    #[test]
    fn the_default_limits_are_enforced() {
        // Whole only: cutting 16 KiB at every position takes long and shows nothing new.
        let events = |input: String| run([input.as_bytes()], &HeadLimits::default()).0;
        let long = |bytes: usize| "v".repeat(bytes);
        assert_eq!(
            events(format!("GET /{} HTTP/1.1\r\n", long(8192))),
            "fault RequestLineTooLong"
        );
        assert_eq!(
            events(format!("GET / HTTP/1.1\r\nX: {}\r\n", long(8192))),
            "fault LineTooLong"
        );
        let fields = format!("X: {}\r\n", long(1000)).repeat(17);
        assert_eq!(
            events(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")),
            "fault HeadTooLarge"
        );
        let fields = format!("X: {}\r\n", long(1000)).repeat(15);
        assert_eq!(
            events(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")),
            "head GET /, end, eof"
        );
    }

    #[test]
    fn errors_know_the_status_they_deserve() {
        let status = |error: PeerError| error.status();
        assert_eq!(status(PeerError::NoHost), 400);
        assert_eq!(status(PeerError::RequestLineTooLong), 414);
        assert_eq!(status(PeerError::UnknownExpectation), 417);
        assert_eq!(status(PeerError::HeadTooLarge), 431);
        assert_eq!(status(PeerError::LineTooLong), 431);
        assert_eq!(status(PeerError::TooManyFields), 431);
        assert_eq!(status(PeerError::UnknownTransferCoding), 501);
        assert_eq!(status(PeerError::VersionNotSupported), 505);
        assert_eq!(status(PeerError::TooSlow), 408);
        assert_eq!(status(PeerError::BodyTooLarge), 413);
    }
}

mod persistence {
    use super::*;

    #[test]
    fn http_1_1_goes_on_unless_the_peer_says_close() {
        check(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            "head GET /, end, close",
        );
        check(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: x, CLOSE ,y\r\n\r\n",
            "head GET /, end, close",
        );
        check(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: closed\r\n\r\n",
            "head GET /, end, eof",
        );
        check(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: a\r\nConnection: close\r\n\r\n",
            "head GET /, end, close",
        );
    }

    #[test]
    fn http_1_0_closes_unless_the_peer_says_keep_alive() {
        check("GET / HTTP/1.0\r\n\r\n", "head GET /, end, close");
        check(
            "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
            "head GET /, end, eof",
        );
        check(
            "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
            "head GET /, end, close",
        );
    }

    #[test]
    fn nothing_is_read_behind_a_request_that_closes() {
        check(
            "GET /1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
            "head GET /1, end, close",
        );
    }

    #[test]
    fn an_upgrade_is_offered_by_two_fields_in_http_1_1_without_a_body() {
        let offer = |request: &str| head_of(request).upgrade().map(str::to_owned);
        let fields = "Host: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
        assert_eq!(
            offer(&format!("GET / HTTP/1.1\r\n{fields}\r\n")),
            Some("websocket".into())
        );
        assert_eq!(offer(&format!("GET / HTTP/1.0\r\n{fields}\r\n")), None);
        assert_eq!(
            offer(&format!(
                "POST / HTTP/1.1\r\n{fields}Content-Length: 1\r\n\r\n"
            )),
            None
        );
        assert_eq!(
            offer(&format!(
                "POST / HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n"
            )),
            None
        );
        assert_eq!(
            offer("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n"),
            None
        );
        assert_eq!(
            offer("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n\r\n"),
            None
        );
    }
}

mod heads {
    use super::*;

    #[test]
    fn a_head_is_built_from_its_parts() {
        let head =
            RequestHead::build("POST", "/a?b", &[("X", "1"), ("Content-Length", "3")]).unwrap();
        assert_eq!(
            (head.method(), head.path(), head.query()),
            (Method::Post, "/a", Some("b"))
        );
        assert_eq!(
            (head.host(), head.header("x"), head.content_length()),
            ("localhost", Some("1"), Some(3))
        );
        let head = RequestHead::build("GET", "/", &[("hOST", "other")]).unwrap();
        assert_eq!(head.host(), "other");
    }

    #[test]
    fn building_finds_the_faults_that_reading_finds() {
        let fault =
            |method, target, fields| RequestHead::build(method, target, fields).unwrap_err();
        assert_eq!(fault("GET", "a", &[]), PeerError::BadTarget);
        assert_eq!(fault("", "/", &[]), PeerError::BadMethod);
        assert_eq!(
            fault("GET", "/ HTTP/1.1\r\nX: y", &[]),
            PeerError::BadRequestLine
        );
        assert_eq!(
            fault("GET", "/", &[("X", "a\r\nY: b")]),
            PeerError::BadFieldValue
        );
        assert_eq!(fault("GET", "/", &[("", "a")]), PeerError::BadFieldName);
    }

    #[test]
    fn an_empty_head_can_be_asked_anything() {
        let head = RequestHead::default();
        assert_eq!(
            (head.method(), head.method_str(), head.target(), head.path()),
            (Method::Other, "", "", "/")
        );
        assert_eq!(
            (head.query(), head.host(), head.header("a"), head.upgrade()),
            (None, "", None, None)
        );
        assert_eq!((head.has_body(), head.headers().count()), (false, 0));
    }

    #[test]
    fn clearing_keeps_the_memory_and_nothing_else() {
        let mut head = RequestHead::build(
            "GET",
            "/a?b",
            &[("Upgrade", "x"), ("Connection", "upgrade, close")],
        )
        .unwrap();
        head.clear();
        assert_eq!(head, RequestHead::new());
    }

    #[test]
    fn debug_shows_the_text() {
        let head = RequestHead::build("GET", "/", &[]).unwrap();
        assert_eq!(
            format!("{head:?}"),
            r#"RequestHead("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")"#
        );
    }
}

mod answers {
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
        let input = b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00";
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
        assert_eq!(out, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(
            server.next(&input[used..], &mut request, &limits),
            Ok((0, Step::Paused))
        );
        assert_eq!(server.after(), After::Upgraded);
        assert_eq!(server.after(), After::Upgraded);
    }

    #[test]
    fn an_upgrade_that_is_declined_leaves_http_in_place() {
        let request =
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
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
}

mod anything {
    use super::*;

    /// `input` in pieces of these lengths, the last length for the rest.
    fn pieces<'a>(input: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
        let mut rest = input;
        let mut pieces = Vec::new();
        for length in lengths {
            let (piece, behind) = rest.split_at((*length).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces.push(rest);
        pieces
    }

    #[derive(Clone, Debug)]
    struct Model {
        method: String,
        target: String,
        fields: Vec<(String, String)>,
        body: Option<Vec<Vec<u8>>>,
        extension: String,
    }

    impl Model {
        fn encode(&self) -> Vec<u8> {
            let mut bytes =
                format!("{} {} HTTP/1.1\r\nHost: h\r\n", self.method, self.target).into_bytes();
            for (name, value) in &self.fields {
                bytes.extend(format!("{name}:{value} \r\n").bytes());
            }
            match &self.body {
                None => bytes.extend(b"\r\n"),
                Some(chunks) if chunks.len() == 1 => {
                    bytes.extend(format!("content-LENGTH: {}\r\n\r\n", chunks[0].len()).bytes());
                    bytes.extend(&chunks[0]);
                }
                Some(chunks) => {
                    bytes.extend(b"Transfer-Encoding: Chunked\r\n\r\n");
                    for chunk in chunks {
                        bytes.extend(format!("{:X}{}\r\n", chunk.len(), self.extension).bytes());
                        bytes.extend(chunk);
                        bytes.extend(b"\r\n");
                    }
                    bytes.extend(format!("00{}\r\nX-Trailer: t\r\n\r\n", self.extension).bytes());
                }
            }
            bytes
        }

        fn events(&self) -> String {
            let body = self
                .body
                .iter()
                .flatten()
                .flatten()
                .copied()
                .collect::<Vec<_>>();
            let data = if body.is_empty() {
                String::new()
            } else {
                format!("data {}, ", body.escape_ascii())
            };
            format!("head {} {}, {data}end, ", self.method, self.target)
        }
    }

    fn model() -> impl Strategy<Value = Model> {
        let body = proptest::option::of(proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 1..40),
            0..4,
        ));
        let fields = proptest::collection::vec(
            ("[Xx]-[!#-'*+.0-9A-Z^-z|~-]{1,12}", "[ -~\u{e9}\t]{0,20}"),
            0..6,
        );
        (
            "[A-Z]{1,8}!",
            "/[!-\"$-~]{0,30}",
            fields,
            body,
            "(;[a-z]{1,5}(=([a-z]{1,5}|\"[ a-z;]{0,5}\"))?){0,2}",
        )
            .prop_map(|(method, target, fields, body, extension)| Model {
                method,
                target,
                fields,
                body,
                extension,
            })
    }

    fn small_limits() -> impl Strategy<Value = HeadLimits> {
        (
            20..120_usize,
            20..120_usize,
            1..6_usize,
            0..12_usize,
            0..20_usize,
            0..30_usize,
        )
            .prop_map(
                |(head, line, fields, extension, extensions, trailer)| HeadLimits {
                    head_bytes_max: head,
                    line_bytes_max: line,
                    fields_max: fields,
                    chunk_extension_bytes_max: extension,
                    chunk_extensions_bytes_max: extensions,
                    trailer_bytes_max: trailer,
                },
            )
    }

    proptest! {
        #[test]
        fn what_a_model_says_is_read_back(
            models in proptest::collection::vec(model(), 1..4),
            lengths in proptest::collection::vec(0..60_usize, 0..12),
        ) {
            let input = models.iter().flat_map(Model::encode).collect::<Vec<_>>();
            let expected = models.iter().map(Model::events).collect::<String>() + "eof";
            let (events, heads) = run(pieces(&input, &lengths), &HeadLimits::default());
            prop_assert_eq!(events, expected);
            for (head, model) in heads.iter().zip(&models) {
                let fields = head.headers().filter(|(name, _)| name.starts_with(['X', 'x']));
                let fields = fields.map(|(name, value)| (name.into(), String::from_utf8(value.into()).unwrap()));
                let expected = model.fields.iter().map(|(name, value)| (name.clone(), value.trim_matches([' ', '\t']).into()));
                prop_assert_eq!(fields.collect::<Vec<(String, String)>>(), expected.collect::<Vec<_>>());
                prop_assert_eq!(head.path(), model.target.split('?').next().unwrap());
                prop_assert_eq!(head.query(), model.target.split_once('?').map(|(_, query)| query));
            }
        }

        #[test]
        fn a_damaged_request_is_read_the_same_however_it_is_cut(
            model in model(),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), 0..3_u8, prop::sample::select(b"\r\n\0 \t:;,0a\x7f\xff#?\"=".to_vec())), 0..4),
            limits in prop_oneof![Just(HeadLimits::default()), small_limits()],
            lengths in proptest::collection::vec(0..30_usize, 0..12),
        ) {
            let mut input = model.encode();
            for (index, kind, byte) in damage {
                let at = index.index(input.len());
                match kind {
                    0 => input[at] = byte,
                    1 => input.insert(at, byte),
                    _ => drop(input.remove(at)),
                }
                if input.is_empty() {
                    break;
                }
            }
            let whole = run([&input[..]], &limits);
            prop_assert_eq!(&run(input.chunks(1), &limits), &whole);
            prop_assert_eq!(&run(pieces(&input, &lengths), &limits), &whole);
        }

        #[test]
        fn garbage_is_read_the_same_however_it_is_cut(
            input in proptest::collection::vec(prop_oneof![
                Just(b"GET ".to_vec()), Just(b" HTTP/1.1".to_vec()), Just(b"\r\n".to_vec()), Just(b"Host: h\r\n".to_vec()),
                Just(b"Transfer-Encoding: chunked\r\n".to_vec()), Just(b"Content-Length: 3\r\n".to_vec()), Just(b"/".to_vec()),
                Just(b"0\r\n".to_vec()), Just(b"2\r\nab\r\n".to_vec()), Just(b"X: y\r\n".to_vec()), Just(b";a=b".to_vec()),
                proptest::collection::vec(any::<u8>(), 1..4),
            ], 0..20),
            limits in prop_oneof![Just(HeadLimits::default()), small_limits()],
            lengths in proptest::collection::vec(0..10_usize, 0..12),
        ) {
            let input = input.concat();
            let whole = run([&input[..]], &limits);
            prop_assert_eq!(&run(input.chunks(1), &limits), &whole);
            prop_assert_eq!(&run(pieces(&input, &lengths), &limits), &whole);
        }

        #[test]
        fn fields_that_were_accepted_are_one_line_each(name in "\\PC{0,6}|[a-zA-Z-]{1,8}", value in any::<String>()) {
            let mut fields = Fields::new();
            if fields.push(&name, &value).is_ok() {
                let expected = format!("{name}: {value}\r\n");
                prop_assert_eq!(fields.as_bytes(), expected.as_bytes());
                let lines = fields.as_bytes().iter().filter(|byte| matches!(byte, b'\r' | b'\n' | 0)).count();
                prop_assert_eq!(lines, 2);
            } else {
                prop_assert!(fields.is_empty());
            }
        }
    }
}
