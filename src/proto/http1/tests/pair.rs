//! Both machines back to back: what one writes the other reads, and both agree where every message ends and whether the
//! connection goes on.

use proptest::prelude::*;

use super::*;

/// An exchange, and how it is cut.
#[derive(Clone, Debug)]
struct Script {
    method: &'static str,
    request: Message,
    response: Message,
    status: u16,
    hints: usize,
    client_closes: bool,
    server_closes: bool,
    expects_continue: bool,
    offers_upgrade: bool,
}

/// A body in pieces, and how it is framed.
#[derive(Clone, Debug)]
struct Message {
    pieces: Vec<Vec<u8>>,
    is_chunked: bool,
}

impl Message {
    fn length(&self) -> BodyLength {
        match self.is_chunked {
            true => BodyLength::Unknown,
            false => BodyLength::Known(self.pieces.iter().map(|piece| piece.len() as u64).sum()),
        }
    }
}

struct Pair {
    client: Client,
    server: Server,
    request: RequestHead,
    response: IncomingResponse,
    /// Lengths of the pieces in which bytes travel, over and over.
    cuts: Vec<usize>,
}

impl Pair {
    fn new(cuts: Vec<usize>) -> Self {
        Self {
            client: Client::new(),
            server: Server::new(),
            request: RequestHead::new(),
            response: IncomingResponse::new(),
            cuts,
        }
    }

    /// The pieces of `bytes`, as the cuts have them.
    fn pieces<'b>(&self, bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let mut rest = bytes;
        let mut pieces = Vec::new();
        for cut in self.cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces
    }

    /// One exchange; both sides' views of the messages are compared. What both say of the connection behind it.
    fn exchange(&mut self, script: &Script) -> After {
        let mut fields = Fields::new();
        fields.push("X-Request", "a: b").unwrap();
        if script.offers_upgrade {
            fields.push("Upgrade", "echo").unwrap();
        }
        if script.client_closes {
            self.client.close_after_this();
        }
        let (target, host) = match script.method {
            "CONNECT" => ("h:1", "h:1"),
            _ => ("/p?q", "h"),
        };
        let length = script.request.length();
        let expects_continue = script.expects_continue && length != BodyLength::Known(0);
        let request = OutgoingRequest {
            method: script.method,
            target,
            host,
            fields: &fields,
            length,
            expects_continue,
        };
        let mut wire = Vec::new();
        self.client.request(&request, &mut wire).unwrap();
        if expects_continue {
            // The head travels first; the server asks for the body.
            self.read_request(&wire, &[]);
            let mut go_on = Vec::new();
            assert!(self.server.continue_100(&mut go_on));
            assert!(self.client.waits_for_continue());
            assert_eq!(self.read_response(&go_on), (Vec::new(), 1, false));
            assert!(!self.client.waits_for_continue());
            wire.clear();
        }
        for piece in &script.request.pieces {
            self.client.body(piece, &mut wire).unwrap();
        }
        self.client.end(&mut wire).unwrap();
        assert!(self.read_request(&wire, &script.request.pieces.concat()));
        assert_eq!(self.request.method_str(), script.method);
        assert_eq!((self.request.target(), self.request.host()), (target, host));
        assert_eq!(self.request.header("x-request"), Some("a: b"));
        assert_eq!(self.request.keep_alive(), !script.client_closes);
        self.respond(script)
    }

    /// The server reads all of `wire`. Whether the request ended, having had this body.
    fn read_request(&mut self, wire: &[u8], body: &[u8]) -> bool {
        let (mut input, mut data, limits) = (Vec::new(), Vec::new(), HeadLimits::default());
        let mut is_ended = false;
        // A request without a body ends with its head's last byte.
        for piece in self.pieces(wire).into_iter().chain([&b""[..]]) {
            input.extend_from_slice(piece);
            loop {
                let next = self.server.next(&input, &mut self.request, &limits);
                let (used, step) = next.unwrap();
                match step {
                    Step::Data(piece) => data.extend_from_slice(piece),
                    Step::End => is_ended = true,
                    Step::Head => {}
                    Step::NeedMore | Step::Paused => {
                        input.drain(..used);
                        break;
                    }
                }
                input.drain(..used);
            }
        }
        assert!(input.is_empty(), "a rest: {}", input.escape_ascii());
        assert_eq!(data, body);
        is_ended
    }

    fn respond(&mut self, script: &Script) -> After {
        let (mut fields, mut wire) = (Fields::new(), Vec::new());
        fields.push("X-Response", "c").unwrap();
        let is_switch = script.status == 101 && self.request.upgrade().is_some();
        let status = match script.status {
            101 if !is_switch => 200,
            status => status,
        };
        for _ in 0..script.hints {
            let hints = answer(103, &fields, BodyLength::Known(0));
            self.server.respond(&hints, &mut wire).unwrap();
        }
        if script.server_closes {
            self.server.close_after_this();
        }
        if is_switch {
            fields.push("Upgrade", "echo").unwrap();
        }
        let answer = answer(status, &fields, script.response.length());
        self.server.respond(&answer, &mut wire).unwrap();
        let has_body = !is_switch && self.server.wants_body() && status != 205;
        if !is_switch {
            for piece in &script.response.pieces {
                self.server.body(piece, &mut wire).unwrap();
            }
            self.server.end(&mut wire).unwrap();
        }
        let expected = match has_body {
            true => script.response.pieces.concat(),
            false => Vec::new(),
        };
        let read = self.read_response(&wire);
        assert_eq!(read, (expected, script.hints, true));
        assert_eq!(self.response.status(), status);
        assert_eq!(self.response.header("x-response"), Some("c"));
        let (of_client, of_server) = (self.client.after(), self.server.after());
        match self.request.method() {
            // A tunnel for the client, and for our server a reason to close.
            Method::Connect if (200..300).contains(&status) => {
                assert_eq!((of_client, of_server), (After::Upgraded, After::Close));
            }
            _ => assert_eq!(of_client, of_server),
        }
        of_client
    }

    /// The client reads all of `wire`: the body, how many interim responses, and whether the response ended.
    fn read_response(&mut self, wire: &[u8]) -> (Vec<u8>, usize, bool) {
        let (mut input, mut data, limits) = (Vec::new(), Vec::new(), HeadLimits::default());
        let (mut interims, mut is_ended) = (0, false);
        for piece in self.pieces(wire).into_iter().chain([&b""[..]]) {
            input.extend_from_slice(piece);
            loop {
                let next = self.client.next(&input, &mut self.response, &limits);
                let (used, step) = next.unwrap();
                match step {
                    ResponseStep::Interim => interims += 1,
                    ResponseStep::Head => {}
                    ResponseStep::Data(piece) => data.extend_from_slice(piece),
                    ResponseStep::End => is_ended = true,
                    ResponseStep::NeedMore | ResponseStep::Paused => {
                        input.drain(..used);
                        break;
                    }
                }
                input.drain(..used);
            }
        }
        assert!(input.is_empty(), "a rest: {}", input.escape_ascii());
        (data, interims, is_ended)
    }
}

