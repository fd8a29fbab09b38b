//! A crowd in a simulated world: WebSocket clients that say nothing but pongs, and two hosts for them. One is our
//! server. The other is none: it knows sockets, and says the same bytes, so that what the world holds with it is what
//! the network holds of both.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tourbillon::event_loop::{Driver, Event, EventLoop, Socket as Descriptor, Token};
use tourbillon::sim::{Client, Faults, Simulation, Step, World};
use tourbillon::web::{App, Message, Peer, Request, Rooms, Shared, Socket};

const HOST: &str = "server";
const PORT: u16 = 80;
const SECOND: Duration = Duration::from_secs(1);

/// Those who connect at the same time: fewer than wait to be accepted.
const BATCH: usize = 1_000;
/// From batch to batch.
const BATCH_TIME: Duration = Duration::from_millis(10);

const HANDSHAKE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const PING: &[u8] = b"\x89\x00";
/// Masked with a key of zeros, of nothing.
const PONG: &[u8] = b"\x8a\x80\0\0\0\0";
/// When the host that is no server pings all.
const PING_AT: Duration = Duration::from_secs(25);
/// What is published, as text and as a frame of it.
const NEWS: &str = "it is eight o'clock";
const NEWS_FRAME: &[u8] = b"\x81\x13it is eight o'clock";

