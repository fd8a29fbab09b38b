//! What the peer of a WebSocket may try, against our server and against our client: each case with the code that it is
//! closed with, and with a bound on what it makes us hold. docs/websocket.md has them in a table.
//!
//! Both ends stand in one simulated world, on one thread, with small buffers between them. The allocator counts
//! everything in it, the attacker's part included, from behind the handshake to the end.

use std::cell::Cell;
use std::io::Write;
use std::net::SocketAddr;
use std::rc::Rc;

use allocation_counter::measure;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use tourbillon::client::WebSocket;
use tourbillon::event_loop::EventLoop;
use tourbillon::net::{ReadHalf, StreamExt, TcpListener, TcpStream, WriteHalf};
use tourbillon::proto::ws::{
    CloseCode, DeflateOptions, Endpoint, Role, Step, WsLimits, accept_key,
};
use tourbillon::sim::{Faults, Simulation, World};
use tourbillon::task::spawn;
use tourbillon::web::{App, Limits, Message, Peer, Request, Socket, WebSocketSettings};

const SERVER: usize = 0;
const CLIENT: usize = 1;
const PORT: u16 = 80;

/// A message may have so many bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// What an attack may make the process hold: a message, or an outbox and what left it, in buffers that grew by
/// doubling; and what the network has of it.
const HELD_BYTES_MAX: u64 = 512 * 1024;
/// An attack goes on for so many bytes, if it is let: many times what may be held.
const FLOOD_BYTES: usize = 4 << 20;

fn limits() -> WsLimits {
    WsLimits {
        message_bytes_max: MESSAGE_BYTES_MAX,
        ..WsLimits::default()
    }
}

/// Takes what comes, and says nothing.
struct Sink;

impl Socket<()> for Sink {
    fn message(&mut self, _: &mut Peer<'_>, _: Message<'_>, _: &mut ()) {}
}

/// What an attacker sends: something, and then something else again and again.
struct Attack {
    begin: Vec<u8>,
    again: Vec<u8>,
    /// Whether it takes what is said to it.
    reads: bool,
}

const FINAL: u8 = 0x80;
const COMPRESSED: u8 = 0x40;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const PING: u8 = 9;

/// A frame of less than 64 KiB, with a key that changes nothing if the sender is to mask.
fn frame(first: u8, is_masked: bool, payload: &[u8]) -> Vec<u8> {
    let mask = u8::from(is_masked) << 7;
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(mask | len as u8),
        len => {
            frame.push(mask | 126);
            frame.extend(u16::try_from(len).expect("a short one").to_be_bytes());
        }
    }
    if is_masked {
        frame.extend([0; 4]);
    }
    frame.extend(payload);
    frame
}

/// The head of a frame that claims so much.
fn claim(is_masked: bool, len: u64) -> Vec<u8> {
    let mut head = vec![FINAL | BINARY, u8::from(is_masked) << 7 | 127];
    head.extend(len.to_be_bytes());
    if is_masked {
        head.extend([0; 4]);
    }
    head
}

/// Eight MiB in eight KiB.
fn bomb() -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; 8 << 20]).unwrap();
    encoder.flush().unwrap();
    let mut compressed = encoder.get_ref().clone();
    // What a flush ends with is not sent (RFC 7692, 7.2.1).
    assert!(compressed.ends_with(&[0, 0, 0xff, 0xff]));
    compressed.truncate(compressed.len() - 4);
    assert!(compressed.len() < 10_000);
    compressed
}

/// Try `make`, given whether the attacker is to mask, on our server and on our client. `code` is what each closes with,
/// if it does.
fn attack(code: Option<u16>, make: impl Fn(bool) -> Attack) {
    for (victim, is_masked) in [(SERVER, true), (CLIENT, false)] {
        let (told, held) = match victim {
            SERVER => attack_server(make(is_masked)),
            _ => attack_client(make(is_masked)),
        };
        let victim = ["server", "client"][victim];
        assert_eq!(told, code, "what the {victim} closes with");
        assert!(
            held <= HELD_BYTES_MAX,
            "the {victim} and the attacker hold {held} bytes"
        );
    }
}

