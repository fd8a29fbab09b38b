//! What must hold for any input, one function a target. The fuzz targets call them with what libFuzzer finds,
//! `tests/fuzz.rs` with the committed corpus and with random input, on stable.
//!
//! An input is plain bytes of the protocol, so a corpus file can be read, and a case of another suite can be dropped in.
//! What else a run needs (where to cut, what to answer) follows from those bytes.

use std::fmt::Write;

use tourbillon::proto::http1::{
    After, BodyLength, Client, Fields, HeadLimits, IncomingResponse, Method, OutgoingRequest,
    PeerError, RequestHead, ResponseHead, ResponseStep, Server, Step, Version, percent_decode,
    query_pairs,
};
use tourbillon::proto::ws::{
    self, CONTROL_BYTES_MAX, Endpoint, HEADER_BYTES_MAX, Link, Role, WsLimits, accept_key,
    check_request,
};

/// A target's body: panics if what it asserts does not hold.
pub type Body = fn(&[u8]);

/// All of them, under the names of their targets and of their corpora.
pub const BODIES: &[(&str, Body)] = &[
    ("head", head),
    ("chunked_body", chunked_body),
    ("connection", connection),
    ("ws_stream", ws_stream),
    ("ws_handshake", ws_handshake),
    ("url_query", url_query),
    ("client_response", client_response),
];

// ---- input, made up and in pieces

/// Random numbers that come again: SplitMix64.
pub struct Dice(u64);

impl Dice {
    /// Numbers that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Numbers that follow from these bytes (FNV-1a).
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Self(bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix))
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % end as u64) as usize
    }
}

/// One of the corpus, perhaps with the end of another, with some bytes changed, doubled or left out.
pub fn mutated(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = corpus[dice.below(corpus.len())].clone();
    if dice.below(3) == 0 {
        let other = &corpus[dice.below(corpus.len())];
        input.truncate(dice.below(input.len() + 1));
        input.extend(&other[dice.below(other.len() + 1)..]);
    }
    for _ in 0..dice.below(4) {
        let at = dice.below(input.len() + 1);
        let end = input.len().min(at + dice.below(12));
        match dice.below(4) {
            0 => input.splice(at..end, []).for_each(drop),
            1 => {
                let doubled = input[at..end].to_vec();
                input.splice(at..at, doubled).for_each(drop);
            }
            2 => input.insert(at, b"\r\n\0 \t:;,0a\x7f\xff#?\"=%&"[dice.below(18)]),
            _ => input.insert(at, dice.below(256) as u8),
        }
    }
    input
}

/// Where pieces of the input end, the last at its end: whole, byte by byte, twice in pieces of random lengths (also of
/// none), once in two.
fn cuttings(input: &[u8]) -> [Vec<usize>; 5] {
    let len = input.len();
    let mut dice = Dice::from_bytes(input);
    let mut random = |piece_max: usize| {
        let (mut ends, mut end) = (Vec::new(), 0);
        while end < len {
            end = len.min(end + dice.below(piece_max));
            ends.push(end);
        }
        ends.push(len);
        ends
    };
    let (short, long) = (random(8), random(90));
    let cut = dice.below(len + 1);
    [vec![len], (0..=len).collect(), short, long, vec![cut, len]]
}

/// What `read` makes of the input, which must not depend on its cuts.
fn whatever_the_cuts<R: PartialEq + std::fmt::Debug>(
    input: &[u8],
    mut read: impl FnMut(&[usize]) -> R,
) -> R {
    let [whole, others @ ..] = cuttings(input);
    let expected = read(&whole);
    for ends in others {
        assert_eq!(read(&ends), expected, "in pieces that end at {ends:?}");
    }
    expected
}

/// Limits that short inputs reach.
fn tight_limits() -> HeadLimits {
    HeadLimits {
        head_bytes_max: 160,
        line_bytes_max: 60,
        fields_max: 4,
        chunk_extension_bytes_max: 10,
        chunk_extensions_bytes_max: 16,
        trailer_bytes_max: 30,
    }
}

// ---- a request's head

/// One head: the same whatever the cuts, within the limits, ending where heads end, and read back from its parts.
pub fn head(input: &[u8]) {
    for limits in [HeadLimits::default(), tight_limits()] {
        let outcome = whatever_the_cuts(input, |ends| read_head(input, ends, &limits));
        if let Ok((used, Some(head))) = &outcome {
            check_head(&input[..*used], head, &limits);
        }
    }
}

