//! Bodies in chunks.

use super::*;

#[test]
fn a_size_is_one_to_sixteen_hexadecimal_digits() {
    for size in [
        "", "x", "0x5", "-1", "+1", "g", "5g", "1.0", "\t5", " 5", ";a", "5,", "\0",
    ] {
        check_chunks(
            format!("{size}\r\nhello\r\n0\r\n\r\n"),
            "fault BadChunkSize",
        );
    }
    check_chunks("ffffffffffffffff0\r\n", "fault BadChunkSize");
    check_chunks("00000000000000005\r\nhello\r\n", "fault BadChunkSize");
    check_chunks("ffffffffffffffff\r\nab", "data ab, fault Truncated");
}

#[test]
fn only_crlf_ends_a_size_line() {
    check_chunks("5\nhello\r\n0\r\n\r\n", "fault BareLf");
    check_chunks("5\rhello\r\n0\r\n\r\n", "fault BareCr");
    check_chunks("5\r\rhello", "fault BareCr");
    check_chunks("5;a\nhello\r\n0\r\n\r\n", "fault BareLf");
    check_chunks("5;a\rb\r\nhello\r\n0\r\n\r\n", "fault BareCr");
    check_chunks("5;\nhello", "fault BareLf");
    check_chunks("5;a=\"\n\"\r\nhello", "fault BareLf");
    check_chunks("0\n\r\n", "fault BareLf");
}

#[test]
fn data_ends_where_its_size_says() {
    check_chunks("5\r\nhelloX\r\n0\r\n\r\n", "data hello, fault BadChunkEnd");
    check_chunks("5\r\nhello0\r\n\r\n", "data hello, fault BadChunkEnd");
    check_chunks("5\r\nhello\n0\r\n\r\n", "data hello, fault BadChunkEnd");
    check_chunks("5\r\nhello\rX", "data hello, fault BadChunkEnd");
    check_chunks("5\r\nhello\r\r\n", "data hello, fault BadChunkEnd");
    check_chunks("5\r\nhell\r\n0\r\n\r\n", "data hell\\r, fault BadChunkEnd");
}

#[test]
fn extensions_are_read_over() {
    for extension in [
        ";a",
        ";a=b",
        ";a=b;c",
        "; a = b ; c",
        " ;a",
        ";a=\"\"",
        ";a=\"b;c\\\"d\"",
        ";a=\"b\" ;c=d",
        ";a=\"\\\\\"",
        ";a=\"\u{e9}\"",
        "\t;\ta\t=\tb\t;c",
        ";a=\"\t\\\t\"",
    ] {
        check_chunks(
            format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n"),
            "data hello, end, eof",
        );
    }
}

#[test]
fn malformed_extensions_are_refused() {
    for extension in [
        " ",
        "\t",
        ";",
        ";;",
        ";a;",
        ";=b",
        ";a=",
        ";a==b",
        ";a=b c",
        ";a b",
        ";a=\"",
        ";a=\"b",
        ";a=\"b\"c",
        ";a=\"\\",
        ";a=\"\r\n0\r\n\r\n\"",
        ";\0",
        ";a=\t",
        ";a\x7f",
        ";a=\"\x01\"",
        ";a=(b)",
        ";a ",
        ";a=b ",
        " x",
        ";é",
    ] {
        check_chunks(
            format!("5{extension}\r\nhello\r\n0\r\n\r\n"),
            "fault BadChunkExtension",
        );
    }
}

#[test]
fn extensions_are_bounded_a_chunk_and_a_message() {
    check_chunks(
        format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(255)),
        "data x, end, eof",
    );
    check_chunks(
        format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(256)),
        "fault ChunkExtensionTooLarge",
    );
    let limits = HeadLimits {
        chunk_extensions_bytes_max: 6,
        ..HeadLimits::default()
    };
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = |times: usize| format!("{head}{}0\r\n\r\n", "1;a\r\nx\r\n".repeat(times));
    check_with(&limits, body(3), "head POST /, data xxx, end, eof");
    check_with(
        &limits,
        body(4),
        "head POST /, data xxx, fault ChunkExtensionTooLarge",
    );
}

#[test]
fn trailers_are_judged_and_dropped() {
    check_chunks("0\r\nX-Sum: 1\r\nExpires: never\r\n\r\n", "end, eof");
    check_chunks("0\r\nX\r\n\r\n", "fault NoColon");
    check_chunks("0\r\nX : y\r\n\r\n", "fault SpaceBeforeColon");
    check_chunks("0\r\n x\r\n\r\n", "fault ObsFold");
    check_chunks("0\r\nX: y\r\n z\r\n\r\n", "fault ObsFold");
    check_chunks("0\r\nX: y\n\r\n", "fault BareLf");
    check_chunks("0\r\n\n", "fault BareLf");
    check_chunks("0\r\nX: y\rz\r\n\r\n", "fault BareCr");
    check_chunks("0\r\n\rX", "fault Truncated");
    check_chunks("0\r\nX: \0\r\n\r\n", "fault BadFieldValue");
}

#[test]
fn trailers_that_change_framing_or_routing_are_refused() {
    for field in [
        "Content-Length: 5",
        "transfer-encoding: chunked",
        "HOST: x",
        "Connection: close",
        "Upgrade: x",
        "TE: x",
        "Trailer: x",
    ] {
        check_chunks(format!("0\r\nA: b\r\n{field}\r\n\r\n"), "fault BadTrailer");
    }
}

#[test]
fn trailers_are_bounded() {
    let limits = HeadLimits {
        trailer_bytes_max: 12,
        ..HeadLimits::default()
    };
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    check_with(
        &limits,
        format!("{head}A: b\r\nC: d\r\n\r\n"),
        "head POST /, end, eof",
    );
    check_with(
        &limits,
        format!("{head}A: b\r\nC: dd\r\n\r\n"),
        "head POST /, fault TrailerTooLarge",
    );
    check_with(
        &limits,
        format!("{head}{}", "x".repeat(20)),
        "head POST /, fault TrailerTooLarge",
    );
}