/// The time that this thread has had a processor for, so that what else the machine does is not counted. Where the
/// system does not say, the time since `start`.
fn worked(start: Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// The turns in which something was published, as the loop's thread was at work in them.
#[derive(Default)]
pub(crate) struct Turns {
    pub(crate) count: u32,
    pub(crate) longest: Duration,
    pub(crate) total: Duration,
}

pub(crate) trait Host {
    /// Let so much time pass in the world.
    fn pass(&mut self, time: Duration);
    /// How many it has with it.
    fn held(&self) -> usize;
    /// Send the news to all.
    fn publish(&mut self) -> Turns;
}

pub(crate) fn world() -> World {
    World::with_faults(1, Faults::none())
}

pub(crate) struct Crowd {
    world: World,
    server: SocketAddr,
    clients: Vec<(Client, Pinged)>,
}

/// Whether a client was pinged.
type Pinged = bool;

impl Crowd {
    pub(crate) fn new(world: &World) -> Self {
        Self {
            world: world.clone(),
            server: (world.address(HOST), PORT).into(),
            clients: Vec::new(),
        }
    }

    /// So many come, and are answered.
    pub(crate) fn join(&mut self, host: &mut impl Host, count: usize) {
        self.clients.reserve_exact(count);
        while self.clients.len() < count {
            let begun = self.clients.len();
            for number in begun..count.min(begun + BATCH) {
                let client = self.world.connect_from(address(number), self.server);
                client.send(HANDSHAKE);
                self.clients.push((client, false));
            }
            host.pass(BATCH_TIME);
            for (client, _) in &self.clients[begun..] {
                let answer = client.take_received();
                assert_eq!(answer.len(), SWITCHING.len());
                assert!(answer.starts_with(b"HTTP/1.1 101 "));
            }
        }
    }

    /// For so many seconds nobody says anything, but for the answers to pings.
    pub(crate) fn hold(&mut self, host: &mut impl Host, seconds: u32) {
        for _ in 0..seconds {
            host.pass(SECOND);
            for (client, pinged) in &mut self.clients {
                if client.received_len() > 0 {
                    assert_eq!(client.take_received(), PING);
                    client.send(PONG);
                    *pinged = true;
                }
            }
        }
        host.pass(SECOND);
    }

    /// How many were pinged at all.
    pub(crate) fn pinged(&self) -> usize {
        self.clients.iter().filter(|(_, pinged)| *pinged).count()
    }

    /// How many have heard the news, once, and nothing else.
    pub(crate) fn informed(&self) -> usize {
        let clients = self.clients.iter();
        clients
            .filter(|(client, _)| client.with_received(|received| received == NEWS_FRAME))
            .count()
    }
}

/// An address for each client.
fn address(number: usize) -> SocketAddr {
    const PORTS: usize = 50_000;
    let host = Ipv4Addr::from_bits(Ipv4Addr::new(11, 0, 0, 1).to_bits() + (number / PORTS) as u32);
    SocketAddr::new(host.into(), 10_000 + (number % PORTS) as u16)
}

/// Our server, as it is everywhere.
pub(crate) struct Served {
    simulation: Simulation,
    rooms: Shared<Rooms>,
}

/// In the one room, and silent.
struct Member;

impl Socket<Rooms> for Member {
    fn opened(&mut self, peer: &mut Peer<'_>, rooms: &mut Rooms) {
        rooms.join("all", peer.sender());
    }

    fn message(&mut self, _: &mut Peer<'_>, _: Message<'_>, _: &mut Rooms) {}
}

impl Served {
    pub(crate) fn new(world: &World) -> Self {
        let mut simulation = Simulation::new(world.clone());
        simulation.limit_steps(u64::MAX);
        // It would look at every connection each time that the world has nothing to do.
        simulation.allow_undrained();
        simulation.add(HOST, EventLoop::with_driver);
        let app = App::new(Rooms::default()).ws("/", |_: &Request, _: &mut Rooms| Ok(Member));
        let rooms = app.state();
        let mut ctx = simulation.loop_mut(0).ctx();
        app.listen(&mut ctx, ("0.0.0.0", PORT)).expect("it is free");
        Self { simulation, rooms }
    }
}

impl Host for Served {
    fn pass(&mut self, time: Duration) {
        self.simulation.run_for(time).expect("nothing goes wrong");
    }

    fn held(&self) -> usize {
        self.rooms.with(|rooms| rooms.count("all"))
    }

    fn publish(&mut self) -> Turns {
        let rooms = self.rooms.clone();
        self.simulation.loop_mut(0).call_soon(move |_| {
            rooms.with(|rooms| rooms.publish("all", NEWS));
        });
        let mut turns = Turns::default();
        let start = Instant::now();
        let mut turned = self.simulation.turns();
        let end = self.simulation.world().now() + SECOND;
        loop {
            let before = worked(start);
            let step = self.simulation.step(Some(end)).expect("nothing goes wrong");
            if self.simulation.turns() > turned {
                turned = self.simulation.turns();
                turns.count += 1;
                let took = worked(start) - before;
                turns.longest = turns.longest.max(took);
                turns.total += took;
            }
            if step == Step::Idle {
                return turns;
            }
        }
    }
}

/// No server: sockets that are read and written.
pub(crate) struct Bare {
    world: World,
    driver: Box<dyn Driver>,
    listener: Descriptor,
    open: Vec<Descriptor>,
    events: Vec<Event>,
    has_pinged: bool,
}

impl Bare {
    pub(crate) fn new(world: &World) -> Self {
        let mut driver = world.driver(HOST);
        let listener = driver.listen((Ipv4Addr::UNSPECIFIED, PORT).into());
        let listener = listener.expect("it is free");
        let token = Token::new(listener.0, 0);
        driver.register(listener, token).expect("it is open");
        Self {
            world: world.clone(),
            driver,
            listener,
            open: Vec::new(),
            events: Vec::new(),
            has_pinged: false,
        }
    }

    fn write_to_all(&mut self, bytes: &[u8]) {
        for socket in &self.open {
            let written = self.driver.write(*socket, bytes);
            assert_eq!(written.expect("it is open"), bytes.len());
        }
    }

    /// Take in and read whatever there is, and answer handshakes.
    fn visit(&mut self) {
        loop {
            let mut events = std::mem::take(&mut self.events);
            let polled = self.driver.poll(&mut events, Some(Duration::ZERO));
            polled.expect("it can be polled");
            if events.is_empty() {
                return;
            }
            for event in events.drain(..) {
                match Descriptor(event.token.index()) {
                    socket if socket == self.listener => self.accept(),
                    socket => self.read(socket),
                }
            }
            self.events = events;
        }
    }

    fn accept(&mut self) {
        loop {
            match self.driver.accept(self.listener) {
                Ok((socket, _)) => {
                    let token = Token::new(socket.0, 0);
                    self.driver.register(socket, token).expect("it is open");
                    self.open.push(socket);
                    self.read(socket);
                }
                Err(error) => return assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }

    fn read(&mut self, socket: Descriptor) {
        let mut buffer = [0; 1024];
        loop {
            match self.driver.read(socket, &mut buffer) {
                Ok(len) if buffer[..len] == *HANDSHAKE => {
                    let written = self.driver.write(socket, SWITCHING);
                    assert_eq!(written.expect("it is open"), SWITCHING.len());
                }
                Ok(len) => assert_eq!(buffer[..len], *PONG),
                Err(error) => return assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }
}

impl Host for Bare {
    fn pass(&mut self, time: Duration) {
        let end = self.world.now() + time;
        if self.world.elapsed() > PING_AT && !std::mem::replace(&mut self.has_pinged, true) {
            self.write_to_all(PING);
        }
        loop {
            self.visit();
            match self.world.next_event_time() {
                Some(next) if next <= end => {
                    self.world.advance_to(next);
                    self.world.deliver_one();
                }
                _ => break,
            }
        }
        self.world.advance_to(end);
    }

    fn held(&self) -> usize {
        self.open.len()
    }

    fn publish(&mut self) -> Turns {
        let start = Instant::now();
        let before = worked(start);
        self.write_to_all(NEWS_FRAME);
        let took = worked(start) - before;
        self.pass(SECOND);
        Turns {
            count: 1,
            longest: took,
            total: took,
        }
    }
}
