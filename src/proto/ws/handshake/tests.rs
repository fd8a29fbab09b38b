//! Requests that are granted or not, and responses that grant or do not.

use super::{ClientHandshake, HandshakeError, Opened, ResponseError, accept_key, check_request};

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

/// The response of RFC 6455, 1.2.
const RESPONSE: [(&str, &str); 4] = [
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ("sec-websocket-protocol", "chat"),
];

fn asks_for_chat() -> ClientHandshake {
    ClientHandshake::new(*b"the sample nonce")
        .subprotocol("soap")
        .and_then(|handshake| handshake.subprotocol("chat"))
        .unwrap()
}

/// What a client that asks for `soap` or `chat` makes of that response with one field replaced, or taken away.
fn checked(name: &str, value: Option<&str>) -> Result<Opened, ResponseError> {
    asks_for_chat().check(101, |asked| match value {
        value if asked == name => value,
        _ => RESPONSE
            .iter()
            .find(|field| field.0 == asked)
            .map(|field| field.1),
    })
}

#[test]
fn a_client_asks_as_in_the_rfc() {
    let fields = asks_for_chat().fields();
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    assert_eq!(
        fields,
        [
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Protocol", "soap, chat"),
        ]
    );
}

#[test]
fn a_client_takes_the_answer_of_the_rfc() {
    assert_eq!(
        checked("x-nothing", None).unwrap().subprotocol.as_deref(),
        Some("chat")
    );
    let without = checked("sec-websocket-protocol", None);
    assert_eq!(without, Ok(Opened::default()));
    for (name, value) in [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, upgrade"),
        ("sec-websocket-accept", "\ts3pPLMBiTxaQ9kYGzzhZRbK+xOo= "),
        ("sec-websocket-protocol", "soap"),
        ("sec-websocket-extensions", ""),
    ] {
        assert!(checked(name, Some(value)).is_ok(), "{name}: {value:?}");
    }
}

#[test]
fn a_client_takes_no_other_answer() {
    use ResponseError::*;
    for (name, value, error) in [
        ("upgrade", None, NoUpgrade),
        ("upgrade", Some("h2c"), NoUpgrade),
        ("upgrade", Some("websocket, h2c"), NoUpgrade),
        ("connection", None, NoConnectionUpgrade),
        ("connection", Some("close"), NoConnectionUpgrade),
        ("sec-websocket-accept", None, BadAccept),
        ("sec-websocket-accept", Some(""), BadAccept),
        // In other letters, and the answer to another key.
        (
            "sec-websocket-accept",
            Some("S3PPLMBITXAQ9KYGZZHZRBK+XOO="),
            BadAccept,
        ),
        (
            "sec-websocket-accept",
            Some("HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
            BadAccept,
        ),
        ("sec-websocket-protocol", Some("Chat"), Subprotocol),
        ("sec-websocket-protocol", Some("mqtt"), Subprotocol),
        ("sec-websocket-protocol", Some("chat, soap"), Subprotocol),
        ("sec-websocket-protocol", Some(""), Subprotocol),
        (
            "sec-websocket-extensions",
            Some("permessage-deflate"),
            Extensions,
        ),
        ("sec-websocket-extensions", Some("x"), Extensions),
    ] {
        assert_eq!(checked(name, value), Err(error), "{name}: {value:?}");
    }
    for status in [100, 102, 200, 301, 401, 403, 404, 426, 503] {
        assert_eq!(asks_for_chat().check(status, |_| None), Err(Status(status)));
    }
}

#[test]
fn subprotocols_are_tokens_and_asked_for_once() {
    for name in ["", "a b", "a,b", "soap", "\u{e9}"] {
        assert!(asks_for_chat().subprotocol(name).is_err(), "{name:?}");
    }
}

#[cfg(feature = "deflate")]
#[test]
fn compression_is_agreed_on_when_it_was_offered() {
    let options = crate::proto::ws::DeflateOptions::own_context();
    let handshake = asks_for_chat().deflate(&options);
    let offer = ("Sec-WebSocket-Extensions", options.offer());
    assert!(handshake.fields().contains(&offer));
    let checked = |extensions| {
        handshake.check(101, |asked| match asked {
            "sec-websocket-extensions" => extensions,
            _ => RESPONSE
                .iter()
                .find(|field| field.0 == asked)
                .map(|field| field.1),
        })
    };
    assert_eq!(checked(None).unwrap().deflate, None);
    let agreement = checked(Some("permessage-deflate; server_max_window_bits=10")).unwrap();
    assert_eq!(agreement.deflate.unwrap().server_max_window_bits, Some(10));
    let wrong = "permessage-deflate; client_max_window_bits=16";
    assert_eq!(checked(Some(wrong)), Err(ResponseError::Extensions));
}
