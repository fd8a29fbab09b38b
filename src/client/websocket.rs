//! The WebSocket client: the protocol's machine in the role of the client, on any [`Stream`].
//!
//! [`WebSocket::connect`] makes the opening handshake in the task that asks for it. Then a task of its own, the pump
//! (`websocket/pump.rs`), moves bytes between the stream and what it shares with those who use the WebSocket
//! (`websocket/link.rs`): so pings are answered while nobody reads, a heartbeat goes on, and a close handshake comes to
//! its end although the WebSocket was dropped.

mod error;
mod handshake;
mod link;
mod pump;
mod reconnect;

#[cfg(feature = "tls")]
use std::cell::OnceCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::time::Duration;

pub use error::{CloseFrame, Refusal, WebSocketError, WebSocketTimeout};
use link::Link;
pub use reconnect::Reconnect;

use super::url::Url;
#[cfg(feature = "tls")]
use crate::net::TlsConnector;
use crate::net::{Connector, Stream};
use crate::proto::http1::{BadField, Fields, IncomingResponse};
#[cfg(feature = "deflate")]
use crate::proto::ws::DeflateOptions;
use crate::proto::ws::{CloseCode, Message, Opened, OwnedMessage, WsLimits};

/// One WebSocket to a server. Read it with [`recv`](Self::recv); send with it, or with a [`WebSocketSender`] that
/// another task has.
///
/// Dropping it closes it in an orderly way with 1000, or with 1001 when the program panics; that goes on without it.
///
/// ```no_run
/// use tourbillon::client::{WebSocket, WebSocketError};
/// use tourbillon::proto::ws::OwnedMessage;
///
/// # async fn talk() -> Result<(), WebSocketError> {
/// let mut socket = WebSocket::connect("ws://127.0.0.1:8080/chat").await?;
/// socket.send("hello").await?;
/// while let Some(message) = socket.recv().await? {
///     match message {
///         OwnedMessage::Text(text) => println!("{text}"),
///         OwnedMessage::Binary(bytes) => println!("{} bytes", bytes.len()),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct WebSocket {
    link: Rc<Link>,
    opened: Opened,
    response: IncomingResponse,
}

impl WebSocket {
    /// Connect to a URL of the scheme `ws` or, with the feature `tls`, `wss`. [`WebSocket::builder`] has all that can
    /// be said.
    ///
    /// # Errors
    /// As [`WebSocketBuilder::connect`].
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn connect(url: &str) -> Result<Self, WebSocketError> {
        Self::builder(url).connect().await
    }

    /// Say how to connect to `url`.
    pub fn builder(url: &str) -> WebSocketBuilder {
        WebSocketBuilder::new(url)
    }

    /// The next message; `None` when either side has closed and the close handshake was made:
    /// [`close_frame`](Self::close_frame) has what the server gave for a reason. Dropping the future loses no message.
    ///
    /// Messages that nobody asks for wait, 64 of them or 64 KiB; then the server has to wait.
    ///
    /// # Errors
    /// `Lost` when the connection ended without a close handshake, `Protocol` when the server broke the rules,
    /// `Timeout` when it is silent for too long; each once all that came before was read, and from then on always.
    pub async fn recv(&mut self) -> Result<Option<OwnedMessage>, WebSocketError> {
        poll_fn(|context| self.link.poll_recv(context)).await
    }

