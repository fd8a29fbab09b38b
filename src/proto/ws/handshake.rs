//! The opening handshake. The server's part: is this HTTP request a wish for WebSocket that we can grant, and what
//! answer proves that we understood it (RFC 6455, 4.2). The client's: the wish, and whether an answer grants it (4.1).
//!
//! Fields are asked for by name, so that this needs no HTTP machine, and any will do.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD as STANDARD_ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1_smol::Sha1;

#[cfg(feature = "deflate")]
use super::extensions::{Agreement, DeflateOptions};
use crate::proto::http1::is_token;

/// What the server adds to the client's key before hashing (RFC 6455, 1.3): no server that does not know WebSocket
/// does so.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key of random letters may leave bits in its last one that belong to no byte. It is only hashed: let it.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD_ALPHABET,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key`: 28 characters of ASCII (RFC 6455, 4.2.2).
///
/// ```
/// use tourbillon::proto::ws::accept_key;
/// assert_eq!(&accept_key("dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn accept_key(key: &str) -> [u8; 28] {
    let mut hash = Sha1::from(key);
    hash.update(GUID.as_bytes());
    let mut accept = [0; 28];
    STANDARD
        .encode_slice(hash.digest().bytes(), &mut accept)
        .expect("twenty bytes make twenty-eight characters");
    accept
}

/// A request for WebSocket that can be granted: answer with 101, `Upgrade: websocket`, `Connection: Upgrade` and
/// `Sec-WebSocket-Accept`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The value of `Sec-WebSocket-Accept`, in ASCII.
    pub accept: [u8; 28],
}

impl Accepted {
    /// The value of `Sec-WebSocket-Accept`.
    pub fn accept_str(&self) -> &str {
        str::from_utf8(&self.accept).expect("base64 is ASCII")
    }
}

/// Judge an opening handshake by its method, its version (`http_1_1`: HTTP/1.1 or newer of that major version) and its
/// fields. `header` finds a field by its name, whatever the case of its letters; for a list on several lines, it
/// should give them joined by commas.
///
/// That the request has a valid `Host` is the HTTP machine's business; what its `Origin` may be, the application's.
///
/// # Errors
/// What is missing or wrong, in the order of the RFC's list.
pub fn check_request<'h>(
    method_is_get: bool,
    http_1_1: bool,
    header: impl Fn(&str) -> Option<&'h str>,
) -> Result<Accepted, HandshakeError> {
    let lists = |name, token| header(name).is_some_and(|list| has_token(list, token));

    if !method_is_get {
        return Err(HandshakeError::NotGet);
    }
    if !http_1_1 {
        return Err(HandshakeError::HttpTooOld);
    }
    if !lists("upgrade", "websocket") {
        return Err(HandshakeError::NoUpgrade);
    }
    if !lists("connection", "upgrade") {
        return Err(HandshakeError::NoConnectionUpgrade);
    }
    if header("sec-websocket-version").map(trim) != Some("13") {
        return Err(HandshakeError::WrongVersion);
    }
    let key = header("sec-websocket-key")
        .map(trim)
        .ok_or(HandshakeError::BadKey)?;
    let mut nonce = [0; 18];
    match KEY_BASE64.decode_slice(key, &mut nonce) {
        Ok(16) => Ok(Accepted {
            accept: accept_key(key),
        }),
        _ => Err(HandshakeError::BadKey),
    }
}

/// The subprotocols that a `Sec-WebSocket-Protocol` of a client lists, what it likes best first (RFC 6455, 4.1). What
/// is no token is left out.
pub fn subprotocols(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(trim)
        .filter(|name| is_token(name.as_bytes()))
}

/// Whether a comma-separated list has `token` in it, whatever the case of its letters.
fn has_token(list: &str, token: &str) -> bool {
    list.split(',')
        .any(|item| trim(item).eq_ignore_ascii_case(token))
}

