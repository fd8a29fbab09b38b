//! What encoders made, whole, byte by byte and cut at every position; and what nobody should have made.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;

const NO_LIMIT: u64 = u64::MAX;

fn encode(coding: &str, body: &[u8]) -> Vec<u8> {
    let level = Compression::default();
    match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        "raw" => {
            let mut encoder = DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        #[cfg(feature = "brotli")]
        "br" => {
            let mut coded = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut coded, 4096, 5, 22);
            encoder.write_all(body).unwrap();
            drop(encoder);
            coded
        }
        _ => panic!("{coding}"),
    }
}

/// All codings, as they are named and as they are made.
fn codings() -> impl Iterator<Item = (&'static str, &'static str)> {
    let always = [("gzip", "gzip"), ("deflate", "deflate"), ("deflate", "raw")];
    let brotli = cfg!(feature = "brotli").then_some(("br", "br"));
    always.into_iter().chain(brotli)
}

/// Decode `pieces` as they come.
fn decode<'a>(
    coding: &str,
    bytes_max: u64,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Result<(), DecodeError>) {
    let mut decoder = Decoder::new(coding, bytes_max).unwrap().unwrap();
    let mut body = Vec::new();
    for mut piece in pieces {
        loop {
            let before = body.len();
            match decoder.decode(piece, &mut body) {
                Ok(decoded) => {
                    piece = &piece[decoded.taken..];
                    assert!(body.len() - before <= PIECE_BYTES);
                    if !decoded.has_more {
                        assert_eq!(piece, b"", "it is taken");
                        break;
                    }
                }
                Err(error) => return (body, Err(error)),
            }
        }
    }
    (body, decoder.finish())
}

/// Text that repeats itself now and then.
fn sample(length: usize) -> Vec<u8> {
    let words = ["tick ", "tock ", "Räderwerk ", "1729 ", "\n"];
    let text = (0..).flat_map(|at: usize| words[(at * at + at / 7) % words.len()].bytes());
    text.take(length).collect()
}

#[test]
fn what_was_encoded_is_decoded_at_once_byte_by_byte_and_cut_anywhere() {
    let body = sample(700);
    for (name, made) in codings() {
        let coded = encode(made, &body);
        assert_eq!(decode(name, NO_LIMIT, [&coded[..]]), (body.clone(), Ok(())));
        assert_eq!(
            decode(name, NO_LIMIT, coded.chunks(1)),
            (body.clone(), Ok(()))
        );
        for cut in 0..=coded.len() {
            let (front, back) = coded.split_at(cut);
            assert_eq!(
                decode(name, NO_LIMIT, [front, back]),
                (body.clone(), Ok(())),
                "{made} {cut}"
            );
        }
    }
}

#[test]
fn large_bodies_come_in_pieces_of_a_bounded_size() {
    let body = sample(1_000_000);
    for (name, made) in codings() {
        let coded = encode(made, &body);
        for size in [1000, coded.len()] {
            let (decoded, end) = decode(name, NO_LIMIT, coded.chunks(size));
            assert!(decoded == body, "{made}");
            assert_eq!(end, Ok(()));
        }
    }
}

#[test]
fn codings_are_undone_in_the_reverse_order() {
    let body = sample(300_000);
    let coded = encode("gzip", &encode("deflate", &encode("raw", &body)));
    for size in [1, 77, coded.len()] {
        let (decoded, end) = decode(
            "deflate, identity,Deflate ,, X-GZIP",
            NO_LIMIT,
            coded.chunks(size),
        );
        assert!(decoded == body);
        assert_eq!(end, Ok(()));
    }
}

#[test]
fn what_ends_in_its_middle_is_truncated_wherever_that_is() {
    let body = sample(500);
    for (name, made) in codings() {
        let coded = encode(made, &body);
        for end in 1..coded.len() {
            let (decoded, result) = decode(name, NO_LIMIT, [&coded[..end]]);
            assert!(body.starts_with(&decoded));
            assert_eq!(result, Err(DecodeError::Truncated), "{made} at {end}");
        }
    }
    let twice = encode("gzip", &encode("gzip", &body)[..60]);
    assert_eq!(
        decode("gzip, gzip", NO_LIMIT, [&twice[..]]).1,
        Err(DecodeError::Truncated)
    );
}