    /// Send text (`&str`) or bytes (`&[u8]`), once there is room in the outbox; see [`WebSocketBuilder::outbox_bytes`].
    /// Dropping the future before it is ready sends nothing; a message is never sent in part.
    ///
    /// # Errors
    /// `Closed` when either side has closed, otherwise as [`recv`](Self::recv). That it went well does not say that the
    /// server got it.
    pub async fn send<'m>(&self, message: impl Into<Message<'m>>) -> Result<(), WebSocketError> {
        self.link.send(message.into()).await
    }

    /// Send a ping of at most 125 bytes, which the server answers; [`WebSocketBuilder::heartbeat`] does so by itself.
    /// It does not wait for room.
    ///
    /// # Errors
    /// `Misuse` when it is longer, otherwise as [`send`](Self::send).
    pub fn ping(&self, payload: &[u8]) -> Result<(), WebSocketError> {
        self.link.ping(payload)
    }

    /// Something to send with, for other tasks.
    pub fn sender(&self) -> WebSocketSender {
        WebSocketSender(Rc::clone(&self.link))
    }

    /// Make the close handshake, behind all that was sent, and wait for the end of the connection, which is the
    /// server's to close (RFC 6455, 7.1.1). Messages that come meanwhile are thrown away. What the server gave for a
    /// reason is returned; 1005 stands for none. When the server has closed already, this is what it said.
    ///
    /// Dropping the future does not take it back. The reason is cut at 123 bytes, and a code that may not be sent
    /// becomes 1000.
    ///
    /// # Errors
    /// `Timeout` when the server does not answer in [`WebSocketBuilder::close_timeout`]; otherwise as
    /// [`recv`](Self::recv).
    pub async fn close(
        &mut self,
        code: CloseCode,
        reason: &str,
    ) -> Result<CloseFrame, WebSocketError> {
        self.link.close(code, reason);
        let end = loop {
            match self.recv().await {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        poll_fn(|context| self.link.poll_gone(context)).await;
        end.map(|()| {
            let frame = self.close_frame();
            frame.expect("the close handshake was made, and that is a part of it")
        })
    }

    /// What the server closed with, or answered to our close; `None` as long as it has not.
    pub fn close_frame(&self) -> Option<CloseFrame> {
        self.link.close_frame()
    }

    /// The subprotocol that the server chose among those that were asked for.
    pub fn subprotocol(&self) -> Option<&str> {
        self.opened.subprotocol.as_deref()
    }

    /// Whether it was agreed on that messages may be compressed.
    #[cfg(feature = "deflate")]
    pub fn is_compressed(&self) -> bool {
        self.opened.deflate.is_some()
    }

    /// The response that opened it: its headers, cookies among them.
    pub fn response(&self) -> &IncomingResponse {
        &self.response
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        let code = match std::thread::panicking() {
            true => CloseCode::Away,
            false => CloseCode::Normal,
        };
        self.link.abandon(code);
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("opened", &self.opened)
            .finish_non_exhaustive()
    }
}

/// Sends to one WebSocket, from any task of its thread. Cheap to clone. It does not keep the WebSocket open.
#[derive(Clone)]
pub struct WebSocketSender(Rc<Link>);

impl WebSocketSender {
    /// As [`WebSocket::send`]. Messages of several senders do not mix, and those who wait for room get it in turn.
    ///
    /// # Errors
    /// As there.
    pub async fn send<'m>(&self, message: impl Into<Message<'m>>) -> Result<(), WebSocketError> {
        self.0.send(message.into()).await
    }

    /// As [`WebSocket::ping`].
    ///
    /// # Errors
    /// As there.
    pub fn ping(&self, payload: &[u8]) -> Result<(), WebSocketError> {
        self.0.ping(payload)
    }

    /// Begin the close handshake, behind all that was sent, and do not wait. See [`WebSocket::close`]; whoever reads
    /// the WebSocket hears of its end.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.0.close(code, reason);
    }

    /// Whether messages can still be sent.
    pub fn is_open(&self) -> bool {
        self.0.is_open()
    }

    /// Bytes that were sent and that the stream has not taken yet.
    pub fn outbox_bytes(&self) -> usize {
        self.0.outbox_bytes()
    }
}

impl fmt::Debug for WebSocketSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketSender")
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}

/// How to connect. A clone says the same, so that one builder serves many connections.
///
/// ```no_run
/// # async fn connect() -> Result<(), tourbillon::client::WebSocketError> {
/// use std::time::Duration;
/// use tourbillon::client::WebSocket;
///
/// let socket = WebSocket::builder("ws://127.0.0.1:8080/prices")
///     .header("Authorization", "Bearer 4711")
///     .subprotocol("v2.prices")
///     .heartbeat(Duration::from_secs(20))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct WebSocketBuilder {
    url: String,
    fields: Fields,
    subprotocols: Vec<String>,
    /// The first header that cannot be sent; told when it is connected.
    bad_field: Option<BadField>,
    options: Options,
    connector: Connector,
    #[cfg(feature = "tls")]
    tls: OnceCell<TlsConnector>,
    #[cfg(feature = "deflate")]
    deflate: Option<(DeflateOptions, link::SharedPool)>,
}

/// What holds after the handshake.
#[derive(Clone, Debug)]
struct Options {
    limits: WsLimits,
    connect_timeout: Duration,
    close_timeout: Duration,
    heartbeat: Option<Duration>,
    outbox_bytes: usize,
}

