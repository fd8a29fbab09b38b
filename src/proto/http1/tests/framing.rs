//! Fields that frame a body.

use super::*;

#[track_caller]
fn check_post(fields: &str, expected: &str) {
    check(
        format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n"),
        expected,
    );
}

#[test]
fn length_and_chunked_together_are_refused_in_either_order() {
    check_post(
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "fault LengthAndChunked",
    );
    check_post(
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "fault LengthAndChunked",
    );
    check_post(
        "Content-Length: 0\r\nX: y\r\nTransfer-Encoding: gzip",
        "fault LengthAndChunked",
    );
}

#[test]
fn more_than_one_length_is_refused_even_if_they_agree() {
    check_post("Content-Length: 5\r\nContent-Length: 5", "fault TwoLengths");
    check_post("Content-Length: 5\r\ncontent-length: 6", "fault TwoLengths");
    check_post("Content-Length: 5, 5", "fault TwoLengths");
    check_post("Content-Length: 5,", "fault TwoLengths");
}

#[test]
fn a_length_is_a_plain_number_that_fits() {
    for length in [
        "+5",
        "-5",
        "",
        "5 5",
        "0x5",
        "5a",
        "5.0",
        "٥",
        "18446744073709551616",
        "99999999999999999999999",
    ] {
        check_post(&format!("Content-Length: {length}"), "fault BadLength");
    }
    let head =
        head_of("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551615\r\n\r\n");
    assert_eq!(head.content_length(), Some(u64::MAX));
}

#[test]
fn transfer_encoding_is_one_chunked() {
    for value in [
        "",
        "identity",
        "gzip",
        "chunked, identity",
        "chunked, chunked",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "\"chunked\"",
        "chunked,",
        ",chunked",
        "cow",
        "gzip, chunked, chunked",
        "chunk ed",
        "a b, chunked",
    ] {
        check_post(
            &format!("Transfer-Encoding: {value}"),
            "fault BadTransferEncoding",
        );
    }
    check_post(
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "fault BadTransferEncoding",
    );
    check_post(
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "fault BadTransferEncoding",
    );
    check_post(
        "Transfer-Encoding:  ChunKED \r\n\r\n0",
        "head POST /, end, eof",
    );
    check_post("Transfer-Encoding:\x0bchunked", "fault BadFieldValue");
}

#[test]
fn another_coding_before_chunked_is_not_implemented() {
    check_post(
        "Transfer-Encoding: gzip, chunked",
        "fault UnknownTransferCoding",
    );
    check_post(
        "Transfer-Encoding: a,b ,chunked",
        "fault UnknownTransferCoding",
    );
}

#[test]
fn http_1_0_has_no_chunks() {
    check(
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "fault ChunkedInHttp10",
    );
}

#[test]
fn an_unknown_expectation_is_refused() {
    check_post("Expect: 200-ok", "fault UnknownExpectation");
    check_post("Expect: 100-continue, x", "fault UnknownExpectation");
    check(
        "GET / HTTP/1.0\r\nExpect: x\r\n\r\n",
        "head GET /, end, close",
    );
}

#[test]
fn has_body_says_whether_bytes_may_follow() {
    let has_body = |fields: &str| {
        head_of(&format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n")).has_body()
    };
    assert!(!has_body("X: y"));
    assert!(!has_body("Content-Length: 0"));
    assert!(has_body("Content-Length: 1"));
    assert!(has_body("Transfer-Encoding: chunked"));
}