/// `text` without the spaces and tabs around it: the only whitespace of a field (RFC 9110, 5.6.3). `str::trim` would
/// also take off a form feed, or the no-break space of Unicode.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Why a request is no handshake that we can grant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HandshakeError {
    /// The method is not GET.
    NotGet,
    /// HTTP/1.0: it knows no upgrade.
    HttpTooOld,
    /// No `Upgrade: websocket`: an ordinary request to a place that only speaks WebSocket.
    NoUpgrade,
    /// No `Connection: Upgrade`: the wish was for some intermediary, or got lost at one.
    NoConnectionUpgrade,
    /// `Sec-WebSocket-Version` is not 13.
    WrongVersion,
    /// `Sec-WebSocket-Key` is not the base64 of 16 bytes.
    BadKey,
}

impl HandshakeError {
    /// The HTTP status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::NotGet => 405,
            Self::NoUpgrade | Self::WrongVersion => 426,
            Self::HttpTooOld | Self::NoConnectionUpgrade | Self::BadKey => 400,
        }
    }

    /// The fields that the answer must have for its status: 405 names the method that is allowed (RFC 9110, 15.5.6),
    /// 426 the protocol (15.5.22), and here its version (RFC 6455, 4.4). To go with `Upgrade`, the answer's
    /// `Connection` must list `upgrade` (RFC 9110, 7.8).
    pub const fn fields(self) -> &'static [(&'static str, &'static str)] {
        match self.status() {
            405 => &[("Allow", "GET")],
            426 => &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
            _ => &[],
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotGet => "a WebSocket handshake is a GET request",
            Self::HttpTooOld => "a WebSocket handshake needs HTTP/1.1",
            Self::NoUpgrade => "this resource speaks WebSocket only: Upgrade: websocket is missing",
            Self::NoConnectionUpgrade => "Connection: Upgrade is missing",
            Self::WrongVersion => "Sec-WebSocket-Version must be 13",
            Self::BadKey => "Sec-WebSocket-Key must be the base64 of 16 bytes",
        })
    }
}

impl std::error::Error for HandshakeError {}

/// A client's handshake: what it asks for, and what it takes for an answer.
///
/// ```
/// use tourbillon::proto::ws::{ClientHandshake, accept_key};
///
/// let handshake = ClientHandshake::new(*b"the sample nonce").subprotocol("chat")?.subprotocol("mqtt")?;
/// let request = handshake.fields();
/// assert!(request.contains(&("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==".to_owned())));
///
/// let opened = handshake.check(101, |name| match name {
///     "upgrade" => Some("websocket"),
///     "connection" => Some("Upgrade"),
///     "sec-websocket-accept" => Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
///     "sec-websocket-protocol" => Some("mqtt"),
///     _ => None,
/// })?;
/// assert_eq!(opened.subprotocol.as_deref(), Some("mqtt"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientHandshake {
    key: String,
    subprotocols: Vec<String>,
    #[cfg(feature = "deflate")]
    deflate: Option<DeflateOptions>,
}

/// What was agreed on in a handshake.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Opened {
    /// The subprotocol that the server chose among those that were asked for.
    pub subprotocol: Option<String>,
    /// How messages are compressed, if they may be.
    #[cfg(feature = "deflate")]
    pub deflate: Option<Agreement>,
}

