//! Request lines and targets.

use super::*;

#[test]
fn more_or_less_than_one_space_between_words_is_refused() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET\t/ HTTP/1.1",
        "GET /",
        "GET",
        "GET / a HTTP/1.1",
    ] {
        check_request_line(line, "fault BadRequestLine");
    }
}

#[test]
fn a_line_that_begins_with_no_letter_of_a_method_is_refused_at_its_first_byte() {
    check(" GET / HTTP/1.1\r\nHost: h\r\n\r\n", "fault BadMethod");
    check([0x16, 3, 1, 2], "fault BadMethod");
    check("\0", "fault BadMethod");
    check("\r\n(", "fault BadMethod");
}

#[test]
fn a_method_is_any_token() {
    check_request_line("PURGE / HTTP/1.1", "head PURGE /, end, eof");
    check_request_line(
        "M-SEARCH!#$%&'*+.^_`|~9 / HTTP/1.1",
        "head M-SEARCH!#$%&'*+.^_`|~9 /, end, eof",
    );
    check_request_line("G@T / HTTP/1.1", "fault BadMethod");
    check_request_line("GÉT / HTTP/1.1", "fault BadMethod");
    assert_eq!(
        head_of("get / HTTP/1.1\r\nHost: h\r\n\r\n").method(),
        Method::Other
    );
}

#[test]
fn every_known_method_is_recognised() {
    for name in [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE",
    ] {
        let head = head_of(&format!("{name} / HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!((head.method().as_str(), head.method_str()), (name, name));
    }
    let head = head_of("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        (head.method(), head.method().as_str()),
        (Method::Connect, "CONNECT")
    );
}

#[test]
fn other_versions_are_not_supported() {
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3.0"] {
        check_request_line(&format!("GET / {version}"), "fault VersionNotSupported");
    }
    check(
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "fault VersionNotSupported",
    );
}

#[test]
fn nonsense_in_place_of_a_version_is_refused() {
    for version in [
        "http/1.1",
        "HTTP/1.10",
        "HTTP/11",
        "HTTP/1",
        "HTTP/",
        "HTTPS/1.1",
        "HTTP/1.1x",
        "HTTP/a.b",
        "XTTP/1.1",
        "",
    ] {
        check_request_line(&format!("GET / {version}"), "fault BadVersion");
    }
}

#[test]
fn targets_outside_visible_ascii_or_with_a_fragment_are_refused() {
    for target in ["/é", "/a#b", "/?#", "/\u{7f}", "/\0", "/\u{1}", "/a\tb"] {
        check_request_line(&format!("GET {target} HTTP/1.1"), "fault BadTarget");
    }
    check(b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", "fault BadTarget");
}

#[test]
fn each_method_has_its_forms_of_target() {
    check_request_line("OPTIONS * HTTP/1.1", "head OPTIONS *, end, eof");
    check_request_line("OPTIONS /a HTTP/1.1", "head OPTIONS /a, end, eof");
    check_request_line(
        "CONNECT a.example:443 HTTP/1.1",
        "head CONNECT a.example:443, end, close",
    );
    check_request_line(
        "CONNECT [::1]:443 HTTP/1.1",
        "head CONNECT [::1]:443, end, close",
    );
    for line in [
        "GET *",
        "OPTIONS **",
        "GET a",
        "GET a:80",
        "GET ?a",
        "CONNECT /",
        "CONNECT a",
        "CONNECT a:",
        "CONNECT :1",
        "CONNECT a:b",
        "CONNECT a:65536",
        "CONNECT http://a:80/",
        "CONNECT a:1?x",
        "CONNECT u@a:1",
        "CONNECT *",
    ] {
        check_request_line(&format!("{line} HTTP/1.1"), "fault BadTarget");
    }
}

#[test]
fn an_absolute_target_needs_a_scheme_we_serve_and_a_host() {
    for target in [
        "http://h/",
        "HTTPS://h:443",
        "http://h?x",
        "http://[2001:db8::1]:8080/",
        "http://1.2.3.4",
        "http://a%20b/",
    ] {
        check_request_line(
            &format!("GET {target} HTTP/1.1"),
            &format!("head GET {target}, end, eof"),
        );
    }
    for target in [
        "ftp://h/",
        "http:/h",
        "http://",
        "http:///a",
        "http://?a",
        "http://u@h/",
        "http://u:p@h/",
        "http://h:x/",
        "http://h:99999/",
        "http://[::1/",
        "http://[]/",
        "http://[g]/",
        "http://[::1]x/",
        "http://a%2/",
        "http://a b/",
    ] {
        let fault = if target.contains(' ') {
            "fault BadRequestLine"
        } else {
            "fault BadTarget"
        };
        check_request_line(&format!("GET {target} HTTP/1.1"), fault);
    }
}

#[test]
fn a_target_is_taken_apart() {
    let parts = |line: &str| {
        let head = head_of(&format!("{line} HTTP/1.1\r\nHost: field\r\n\r\n"));
        format!("{} {:?} {}", head.path(), head.query(), head.host())
    };
    assert_eq!(parts("GET /"), "/ None field");
    assert_eq!(
        parts("GET /a%20b/c?x=1&y=?/"),
        "/a%20b/c Some(\"x=1&y=?/\") field"
    );
    assert_eq!(parts("GET /?"), "/ Some(\"\") field");
    assert_eq!(parts("GET //a"), "//a None field");
    assert_eq!(
        parts("GET http://target:81/p?q"),
        "/p Some(\"q\") target:81"
    );
    assert_eq!(parts("GET http://target"), "/ None target");
    assert_eq!(parts("GET https://target?q=/"), "/ Some(\"q=/\") target");
    assert_eq!(parts("GET /http://x"), "/http://x None field");
    assert_eq!(parts("OPTIONS *"), "* None field");
    assert_eq!(parts("CONNECT target:443"), " None target:443");
}