/// The head at the front of `input`, if it is all there, and how many bytes it took.
fn read_head(
    input: &[u8],
    ends: &[usize],
    limits: &HeadLimits,
) -> Result<(usize, Option<RequestHead>), PeerError> {
    let (mut server, mut head, mut at) = (Server::new(), RequestHead::new(), 0);
    for end in ends {
        let shown = &input[at..*end];
        let (used, step) = server.next(shown, &mut head, limits)?;
        assert!(used <= shown.len(), "{used} of {} bytes used", shown.len());
        at += used;
        match step {
            Step::Head => return Ok((at, Some(head))),
            Step::NeedMore => {
                let kept = shown.len() - used;
                assert!(kept <= limits.head_bytes_max, "{kept} bytes of a head kept");
            }
            step => panic!("{step:?} before a head"),
        }
    }
    Ok((at, None))
}

fn check_head(bytes: &[u8], head: &RequestHead, limits: &HeadLimits) {
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    assert!(bytes.len() <= limits.head_bytes_max);
    let first_end = bytes.windows(4).position(|end| end == b"\r\n\r\n");
    assert_eq!(
        first_end,
        Some(bytes.len() - 4),
        "it ends at its empty line"
    );
    let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    assert!(lines.iter().all(|line| line.ends_with(b"\r\n")));
    assert!(lines.iter().all(|line| line.len() <= limits.line_bytes_max));
    assert!(head.headers().count() <= limits.fields_max);

    // Every line is accounted for: nothing of it is lost, nothing is in two fields.
    let (method, target) = (head.method_str(), head.target());
    let version = match head.version() {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
    };
    let line = format!("{method} {target} HTTP/{version}\r\n");
    assert_eq!(lines[0], line.as_bytes());
    assert_eq!(lines.len(), head.headers().count() + 2);
    let mut again = line.into_bytes();
    for (line, (name, value)) in lines[1..].iter().zip(head.headers()) {
        let behind = line.strip_prefix(name.as_bytes()).expect("a name is first");
        let behind = behind.strip_prefix(b":").expect("a colon follows");
        assert_eq!(behind.trim_ascii(), value);
        again.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    again.extend(b"\r\n");

    // Written anew from its parts it is the same head.
    let mut read_again = RequestHead::new();
    let roomy = HeadLimits {
        head_bytes_max: usize::MAX,
        line_bytes_max: usize::MAX,
        ..HeadLimits::default()
    };
    let step = Server::new().next(&again, &mut read_again, &roomy);
    assert_eq!(step, Ok((again.len(), Step::Head)));
    assert_eq!(summary(&read_again), summary(head));

    let texts: Option<Vec<_>> = head
        .headers()
        .map(|(name, value)| Some((name, std::str::from_utf8(value).ok()?)))
        .collect();
    if let (Version::Http11, Some(fields)) = (head.version(), texts) {
        match RequestHead::build(method, target, &fields) {
            Ok(built) => assert_eq!(summary(&built), summary(head)),
            // A space behind each colon makes it longer.
            Err(error) => assert!(error.status() == 414 || error.status() == 431, "{error}"),
        }
    }
    assert!(!(head.is_chunked() && head.content_length().is_some()));
    assert!(head.has_body() || !head.expects_continue());
}

/// All that can be asked of a head.
fn summary(head: &RequestHead) -> String {
    let mut text = format!(
        "{:?} {} {} {:?} {:?} host {} length {:?} chunked {} keep {} expects {} upgrade {:?}",
        head.method(),
        head.method_str(),
        head.path(),
        head.query(),
        head.version(),
        head.host(),
        head.content_length(),
        head.is_chunked(),
        head.keep_alive(),
        head.expects_continue(),
        head.upgrade(),
    );
    for (name, value) in head.headers() {
        write!(text, "\n{name}: {}", value.escape_ascii()).unwrap();
    }
    text
}

// ---- a body in chunks

const CHUNKED_HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A body in chunks: the same whatever the cuts, and as a second, simple decoder has it. What is written in chunks is
/// read back.
pub fn chunked_body(input: &[u8]) {
    for limits in [HeadLimits::default(), tight_limits()] {
        let (data, end) = whatever_the_cuts(input, |ends| read_chunks(input, ends, &limits));
        match (end, decode_chunks(input)) {
            (Ok(Some(used)), Some(decoded)) => {
                assert_eq!((&data, used), (&decoded.data, decoded.used));
                assert!(decoded.extension_bytes_most <= limits.chunk_extension_bytes_max);
                assert!(decoded.extension_bytes <= limits.chunk_extensions_bytes_max);
                assert!(decoded.trailer_bytes <= limits.trailer_bytes_max);
            }
            (Ok(Some(_)), None) => panic!("taken for a body, and it is none"),
            (Err(error), Some(decoded)) if decoded.is_plain => panic!("{error} in a plain body"),
            (Ok(None), Some(_)) => panic!("its end was missed"),
            (Ok(None) | Err(_), _) => {}
        }
        assert!(data.len() <= input.len());
    }
    let mut server = Server::new();
    read_chunked_head(&mut server, &HeadLimits::default());
    let written = write_chunks(&mut server, input);
    let (data, end) = read_chunks(&written, &[written.len()], &HeadLimits::default());
    assert_eq!((data.as_slice(), end), (input, Ok(Some(written.len()))));
}

fn read_chunked_head(server: &mut Server, limits: &HeadLimits) {
    let limits = HeadLimits {
        head_bytes_max: 1000,
        ..limits.clone()
    };
    let step = server.next(CHUNKED_HEAD, &mut RequestHead::new(), &limits);
    assert_eq!(step, Ok((CHUNKED_HEAD.len(), Step::Head)));
}

/// The data of the body at the front of `input`, and how many bytes it took, if it is all there.
fn read_chunks(
    input: &[u8],
    ends: &[usize],
    limits: &HeadLimits,
) -> (Vec<u8>, Result<Option<usize>, PeerError>) {
    let (mut server, mut head, mut at) = (Server::new(), RequestHead::new(), 0);
    let mut data = Vec::new();
    read_chunked_head(&mut server, limits);
    for end in ends {
        loop {
            let shown = &input[at..*end];
            let (used, step) = match server.next(shown, &mut head, limits) {
                Ok(next) => next,
                Err(error) => return (data, Err(error)),
            };
            assert!(used <= shown.len());
            at += used;
            match step {
                Step::Data(piece) => {
                    assert!(!piece.is_empty() && piece.len() <= used);
                    data.extend(piece);
                }
                Step::End => return (data, Ok(Some(at))),
                Step::NeedMore => {
                    assert!(shown.len() - used <= limits.trailer_bytes_max + 2);
                    break;
                }
                step => panic!("{step:?} in a body"),
            }
        }
    }
    (data, Ok(None))
}

struct Decoded {
    data: Vec<u8>,
    used: usize,
    /// No extension and no trailer: nothing that a strict reader might refuse.
    is_plain: bool,
    extension_bytes: usize,
    /// Of one chunk.
    extension_bytes_most: usize,
    trailer_bytes: usize,
}

/// RFC 9112, 7.1 in the simplest way: the whole body at once, extensions and trailers not looked at.
fn decode_chunks(input: &[u8]) -> Option<Decoded> {
    let mut decoded = Decoded {
        data: Vec::new(),
        used: 0,
        is_plain: true,
        extension_bytes: 0,
        extension_bytes_most: 0,
        trailer_bytes: 0,
    };
    loop {
        let line = line_at(input, &mut decoded.used)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let digits = digits.count();
        let extension = line.len() - digits;
        decoded.extension_bytes += extension;
        decoded.extension_bytes_most = decoded.extension_bytes_most.max(extension);
        decoded.is_plain &= digits == line.len() && digits <= 16;
        let size = u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let end = decoded.used.checked_add(usize::try_from(size).ok()?)?;
        decoded.data.extend(input.get(decoded.used..end)?);
        decoded.used = end + 2;
        if input.get(end..end + 2)? != b"\r\n" {
            return None;
        }
    }
    let trailers = decoded.used;
    while !line_at(input, &mut decoded.used)?.is_empty() {
        decoded.is_plain = false;
        decoded.trailer_bytes = decoded.used - trailers;
    }
    Some(decoded)
}

/// The line that begins at `at`, which moves behind it.
fn line_at<'i>(input: &'i [u8], at: &mut usize) -> Option<&'i [u8]> {
    let rest = &input[*at..];
    let len = rest.windows(2).position(|end| end == b"\r\n")?;
    *at += len + 2;
    Some(&rest[..len])
}

