//! A driver without an outside: its listener hands out connections at once, in every turn each of them has the same
//! bytes to read, and what is written to them is counted and dropped. Nothing here asks the operating system, so that
//! what is counted around it is the library's own work.

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

#[cfg(unix)]
use tourbillon::event_loop::Watch;
use tourbillon::event_loop::{
    BlockingJob, Clock, Driver, Event, EventLoop, Executor, Notify, Readiness, Signal, Socket,
    Token, TurnBudget,
};
use tourbillon::web::{App, Server};

/// What every connection says.
pub(super) struct Lines {
    /// Once, when it has come in.
    pub(super) first: Vec<u8>,
    /// And then in every turn.
    pub(super) each_turn: Vec<u8>,
}

/// An app on a loop with canned connections.
pub(super) struct Stage {
    pub(super) event_loop: EventLoop,
    pub(super) server: Server,
    outside: Rc<Outside>,
}

impl Stage {
    /// Serve `app` to so many connections. Time stands still but for a second after every `turns_a_second` turns.
    pub(super) fn new<S: 'static>(
        app: App<S>,
        connections: u32,
        lines: Lines,
        turns_a_second: u32,
    ) -> Self {
        let outside = Rc::new(Outside {
            now: Cell::new(on_the_second(Instant::now())),
            turns: Cell::new(0),
            turns_a_second,
            written: Cell::new(0),
            kept: RefCell::new(None),
        });
        let driver = CannedDriver {
            outside: Rc::clone(&outside),
            lines,
            listener: None,
            waiting: connections,
            streams: Vec::new(),
        };
        let mut event_loop = EventLoop::with_driver(Box::new(driver));
        let (server, _) = app
            .listen(&mut event_loop.ctx(), "127.0.0.1:80")
            .expect("every address is free");
        let mut stage = Self {
            event_loop,
            server,
            outside,
        };
        while stage.server.counts().accepted < u64::from(connections) {
            stage.turn();
        }
        stage
    }

    /// Every connection speaks once.
    pub(super) fn turn(&mut self) {
        let turned = self.event_loop.turn(TurnBudget::default());
        turned.expect("nothing fails here");
    }

    /// The same, and what was written in it, one connection after the other.
    pub(super) fn turn_and_listen(&mut self) -> Vec<u8> {
        *self.outside.kept.borrow_mut() = Some(Vec::new());
        self.turn();
        self.outside.kept.take().expect("put there above")
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.outside.written.get()
    }
}

/// `instant` without its part of a second: whether a sum carries into the seconds takes other instructions than when it
/// does not, and a run should not depend on the moment at which it began. Only a hasher gets to see that part.
fn on_the_second(instant: Instant) -> Instant {
    struct Nanoseconds(u32);

    impl Hasher for Nanoseconds {
        fn write(&mut self, _: &[u8]) {}
        fn write_u32(&mut self, nanoseconds: u32) {
            self.0 = nanoseconds;
        }
        fn finish(&self) -> u64 {
            self.0.into()
        }
    }

    let mut hasher = Nanoseconds(0);
    instant.hash(&mut hasher);
    instant - Duration::from_nanos(hasher.finish())
}

/// What driver, clock and stage share.
struct Outside {
    now: Cell<Instant>,
    turns: Cell<u32>,
    turns_a_second: u32,
    written: Cell<u64>,
    kept: RefCell<Option<Vec<u8>>>,
}

impl Outside {
    fn pass_turn(&self) {
        self.turns.set(self.turns.get() + 1);
        if self.turns.get().is_multiple_of(self.turns_a_second) {
            self.now.set(self.now.get() + Duration::from_secs(1));
        }
    }

    fn swallow(&self, bytes: &[u8]) {
        self.written.set(self.written.get() + bytes.len() as u64);
        if let Some(kept) = &mut *self.kept.borrow_mut() {
            kept.extend_from_slice(bytes);
        }
    }
}

struct CannedDriver {
    outside: Rc<Outside>,
    lines: Lines,
    listener: Option<Token>,
    /// Connections that nobody has accepted yet.
    waiting: u32,
    /// The others. The place of each is its number less one: 0 is the listener.
    streams: Vec<Stream>,
}

const LISTENER: Socket = Socket(0);

struct Stream {
    token: Option<Token>,
    is_first: bool,
    /// How much of what it says was not read yet.
    unread: usize,
}

impl CannedDriver {
    fn stream(&mut self, socket: Socket) -> &mut Stream {
        &mut self.streams[socket.0 as usize - 1]
    }
}

