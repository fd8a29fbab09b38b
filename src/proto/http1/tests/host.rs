//! The `Host` field.

use super::*;

#[test]
fn http_1_1_needs_exactly_one() {
    check("GET / HTTP/1.1\r\n\r\n", "fault NoHost");
    check("GET http://h/ HTTP/1.1\r\n\r\n", "fault NoHost");
    check(
        "GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n",
        "fault TwoHosts",
    );
    check(
        "GET / HTTP/1.0\r\nHost: h\r\nhost: h\r\n\r\n",
        "fault TwoHosts",
    );
    check("GET / HTTP/1.0\r\n\r\n", "head GET /, end, close");
}

#[test]
fn an_empty_or_malformed_host_is_refused() {
    for host in [
        "",
        " ",
        "a b",
        "a, b",
        "a/b",
        "u@h",
        "h:x",
        "h:80:80",
        "h:65536",
        ":80",
        "[::1",
        "[]",
        "[::1]80",
        "::1",
        "a\\b",
        "http://h",
        "h?x",
        "h#x",
        "é",
        "a%",
        "a%zz",
        "[fe80::1%25eth0]",
        "<h>",
        "\"h\"",
    ] {
        check(
            format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            "fault BadHost",
        );
    }
}

#[test]
fn hosts_of_all_kinds_are_accepted() {
    for host in [
        "h",
        "example.com",
        "h:80",
        "h:",
        "127.0.0.1:8080",
        "[::1]",
        "[2001:db8::1]:443",
        "a_b-c~",
        "x%41",
    ] {
        let head = head_of(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(head.host(), host);
    }
    assert_eq!(head_of("GET / HTTP/1.0\r\n\r\n").host(), "");
}