/// A world of two hosts with small buffers between them.
fn world() -> (World, Simulation) {
    let faults = Faults {
        send_buffer_bytes: 8_192..=8_192,
        receive_buffer_bytes: 8_192..=8_192,
        ..Faults::none()
    };
    let world = World::with_faults(1, faults);
    let mut simulation = Simulation::new(world.clone());
    for host in ["server", "client"] {
        simulation.add(host, EventLoop::with_driver);
    }
    (world, simulation)
}

/// What became of an attack.
#[derive(Default)]
struct Fate {
    has_begun: Cell<bool>,
    /// The code that it was closed with.
    code: Cell<Option<u16>>,
    is_over: Cell<bool>,
}

impl Attack {
    /// Behind the handshake: send all of it, if it is let, and hear what is said to it.
    async fn run(self, stream: TcpStream, role: Role, fate: Rc<Fate>) {
        fate.has_begun.set(true);
        let (reader, writer) = stream.into_split();
        if self.reads {
            let ends = spawn(hear(reader, role, Rc::clone(&fate)));
            let writer = self.send(writer).await;
            ends.await.unwrap();
            drop(writer);
        } else {
            self.send(writer).await;
            drop(reader);
        }
        fate.is_over.set(true);
    }

    /// Until it is refused, or enough; then our half ends, if we are the one to end it.
    async fn send(&self, mut writer: WriteHalf) -> WriteHalf {
        let mut left = FLOOD_BYTES;
        let mut sent = writer.write_all(&self.begin).await;
        while sent.is_ok() && left > 0 {
            sent = writer.write_all(&self.again).await;
            left = left.saturating_sub(self.again.len());
        }
        let _ = writer.shutdown().await;
        writer
    }
}

/// What the victim says, to its end.
async fn hear(mut reader: ReadHalf, role: Role, fate: Rc<Fate>) {
    let mut endpoint = Endpoint::new(role);
    let mut bytes = Vec::new();
    while let Ok(1..) = reader.read_vec(&mut bytes).await {
        loop {
            let (used, step) = endpoint.next(&mut bytes, &WsLimits::default()).unwrap();
            let is_all = matches!(step, Step::NeedMore);
            if let Step::Close(Some((code, _))) = step {
                fate.code.set(Some(u16::from(code)));
            }
            bytes.drain(..used);
            if is_all {
                break;
            }
        }
    }
}

/// The other side's head, to its end and no further: it says nothing behind it before it has heard of us.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(stream.read_vec(&mut head).await.unwrap() > 0);
    }
    String::from_utf8(head).unwrap()
}

/// Run to the end of the attack. What it closed with, and the most that was held meanwhile.
fn see(mut simulation: Simulation, fate: &Rc<Fate>) -> (Option<u16>, u64) {
    let has_begun = Rc::clone(fate);
    simulation
        .run_until(move |_| has_begun.has_begun.get())
        .unwrap();
    let ended = Rc::clone(fate);
    let counted = measure(|| {
        simulation.run_until(move |_| ended.is_over.get()).unwrap();
    });
    for event_loop in simulation.loops() {
        assert_eq!(event_loop.stats().panics, 0);
    }
    (fate.code.get(), counted.bytes_max)
}

fn attack_server(attack: Attack) -> (Option<u16>, u64) {
    let (world, mut simulation) = world();
    let settings = WebSocketSettings {
        messages: Some(limits()),
        deflate: Some(DeflateOptions::default()),
        ..WebSocketSettings::default()
    };
    let app =
        App::new(())
            .limits(Limits::default())
            .ws_with("/", settings, |_: &Request, _: &mut ()| Ok(Sink));
    let server = simulation.loop_mut(SERVER);
    app.listen(&mut server.ctx(), ("0.0.0.0", PORT)).unwrap();

    let fate = Rc::<Fate>::default();
    let address = SocketAddr::from((world.address("server"), PORT));
    let told = Rc::clone(&fate);
    simulation.loop_mut(CLIENT).spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.contains("permessage-deflate"), "{head}");
        attack.run(stream, Role::Client, told).await;
    });
    see(simulation, &fate)
}

