//! The opening handshake, the server's part: is this HTTP request a wish for WebSocket that we can grant, and what
//! answer proves that we understood it (RFC 6455, 4.2).
//!
//! Fields are asked for by name, so that this needs no HTTP machine, and any will do.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD as STANDARD_ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest, Sha1};

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
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; 28];
    STANDARD
        .encode_slice(hash, &mut accept)
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

#[cfg(test)]
mod tests {
    use super::{HandshakeError, accept_key, check_request};

    /// The handshake of RFC 6455, 1.2.
    const HANDSHAKE: [(&str, &str); 5] = [
        ("host", "server.example.com"),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];

    /// The verdict on that handshake with one field replaced, or taken away.
    fn with(name: &str, value: Option<&str>) -> Result<String, HandshakeError> {
        check_request(true, true, |asked| match value {
            value if asked.eq_ignore_ascii_case(name) => value,
            _ => HANDSHAKE
                .iter()
                .find(|field| field.0 == asked)
                .map(|field| field.1),
        })
        .map(|accepted| accepted.accept_str().to_owned())
    }

    fn granted() -> Result<String, HandshakeError> {
        Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned())
    }

    #[test]
    fn the_accept_key_of_the_rfc() {
        assert_eq!(
            &accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
            b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn accept_keys_agree_with_those_of_another_program() {
        // Computed with Python's hashlib and base64.
        assert_eq!(
            &accept_key("x3JJHMbDL1EzLkh9GBhXDw=="),
            b"HSmrc0sMlYUkAGmm5OPpG2HaGWk="
        );
        assert_eq!(&accept_key(""), b"Kfh9QIsMVZcl6xEPYxPHzW8SZ8w=");
    }

    #[test]
    fn the_handshake_of_the_rfc_is_granted() {
        assert_eq!(with("x-nothing", None), granted());
    }

    #[test]
    fn names_and_tokens_are_found_in_lists_and_in_any_case() {
        for value in [
            "WebSocket",
            "WEBSOCKET",
            " websocket ",
            "h2c, websocket",
            "h2c,\tWebSocket",
        ] {
            assert_eq!(with("upgrade", Some(value)), granted(), "{value:?}");
        }
        for value in [
            "upgrade",
            "keep-alive, Upgrade",
            "UPGRADE,close",
            "a,,upgrade",
        ] {
            assert_eq!(with("connection", Some(value)), granted(), "{value:?}");
        }
        assert_eq!(with("sec-websocket-version", Some(" 13 ")), granted());
        assert_eq!(
            with("sec-websocket-key", Some(" dGhlIHNhbXBsZSBub25jZQ== ")),
            granted()
        );
    }

    #[test]
    fn only_spaces_and_tabs_are_whitespace_around_a_token() {
        for blank in ["\x0c", "\u{a0}", "\u{3000}"] {
            for (name, value) in [
                ("upgrade", "websocket"),
                ("connection", "upgrade"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ] {
                let padded = format!("{value}{blank}");
                assert!(with(name, Some(&padded)).is_err(), "{name}: {padded:?}");
            }
        }
    }

    #[test]
    fn a_missing_or_foreign_upgrade_gets_426() {
        for value in [
            None,
            Some(""),
            Some("h2c"),
            Some("websocket2"),
            Some("web socket"),
        ] {
            let error = with("upgrade", value).unwrap_err();
            assert_eq!(
                (error, error.status()),
                (HandshakeError::NoUpgrade, 426),
                "{value:?}"
            );
            assert!(error.fields().contains(&("Upgrade", "websocket")));
        }
    }

    #[test]
    fn a_connection_without_upgrade_gets_400() {
        for value in [
            None,
            Some(""),
            Some("keep-alive"),
            Some("upgraded"),
            Some("keep-alive upgrade"),
        ] {
            let error = with("connection", value).unwrap_err();
            assert_eq!(
                (error, error.status()),
                (HandshakeError::NoConnectionUpgrade, 400),
                "{value:?}"
            );
        }
    }

    #[test]
    fn another_version_gets_426_and_is_told_ours() {
        for value in [
            None,
            Some(""),
            Some("8"),
            Some("14"),
            Some("013"),
            Some("13, 8"),
            Some("+13"),
        ] {
            let error = with("sec-websocket-version", value).unwrap_err();
            assert_eq!(
                (error, error.status()),
                (HandshakeError::WrongVersion, 426),
                "{value:?}"
            );
            assert!(error.fields().contains(&("Sec-WebSocket-Version", "13")));
        }
    }

    #[test]
    fn a_key_that_is_not_sixteen_bytes_gets_400() {
        for value in [
            None,
            Some(""),
            Some("dGhlIHNhbXBsZSBub25jZQ"),   // without its padding
            Some("dGhlIHNhbXBsZSBub25jZQ="),  //
            Some("dGhlIHNhbXBsZSBub25j"),     // fifteen bytes
            Some("dGhlIHNhbXBsZSBub25jZXM="), // seventeen
            Some("dGhlIHNhbXBsZSBub25jZXNz"), // eighteen
            Some("dGhlIHNhbXBsZSBub25jZXNzZXNzZXM="), // many
            Some("dGhlIHNhbXBs ZSBub25jZQ=="), // a space
            Some("dGhlIHNhbXBsZSBub25jZQ==\u{e9}"), // not ASCII
            Some("-GhlIHNhbXBsZSBub25jZQ=="), // the alphabet of URLs
        ] {
            let error = with("sec-websocket-key", value).unwrap_err();
            assert_eq!(
                (error, error.status()),
                (HandshakeError::BadKey, 400),
                "{value:?}"
            );
        }
    }

    #[test]
    fn a_key_of_any_letters_will_do() {
        assert!(with("sec-websocket-key", Some("abcdefghijklmnopqrstuv==")).is_ok());
    }

    #[test]
    fn another_method_gets_405_and_an_old_version_400() {
        let field = |asked: &str| {
            HANDSHAKE
                .iter()
                .find(|field| field.0 == asked)
                .map(|field| field.1)
        };
        let error = check_request(false, true, field).unwrap_err();
        assert_eq!(
            (error.status(), error.fields()),
            (405, &[("Allow", "GET")][..])
        );
        let error = check_request(true, false, field).unwrap_err();
        assert_eq!((error, error.status()), (HandshakeError::HttpTooOld, 400));
    }
}