/// `data` as an answer in chunks of random lengths, its head taken off.
fn write_chunks(server: &mut Server, data: &[u8]) -> Vec<u8> {
    let (fields, mut out) = (Fields::new(), Vec::new());
    let head = answer_head(200, &fields, BodyLength::Unknown);
    server.respond(&head, &mut out).unwrap();
    out.clear();
    let mut dice = Dice::from_bytes(data);
    let mut rest = data;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(dice.below(rest.len() + 1));
        server.body(piece, &mut out).unwrap();
        rest = behind;
    }
    server.end(&mut out).unwrap();
    out
}

fn answer_head(status: u16, fields: &Fields, length: BodyLength) -> ResponseHead<'_> {
    ResponseHead {
        status,
        fields,
        content_type: None,
        length,
        date: b"Thu, 01 Jan 1970 00:00:00 GMT",
    }
}

// ---- a whole connection

/// A connection from its first byte to its end, every request answered: the same events, the same answers and the same
/// end whatever the cuts. A client that knows the requests' methods reads the answers as they were meant.
pub fn connection(input: &[u8]) {
    for limits in [HeadLimits::default(), tight_limits()] {
        let (_, out, answers) = whatever_the_cuts(input, |ends| {
            let mut peer = Peer::new(&limits);
            for end in ends {
                peer.read(&input[..*end]);
            }
            peer.eof();
            (peer.log, peer.out, peer.answers)
        });
        check_answers(&out, &answers);
    }
}