impl ClientHandshake {
    /// With 16 bytes that nobody can guess, fresh for each handshake, to be the key (RFC 6455, 4.1).
    pub fn new(nonce: [u8; 16]) -> Self {
        Self {
            key: STANDARD.encode(nonce),
            subprotocols: Vec::new(),
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// Ask for a subprotocol, behind those before: the server chooses one, or none.
    ///
    /// # Errors
    /// When it is no token, or was asked for already (RFC 6455, 4.1).
    pub fn subprotocol(mut self, name: &str) -> Result<Self, BadSubprotocol> {
        if !is_token(name.as_bytes()) || self.subprotocols.iter().any(|known| known == name) {
            return Err(BadSubprotocol);
        }
        self.subprotocols.push(name.to_owned());
        Ok(self)
    }

    /// Offer compression.
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, options: &DeflateOptions) -> Self {
        self.deflate = Some(options.clone());
        self
    }

    /// The fields of the request, which is a GET in HTTP/1.1. `Connection: Upgrade` belongs to them; an HTTP machine
    /// that sees `Upgrade` adds it.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("Upgrade", "websocket".to_owned()),
            ("Sec-WebSocket-Version", "13".to_owned()),
            ("Sec-WebSocket-Key", self.key.clone()),
        ];
        if !self.subprotocols.is_empty() {
            fields.push(("Sec-WebSocket-Protocol", self.subprotocols.join(", ")));
        }
        #[cfg(feature = "deflate")]
        if let Some(options) = &self.deflate {
            fields.push(("Sec-WebSocket-Extensions", options.offer()));
        }
        fields
    }

    /// Judge the response by its status and its fields. `header` is asked in small letters, and should give a list on
    /// several lines joined by commas.
    ///
    /// # Errors
    /// What is missing or wrong, in the order of the RFC's list. No WebSocket was opened.
    pub fn check<'h>(
        &self,
        status: u16,
        header: impl Fn(&str) -> Option<&'h str>,
    ) -> Result<Opened, ResponseError> {
        if status != 101 {
            return Err(ResponseError::Status(status));
        }
        if !header("upgrade").is_some_and(|value| trim(value).eq_ignore_ascii_case("websocket")) {
            return Err(ResponseError::NoUpgrade);
        }
        if !header("connection").is_some_and(|list| has_token(list, "upgrade")) {
            return Err(ResponseError::NoConnectionUpgrade);
        }
        let accept = header("sec-websocket-accept").map(|value| trim(value).as_bytes());
        if accept != Some(&accept_key(&self.key)) {
            return Err(ResponseError::BadAccept);
        }
        let extensions = header("sec-websocket-extensions").unwrap_or("");
        #[cfg(feature = "deflate")]
        let deflate = self.check_extensions(extensions)?;
        #[cfg(not(feature = "deflate"))]
        if !trim(extensions).is_empty() {
            return Err(ResponseError::Extensions);
        }
        let subprotocol = header("sec-websocket-protocol").map(|name| trim(name).to_owned());
        if subprotocol
            .as_ref()
            .is_some_and(|name| !self.subprotocols.contains(name))
        {
            return Err(ResponseError::Subprotocol);
        }
        Ok(Opened {
            subprotocol,
            #[cfg(feature = "deflate")]
            deflate,
        })
    }

    #[cfg(feature = "deflate")]
    fn check_extensions(&self, field: &str) -> Result<Option<Agreement>, ResponseError> {
        match &self.deflate {
            Some(options) => options
                .check_response(field)
                .map_err(|_| ResponseError::Extensions),
            None if trim(field).is_empty() => Ok(None),
            None => Err(ResponseError::Extensions),
        }
    }
}

/// A subprotocol that is no token, or was asked for twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BadSubprotocol;

impl fmt::Display for BadSubprotocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a subprotocol is a token, and is asked for once")
    }
}

impl std::error::Error for BadSubprotocol {}

/// Why a response opens no WebSocket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ResponseError {
    /// The status is another than 101: the server refuses, redirects, or wants credentials.
    Status(u16),
    /// No `Upgrade: websocket`, or more than that.
    NoUpgrade,
    /// No `Connection: Upgrade`.
    NoConnectionUpgrade,
    /// `Sec-WebSocket-Accept` does not answer our key: no WebSocket server, or an answer to somebody else.
    BadAccept,
    /// An extension that was not offered, or not so.
    Extensions,
    /// A subprotocol that was not asked for.
    Subprotocol,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status(status) => return write!(f, "the server answered {status} and not 101"),
            Self::NoUpgrade => "the response lacks Upgrade: websocket",
            Self::NoConnectionUpgrade => "the response lacks Connection: Upgrade",
            Self::BadAccept => "Sec-WebSocket-Accept does not answer our key",
            Self::Extensions => "the server wants an extension that was not offered",
            Self::Subprotocol => "the server wants a subprotocol that was not asked for",
        })
    }
}

impl std::error::Error for ResponseError {}

#[cfg(test)]
mod tests;
