//! What a `RequestHead` can be asked.

use super::*;

#[test]
fn a_head_is_built_from_its_parts() {
    let head = RequestHead::build("POST", "/a?b", &[("X", "1"), ("Content-Length", "3")]).unwrap();
    assert_eq!(
        (head.method(), head.path(), head.query()),
        (Method::Post, "/a", Some("b"))
    );
    assert_eq!(
        (head.host(), head.header("x"), head.content_length()),
        ("localhost", Some("1"), Some(3))
    );
    let head = RequestHead::build("GET", "/", &[("hOST", "other")]).unwrap();
    assert_eq!(head.host(), "other");
}

#[test]
fn building_finds_the_faults_that_reading_finds() {
    let fault = |method, target, fields| RequestHead::build(method, target, fields).unwrap_err();
    assert_eq!(fault("GET", "a", &[]), PeerError::BadTarget);
    assert_eq!(fault("", "/", &[]), PeerError::BadMethod);
    assert_eq!(
        fault("GET", "/ HTTP/1.1\r\nX: y", &[]),
        PeerError::BadRequestLine
    );
    assert_eq!(
        fault("GET", "/", &[("X", "a\r\nY: b")]),
        PeerError::BadFieldValue
    );
    assert_eq!(fault("GET", "/", &[("", "a")]), PeerError::BadFieldName);
}

#[test]
fn an_empty_head_can_be_asked_anything() {
    let head = RequestHead::default();
    assert_eq!(
        (head.method(), head.method_str(), head.target(), head.path()),
        (Method::Other, "", "", "/")
    );
    assert_eq!(
        (head.query(), head.host(), head.header("a"), head.upgrade()),
        (None, "", None, None)
    );
    assert_eq!((head.has_body(), head.headers().count()), (false, 0));
}

#[test]
fn clearing_keeps_the_memory_and_nothing_else() {
    let mut head = RequestHead::build(
        "GET",
        "/a?b",
        &[("Upgrade", "x"), ("Connection", "upgrade, close")],
    )
    .unwrap();
    head.clear();
    assert_eq!(head, RequestHead::new());
}

#[test]
fn debug_shows_the_text() {
    let head = RequestHead::build("GET", "/", &[]).unwrap();
    assert_eq!(
        format!("{head:?}"),
        r#"RequestHead("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")"#
    );
}
