//! Compressed messages among frames: where they may stand, how they are collected, how they are written.

use super::super::opcode::Data;
use super::*;

/// "Hello", as the RFC compresses it (RFC 7692, 7.2.3.1).
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

fn agreed(role: Role) -> Endpoint {
    let mut endpoint = Endpoint::new(role);
    endpoint.agree_on_deflate();
    endpoint
}

/// What a server that agreed on compression hears, whole and cut at each place.
fn check_agreed(limits: &WsLimits, frames: &[Vec<u8>], expected: &str) {
    let input = frames.concat();
    let whole = hear_at(agreed(Role::Server), limits, [&input[..]].into_iter());
    assert_eq!(whole.join(", "), expected);
    for cut in 0..input.len() {
        let (front, back) = input.split_at(cut);
        let heard = hear_at(agreed(Role::Server), limits, [front, back].into_iter());
        assert_eq!(heard, whole, "cut at {cut}");
    }
}

#[test]
fn a_compressed_message_is_handed_out_as_it_came() {
    let limits = WsLimits::default();
    let hello = "deflated text [f2, 48, cd, c9, c9, 07, 00]";
    check_agreed(&limits, &[masked(0xc1, HELLO)], hello);
    check_agreed(
        &limits,
        &[masked(0x41, &HELLO[..3]), masked(0x80, &HELLO[3..])],
        hello,
    );
    check_agreed(
        &limits,
        &[
            masked(0x42, &HELLO[..3]),
            masked(0x89, b"in between"),
            masked(0x00, b""),
            masked(0x80, &HELLO[3..]),
            // And messages may still come as they are.
            masked(0x82, b"ab"),
            masked(0xc2, [0]),
        ],
        "ping [69, 6e, 20, 62, 65, 74, 77, 65, 65, 6e], \
         deflated binary [f2, 48, cd, c9, c9, 07, 00], binary [61, 62], deflated binary [00]",
    );
}

#[test]
fn a_client_hears_the_frames_of_the_rfc() {
    let limits = WsLimits::default();
    for frames in [
        &b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00",
    ] {
        let heard = hear_at(agreed(Role::Client), &limits, frames.chunks(1));
        assert_eq!(heard, ["deflated text [f2, 48, cd, c9, c9, 07, 00]"]);
    }
}

#[test]
fn the_bit_is_a_fault_where_it_means_nothing() {
    let limits = WsLimits::default();
    let fault = "fault ReservedBits";
    // Not agreed on.
    check_as(Role::Server, &limits, &masked(0xc1, HELLO), fault);
    for frames in [
        &[masked(0xc9, b"")][..],                          // on a ping
        &[masked(0xca, b"")],                              // on a pong
        &[masked(0xc8, b"")],                              // on a close
        &[masked(0xa1, HELLO)],                            // another bit
        &[masked(0xd1, HELLO)],                            // two of them
        &[masked(0x41, &HELLO[..3]), masked(0xc0, b"")],   // on a continuation
        &[masked(0x01, b"a"), masked(0xc0, b"")],          // of a plain message, too
        &[masked(0x41, &HELLO[..3]), masked(0xc1, HELLO)], // inside another
    ] {
        let heard = hear_at(
            agreed(Role::Server),
            &limits,
            [&frames.concat()[..]].into_iter(),
        );
        let is_inside = frames.len() == 2 && frames[1][0] == 0xc1;
        let expected = if is_inside {
            "fault ContinuationExpected"
        } else {
            fault
        };
        assert_eq!(heard, [expected], "{frames:02x?}");
    }
}

#[test]
fn what_is_compressed_may_be_a_little_longer_than_the_limit() {
    let limits = WsLimits {
        message_bytes_max: 100,
        ..WsLimits::default()
    };
    let max = deflated_bytes_max(100);
    let (fits, too_long) = (vec![7; max], vec![7; max + 1]);
    let expected = format!("deflated binary of {max}, [07, 07, 07, 07]..[07, 07, 07, 07]");
    check_agreed(&limits, &[masked(0xc2, &fits)], &expected);
    check_agreed(
        &limits,
        &[masked(0x42, &fits[..90]), masked(0x80, &fits[90..])],
        &expected,
    );
    let fault = "fault MessageTooBig";
    check_agreed(&limits, &[masked(0xc2, &too_long)], fault);
    check_agreed(
        &limits,
        &[masked(0x42, &too_long[..90]), masked(0x80, &too_long[90..])],
        fault,
    );
    check_agreed(&limits, &[masked(0x82, vec![7; 101])], fault);
}