#[test]
fn a_body_without_a_byte_is_empty_whatever_its_coding() {
    for (name, _) in codings() {
        assert_eq!(decode(name, NO_LIMIT, []), (Vec::new(), Ok(())));
        assert_eq!(decode(name, NO_LIMIT, [&b""[..]]), (Vec::new(), Ok(())));
    }
}

#[test]
fn an_encoded_nothing_is_nothing() {
    for (name, made) in codings() {
        assert_eq!(
            decode(name, 0, [&encode(made, b"")[..]]),
            (Vec::new(), Ok(())),
            "{made}"
        );
    }
}

#[test]
fn bytes_behind_the_end_are_refused_in_whatever_piece_they_come() {
    let body = sample(300);
    for (name, made) in codings() {
        let coded = encode(made, &body);
        let longer = [&coded[..], b"x"].concat();
        for pieces in [vec![&longer[..]], vec![&coded[..], b"x"]] {
            let (decoded, end) = decode(name, NO_LIMIT, pieces);
            assert!(body.starts_with(&decoded));
            assert_eq!(end, Err(DecodeError::TrailingBytes), "{made}");
        }
    }
}

#[test]
fn members_of_gzip_are_joined() {
    let members = [
        encode("gzip", b"one, "),
        encode("gzip", b""),
        encode("gzip", b"two"),
    ]
    .concat();
    for size in 1..members.len() {
        let (decoded, end) = decode("gzip", NO_LIMIT, members.chunks(size));
        assert_eq!((&decoded[..], end), (&b"one, two"[..], Ok(())));
    }
    let torn = &members[..members.len() - 1];
    assert_eq!(
        decode("gzip", NO_LIMIT, [torn]).1,
        Err(DecodeError::Truncated)
    );
}

#[test]
fn a_changed_byte_does_not_pass_the_checksum() {
    let body = sample(300);
    for coding in ["gzip", "deflate"] {
        let coded = encode(coding, &body);
        // Behind gzip's header, whose time, flags and system mean nothing here.
        for at in 10..coded.len() {
            let mut changed = coded.clone();
            changed[at] ^= 0x10;
            let (_, end) = decode(coding, NO_LIMIT, [&changed[..]]);
            assert!(end.is_err(), "{coding} at {at}");
        }
    }
    for (name, _) in codings() {
        let (_, end) = decode(
            name,
            NO_LIMIT,
            [&b"<!DOCTYPE html><p>Not coded at all."[..]],
        );
        assert!(
            matches!(end, Err(DecodeError::Malformed(found)) if found == name),
            "{name} {end:?}"
        );
    }
}

#[test]
fn a_body_may_be_just_as_long_as_is_allowed() {
    let body = sample(100_000);
    for (name, made) in codings() {
        let coded = encode(made, &body);
        assert!(decode(name, 100_000, [&coded[..]]) == (body.clone(), Ok(())));
        let (decoded, end) = decode(name, 99_999, [&coded[..]]);
        assert!(decoded == body[..99_999]);
        assert_eq!(end, Err(DecodeError::TooLarge(99_999)));
    }
}

#[test]
fn a_bomb_costs_no_more_than_what_is_allowed() {
    const ALLOWED: u64 = 200_000;
    let zeros = vec![0; 64 << 20];
    for (name, made) in codings() {
        let bomb = encode(made, &zeros);
        assert!(bomb.len() < zeros.len() / 500, "{made} makes it small");
        let (decoded, end) = decode(name, ALLOWED, [&bomb[..]]);
        assert_eq!(decoded.len() as u64, ALLOWED);
        assert_eq!(end, Err(DecodeError::TooLarge(ALLOWED)));
    }
    let double = encode("gzip", &encode("gzip", &zeros));
    let (decoded, end) = decode("gzip, gzip", ALLOWED, [&double[..]]);
    assert_eq!(decoded.len() as u64, ALLOWED);
    assert_eq!(end, Err(DecodeError::TooLarge(ALLOWED)));
}