impl Driver for CannedDriver {
    fn clock(&self) -> Rc<dyn Clock> {
        Rc::new(CannedClock(Rc::clone(&self.outside)))
    }

    fn entropy(&mut self) -> u64 {
        4
    }

    fn poll(&mut self, events: &mut Vec<Event>, _: Option<Duration>) -> io::Result<()> {
        self.outside.pass_turn();
        if let Some(token) = self.listener.filter(|_| self.waiting > 0) {
            events.push(Event {
                token,
                readiness: Readiness::READABLE,
            });
        }
        for stream in &mut self.streams {
            if stream.unread == 0 {
                stream.is_first = false;
                stream.unread = self.lines.each_turn.len();
            }
            // As epoll reports a socket that is watched both ways.
            let readiness = Readiness::READABLE | Readiness::WRITABLE;
            events.extend(stream.token.map(|token| Event { token, readiness }));
        }
        Ok(())
    }

    fn notifier(&self) -> Arc<dyn Notify> {
        Arc::new(NoOtherThreads)
    }

    fn executor(&self) -> Rc<dyn Executor> {
        Rc::new(NoOtherThreads)
    }

    fn listen(&mut self, _: SocketAddr) -> io::Result<Socket> {
        Ok(LISTENER)
    }

    fn accept(&mut self, _: Socket) -> io::Result<(Socket, SocketAddr)> {
        if self.waiting == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.waiting -= 1;
        self.streams.push(Stream {
            token: None,
            is_first: true,
            unread: self.lines.first.len(),
        });
        let number = self.streams.len() as u32;
        let peer = SocketAddr::from(([127, 0, 0, 1], number as u16));
        Ok((Socket(number), peer))
    }

    fn turn_away(&mut self, _: Socket, _: usize) -> usize {
        0
    }

    fn connect(&mut self, _: SocketAddr) -> io::Result<Socket> {
        Err(ErrorKind::Unsupported.into())
    }

    fn register(&mut self, socket: Socket, token: Token) -> io::Result<()> {
        if socket == LISTENER {
            self.listener = Some(token);
        } else {
            self.stream(socket).token = Some(token);
        }
        Ok(())
    }

    fn read(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = &mut self.streams[socket.0 as usize - 1];
        if stream.unread == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let text = match stream.is_first {
            true => &self.lines.first,
            false => &self.lines.each_turn,
        };
        let unread = &text[text.len() - stream.unread..];
        let count = unread.len().min(buffer.len());
        buffer[..count].copy_from_slice(&unread[..count]);
        stream.unread -= count;
        Ok(count)
    }

    fn write(&mut self, _: Socket, bytes: &[u8]) -> io::Result<usize> {
        self.outside.swallow(bytes);
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, _: Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        slices.iter().for_each(|slice| self.outside.swallow(slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn shutdown_write(&mut self, _: Socket) -> io::Result<()> {
        Ok(())
    }

    fn take_error(&mut self, _: Socket) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn local_addr(&self, _: Socket) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 80)))
    }

    fn close(&mut self, socket: Socket) {
        if socket == LISTENER {
            self.listener = None;
        } else {
            self.stream(socket).token = None;
        }
    }

    fn open_sockets(&self) -> usize {
        let open = self.streams.iter().filter(|stream| stream.token.is_some());
        open.count() + usize::from(self.listener.is_some())
    }

    fn descriptor_limit(&self) -> Option<usize> {
        None
    }

    #[cfg(unix)]
    fn watch_descriptor(&mut self, _: i32, _: Watch, _: Token) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    #[cfg(unix)]
    fn unwatch_descriptor(&mut self, _: i32) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    #[cfg(unix)]
    fn pollable_descriptor(&self) -> Option<i32> {
        None
    }

    fn watch_signal(&mut self, _: Signal, _: Token) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn take_signal(&mut self, _: Signal) -> bool {
        false
    }
}

struct CannedClock(Rc<Outside>);

impl Clock for CannedClock {
    fn now(&self) -> Instant {
        self.0.now.get()
    }

    fn wall_clock(&self) -> SystemTime {
        // From 2026-01-01 on, so that two runs give the same answers.
        let seconds = 1_767_225_600 + self.0.turns.get() / self.0.turns_a_second;
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(seconds))
    }
}

struct NoOtherThreads;

impl Notify for NoOtherThreads {
    fn notify(&self) {}
}

impl Executor for NoOtherThreads {
    fn submit(&self, _: BlockingJob) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn queued(&self) -> usize {
        0
    }
}
