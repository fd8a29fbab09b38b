//! What the two sides agree on about compression: the field `Sec-WebSocket-Extensions` (RFC 6455, 9.1), and in it
//! permessage-deflate with its four parameters (RFC 7692, 7.1).
//!
//! | parameter                    | in an offer                          | in the response                           |
//! | ---------------------------- | ------------------------------------ | ----------------------------------------- |
//! | `server_no_context_takeover` | the server must forget each message  | it will                                   |
//! | `client_no_context_takeover` | the client will anyway               | the client must                           |
//! | `server_max_window_bits=n`   | the server's window at most          | it will have that one, or a smaller       |
//! | `client_max_window_bits[=n]` | the client can be told, and has that | the client's window at most               |
//!
//! An offer that has a parameter twice, one that nobody knows, or one with a value that it may not have, is declined,
//! and the next is looked at. A field that is not a list of extensions at all fails the handshake.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::Role;
use crate::proto::http1::{is_token, is_token_byte};

const PERMESSAGE_DEFLATE: &str = "permessage-deflate";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The smallest window that we compress with: zlib cannot make a raw stream for the 256 bytes of 8 bits, which the RFC
/// allows.
pub const WINDOW_BITS_MIN: u8 = 9;
/// The largest that there is, 32 KiB, and what holds where none was agreed on.
pub const WINDOW_BITS_MAX: u8 = 15;

/// How one side compresses, and what it asks of the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeflateOptions {
    /// Whether a message may refer to those before it.
    pub context: DeflateContext,
    /// How hard to try, from 1 to 9, as in zlib. Default: 1: what 6 takes more in time, it does not give back in bytes
    /// of short messages.
    pub level: u8,
    /// Shorter messages are sent as they are: they hardly shrink. Default: 512.
    pub threshold_bytes: usize,
    /// The binary logarithm of our window, from 9 to 15. Default: 15.
    pub window_bits: u8,
    /// What the peer's may be at most, from 9 to 15, if it can be told. Default: 15.
    pub peer_window_bits: u8,
}

/// Whether a message may refer to those before it ("context takeover").
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DeflateContext {
    /// It may not, in neither direction: one compressor and one decompressor serve all connections of a loop, and a
    /// connection costs nothing. A message that goes to many is compressed once.
    Shared,
    /// It may where the peer lets it: a stream of messages that are alike shrinks to a fraction. A connection that has
    /// sent one compressed message holds 250 to 380 KB, and one that has got one some 50 KB.
    Own,
}

impl Default for DeflateOptions {
    fn default() -> Self {
        Self {
            context: DeflateContext::Shared,
            level: 1,
            threshold_bytes: 512,
            window_bits: WINDOW_BITS_MAX,
            peer_window_bits: WINDOW_BITS_MAX,
        }
    }
}

impl DeflateOptions {
    /// Options under which messages may refer to those before them.
    pub fn own_context() -> Self {
        Self {
            context: DeflateContext::Own,
            ..Self::default()
        }
    }

    /// The options, if they can be followed.
    ///
    /// # Panics
    /// When the level is not from 1 to 9, or a window not from 9 to 15.
    pub(super) fn checked(&self) -> &Self {
        let windows = WINDOW_BITS_MIN..=WINDOW_BITS_MAX;
        assert!(
            (1..=9).contains(&self.level),
            "a level of deflate is from 1 to 9"
        );
        assert!(
            windows.contains(&self.window_bits) && windows.contains(&self.peer_window_bits),
            "a window of deflate has 9 to 15 bits"
        );
        self
    }

    fn is_shared(&self) -> bool {
        self.context == DeflateContext::Shared
    }

    /// The client's `Sec-WebSocket-Extensions`.
    ///
    /// ```
    /// use tourbillon::proto::ws::DeflateOptions;
    /// assert_eq!(DeflateOptions::own_context().offer(), "permessage-deflate; client_max_window_bits");
    /// ```
    ///
    /// # Panics
    /// When a level or a window is out of its range.
    pub fn offer(&self) -> String {
        let options = self.checked();
        let mut offer = PERMESSAGE_DEFLATE.to_owned();
        if options.is_shared() {
            push_flag(&mut offer, SERVER_NO_CONTEXT_TAKEOVER);
            push_flag(&mut offer, CLIENT_NO_CONTEXT_TAKEOVER);
        }
        if options.peer_window_bits < WINDOW_BITS_MAX {
            push_bits(&mut offer, SERVER_MAX_WINDOW_BITS, options.peer_window_bits);
        }
        // That we have the parameter at all says that the server may use it.
        if options.window_bits < WINDOW_BITS_MAX {
            push_bits(&mut offer, CLIENT_MAX_WINDOW_BITS, options.window_bits);
        } else {
            push_flag(&mut offer, CLIENT_MAX_WINDOW_BITS);
        }
        offer
    }