/// What was answered to one request.
#[derive(Clone, PartialEq, Debug)]
struct Answer {
    method: Method,
    offered_upgrade: bool,
    interims: usize,
    status: u16,
    body: Vec<u8>,
}

/// Read the answers as a client that sent these requests, one after the other.
fn check_answers(out: &[u8], answers: &[Answer]) {
    let (mut client, mut head) = (Client::new(), IncomingResponse::new());
    let limits = HeadLimits::default();
    let mut at = 0;
    for (index, answer) in answers.iter().enumerate() {
        let mut fields = Fields::new();
        if answer.offered_upgrade {
            fields.push("Upgrade", "echo").unwrap();
        }
        let request = OutgoingRequest {
            method: match answer.method {
                Method::Other => "OTHER",
                method => method.as_str(),
            },
            fields: &fields,
            ..plain_request(answer.method)
        };
        let mut sent = Vec::new();
        client.request(&request, &mut sent).unwrap();
        client.end(&mut sent).unwrap();
        let (mut interims, mut body, mut is_at_eof) = (0, Vec::new(), false);
        loop {
            let (used, step) = client.next(&out[at..], &mut head, &limits).unwrap();
            at += used;
            match step {
                ResponseStep::Interim => interims += 1,
                ResponseStep::Head => assert_eq!(head.status(), answer.status),
                ResponseStep::Data(data) => body.extend(data),
                ResponseStep::NeedMore => {
                    assert!(!is_at_eof, "an answer goes on behind the end");
                    client.eof().unwrap();
                    is_at_eof = true;
                }
                ResponseStep::End => break,
                ResponseStep::Paused => panic!("the answer has not ended"),
            }
        }
        assert_eq!((interims, &body), (answer.interims, &answer.body));
        match client.after() {
            After::NextExchange => {}
            after => {
                assert_ne!(after, After::NotYet);
                assert_eq!(index + 1, answers.len(), "answers behind the last");
            }
        }
    }
    assert_eq!(at, out.len(), "bytes behind the last answer");
}

/// A request of this method and nothing else.
fn plain_request(method: Method) -> OutgoingRequest<'static> {
    const NO_FIELDS: &Fields = &Fields::new();
    let (target, host) = match method {
        Method::Connect => ("h:1", "h:1"),
        _ => ("/", "h"),
    };
    OutgoingRequest {
        method: method.as_str(),
        target,
        host,
        fields: NO_FIELDS,
        length: BodyLength::Known(0),
        expects_continue: false,
    }
}

struct Peer<'l> {
    server: Server,
    head: RequestHead,
    limits: &'l HeadLimits,
    /// How much of the input is used up.
    at: usize,
    data: Vec<u8>,
    log: Vec<String>,
    out: Vec<u8>,
    answers: Vec<Answer>,
    is_over: bool,
}

impl<'l> Peer<'l> {
    fn new(limits: &'l HeadLimits) -> Self {
        Self {
            server: Server::new(),
            head: RequestHead::new(),
            limits,
            at: 0,
            data: Vec::new(),
            log: Vec::new(),
            out: Vec::new(),
            answers: Vec::new(),
            is_over: false,
        }
    }

    /// Read on; `input` is all that came so far.
    fn read(&mut self, input: &[u8]) {
        while !self.is_over {
            let shown = &input[self.at..];
            let next = self.server.next(shown, &mut self.head, self.limits);
            let (used, step) = match next {
                Ok(next) => next,
                Err(error) => return self.fault(error),
            };
            assert!(used <= shown.len());
            self.at += used;
            let is_head = step == Step::Head;
            match step {
                Step::Head => {
                    self.log.push(summary(&self.head));
                    if self.plan().is_early {
                        self.answer();
                    }
                }
                Step::Data(data) => self.data.extend(data),
                Step::End => self.end(),
                Step::NeedMore => return,
                Step::Paused => panic!("every request has been answered"),
            }
            self.go_on();
            // Where the cuts leave a body whole, it is taken in one.
            if is_head
                && !self.is_over
                && let Some(body) = self.server.take_body(&input[self.at..], usize::MAX)
            {
                self.at += body.len();
                self.data.extend(body);
                self.end();
                self.go_on();
            }
        }
    }

    fn end(&mut self) {
        self.flush_data();
        self.log.push(format!("end behind {} bytes", self.at));
        if !self.plan().is_early {
            self.answer();
        }
    }

    fn eof(&mut self) {
        if self.is_over {
            return;
        }
        match self.server.eof() {
            Ok(()) => {
                self.log.push("eof".into());
                assert_eq!(self.server.after(), After::Close);
            }
            Err(error) => self.fault(error),
        }
    }

