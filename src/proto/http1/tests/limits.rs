//! Sizes.

use super::*;

#[test]
fn a_line_may_be_just_as_long_as_its_limit() {
    let limits = HeadLimits {
        line_bytes_max: 24,
        ..HeadLimits::default()
    };
    // "GET " + target + " HTTP/1.1\r\n" is 15 bytes more than the target.
    let request = |target: usize, value: usize| {
        format!(
            "GET {} HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n",
            "/".repeat(target),
            "v".repeat(value)
        )
    };
    check_with(&limits, request(9, 19), "head GET /////////, end, eof");
    check_with(&limits, request(10, 19), "fault RequestLineTooLong");
    check_with(&limits, request(9, 20), "fault LineTooLong");
    check_with(&limits, "x".repeat(25), "fault RequestLineTooLong");
    check_with(&limits, "x".repeat(24), "fault Truncated");
    // A size is known before the line's end, so it comes before what the line says.
    check_with(
        &limits,
        request(9, 19).replace("X:", "X\0").replace('v', "vv"),
        "fault LineTooLong",
    );
}

#[test]
fn a_head_may_be_just_as_long_as_its_limit() {
    let request = "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
    let limits = |bytes| HeadLimits {
        head_bytes_max: bytes,
        ..HeadLimits::default()
    };
    check_with(&limits(request.len()), request, "head GET /, end, eof");
    check_with(
        &limits(request.len()),
        format!("\r\n{request}"),
        "head GET /, end, eof",
    );
    check_with(&limits(request.len() - 1), request, "fault HeadTooLarge");
    check_with(&limits(20), request, "fault HeadTooLarge");
    check_with(&limits(10), request, "fault HeadTooLarge");
}

#[test]
fn of_two_sizes_the_one_that_is_broken_first_counts() {
    let limits = HeadLimits {
        line_bytes_max: 20,
        head_bytes_max: 40,
        ..HeadLimits::default()
    };
    let request = |value: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n",
            "v".repeat(value)
        )
    };
    check_with(&limits, request(30), "fault HeadTooLarge");
    check_with(
        &limits,
        format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "v".repeat(30)),
        "fault LineTooLong",
    );
}

#[test]
fn as_many_fields_as_the_limit_says_are_taken() {
    let limits = |fields_max| HeadLimits {
        fields_max,
        ..HeadLimits::default()
    };
    let request = |fields: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
            "A: b\r\n".repeat(fields - 1)
        )
    };
    check_with(&limits(3), request(3), "head GET /, end, eof");
    check_with(&limits(3), request(4), "fault TooManyFields");
    check_with(&limits(100), request(100), "head GET /, end, eof");
    check_with(&limits(100), request(101), "fault TooManyFields");
    check_with(&limits(300), request(300), "head GET /, end, eof");
}

#[test]
fn the_default_limits_are_enforced() {
    // Whole only: cutting 16 KiB at every position takes long and shows nothing new.
    let events = |input: String| run([input.as_bytes()], &HeadLimits::default()).0;
    let long = |bytes: usize| "v".repeat(bytes);
    assert_eq!(
        events(format!("GET /{} HTTP/1.1\r\n", long(8192))),
        "fault RequestLineTooLong"
    );
    assert_eq!(
        events(format!("GET / HTTP/1.1\r\nX: {}\r\n", long(8192))),
        "fault LineTooLong"
    );
    let fields = format!("X: {}\r\n", long(1000)).repeat(17);
    assert_eq!(
        events(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")),
        "fault HeadTooLarge"
    );
    let fields = format!("X: {}\r\n", long(1000)).repeat(15);
    assert_eq!(
        events(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")),
        "head GET /, end, eof"
    );
}

#[test]
fn errors_know_the_status_they_deserve() {
    let status = |error: PeerError| error.status();
    assert_eq!(status(PeerError::NoHost), 400);
    assert_eq!(status(PeerError::RequestLineTooLong), 414);
    assert_eq!(status(PeerError::UnknownExpectation), 417);
    assert_eq!(status(PeerError::HeadTooLarge), 431);
    assert_eq!(status(PeerError::LineTooLong), 431);
    assert_eq!(status(PeerError::TooManyFields), 431);
    assert_eq!(status(PeerError::UnknownTransferCoding), 501);
    assert_eq!(status(PeerError::VersionNotSupported), 505);
    assert_eq!(status(PeerError::TooSlow), 408);
    assert_eq!(status(PeerError::BodyTooLarge), 413);
}