    /// The server's choice among the offers of a client's `Sec-WebSocket-Extensions`: the first that we can follow, or
    /// `None`.
    ///
    /// What `client_max_window_bits` says is taken as a limit for the peer, too; one who does not send it can be told
    /// no limit and has the largest window.
    ///
    /// ```
    /// use tourbillon::proto::ws::DeflateOptions;
    /// let field = "permessage-deflate; server_max_window_bits=10, permessage-deflate";
    /// let agreement = DeflateOptions::own_context().choose(field)?.unwrap();
    /// assert_eq!(agreement.response(), "permessage-deflate; server_max_window_bits=10");
    /// # Ok::<(), tourbillon::proto::ws::BadExtensions>(())
    /// ```
    ///
    /// # Errors
    /// When the field is not a list of extensions (RFC 6455, 9.1: that fails the handshake).
    ///
    /// # Panics
    /// When a level or a window is out of its range.
    pub fn choose(&self, field: &str) -> Result<Option<Agreement>, BadExtensions> {
        let options = self.checked();
        let extensions = parse(field)?;
        Ok(extensions
            .iter()
            .filter(|extension| extension.name == PERMESSAGE_DEFLATE)
            .find_map(|extension| options.follow(&Parameters::read(extension, Side::Offer)?)))
    }

    /// What we answer to an offer; `None` declines it.
    fn follow(&self, offer: &Parameters) -> Option<Agreement> {
        let ours = offer
            .server_max_window_bits
            .map_or(self.window_bits, |bits| bits.min(self.window_bits));
        if ours < WINDOW_BITS_MIN {
            return None;
        }
        let theirs = offer
            .client_max_window_bits
            .map(|bits| bits.min(self.peer_window_bits));
        Some(Agreement {
            server_no_context_takeover: offer.server_no_context_takeover || self.is_shared(),
            client_no_context_takeover: offer.client_no_context_takeover || self.is_shared(),
            // An offer with the parameter is accepted by a response with it (7.1.2.1).
            server_max_window_bits: (offer.server_max_window_bits.is_some()
                || ours < WINDOW_BITS_MAX)
                .then_some(ours),
            client_max_window_bits: theirs.filter(|bits| *bits < WINDOW_BITS_MAX),
        })
    }

    /// What a server's `Sec-WebSocket-Extensions` agrees to of our [`offer`](Self::offer); `None` if it is no
    /// compression.
    ///
    /// # Errors
    /// When it is no answer to that offer. The handshake has failed (RFC 7692, 7.1).
    ///
    /// # Panics
    /// When a level or a window is out of its range.
    pub fn check_response(&self, field: &str) -> Result<Option<Agreement>, BadExtensions> {
        let options = self.checked();
        let extensions = parse(field)?;
        let extension = match &extensions[..] {
            [] => return Ok(None),
            [one] if one.name == PERMESSAGE_DEFLATE => one,
            _ => return Err(BadExtensions),
        };
        let response = Parameters::read(extension, Side::Response).ok_or(BadExtensions)?;
        let takes_too_much = (options.is_shared() && !response.server_no_context_takeover)
            || response.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX)
                > options.peer_window_bits
            || response
                .client_max_window_bits
                .is_some_and(|bits| bits > options.window_bits);
        if takes_too_much {
            return Err(BadExtensions);
        }
        Ok(Some(Agreement {
            server_no_context_takeover: response.server_no_context_takeover,
            // A client may forget without being told.
            client_no_context_takeover: response.client_no_context_takeover || options.is_shared(),
            server_max_window_bits: response.server_max_window_bits,
            client_max_window_bits: response
                .client_max_window_bits
                .or((options.window_bits < WINDOW_BITS_MAX).then_some(options.window_bits)),
        }))
    }
}

/// What the two sides agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Agreement {
    /// The server's messages do not refer to those before them.
    pub server_no_context_takeover: bool,
    /// The client's do not.
    pub client_no_context_takeover: bool,
    /// The server's window, where it was spoken of; otherwise it is 15.
    pub server_max_window_bits: Option<u8>,
    /// The client's, likewise. A window of 8 is one in which we do not compress.
    pub client_max_window_bits: Option<u8>,
}

impl Agreement {
    /// The server's `Sec-WebSocket-Extensions`.
    pub fn response(&self) -> String {
        let mut response = PERMESSAGE_DEFLATE.to_owned();
        if self.server_no_context_takeover {
            push_flag(&mut response, SERVER_NO_CONTEXT_TAKEOVER);
        }
        if self.client_no_context_takeover {
            push_flag(&mut response, CLIENT_NO_CONTEXT_TAKEOVER);
        }
        if let Some(bits) = self.server_max_window_bits {
            push_bits(&mut response, SERVER_MAX_WINDOW_BITS, bits);
        }
        if let Some(bits) = self.client_max_window_bits {
            push_bits(&mut response, CLIENT_MAX_WINDOW_BITS, bits);
        }
        response
    }

    /// Whether the messages that `role` sends may refer to those before them.
    pub(super) fn keeps_context(&self, role: Role) -> bool {
        !match role {
            Role::Server => self.server_no_context_takeover,
            Role::Client => self.client_no_context_takeover,
        }
    }