    fn fault(&mut self, error: PeerError) {
        self.flush_data();
        self.log.push(format!("fault {error:?}"));
        self.is_over = true;
        if self.server.owes_response() {
            let fields = Fields::new();
            let head = answer_head(error.status(), &fields, BodyLength::Known(0));
            self.server.respond(&head, &mut self.out).unwrap();
            self.server.end(&mut self.out).unwrap();
            self.answers.push(Answer {
                method: Method::Other,
                offered_upgrade: false,
                interims: 0,
                status: error.status(),
                body: Vec::new(),
            });
        }
        let again = self.server.next(b"GET ", &mut self.head, self.limits);
        assert_eq!(again, Err(error), "a fault stays");
        assert_eq!(self.server.after(), After::Close);
    }

    fn flush_data(&mut self) {
        if !self.data.is_empty() {
            self.log.push(format!("data {}", self.data.escape_ascii()));
            self.data.clear();
        }
    }

    fn go_on(&mut self) {
        match self.server.after() {
            After::NotYet => {}
            After::NextExchange => self.log.push("next".into()),
            after => {
                self.flush_data();
                self.log.push(format!("{after:?}"));
                self.is_over = true;
            }
        }
    }

    /// What is answered follows from the target, so that a fuzzer can ask for it.
    fn plan(&self) -> Plan {
        let sum = |sum: u8, byte: u8| sum.wrapping_mul(31).wrapping_add(byte);
        Plan::new(self.head.target().bytes().fold(0, sum))
    }

    fn answer(&mut self) {
        let plan = self.plan();
        let is_upgrade = plan.wants_upgrade && self.head.upgrade().is_some();
        let status = if is_upgrade { 101 } else { plan.status };
        let mut interims = 0;
        if plan.says_continue && self.server.continue_100(&mut self.out) {
            assert!(self.head.expects_continue());
            interims += 1;
        }
        let mut fields = Fields::new();
        if plan.hints {
            let hints = answer_head(103, &fields, BodyLength::Unknown);
            self.server.respond(&hints, &mut self.out).unwrap();
            // HTTP/1.0 has no interim answers.
            interims += usize::from(self.head.version() == Version::Http11);
        }
        if is_upgrade {
            fields.push("Upgrade", "echo").unwrap();
        }
        let head = answer_head(status, &fields, plan.length);
        self.server.respond(&head, &mut self.out).unwrap();
        let has_body = self.server.wants_body() && status != 205;
        if status != 101 {
            for _ in 0..plan.pieces {
                self.server.body(PIECE, &mut self.out).unwrap();
            }
            self.server.end(&mut self.out).unwrap();
        }
        self.answers.push(Answer {
            method: self.head.method(),
            offered_upgrade: self.head.upgrade().is_some(),
            interims,
            status,
            body: match has_body {
                true => PIECE.repeat(plan.pieces as usize),
                false => Vec::new(),
            },
        });
    }
}

/// A piece of an answer's body, with a line end where a bad writer would be led astray.
const PIECE: &[u8] = b"ab\r\n\r\n0";

/// How a request is answered.
struct Plan {
    /// At its head, before its body is read.
    is_early: bool,
    says_continue: bool,
    hints: bool,
    wants_upgrade: bool,
    status: u16,
    length: BodyLength,
    pieces: u64,
}

impl Plan {
    fn new(choice: u8) -> Self {
        let bit = |bit: u8| choice >> bit & 1 == 1;
        let pieces = u64::from(choice % 3);
        Self {
            is_early: bit(0),
            says_continue: bit(1),
            hints: bit(2),
            wants_upgrade: bit(3),
            status: [200, 204, 304, 404, 205, 299, 500][usize::from(choice) % 7],
            length: match bit(4) {
                true => BodyLength::Known(pieces * PIECE.len() as u64),
                false => BodyLength::Unknown,
            },
            pieces,
        }
    }
}

// ---- a client's connection

/// Responses to requests of a few kinds: the same whatever the cuts, every byte used once. A body by length is as long
/// as declared, and heads are within the limits.
pub fn client_response(input: &[u8]) {
    for method in [Method::Get, Method::Head, Method::Connect] {
        for limits in [HeadLimits::default(), tight_limits()] {
            whatever_the_cuts(input, |ends| {
                let mut caller = Caller::new(method, &limits);
                for end in ends {
                    caller.read(&input[..*end]);
                }
                caller.eof();
                caller.log
            });
        }
    }
}

/// Sends a request whenever the one before is answered.
struct Caller<'l> {
    client: Client,
    head: IncomingResponse,
    method: Method,
    limits: &'l HeadLimits,
    at: usize,
    /// Where the final head at hand ended.
    head_end: usize,
    data: Vec<u8>,
    log: Vec<String>,
    is_over: bool,
}

impl<'l> Caller<'l> {
    fn new(method: Method, limits: &'l HeadLimits) -> Self {
        let mut caller = Self {
            client: Client::new(),
            head: IncomingResponse::new(),
            method,
            limits,
            at: 0,
            head_end: 0,
            data: Vec::new(),
            log: Vec::new(),
            is_over: false,
        };
        caller.request();
        caller
    }

