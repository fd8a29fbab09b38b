//! What `scripts/instructions.sh` counts the instructions of: a server with canned connections, one case a run.
//!
//! `instructions CASE TURNS` serves so many turns and prints how many requests that were; `instructions` names the
//! cases. Every answer is looked at once and counted ever after, so that what is measured is what should be done.

mod canned;

use std::process::ExitCode;

use canned::{Lines, Stage};
use tourbillon::web::{App, Message, Peer, Request, Response, Rooms, Socket};

/// As fast as a busy server turns, by order of magnitude.
const TURNS_A_SECOND: u32 = 250;

struct Case {
    name: &'static str,
    connections: u32,
    /// What each connection says in a turn, behind its handshake if there is one.
    first: &'static [u8],
    each_turn: fn() -> Vec<u8>,
    /// How many requests those are, and what the answer to each begins and ends with.
    requests: u32,
    answer: (&'static [u8], &'static [u8]),
    /// The loop's recorder is on.
    is_recorded: bool,
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";

const CASES: &[Case] = &[
    Case {
        name: "get",
        connections: 32,
        first: b"",
        each_turn: || GET.to_vec(),
        requests: 1,
        answer: (OK, b"\r\n\r\nHello, World!"),
        is_recorded: false,
    },
    // The turn is all its own.
    Case {
        name: "get-alone",
        connections: 1,
        first: b"",
        each_turn: || GET.to_vec(),
        requests: 1,
        answer: (OK, b"\r\n\r\nHello, World!"),
        is_recorded: false,
    },
    Case {
        name: "get-browser",
        connections: 32,
        first: b"",
        each_turn: || BROWSER.to_vec(),
        requests: 1,
        answer: (OK, b"\r\n\r\nHello, World!"),
        is_recorded: false,
    },
    Case {
        name: "get-pipelined",
        connections: 8,
        first: b"",
        each_turn: || GET.repeat(16),
        requests: 16,
        answer: (OK, b"\r\n\r\nHello, World!"),
        is_recorded: false,
    },
    Case {
        name: "get-recorded",
        connections: 32,
        first: b"",
        each_turn: || GET.to_vec(),
        requests: 1,
        answer: (OK, b"\r\n\r\nHello, World!"),
        is_recorded: true,
    },
    Case {
        name: "post",
        connections: 32,
        first: b"",
        each_turn: || [POST_HEAD, &[b'x'; 1020], b"last"].concat(),
        requests: 1,
        answer: (OK, b"xxlast"),
        is_recorded: false,
    },
    Case {
        name: "post-chunked",
        connections: 32,
        first: b"",
        each_turn: || POST.to_vec(),
        requests: 1,
        answer: (OK, b"\r\n\r\nreceived\n"),
        is_recorded: false,
    },
    Case {
        name: "websocket-echo",
        connections: 32,
        first: HANDSHAKE,
        each_turn: masked_frame,
        requests: 1,
        // FIN and binary, 64 bytes.
        answer: (&[0x82, 64], ECHOED),
        is_recorded: false,
    },
    // What everyone says goes to everyone: counted for each of those who hear it.
    Case {
        name: "websocket-room",
        connections: 32,
        first: ROOM_HANDSHAKE,
        each_turn: masked_frame,
        requests: 32,
        answer: (&[0x82, 64], ECHOED),
        is_recorded: false,
    },
];

const GET: &[u8] = b"GET /plaintext HTTP/1.1\r\n\
    Host: 127.0.0.1:8080\r\n\
    User-Agent: curl/8.14.1\r\n\
    Accept: */*\r\n\r\n";

const BROWSER: &[u8] = b"GET /plaintext HTTP/1.1\r\n\
    Host: 127.0.0.1:8080\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: max-age=0\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: none\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-US,en;q=0.9\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";

const POST_HEAD: &[u8] = b"POST /back HTTP/1.1\r\n\
    Host: 127.0.0.1:8080\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 1024\r\n\r\n";

const POST: &[u8] = b"POST /in HTTP/1.1\r\n\
    Host: 127.0.0.1:8080\r\n\
    Content-Type: text/plain\r\n\
    Transfer-Encoding: chunked\r\n\r\n\
    1a\r\nabcdefghijklmnopqrstuvwxyz\r\n\
    a\r\n0123456789\r\n\
    0\r\n\r\n";

const POSTED: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

const HANDSHAKE: &[u8] = b"GET /echo HTTP/1.1\r\n\
    Host: 127.0.0.1:8080\r\n\
    Connection: Upgrade\r\n\
    Upgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const ROOM_HANDSHAKE: &[u8] = b"GET /room HTTP/1.1\r\n\
    Host: 127.0.0.1:8080\r\n\
    Connection: Upgrade\r\n\
    Upgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const ECHOED: &[u8; 64] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn masked_frame() -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut frame = vec![0x82, 0x80 | 64];
    frame.extend(mask);
    frame.extend(ECHOED.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    frame
}

struct Echo;

impl Socket<Rooms> for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, _: &mut Rooms) {
        peer.send(message);
    }
}

struct Member;

impl Socket<Rooms> for Member {
    fn opened(&mut self, peer: &mut Peer<'_>, rooms: &mut Rooms) {
        rooms.join("room", peer.sender());
    }

    fn message(&mut self, _: &mut Peer<'_>, message: Message<'_>, rooms: &mut Rooms) {
        rooms.publish("room", message);
    }
}

fn app() -> App<Rooms> {
    App::new(Rooms::new())
        .get("/plaintext", |_: &Request, _: &mut Rooms| {
            Response::new("Hello, World!").with_content_type("text/plain")
        })
        .post("/back", |request: &Request, _: &mut Rooms| {
            Response::new(request.body().to_vec()).with_content_type("text/plain")
        })
        .post("/in", |request: &Request, _: &mut Rooms| {
            (request.body() == POSTED).then_some("received\n")
        })
        .ws("/echo", |_: &Request, _: &mut Rooms| Ok(Echo))
        .ws("/room", |_: &Request, _: &mut Rooms| Ok(Member))
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let find = |name: &str| CASES.iter().find(|case| case.name == name);
    match &arguments[..] {
        [name, turns] if let (Some(case), Ok(turns)) = (find(name), turns.parse()) => {
            println!("{}", run(case, turns));
            ExitCode::SUCCESS
        }
        // As `cargo bench` calls it, and as the script does to know what there is.
        [] | [_] => {
            CASES.iter().for_each(|case| println!("{}", case.name));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: instructions [CASE TURNS]");
            ExitCode::from(2)
        }
    }
}

/// Serve so many turns, and say how many requests were answered in them.
fn run(case: &Case, turns: u64) -> u64 {
    let lines = Lines {
        first: case.first.to_vec(),
        each_turn: (case.each_turn)(),
    };
    let mut stage = Stage::new(app(), case.connections, lines, TURNS_A_SECOND);
    stage.event_loop.record(case.is_recorded);
    stage.turn();
    let answers = stage.turn_and_listen();
    let (begin, end) = case.answer;
    let count = |part: &[u8]| answers.windows(part.len()).filter(|at| *at == part).count();
    let requests = case.connections * case.requests;
    assert_eq!(count(begin), requests as usize, "answers that begin so");
    assert_eq!(count(end), requests as usize, "answers that end so");

    let before = stage.written();
    for _ in 0..turns {
        stage.turn();
    }
    let written = stage.written() - before;
    assert_eq!(written, turns * answers.len() as u64, "the same each time");
    turns * u64::from(requests)
}
