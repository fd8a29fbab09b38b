//! A server that a test can ask, and the two kinds of client.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tourbillon::event_loop::{Ctx, EventLoop, Inspection, Remote};
use tourbillon::web::{App, CloseCode, Counts, Request, Server, Shared};

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// A panic that the loop reported: its message, and where what panicked was created, as `file:line`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Report {
    pub(crate) message: String,
    pub(crate) origin: String,
}

/// A server on a thread of its own. Dropped, it stops.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    remote: Remote,
    reports: Arc<Mutex<Vec<Report>>>,
    thread: Option<JoinHandle<()>>,
}

/// Serve the app that `make` makes, on a free port.
pub(crate) fn serve<S: 'static>(make: impl FnOnce() -> App<S> + Send + 'static) -> Running {
    serve_with(make, |_, _| {})
}

/// As [`serve`], with something done first where the loop is.
pub(crate) fn serve_with<S: 'static>(
    make: impl FnOnce() -> App<S> + Send + 'static,
    before: impl FnOnce(&mut Ctx<'_>, &Server) + Send + 'static,
) -> Running {
    let (ready, is_ready) = channel();
    let reports = Arc::new(Mutex::new(Vec::new()));
    let reported = Arc::clone(&reports);
    let thread = std::thread::spawn(move || {
        let mut event_loop = EventLoop::new().unwrap();
        event_loop.on_panic(move |panicked| {
            let origin = format!("{}:{}", panicked.origin.file(), panicked.origin.line());
            let message = panicked.message.clone();
            reported.lock().unwrap().push(Report { message, origin });
        });
        let mut ctx = event_loop.ctx();
        let (server, address) = make().listen(&mut ctx, "127.0.0.1:0").unwrap();
        before(&mut ctx, &server);
        SERVER.set(Some(server));
        ready.send((address, event_loop.remote())).unwrap();
        event_loop.run().unwrap();
        SERVER.set(None);
    });
    let (address, remote) = is_ready.recv_timeout(PATIENCE).unwrap();
    Running {
        address,
        remote,
        reports,
        thread: Some(thread),
    }
}

impl Running {
    /// Do something where the loop is, and wait for what it comes to.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Ctx<'_>, &Server) -> T + Send + 'static,
    ) -> T {
        let (answer, answered) = channel();
        self.remote
            .call_soon_threadsafe(move |ctx| {
                let server = SERVER.with_borrow(|server| server.clone().unwrap());
                let _ = answer.send(question(ctx, &server));
            })
            .unwrap();
        answered.recv_timeout(PATIENCE).unwrap()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.ask(|_, server| server.counts())
    }

    /// How often the limit of this name was hit.
    pub(crate) fn hits(&self, name: &'static str) -> u64 {
        self.ask(move |_, server| {
            let all = server.hits().all();
            all.iter().find(|(known, _)| *known == name).unwrap().1
        })
    }

    /// The connections, described.
    pub(crate) fn connections(&self) -> Vec<Inspection> {
        self.ask(|ctx, _| {
            ctx.census()
                .map(|(_, source)| source)
                .filter(|source| ["http", "websocket"].contains(&source.kind))
                .collect()
        })
    }

    /// Wait until the server says so.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !is_so(self) {
            assert!(since.elapsed() < PATIENCE, "waited in vain: {what}");
            std::thread::yield_now();
        }
    }

    /// Wait until no connection is open.
    #[track_caller]
    pub(crate) fn wait_until_empty(&self) {
        self.wait_until("no connection is open", |server| server.counts().open == 0);
    }

    /// The panics that were reported so far.
    pub(crate) fn reports(&self) -> Vec<Report> {
        self.reports.lock().unwrap().clone()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One GET on a connection of its own.
    pub(crate) fn get(&self, target: &str) -> Answer {
        let mut client = self.connect();
        client.get(target);
        client.answer()
    }

    /// A WebSocket, with its handshake done.
    pub(crate) fn websocket(&self, target: &str) -> WsClient {
        let mut client = self.connect();
        client.send(handshake(target));
        let answer = client.head();
        assert_eq!(answer.status, 101, "{answer:?}");
        WsClient { client }
    }

    /// The loop goes on, and serves.
    #[track_caller]
    pub(crate) fn assert_it_goes_on(&self) {
        assert_eq!(self.get("/fine").text(), "fine");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have stopped by itself.
        let _ = self.remote.stop();
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

/// Sends its name when it is dropped.
pub(crate) struct DropGuard(pub(crate) &'static str, pub(crate) Sender<&'static str>);

impl Drop for DropGuard {
    fn drop(&mut self) {
        let _ = self.1.send(self.0);
    }
}

/// What a handler reports to its test.
pub(crate) type Told = Sender<&'static str>;

/// A task that says "begun", and only ends by being dropped, which it says too.
pub(crate) async fn forever(request: Request, told: Shared<Told>) -> &'static str {
    let _guard = told.with(|told| {
        told.send("begun").unwrap();
        DropGuard("dropped", told.clone())
    });
    request.handle().sleep(Duration::from_secs(3600)).await;
    "never"
}

/// The next thing that was sent.
#[track_caller]
pub(crate) fn next<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).expect("nothing came")
}

