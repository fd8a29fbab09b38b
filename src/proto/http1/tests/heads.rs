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

/// What is remembered from one head to the next saves work, and decides nothing.
#[test]
fn a_head_is_read_as_if_none_had_come_before_it() {
    let texts = [
        "GET / HTTP/1.1\r\nHost: a.example:80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example:80 \r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nAccept: */*\r\nhost:a.example:80\r\nUpgrade: x\r\nUpgrade: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example:80\r\nHost: a.example:80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: b@example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example:80\r\nA\x01: b\r\n\r\n",
        // Behind the first, cut anywhere, what stood where its `Host` was is no `Host` here.
        "GET /?Host: HTTP/1.1\r\nHost: b.example\r\n\r\n",
        "GET http://c.example HTTP/1.0\r\nContent-Length: 3\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ];
    let read = |text: &[u8], head: &mut RequestHead| {
        let next = Server::new().next(text, head, &HeadLimits::default());
        next.map(|(used, step)| (used, format!("{step:?}")))
    };
    for before in texts {
        for cut in 0..=before.len() {
            for text in texts {
                let (mut head, mut alone) = (RequestHead::new(), RequestHead::new());
                let _ = read(&before.as_bytes()[..cut], &mut head);
                let next = read(text.as_bytes(), &mut head);
                assert_eq!(next, read(text.as_bytes(), &mut alone), "{text:?}");
                assert_eq!(head, alone, "{text:?} behind {:?}", &before[..cut]);
            }
        }
    }
}