    fn request(&mut self) {
        let mut fields = Fields::new();
        fields.push("Upgrade", "echo").unwrap();
        let request = OutgoingRequest {
            fields: &fields,
            ..plain_request(self.method)
        };
        let mut out = Vec::new();
        self.client.request(&request, &mut out).unwrap();
        self.client.end(&mut out).unwrap();
        // What the client writes, the server reads.
        let (mut server, mut head) = (Server::new(), RequestHead::new());
        let step = server.next(&out, &mut head, &HeadLimits::default());
        assert_eq!(step, Ok((out.len(), Step::Head)));
        assert_eq!(server.next(b"", &mut head, self.limits), Ok((0, Step::End)));
        assert_eq!((head.method(), head.upgrade()), (self.method, Some("echo")));
    }

    fn read(&mut self, input: &[u8]) {
        while !self.is_over {
            let shown = &input[self.at..];
            let (used, step) = match self.client.next(shown, &mut self.head, self.limits) {
                Ok(next) => next,
                Err(error) => return self.fault(error),
            };
            assert!(used <= shown.len());
            self.at += used;
            match step {
                ResponseStep::Interim => self.show_head(),
                ResponseStep::Head => {
                    self.show_head();
                    self.head_end = self.at;
                }
                ResponseStep::Data(data) => {
                    assert!(!data.is_empty() && data.len() <= used);
                    self.data.extend(data);
                }
                ResponseStep::End => self.ended(),
                ResponseStep::NeedMore => {
                    let line_max = self
                        .limits
                        .line_bytes_max
                        .max(self.limits.trailer_bytes_max + 2);
                    assert!(shown.len() - used <= line_max, "more than a line is kept");
                    return;
                }
                ResponseStep::Paused => panic!("every end is followed up"),
            }
        }
    }

    fn show_head(&mut self) {
        let head = &self.head;
        assert!((100..=999).contains(&head.status()));
        assert!(
            !head
                .reason()
                .contains(|c: char| c.is_ascii_control() && c != '\t')
        );
        assert!(head.headers().count() <= self.limits.fields_max);
        assert!(!(head.is_chunked() && head.content_length().is_some()));
        let mut text = format!(
            "head {:?} {} {:?} length {:?} chunked {} keep {} upgrade {:?} behind {} bytes",
            head.version(),
            head.status(),
            head.reason(),
            head.content_length(),
            head.is_chunked(),
            head.keep_alive(),
            head.upgrade(),
            self.at,
        );
        for (name, value) in head.headers() {
            write!(text, "\n{name}: {}", value.escape_ascii()).unwrap();
        }
        self.log.push(text);
    }

    fn ended(&mut self) {
        self.check_body();
        self.flush_data();
        self.log.push(format!("end behind {} bytes", self.at));
        match self.client.after() {
            After::NextExchange => {
                assert!(self.head.keep_alive());
                self.request();
            }
            After::NotYet => panic!("the request was sent whole"),
            after => {
                self.log.push(format!("{after:?}"));
                self.is_over = true;
            }
        }
    }

    /// RFC 9112, 6.3 once more, for the response at hand.
    fn check_body(&self) {
        let head = &self.head;
        let is_bare = self.method == Method::Head
            || matches!(head.status(), 101 | 204 | 304)
            || self.method == Method::Connect && matches!(head.status(), 200..=299);
        let taken = self.at - self.head_end;
        if is_bare {
            assert_eq!(taken, 0, "a body where there is none");
        } else if head.is_chunked() {
            assert!(self.data.len() + 5 <= taken);
        } else {
            assert_eq!(self.data.len(), taken);
            if let Some(length) = head.content_length() {
                assert_eq!(taken as u64, length);
            }
        }
    }

    fn eof(&mut self) {
        if self.is_over {
            return;
        }
        if let Err(error) = self.client.eof() {
            return self.fault(error);
        }
        match self.client.next(b"", &mut self.head, self.limits) {
            Ok((0, ResponseStep::End)) => {
                assert!(!self.head.is_chunked() && self.head.content_length().is_none());
                self.ended();
            }
            step => assert_eq!(step, Ok((0, ResponseStep::Paused))),
        }
        self.log.push("eof".into());
        assert_eq!(self.client.after(), After::Close);
    }

    fn fault(&mut self, error: PeerError) {
        self.flush_data();
        self.log.push(format!("fault {error:?}"));
        self.is_over = true;
        let again = self.client.next(b"HTTP", &mut self.head, self.limits);
        assert_eq!(again, Err(error), "a fault stays");
        assert_eq!(self.client.after(), After::Close);
    }

    fn flush_data(&mut self) {
        if !self.data.is_empty() {
            self.log.push(format!("data {}", self.data.escape_ascii()));
            self.data.clear();
        }
    }
}

// ---- WebSocket