pub(crate) fn handshake(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let field = self
            .fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A client that speaks bytes.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn get(&mut self, target: &str) {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    }

    pub(crate) fn post(&mut self, target: &str, body: &str) {
        let length = body.len();
        self.send(format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
    }

    /// An answer with its body, as its framing says; also one that ends with the connection.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        if answer.field("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().unwrap() {
                answer.body.extend(chunk);
            }
        } else if let Some(length) = answer.field("content-length") {
            let length = length.parse().unwrap();
            answer.body = self.exactly(length).unwrap();
        } else if answer.field("connection") == Some("close") {
            answer.body = self.rest();
        }
        answer
    }

    /// The head of an answer. Of a 100, 204 or 304, of an answer to HEAD: all of it.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Answer {
        let mut lines = Vec::new();
        loop {
            let line = self.line().unwrap();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let mut lines = lines.into_iter();
        let status_line = lines.next().unwrap();
        let status = status_line.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse();
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        });
        Answer {
            status: status.unwrap(),
            fields: fields.collect(),
            body: Vec::new(),
        }
    }

    /// A chunk of a body; `None` at its end.
    pub(crate) fn chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let size = usize::from_str_radix(&self.line()?, 16).unwrap();
        let chunk = self.exactly(size)?;
        assert_eq!(self.line()?, "");
        Ok((size > 0).then_some(chunk))
    }

    fn line(&mut self) -> std::io::Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\r\n") {
                let line = self.unread.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8(line).unwrap());
            }
            self.fill()?;
        }
    }

    pub(crate) fn exactly(&mut self, len: usize) -> std::io::Result<Vec<u8>> {
        while self.unread.len() < len {
            self.fill()?;
        }
        Ok(self.unread.drain(..len).collect())
    }

    fn fill(&mut self) -> std::io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            n => {
                self.unread.extend_from_slice(&buffer[..n]);
                Ok(())
            }
        }
    }

    /// All there is until the server closes, which it must do in good order: a reset fails.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return std::mem::take(&mut self.unread);
                }
                Err(error) => panic!("not a good end: {error}"),
            }
        }
    }

    /// The server has closed, whichever way, and said no more.
    #[track_caller]
    pub(crate) fn assert_gone(&mut self) {
        let filled = self.fill();
        assert!(self.unread.is_empty(), "it said {:?}", self.unread);
        let kind = filled.unwrap_err().kind();
        assert!(
            matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
            "{kind}"
        );
    }

    /// The server has closed in good order and said no more.
    #[track_caller]
    pub(crate) fn assert_closed(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.rest()), "");
    }

    /// Go without a word, and without having read what came: the server sees a reset.
    pub(crate) fn reset(self) {
        // A socket that is closed with unread input resets its peer.
        let mut one = [0];
        self.stream.peek(&mut one).unwrap();
    }
}

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;
/// Set in an opcode: this frame ends its message.
pub(crate) const FINAL: u8 = 0x80;

/// A frame as a client sends it, masked.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(a, b)| a ^ b));
    bytes
}

/// A client that speaks WebSocket, frame by frame.
pub(crate) struct WsClient {
    pub(crate) client: Client,
}

impl WsClient {
    pub(crate) fn send(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        self.client.send(frame(first, payload.as_ref()));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.send(FINAL | TEXT, text);
    }

    pub(crate) fn close(&mut self, code: CloseCode) {
        self.send(FINAL | CLOSE, u16::from(code).to_be_bytes());
    }

    /// The next frame: its first byte and its payload.
    pub(crate) fn try_frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let head = self.client.exactly(2)?;
        let len = match head[1] {
            126 => {
                let len = self.client.exactly(2)?;
                usize::from(u16::from_be_bytes([len[0], len[1]]))
            }
            127 => {
                let len = self.client.exactly(8)?;
                u64::from_be_bytes(len.try_into().unwrap()) as usize
            }
            len => usize::from(len),
        };
        Ok((head[0], self.client.exactly(len)?))
    }

    #[track_caller]
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        self.try_frame().unwrap()
    }

    /// The next frame, which is a text.
    #[track_caller]
    pub(crate) fn read_text(&mut self) -> String {
        let (first, payload) = self.frame();
        assert_eq!(first, FINAL | TEXT, "{payload:?}");
        String::from_utf8(payload).unwrap()
    }

    /// The next frame, which is a close; its code.
    #[track_caller]
    pub(crate) fn read_close(&mut self) -> u16 {
        let (first, payload) = self.frame();
        assert_eq!(first, FINAL | CLOSE, "{payload:?}");
        u16::from_be_bytes([payload[0], payload[1]])
    }

    /// The server closes, with this code, and the client does too.
    #[track_caller]
    pub(crate) fn assert_closes_with(mut self, code: u16) {
        let mut frames = VecDeque::new();
        loop {
            let (first, payload) = self.frame();
            if first == FINAL | CLOSE {
                assert_eq!(payload[..2], code.to_be_bytes(), "{frames:?}");
                break;
            }
            frames.push_back(first);
        }
        self.close(CloseCode::Normal);
        self.client.assert_closed();
    }
}