/// A message from `from` to `to`, and what is heard of it.
fn send(
    message: Message<'_>,
    (from, sends): (&mut Endpoint, &mut Deflate),
    (to, gets): (&mut Endpoint, &mut Deflate),
) -> (Vec<u8>, OwnedMessage) {
    let mut pool = DeflatePool::default();
    let mut wire = Vec::new();
    let (_, writer) = from.mask_with(KEY).split();
    sends.write(message, writer, &mut pool, &mut wire).unwrap();
    let mut buffer = pool.take_buffer();
    let (used, step) = to
        .split()
        .0
        .next(&mut wire.clone(), &WsLimits::default())
        .map(|(used, step)| {
            let heard = match step {
                Step::Text(text) => Message::Text(text).to_owned(),
                Step::Binary(bytes) => Message::Binary(bytes).to_owned(),
                Step::Deflated(message) => gets
                    .read(message, 1 << 20, &mut pool, &mut buffer)
                    .unwrap()
                    .to_owned(),
                other => panic!("{other:?}"),
            };
            (used, heard)
        })
        .unwrap();
    assert_eq!(used, wire.len());
    (wire, step)
}

#[test]
fn messages_go_both_ways_compressed_or_not() {
    for options in [DeflateOptions::default(), DeflateOptions::own_context()] {
        let agreement = options.choose(&options.offer()).unwrap().unwrap();
        let [mut server, mut client] = [Role::Server, Role::Client]
            .map(|role| (agreed(role), Deflate::new(&agreement, role, &options)));
        let long = "again and ".repeat(100);
        for (message, is_compressed) in [
            (Message::Text("short"), false),
            (Message::Text(&long), true),
            (Message::Binary(long.as_bytes()), true),
            (Message::Binary(b""), false),
        ] {
            let (wire, heard) = send(
                message,
                (&mut client.0, &mut client.1),
                (&mut server.0, &mut server.1),
            );
            assert_eq!(Message::from(&heard), message);
            assert_eq!(wire[0] & 0x40 != 0, is_compressed);
            let (wire, heard) = send(
                message,
                (&mut server.0, &mut server.1),
                (&mut client.0, &mut client.1),
            );
            assert_eq!(Message::from(&heard), message);
            assert_eq!(wire[0] & 0x40 != 0, is_compressed);
            // What goes to many is the same.
            if let Some(variant) = server.1.variant() {
                let plain = match message {
                    Message::Text(text) => encode_text(text),
                    Message::Binary(bytes) => encode_binary(bytes),
                };
                let compressed = variant.compress(&plain, &mut DeflatePool::default());
                assert_eq!(compressed.is_some(), is_compressed);
                assert_eq!(compressed.unwrap_or(plain), wire);
            }
        }
    }
}

#[test]
fn text_that_is_none_is_found_when_it_is_inflated() {
    let options = DeflateOptions {
        threshold_bytes: 0,
        ..DeflateOptions::default()
    };
    let agreement = options.choose("permessage-deflate").unwrap().unwrap();
    let mut deflate = Deflate::new(&agreement, Role::Server, &options);
    let (mut pool, mut payload, mut out) = (DeflatePool::default(), Vec::new(), Vec::new());
    assert!(deflate.deflate(&[0xff; 100], &mut pool, &mut payload));
    for (data, is_fine) in [(Data::Binary, true), (Data::Text, false)] {
        out.clear();
        let message = Deflated {
            data,
            payload: &payload,
        };
        let read = deflate.read(message, 1000, &mut pool, &mut out);
        assert_eq!(read.is_ok(), is_fine);
        assert!(is_fine || read == Err(PeerError::InvalidUtf8));
    }
}