#[test]
fn what_decodes_to_nothing_on_the_inside_is_bounded_too() {
    // A million empty members: 20 MB between the codings, and no byte behind them.
    let empty = encode("gzip", b"").repeat(1_000_000);
    let coded = encode("gzip", &empty);
    let (decoded, end) = decode("gzip, gzip", 100_000, [&coded[..]]);
    assert_eq!(decoded, b"");
    assert_eq!(end, Err(DecodeError::TooLarge(100_000)));
}

#[test]
fn codings_that_are_not_known_are_told_from_none() {
    for none in ["", " , ", "identity", "Identity, identity"] {
        assert!(Decoder::new(none, NO_LIMIT).unwrap().is_none(), "{none:?}");
    }
    for unknown in ["zstd", "compress", "gzip, zstd", "gzip br"] {
        assert_eq!(
            Decoder::new(unknown, NO_LIMIT).unwrap_err(),
            DecodeError::UnknownCoding
        );
    }
    let many = ["gzip"; CODINGS_MAX + 1];
    assert!(
        Decoder::new(&many[1..].join(","), NO_LIMIT)
            .unwrap()
            .is_some()
    );
    let error = Decoder::new(&many.join(","), NO_LIMIT).unwrap_err();
    assert_eq!(error, DecodeError::TooManyCodings);
    assert_eq!(
        Decoder::new("br", NO_LIMIT).is_ok(),
        cfg!(feature = "brotli")
    );
}

#[test]
fn all_that_is_asked_for_can_be_decoded() {
    assert!(Decoder::new(accept_encoding(), NO_LIMIT).unwrap().is_some());
    let asked: Vec<_> = accept_encoding().split(", ").collect();
    for (name, _) in codings() {
        assert!(asked.contains(&name), "{name}");
    }
}

/// Found by the property below.
#[test]
#[cfg(feature = "brotli")]
fn too_large_before_malformed_is_told_by_what_comes_first() {
    let mut bytes = vec![
        11, 0, 25, 144, 161, 138, 0, 194, 66, 8, 43, 101, 162, 225, 129, 133, 5, 84, 92, 221, 26,
        154, 129, 6, 93, 42, 58, 32, 0, 0, 102, 1, 0, 0, 0, 29, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 4,
    ];
    bytes.resize(87, 0);
    bytes.extend([1, 3, 205, 177, 151, 8, 14, 244, 63, 223, 110, 224, 220, 222]);
    let (whole, error) = decode("br", 10_000, [&bytes[..]]);
    assert_eq!((whole.len(), error), (0, Err(DecodeError::Malformed("br"))));
    let (pieces, error) = decode("br", 10_000, bytes.chunks(17));
    assert_eq!(
        (pieces.len(), error),
        (10_000, Err(DecodeError::TooLarge(10_000)))
    );
}

proptest! {
    #[test]
    fn any_bytes_end_within_the_limit(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        front in prop::sample::select(vec![&b""[..], b"\x1f\x8b\x08\0\0\0\0\0\0\x03", b"\x78\x9c", b"\x0b"]),
        size in 1..300_usize,
    ) {
        let bytes = [front, &bytes].concat();
        for (name, _) in codings() {
            let whole = decode(name, 10_000, [&bytes[..]]);
            prop_assert!(whole.0.len() <= 10_000);
            let pieces = decode(name, 10_000, bytes.chunks(size));
            // How much comes out before an error depends on where the pieces end, and with it which of two comes first:
            // that it is malformed, or that it is too large before that.
            let was_too_large_first = whole.1 == Err(DecodeError::Malformed(name))
                && pieces.1 == Err(DecodeError::TooLarge(10_000));
            prop_assert!(whole.1 == pieces.1 || was_too_large_first, "{:?} {:?}", whole, pieces);
            prop_assert!(pieces.0.starts_with(&whole.0), "{:?} {:?}", whole, pieces);
            prop_assert!(whole.1.is_err() || whole.0 == pieces.0);
        }
    }
}