/// A stream of frames, heard by either side: the same messages whatever the cuts, within the limits, nothing changed
/// that is not used up, also when short messages are looked for first; and what was heard, said again, is heard again.
pub fn ws_stream(input: &[u8]) {
    let tight = WsLimits {
        message_bytes_max: 40,
        fragments_max: 2,
    };
    for role in [Role::Server, Role::Client] {
        for limits in [WsLimits::default(), tight.clone()] {
            let (heard, said) = whatever_the_cuts(input, |ends| {
                let heard = hear(role, &limits, input, ends, false);
                assert_eq!(hear(role, &limits, input, ends, true), heard);
                heard
            });
            let whole = [said.len()];
            let (heard_again, _) = hear(role, &limits, &said, &whole, false);
            let is_fault = |event: &&String| event.starts_with("fault");
            let heard: Vec<_> = heard.iter().take_while(|event| !is_fault(event)).collect();
            assert_eq!(heard_again.iter().collect::<Vec<_>>(), heard);
        }
    }
}

/// The next thing of `input`, which is looked at on the short way first.
fn next_short<'a>(
    endpoint: &'a mut Endpoint,
    input: &'a mut [u8],
    limits: &WsLimits,
) -> Result<(usize, ws::Step<'a>), ws::PeerError> {
    let is_short =
        endpoint.is_at_rest() && ws::short_message(&mut input.to_vec(), limits).is_some();
    if !is_short {
        return endpoint.next(input, limits);
    }
    let (used, message) = ws::short_message(input, limits).unwrap();
    match message {
        Ok(ws::Message::Text(text)) => Ok((used, ws::Step::Text(text))),
        Ok(ws::Message::Binary(bytes)) => Ok((used, ws::Step::Binary(bytes))),
        Err(error) => {
            endpoint.eof();
            Err(error)
        }
    }
}

/// What `role` hears, in words, and the same as its peer would say it.
fn hear(
    role: Role,
    limits: &WsLimits,
    input: &[u8],
    ends: &[usize],
    short_first: bool,
) -> (Vec<String>, Vec<u8>) {
    let mut endpoint = Endpoint::new(role);
    let mut echo = Endpoint::new(match role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    });
    let (mut heard, mut said) = (Vec::new(), Vec::new());
    let mut bytes = input.to_vec();
    let mut at = 0;
    for end in ends {
        loop {
            echo.mask_with([1, 0xfe, heard.len() as u8, 0x80]);
            let shown = *end - at;
            let shown_bytes = &mut bytes[at..*end];
            let next = match short_first && role == Role::Server {
                true => next_short(&mut endpoint, shown_bytes, limits),
                false => endpoint.next(shown_bytes, limits),
            };
            match next {
                Ok((used, step)) => {
                    assert!(used <= shown);
                    at += used;
                    heard.push(match step {
                        ws::Step::Text(text) => {
                            assert!(text.len() <= limits.message_bytes_max);
                            echo.text(text, &mut said).unwrap();
                            format!("text {text:?}")
                        }
                        ws::Step::Binary(payload) => {
                            assert!(payload.len() <= limits.message_bytes_max);
                            echo.binary(payload, &mut said).unwrap();
                            format!("binary {}", payload.escape_ascii())
                        }
                        ws::Step::Ping(payload) => {
                            echo.ping(payload, &mut said).unwrap();
                            format!("ping {}", payload.escape_ascii())
                        }
                        ws::Step::Pong(payload) => {
                            echo.pong(payload, &mut said).unwrap();
                            format!("pong {}", payload.escape_ascii())
                        }
                        ws::Step::Close(None) => {
                            echo.close_reply(None, &mut said).unwrap();
                            "close".into()
                        }
                        ws::Step::Close(Some((code, reason))) => {
                            echo.close(code, reason, &mut said).unwrap();
                            format!("close {} {reason:?}", u16::from(code))
                        }
                        ws::Step::Deflated(_) => unreachable!("it was not agreed on"),
                        ws::Step::NeedMore => break,
                    });
                }
                Err(error) => {
                    heard.push(format!("fault {error:?}"));
                    assert_eq!(endpoint.link(), Link::TheyClosed);
                    let mut last = Vec::new();
                    endpoint.mask_with([0; 4]);
                    let reason = error.reason();
                    endpoint
                        .close(error.close_code(), reason, &mut last)
                        .unwrap();
                    return (heard, said);
                }
            }
        }
        assert!(*end - at < CONTROL_BYTES_MAX + HEADER_BYTES_MAX);
        assert_eq!(
            bytes[at..],
            input[at..],
            "what is not used up is as it came"
        );
        // A buffer doubles when it grows.
        assert!(endpoint.bytes_held() <= 2 * limits.message_bytes_max + 256);
    }
    endpoint.eof();
    assert_eq!(endpoint.bytes_held(), 0);
    (heard, said)
}