fn answer(status: u16, fields: &Fields, length: BodyLength) -> ResponseHead<'_> {
    ResponseHead {
        status,
        fields,
        content_type: Some("text/plain"),
        length,
        date: &DATE,
    }
}

fn message(pieces: &[&[u8]], is_chunked: bool) -> Message {
    Message {
        pieces: pieces.iter().map(|piece| piece.to_vec()).collect(),
        is_chunked,
    }
}

#[test]
fn both_sides_agree_about_every_method_status_and_framing() {
    let bodies: [&[&[u8]]; 3] = [&[], &[b"a"], &[b"\r\n\r\n", b"", b"0\r\n\r\n"]];
    let mut exchanges = 0;
    for method in [
        "GET", "HEAD", "POST", "OPTIONS", "CONNECT", "TRACE", "PURGE",
    ] {
        for status in [101, 200, 204, 205, 206, 299, 304, 404, 426, 500, 999] {
            for pieces in bodies {
                for choice in 0..16_u8 {
                    let bit = |bit: u8| choice >> bit & 1 == 1;
                    let may_have_body = !matches!(method, "CONNECT" | "TRACE");
                    let request = match may_have_body {
                        true => message(pieces, bit(0)),
                        false => message(&[], false),
                    };
                    let script = Script {
                        method,
                        request,
                        response: message(pieces, bit(1)),
                        status,
                        hints: usize::from(bit(2)),
                        client_closes: false,
                        server_closes: false,
                        expects_continue: bit(3),
                        offers_upgrade: bit(3),
                    };
                    let after = Pair::new(vec![7]).exchange(&script);
                    let is_upgrade = after == After::Upgraded;
                    assert!(is_upgrade || after == After::NextExchange, "{script:?}");
                    exchanges += 1;
                }
            }
        }
    }
    assert_eq!(exchanges, 7 * 11 * 3 * 16);
}

fn a_message() -> impl Strategy<Value = Message> {
    let piece = proptest::collection::vec(any::<u8>(), 0..20);
    (proptest::collection::vec(piece, 0..4), any::<bool>())
        .prop_map(|(pieces, is_chunked)| Message { pieces, is_chunked })
}

fn a_script() -> impl Strategy<Value = Script> {
    (
        prop::sample::select(vec!["GET", "HEAD", "POST", "DELETE"]),
        a_message(),
        a_message(),
        prop::sample::select(vec![101, 200, 204, 205, 304, 404, 599]),
        0..3_usize,
        any::<[bool; 4]>(),
    )
        .prop_map(|(method, request, response, status, hints, choices)| {
            let [
                client_closes,
                server_closes,
                expects_continue,
                offers_upgrade,
            ] = choices;
            Script {
                method,
                request,
                response,
                status,
                hints,
                client_closes,
                server_closes,
                expects_continue,
                offers_upgrade,
            }
        })
}

proptest! {
    #[test]
    fn a_conversation_is_understood_by_both_sides(
        scripts in proptest::collection::vec(a_script(), 1..6),
        cuts in proptest::collection::vec(1..40_usize, 1..8),
    ) {
        let mut pair = Pair::new(cuts);
        for script in scripts {
            let closes = script.client_closes || script.server_closes;
            match pair.exchange(&script) {
                After::NextExchange => prop_assert!(!closes),
                After::Upgraded => break,
                after => {
                    prop_assert_eq!(after, After::Close);
                    prop_assert!(closes);
                    break;
                }
            }
        }
    }
}
