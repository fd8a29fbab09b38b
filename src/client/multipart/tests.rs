//! Forms as they go out, in bytes.

use std::task::Waker;

use super::*;

const B: &str = "----tourbillon-000102030405060708090a0b0c0d0e0f";

fn form() -> Multipart {
    Multipart::new(std::array::from_fn(|at| at as u8))
}

/// A part whose pieces come one by one, with a pause before each.
fn stream(length: Option<u64>, pieces: &[&str]) -> Part {
    let mut pieces: VecDeque<_> = pieces
        .iter()
        .map(|piece| piece.as_bytes().to_vec())
        .collect();
    let mut is_late = false;
    Part::stream(length, move |_: &mut Context<'_>| {
        is_late = !is_late;
        match is_late {
            true => Poll::Pending,
            false => Poll::Ready(Ok(pieces.pop_front())),
        }
    })
}

fn sent(mut form: Multipart) -> io::Result<String> {
    let mut context = Context::from_waker(Waker::noop());
    let mut body = Vec::new();
    loop {
        match form.poll_chunk(&mut context) {
            Poll::Ready(Ok(Some(piece))) => {
                assert!(!piece.is_empty());
                body.extend(piece);
            }
            Poll::Ready(Ok(None)) => break,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => {}
        }
    }
    assert!(
        matches!(form.poll_chunk(&mut context), Poll::Ready(Ok(None))),
        "it stays at its end"
    );
    Ok(String::from_utf8(body).unwrap())
}

#[track_caller]
fn check(make: impl Fn() -> Multipart, expected: &str) {
    let expected = expected.replace('\n', "\r\n").replace("BOUNDARY", B);
    assert_eq!(sent(make()).unwrap(), expected);
    if let Some(length) = make().length() {
        assert_eq!(length, expected.len() as u64);
    }
    if let Ok(bytes) = make().into_bytes() {
        assert_eq!(bytes, expected.as_bytes());
    }
}

#[test]
fn fields_and_files_stand_between_boundaries() {
    let make = || {
        let file = Part::bytes(b"<p>".to_vec())
            .file_name("a.html")
            .content_type("text/html")
            .unwrap();
        form().text("name", "Abraham-Louis").part("page", file)
    };
    let expected = "--BOUNDARY\n\
        Content-Disposition: form-data; name=\"name\"\n\
        \n\
        Abraham-Louis\n\
        --BOUNDARY\n\
        Content-Disposition: form-data; name=\"page\"; filename=\"a.html\"\n\
        Content-Type: text/html\n\
        \n\
        <p>\n\
        --BOUNDARY--\n";
    check(make, expected);
    assert_eq!(
        make().content_type(),
        format!("multipart/form-data; boundary={B}")
    );
}

#[test]
fn a_form_without_fields_is_its_end() {
    check(form, "--BOUNDARY--\n");
}

#[test]
fn an_empty_field_is_one() {
    let expected = "--BOUNDARY\n\
        Content-Disposition: form-data; name=\"\"\n\
        \n\
        \n\
        --BOUNDARY--\n";
    check(|| form().text("", ""), expected);
}

#[test]
fn names_cannot_break_out_of_their_quotes() {
    let name = "a\"\r\nX: y\r\n\r\n%22ä\\";
    let expected = "--BOUNDARY\n\
        Content-Disposition: form-data; name=\"a%22%0D%0AX: y%0D%0A%0D%0A%22ä\\\"; \
        filename=\"a%22%0D%0AX: y%0D%0A%0D%0A%22ä\\\"\n\
        Content-Type: application/octet-stream\n\
        \n\
        x\n\
        --BOUNDARY--\n";
    check(
        || form().part(name, Part::text("x").file_name(name)),
        expected,
    );
}

#[test]
fn a_content_type_cannot_begin_another_line() {
    for bad in ["text/plain\r\nX: y", "text/plain\n", "\0"] {
        assert_eq!(
            Part::text("x").content_type(bad).unwrap_err(),
            Misuse::BadContentType
        );
    }
}

#[test]
fn a_stream_is_sent_piece_by_piece_and_its_length_counts() {
    let expected = "--BOUNDARY\n\
        Content-Disposition: form-data; name=\"s\"\n\
        \n\
        one, two\n\
        --BOUNDARY\n\
        Content-Disposition: form-data; name=\"t\"\n\
        \n\
        x\n\
        --BOUNDARY--\n";
    for length in [Some(8), None] {
        let make = || {
            form()
                .part("s", stream(length, &["one, ", "", "two"]))
                .text("t", "x")
        };
        check(make, expected);
        assert_eq!(make().length().is_some(), length.is_some());
        assert!(make().into_bytes().is_err(), "it cannot be sent again");
    }
}

#[test]
fn a_stream_that_is_not_as_long_as_it_said_is_an_error() {
    for (length, pieces) in [
        (3, &["four"][..]),
        (5, &["four"]),
        (0, &["", "x"]),
        (4, &["four", "!"]),
    ] {
        let error = sent(form().part("s", stream(Some(length), pieces))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn what_a_stream_fails_with_is_passed_on() {
    let part = Part::stream(None, |_: &mut Context<'_>| {
        Poll::Ready(Err(io::ErrorKind::NotFound.into()))
    });
    assert_eq!(
        sent(form().part("s", part)).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
}