/// A field's value where the handshake looks for it, and a whole request: granted if and only if a second reading of
/// RFC 6455, 4.2.1 grants it.
pub fn ws_handshake(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        assert!(accept_key(text).iter().all(u8::is_ascii));
        for replaced in ["upgrade", "connection", "sec-websocket-version"] {
            check_handshake(true, true, |name| match name {
                name if name == replaced => Some(text),
                "upgrade" => Some("websocket"),
                "connection" => Some("keep-alive, Upgrade"),
                "sec-websocket-version" => Some("13"),
                "sec-websocket-key" => Some("dGhlIHNhbXBsZSBub25jZQ=="),
                _ => None,
            });
        }
        check_handshake(true, true, |name| match name {
            "sec-websocket-key" => Some(text),
            "upgrade" | "connection" => Some("upgrade,WEBSOCKET"),
            "sec-websocket-version" => Some("13"),
            _ => None,
        });
    }
    let mut head = RequestHead::new();
    let step = Server::new().next(input, &mut head, &HeadLimits::default());
    if matches!(step, Ok((_, Step::Head))) {
        let is_get = head.method() == Method::Get;
        let is_http_1_1 = head.version() == Version::Http11;
        check_handshake(is_get, is_http_1_1, |name| head.header(name));
    }
}

fn check_handshake<'h>(
    is_get: bool,
    is_http_1_1: bool,
    header: impl Fn(&str) -> Option<&'h str> + Copy,
) {
    // Whitespace in a field is a space or a tab (RFC 9110, 5.6.3).
    let blank = [' ', '\t'];
    let lists = |name, token: &str| {
        let items = header(name).unwrap_or_default().split(',');
        let mut items = items.map(|item| item.trim_matches(blank));
        items.any(|item| item.eq_ignore_ascii_case(token))
    };
    let key = header("sec-websocket-key").map(|key| key.trim_matches(blank));
    // 16 bytes are 22 characters of base64 and two of padding.
    let is_key = |key: &str| {
        let bytes = key.strip_suffix("==").unwrap_or_default().bytes();
        bytes.len() == 22 && { bytes }.all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b))
    };
    let version = header("sec-websocket-version").map(|version| version.trim_matches(blank));
    let expected = is_get
        && is_http_1_1
        && lists("upgrade", "websocket")
        && lists("connection", "upgrade")
        && version == Some("13")
        && key.is_some_and(is_key);
    match check_request(is_get, is_http_1_1, header) {
        Ok(accepted) => {
            assert!(expected, "granted, and should not be");
            assert_eq!(accepted.accept, accept_key(key.unwrap_or_default()));
            let mut fields = Fields::new();
            let accept = accepted.accept_str();
            fields.push("Sec-WebSocket-Accept", accept).unwrap();
        }
        Err(error) => {
            assert!(!expected, "refused with {error:?}, and should not be");
            let mut fields = Fields::new();
            for (name, value) in error.fields() {
                fields.push(name, value).unwrap();
            }
            assert!((400..500).contains(&error.status()));
        }
    }
}

// ---- targets and queries

/// Text as a target, as something percent-encoded, and as a query.
pub fn url_query(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    check_percent(text);
    check_query(text);
    for method in ["GET", "OPTIONS", "CONNECT"] {
        if let Ok(head) = RequestHead::build(method, text, &[]) {
            check_target(text, &head);
        }
    }
}

fn check_percent(text: &str) {
    // Whatever was encoded is decoded to itself.
    let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(percent_decode(&encoded).as_deref(), Some(text));
    if let Some(decoded) = percent_decode(text) {
        let percents = text.matches('%').count();
        assert_eq!(decoded.len(), text.len() - 2 * percents);
        if percents == 0 {
            assert_eq!(decoded, text);
        }
    }
}

fn check_query(text: &str) {
    let pairs: Vec<_> = query_pairs(text).collect();
    let parts = text.split('&').filter(|part| !part.is_empty()).count();
    assert_eq!(pairs.len(), parts);
    let encode = |text: &str| -> String {
        let byte = |byte: u8| match byte {
            b' ' => "+".into(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    let again: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    assert_eq!(query_pairs(&again.join("&")).collect::<Vec<_>>(), pairs);
}

fn check_target(text: &str, head: &RequestHead) {
    assert_eq!(head.target(), text);
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!text.contains('#'));
    let query = head.query().map(|query| format!("?{query}"));
    let query = query.unwrap_or_default();
    match head.method() {
        Method::Connect => assert_eq!((head.path(), query.as_str(), head.host()), ("", "", text)),
        _ if text.starts_with('/') => assert_eq!(format!("{}{query}", head.path()), text),
        _ if text == "*" => assert_eq!(head.path(), "*"),
        _ => {
            let (_, behind) = text.split_once("://").expect("a scheme is in front");
            let path = head.path();
            let whole = format!("{}{path}{query}", head.host());
            let without_path = format!("{}{query}", head.host());
            assert!(behind == whole || path == "/" && behind == without_path);
        }
    }
}
