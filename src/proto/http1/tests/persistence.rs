//! Whether the connection goes on.

use super::*;

#[test]
fn http_1_1_goes_on_unless_the_peer_says_close() {
    check(
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "head GET /, end, close",
    );
    check(
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: x, CLOSE ,y\r\n\r\n",
        "head GET /, end, close",
    );
    check(
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: closed\r\n\r\n",
        "head GET /, end, eof",
    );
    check(
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: a\r\nConnection: close\r\n\r\n",
        "head GET /, end, close",
    );
}

#[test]
fn http_1_0_closes_unless_the_peer_says_keep_alive() {
    check("GET / HTTP/1.0\r\n\r\n", "head GET /, end, close");
    check(
        "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
        "head GET /, end, eof",
    );
    check(
        "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
        "head GET /, end, close",
    );
}

#[test]
fn nothing_is_read_behind_a_request_that_closes() {
    check(
        "GET /1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
        "head GET /1, end, close",
    );
}

#[test]
fn an_upgrade_is_offered_by_two_fields_in_http_1_1_without_a_body() {
    let offer = |request: &str| head_of(request).upgrade().map(str::to_owned);
    let fields = "Host: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(
        offer(&format!("GET / HTTP/1.1\r\n{fields}\r\n")),
        Some("websocket".into())
    );
    assert_eq!(offer(&format!("GET / HTTP/1.0\r\n{fields}\r\n")), None);
    assert_eq!(
        offer(&format!(
            "POST / HTTP/1.1\r\n{fields}Content-Length: 1\r\n\r\n"
        )),
        None
    );
    assert_eq!(
        offer(&format!(
            "POST / HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n"
        )),
        None
    );
    assert_eq!(
        offer("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n"),
        None
    );
    assert_eq!(
        offer("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n\r\n"),
        None
    );
}