    /// The window of the messages that `role` sends.
    pub(super) fn window_bits(&self, role: Role) -> u8 {
        match role {
            Role::Server => self.server_max_window_bits,
            Role::Client => self.client_max_window_bits,
        }
        .unwrap_or(WINDOW_BITS_MAX)
    }
}

fn push_flag(field: &mut String, name: &str) {
    field.push_str("; ");
    field.push_str(name);
}

fn push_bits(field: &mut String, name: &str, bits: u8) {
    push_flag(field, name);
    let _ = write!(field, "={bits}");
}

/// A `Sec-WebSocket-Extensions` that is no list of extensions, or a server's that is no answer to what was offered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BadExtensions;

impl std::fmt::Display for BadExtensions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sec-WebSocket-Extensions cannot be followed")
    }
}

impl std::error::Error for BadExtensions {}

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Offer,
    Response,
}

/// The parameters of one permessage-deflate. `client_max_window_bits` without a value is one of 15.
#[derive(Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<u8>,
}

impl Parameters {
    /// `None` when one of them is not known, stands there twice, or has a value that it may not have (RFC 7692, 7.1).
    fn read(extension: &Extension<'_>, side: Side) -> Option<Self> {
        let mut read = Self::default();
        for (name, value) in &extension.parameters {
            let is_new = match (*name, value.as_deref()) {
                (SERVER_NO_CONTEXT_TAKEOVER, None) => {
                    !std::mem::replace(&mut read.server_no_context_takeover, true)
                }
                (CLIENT_NO_CONTEXT_TAKEOVER, None) => {
                    !std::mem::replace(&mut read.client_no_context_takeover, true)
                }
                (SERVER_MAX_WINDOW_BITS, Some(bits)) => read
                    .server_max_window_bits
                    .replace(window_bits(bits)?)
                    .is_none(),
                (CLIENT_MAX_WINDOW_BITS, Some(bits)) => read
                    .client_max_window_bits
                    .replace(window_bits(bits)?)
                    .is_none(),
                (CLIENT_MAX_WINDOW_BITS, None) if side == Side::Offer => read
                    .client_max_window_bits
                    .replace(WINDOW_BITS_MAX)
                    .is_none(),
                _ => false,
            };
            if !is_new {
                return None;
            }
        }
        Some(read)
    }
}

/// A number from 8 to 15 without zeros in front (RFC 7692, 7.1.2.1).
fn window_bits(value: &str) -> Option<u8> {
    match value {
        "8" => Some(8),
        "9" => Some(9),
        "10" => Some(10),
        "11" => Some(11),
        "12" => Some(12),
        "13" => Some(13),
        "14" => Some(14),
        "15" => Some(15),
        _ => None,
    }
}

struct Extension<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, Option<Cow<'a, str>>)>,
}

/// How many extensions a field may name, and how many parameters each may have: more are no honest offer.
const ITEMS_MAX: usize = 32;

/// Read the list (RFC 6455, 9.1; lists may have empty elements, RFC 9110, 5.6.1).
fn parse(field: &str) -> Result<Vec<Extension<'_>>, BadExtensions> {
    let mut rest = Rest(field);
    let mut extensions = Vec::new();
    loop {
        rest.skip_blanks();
        if rest.0.is_empty() {
            return Ok(extensions);
        }
        if rest.skip(',') {
            continue;
        }
        if extensions.len() == ITEMS_MAX {
            return Err(BadExtensions);
        }
        extensions.push(rest.extension()?);
    }
}

/// What is left of the field.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// One extension, and the comma behind it if there is one.
    fn extension(&mut self) -> Result<Extension<'a>, BadExtensions> {
        let name = self.token()?;
        let mut parameters = Vec::new();
        loop {
            self.skip_blanks();
            if self.0.is_empty() || self.skip(',') {
                return Ok(Extension { name, parameters });
            }
            if !self.skip(';') || parameters.len() == ITEMS_MAX {
                return Err(BadExtensions);
            }
            self.skip_blanks();
            let name = self.token()?;
            self.skip_blanks();
            let value = match self.skip('=') {
                true => Some(self.value()?),
                false => None,
            };
            parameters.push((name, value));
        }
    }

    /// A token, as it is or in quotation marks.
    fn value(&mut self) -> Result<Cow<'a, str>, BadExtensions> {
        self.skip_blanks();
        if !self.skip('"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = String::new();
        let mut letters = self.0.char_indices();
        loop {
            let letter = match letters.next() {
                Some((at, '"')) => {
                    self.0 = &self.0[at + 1..];
                    break;
                }
                Some((_, '\\')) => letters.next(),
                letter => letter,
            };
            value.push(letter.ok_or(BadExtensions)?.1);
        }
        // What was quoted must be a token, too.
        match is_token(value.as_bytes()) {
            true => Ok(Cow::Owned(value)),
            false => Err(BadExtensions),
        }
    }

    fn token(&mut self) -> Result<&'a str, BadExtensions> {
        let end = self.0.bytes().position(|byte| !is_token_byte(byte));
        let (token, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        (!token.is_empty()).then_some(token).ok_or(BadExtensions)
    }

    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn skip(&mut self, letter: char) -> bool {
        let rest = self.0.strip_prefix(letter);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests;