impl WebSocketBuilder {
    fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            fields: Fields::new(),
            subprotocols: Vec::new(),
            bad_field: None,
            options: Options {
                limits: WsLimits::default(),
                connect_timeout: Duration::from_secs(30),
                close_timeout: Duration::from_secs(5),
                heartbeat: None,
                outbox_bytes: 64 * 1024,
            },
            connector: Connector::new(),
            #[cfg(feature = "tls")]
            tls: OnceCell::new(),
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// A header of the request, beside those of the handshake.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let is_ours = name.eq_ignore_ascii_case("Upgrade")
            || name
                .get(..14)
                .is_some_and(|name| name.eq_ignore_ascii_case("Sec-WebSocket-"));
        let pushed = match is_ours {
            true => Err(BadField::Framing),
            false => self.fields.push(name, value),
        };
        self.bad_field = self.bad_field.or(pushed.err());
        self
    }

    /// Ask for a subprotocol, behind those before. A server that knows none of them may choose none.
    pub fn subprotocol(mut self, name: &str) -> Self {
        self.subprotocols.push(name.to_owned());
        self
    }

    /// How much the server may make us hold. Default: [`WsLimits::default`].
    pub fn limits(mut self, limits: WsLimits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Offer compression. With a shared context, all connections of this builder and its clones use the same
    /// compressor.
    ///
    /// # Panics
    /// When a level or a window of the options is out of its range.
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, options: DeflateOptions) -> Self {
        // Read once, so that a mistake is found here.
        options.offer();
        self.deflate = Some((options, link::SharedPool::default()));
        self
    }

    /// How to find and reach the host.
    pub fn connector(mut self, connector: Connector) -> Self {
        self.connector = connector;
        self
    }

    /// Whom to trust, for `wss`. Default: Mozilla's roots, as in [`TlsConnector::new`].
    #[cfg(feature = "tls")]
    pub fn tls(mut self, connector: TlsConnector) -> Self {
        self.tls = OnceCell::from(connector);
        self
    }

    /// How long connecting may take, from the name to the last byte of the handshake. Default: 30 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.options.connect_timeout = limit;
        self
    }

    /// How long the server may take to answer a close, and then to end the connection. Default: 5 s.
    pub fn close_timeout(mut self, limit: Duration) -> Self {
        self.options.close_timeout = limit;
        self
    }

    /// When nothing has come for so long, ping; and when nothing comes for as long again, give the connection up.
    /// Default: never.
    pub fn heartbeat(mut self, pause: Duration) -> Self {
        self.options.heartbeat = Some(pause);
        self
    }

    /// How many bytes may wait for the stream before [`WebSocket::send`] does. A message that finds room is taken
    /// whole. Default: 64 KiB.
    pub fn outbox_bytes(mut self, bytes: usize) -> Self {
        self.options.outbox_bytes = bytes;
        self
    }

    /// Connect, and make the opening handshake. Dropping the future ends the connection.
    ///
    /// # Errors
    /// What is wrong with the URL, a header or a subprotocol; `Connect` when there is no connection; `Refused` when the
    /// server answers otherwise than with 101; `Http` and `Handshake` when it does not speak HTTP or WebSocket;
    /// `Timeout`.
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn connect(&self) -> Result<WebSocket, WebSocketError> {
        let url = handshake::parse(&self.url)?;
        self.in_time(async {
            let stream = handshake::dial(self, &url).await?;
            self.shake_hands(stream, &url).await
        })
        .await
    }

    /// As [`connect`](Self::connect), over a stream that is there already: a tunnel, a socket in a file, TLS of one's
    /// own. The URL says what to ask for, and of whom.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn connect_over(&self, stream: impl Stream) -> Result<WebSocket, WebSocketError> {
        let url = handshake::parse(&self.url)?;
        self.in_time(self.shake_hands(Box::new(stream), &url)).await
    }

    async fn in_time(
        &self,
        connect: impl Future<Output = Result<WebSocket, WebSocketError>>,
    ) -> Result<WebSocket, WebSocketError> {
        crate::task::timeout(self.options.connect_timeout, connect)
            .await
            .unwrap_or(Err(WebSocketError::Timeout(WebSocketTimeout::Connect)))
    }

    async fn shake_hands(
        &self,
        stream: Box<dyn Stream>,
        url: &Url,
    ) -> Result<WebSocket, WebSocketError> {
        let done = handshake::shake_hands(self, stream, url).await?;
        let link = Link::open(self, done.mask_keys, &done.opened);
        pump::start(Rc::clone(&link), done.stream, done.input, &self.options);
        Ok(WebSocket {
            link,
            opened: done.opened,
            response: done.response,
        })
    }
}