fn attack_client(attack: Attack) -> (Option<u16>, u64) {
    let (world, mut simulation) = world();
    let fate = Rc::<Fate>::default();
    let address = SocketAddr::from((world.address("server"), PORT));
    let told = Rc::clone(&fate);
    let server = simulation.loop_mut(SERVER);
    let mut listener = TcpListener::listen(&mut server.ctx(), address).unwrap();
    server.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        let key = head
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let accept = accept_key(key.unwrap());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            std::str::from_utf8(&accept).unwrap()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        attack.run(stream, Role::Server, told).await;
    });
    let builder = WebSocket::builder(&format!("ws://{}/", world.address("server")));
    let builder = builder
        .limits(limits())
        .deflate(DeflateOptions::own_context());
    simulation.loop_mut(CLIENT).spawn(async move {
        let mut socket = builder.connect().await.unwrap();
        while let Ok(Some(_)) = socket.recv().await {}
    });
    see(simulation, &fate)
}

fn code(code: CloseCode) -> Option<u16> {
    Some(code.into())
}

#[test]
fn a_bomb_is_refused_while_it_is_inflated() {
    let bomb = bomb();
    attack(code(CloseCode::Size), |is_masked| {
        let bomb = frame(FINAL | COMPRESSED | BINARY, is_masked, &bomb);
        Attack {
            begin: bomb.clone(),
            again: bomb,
            reads: true,
        }
    });
}

#[test]
fn a_claim_of_2_to_the_63rd_bytes_is_no_length() {
    attack(code(CloseCode::Protocol), |is_masked| Attack {
        begin: claim(is_masked, 1 << 63),
        again: vec![0; 1_000],
        reads: true,
    });
}

#[test]
fn the_largest_claim_that_is_a_length_is_refused_before_anything_of_it_is_held() {
    attack(code(CloseCode::Size), |is_masked| Attack {
        begin: claim(is_masked, (1 << 63) - 1),
        again: vec![0; 1_000],
        reads: true,
    });
}

#[test]
fn a_flood_of_fragments_is_refused_empty_ones_too() {
    for payload in [&b""[..], b"x"] {
        attack(code(CloseCode::Size), |is_masked| Attack {
            begin: frame(TEXT, is_masked, b"x"),
            again: frame(CONTINUATION, is_masked, payload),
            reads: true,
        });
    }
}

#[test]
fn a_flood_of_pings_is_answered_as_far_as_it_is_read_and_closes_nothing() {
    attack(None, |is_masked| Attack {
        begin: Vec::new(),
        again: frame(FINAL | PING, is_masked, &[b'x'; 125]),
        reads: true,
    });
}

#[test]
fn a_flood_of_pings_whose_pongs_nobody_reads_is_not_kept() {
    attack(None, |is_masked| Attack {
        begin: Vec::new(),
        again: frame(FINAL | PING, is_masked, &[b'x'; 125]),
        reads: false,
    });
}

#[test]
fn text_that_is_not_utf8_across_fragments_is_refused() {
    attack(code(CloseCode::Invalid), |is_masked| Attack {
        // The first two bytes of a euro sign, and a bracket.
        begin: [
            frame(TEXT, is_masked, b"\xe2\x82"),
            frame(CONTINUATION, is_masked, b"("),
        ]
        .concat(),
        again: frame(CONTINUATION, is_masked, b"behind"),
        reads: true,
    });
}

#[test]
fn who_masks_and_must_not_or_does_not_and_must_is_refused() {
    attack(code(CloseCode::Protocol), |is_masked| Attack {
        begin: [
            frame(FINAL | TEXT, is_masked, b"right"),
            frame(FINAL | TEXT, !is_masked, b"wrong"),
        ]
        .concat(),
        again: frame(FINAL | TEXT, is_masked, b"behind"),
        reads: true,
    });
}
