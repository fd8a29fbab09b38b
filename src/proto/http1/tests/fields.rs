//! Field lines and line ends.

use super::*;

#[test]
fn whitespace_around_a_value_is_not_part_of_it() {
    for line in ["X: v", "X:v", "X:\t v \t"] {
        let head = head_of(&format!(
            "GET / HTTP/1.1\r\nHost: h\r\n{line}\r\nY:\r\nZ:  \r\n\r\n"
        ));
        assert_eq!(
            (head.header("x"), head.header("Y"), head.header("z")),
            (Some("v"), Some(""), Some(""))
        );
    }
}

#[test]
fn fields_keep_their_order_and_their_spelling() {
    let head = head_of("GET / HTTP/1.1\r\nHost: h\r\nB: 1\r\na: 2\r\nb: 3\r\n\r\n");
    let fields = head
        .headers()
        .map(|(name, value)| format!("{name}={}", value.escape_ascii()))
        .collect::<Vec<_>>();
    assert_eq!(fields, ["Host=h", "B=1", "a=2", "b=3"]);
    assert_eq!(head.header("b"), Some("1"));
    assert_eq!(head.header("c"), None);
}

#[test]
fn a_value_may_hold_bytes_that_are_no_text() {
    check_field(b"X: caf\xe9 \xff", "head GET /, end, eof");
    let mut run = Run::new(&HeadLimits::default(), false);
    run.feed(b"GET / HTTP/1.1\r\nHost: h\r\nX: \xe9\r\n\r\n");
    assert_eq!(
        (run.head.header("x"), run.head.header_bytes("x")),
        (None, Some(&b"\xe9"[..]))
    );
}

#[test]
fn a_line_without_a_colon_is_refused() {
    check_field("X", "fault NoColon");
    check_field("X y", "fault NoColon");
}

#[test]
fn whitespace_before_the_colon_is_refused() {
    check_field("X : y", "fault SpaceBeforeColon");
    check_field("X\t: y", "fault SpaceBeforeColon");
    check_field("Content-Length : 5", "fault SpaceBeforeColon");
}

#[test]
fn a_name_that_is_no_token_is_refused() {
    for line in [": y", "a b: y", "a(b): y", "é: y", "a\0: y", "\"a\": y"] {
        check_field(line, "fault BadFieldName");
    }
}

#[test]
fn control_characters_in_a_value_are_refused() {
    for byte in (0..0x20)
        .chain([0x7f])
        .filter(|byte| !b"\t\r\n".contains(byte))
    {
        check_field([b"X: a", &[byte][..], b"b"].concat(), "fault BadFieldValue");
    }
}

#[test]
fn folded_lines_and_whitespace_before_the_first_field_are_refused() {
    check_field("X: a\r\n b", "fault ObsFold");
    check_field("X: a\r\n\tb", "fault ObsFold");
    check_field("X:\r\n y", "fault ObsFold");
    check("GET / HTTP/1.1\r\n Host: h\r\n\r\n", "fault ObsFold");
    check(
        "GET / HTTP/1.1\r\n\tX: y\r\nHost: h\r\n\r\n",
        "fault ObsFold",
    );
    check("GET / HTTP/1.1\r\nHost: h\r\n \r\n\r\n", "fault ObsFold");
}

#[test]
fn a_bare_lf_is_refused_wherever_it_stands() {
    check("GET / HTTP/1.1\nHost: h\r\n\r\n", "fault BareLf");
    check("GET / HTTP/1.1\r\nHost: h\n\r\n", "fault BareLf");
    check("GET / HTTP/1.1\r\nHost: h\r\n\n", "fault BareLf");
    check(
        "GET / HTTP/1.1\r\nHost: h\r\nX: y\nZ: z\r\n\r\n",
        "fault BareLf",
    );
    check("GET / HTTP/1.1\r\nHost: h\r\nX: \n\r\n", "fault BareLf");
    check("GET / HTTP/1.1\nHost: h\n\n", "fault BareLf");
    check("GET /\n HTTP/1.1\r\nHost: h\r\n\r\n", "fault BareLf");
    check("GET / HTTP/1.0\n\r\n", "fault BareLf");
    check("GET / HTTP/1.0\r\n\n", "fault BareLf");
}

#[test]
fn a_bare_cr_is_refused_wherever_it_stands() {
    check("GET / HTTP/1.1\rHost: h\r\n\r\n", "fault BareCr");
    check("GET /\r HTTP/1.1\r\nHost: h\r\n\r\n", "fault BareCr");
    check("GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", "fault BareCr");
    check("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", "fault BareCr");
    check_field("X: a\rb", "fault BareCr");
    check_field("X\r: a", "fault BareCr");
    check_field("X: a\rTransfer-Encoding: chunked", "fault BareCr");
    check(
        "GET / HTTP/1.1\r\nHost: h\r\n\rX: y\r\n\r\n",
        "fault BareCr",
    );
}

#[test]
fn the_first_offending_line_decides() {
    check(
        "GET / HTTP/1.1\r\nX\r\n y\r\nZ: \0\r\n\r\n",
        "fault NoColon",
    );
    check("GET / HTTP/1.1\r\nA: b\nX\r\n\r\n", "fault BareLf");
    check(
        "GET / HTTP/1.1\r\nContent-Length: 1, 1\r\nX y\r\n\r\n",
        "fault TwoLengths",
    );
    check("GET / HTTP/1.1\r\nContent-Length: x\r\n", "fault BadLength");
    check("GET / HTTP/9.9\r\n", "fault VersionNotSupported");
}
