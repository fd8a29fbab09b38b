//! The endpoint against the RFC, against every cut of its input, and against tungstenite.

#[cfg(feature = "deflate")]
mod deflated;
mod oracle;

use super::*;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame written byte by byte, by nobody's codec: the first byte as given, the shortest length, masked if there is
/// a key.
fn frame(first: u8, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mask_bit = if key.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(mask_bit | len as u8),
        len @ 126..0x1_0000 => {
            bytes.push(mask_bit | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(mask_bit | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    let key_bytes = key.unwrap_or_default();
    bytes.extend(key.iter().flatten());
    bytes.extend(
        payload
            .iter()
            .enumerate()
            .map(|(i, byte)| byte ^ key_bytes[i % 4]),
    );
    bytes
}

/// A client's frame.
fn masked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(first, Some(KEY), payload.as_ref())
}

/// The payload of a close frame.
fn close_payload(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_ref()].concat()
}

/// A step in words.
fn describe(step: Step<'_>) -> String {
    let bytes = |kind: &str, bytes: &[u8]| match bytes.len() {
        0..=16 => format!("{kind} {bytes:02x?}"),
        len => format!(
            "{kind} of {len}, {:02x?}..{:02x?}",
            &bytes[..4],
            &bytes[len - 4..]
        ),
    };
    match step {
        Step::Text(text) if text.len() <= 32 => format!("text {text:?}"),
        Step::Text(text) => bytes("text", text.as_bytes()),
        Step::Binary(payload) => bytes("binary", payload),
        Step::Deflated(message) => bytes(
            &format!("deflated {:?}", message.data).to_lowercase(),
            message.payload,
        ),
        Step::Ping(payload) => bytes("ping", payload),
        Step::Pong(payload) => bytes("pong", payload),
        Step::Close(None) => "close".to_owned(),
        Step::Close(Some((code, reason))) => format!("close {} {reason:?}", u16::from(code)),
        Step::NeedMore => unreachable!("the end of a round, not an event"),
    }
}

/// What `role` hears when its peer's bytes come in these pieces. As a connection does it: what is not used up is kept
/// and presented again.
fn hear<'p>(role: Role, limits: &WsLimits, pieces: impl Iterator<Item = &'p [u8]>) -> Vec<String> {
    hear_at(Endpoint::new(role), limits, pieces)
}

/// [`hear`], at an endpoint as it stands.
fn hear_at<'p>(
    mut endpoint: Endpoint,
    limits: &WsLimits,
    pieces: impl Iterator<Item = &'p [u8]>,
) -> Vec<String> {
    let mut events = Vec::new();
    let mut kept: Vec<u8> = Vec::new();
    for piece in pieces {
        kept.extend_from_slice(piece);
        loop {
            match endpoint.next(&mut kept, limits) {
                Ok((used, step)) => {
                    let starved = step == Step::NeedMore;
                    if !starved {
                        events.push(describe(step));
                    }
                    kept.drain(..used);
                    if starved {
                        break;
                    }
                }
                Err(error) => {
                    events.push(format!("fault {error:?}"));
                    assert_eq!(endpoint.link(), Link::TheyClosed);
                    assert_eq!(endpoint.eof(), End::Cut);
                    return events;
                }
            }
        }
        let left = CONTROL_BYTES_MAX + HEADER_BYTES_MAX;
        assert!(kept.len() < left, "{} bytes are left lying", kept.len());
    }
    if endpoint.link() == Link::Open {
        assert_eq!(endpoint.eof(), End::Cut);
        assert_eq!(
            endpoint.bytes_held(),
            0,
            "the end gives up what it cannot finish"
        );
    }
    events
}

/// Feed `input` whole, byte by byte, in threes, and cut at each place (of a long input, at the places near frames'
/// borders and some others), and compare the events, joined by commas, with `expected`.
fn check_as(role: Role, limits: &WsLimits, input: &[u8], expected: &str) {
    let whole = hear(role, limits, [input].into_iter());
    assert_eq!(whole.join(", "), expected);
    for size in [1, 3, 7] {
        assert_eq!(
            hear(role, limits, input.chunks(size)),
            whole,
            "in pieces of {size}"
        );
    }
    let stride = input.len() / 600 + 1;
    for cut in (0..input.len()).filter(|cut| cut % stride == 0 || *cut < 300) {
        let (front, back) = input.split_at(cut);
        assert_eq!(
            hear(role, limits, [front, back].into_iter()),
            whole,
            "cut at {cut}"
        );
    }
}

fn check(frames: &[Vec<u8>], expected: &str) {
    check_as(
        Role::Server,
        &WsLimits::default(),
        &frames.concat(),
        expected,
    );
    // With bytes behind it: another message, which comes out unless nothing is read any more.
    let behind = [&frames.concat()[..], &masked(0x89, "behind")].concat();
    let last = expected.rsplit(", ").next().unwrap_or("");
    let ended = last.starts_with("fault") || last.starts_with("close");
    let more = match (ended, expected.is_empty()) {
        (true, _) => expected.to_owned(),
        (false, true) => "ping [62, 65, 68, 69, 6e, 64]".to_owned(),
        (false, false) => format!("{expected}, ping [62, 65, 68, 69, 6e, 64]"),
    };
    check_as(Role::Server, &WsLimits::default(), &behind, &more);
}

fn check_client(frames: &[Vec<u8>], expected: &str) {
    check_as(
        Role::Client,
        &WsLimits::default(),
        &frames.concat(),
        expected,
    );
}

#[test]
fn the_examples_of_the_rfc() {
    // RFC 6455, 5.7, in its order.
    check_client(
        &[b"\x81\x05\x48\x65\x6c\x6c\x6f".to_vec()],
        "text \"Hello\"",
    );
    check(
        &[b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec()],
        "text \"Hello\"",
    );
    check_client(
        &[
            b"\x01\x03\x48\x65\x6c".to_vec(),
            b"\x80\x02\x6c\x6f".to_vec(),
        ],
        "text \"Hello\"",
    );
    check_client(
        &[b"\x89\x05\x48\x65\x6c\x6c\x6f".to_vec()],
        "ping [48, 65, 6c, 6c, 6f]",
    );
    check(
        &[b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec()],
        "pong [48, 65, 6c, 6c, 6f]",
    );
    let mut medium = b"\x82\x7e\x01\x00".to_vec();
    medium.extend([0xaa; 256]);
    check_client(
        &[medium],
        "binary of 256, [aa, aa, aa, aa]..[aa, aa, aa, aa]",
    );
    let mut long = b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00".to_vec();
    long.extend([0xbb; 65536]);
    check_client(
        &[long],
        "binary of 65536, [bb, bb, bb, bb]..[bb, bb, bb, bb]",
    );
}

#[test]
fn messages_of_every_kind_of_length() {
    for len in [
        0, 1, 7, 8, 9, 124, 125, 126, 127, 128, 65535, 65536, 65537, 70000,
    ] {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut expected = Endpoint::new(Role::Client);
        let mut plain = frame(0x82, None, &payload);
        let (used, step) = expected.next(&mut plain, &WsLimits::default()).unwrap();
        assert_eq!(step, Step::Binary(&payload));
        let expected = describe(step);
        assert_eq!(used, frame(0x82, None, &payload).len());
        check(&[masked(0x82, &payload)], &expected);
    }
}

#[test]
fn empty_messages_and_empty_fragments() {
    check(
        &[masked(0x81, ""), masked(0x82, "")],
        "text \"\", binary []",
    );
    check(
        &[masked(0x01, ""), masked(0x00, ""), masked(0x80, "")],
        "text \"\"",
    );
    check(
        &[masked(0x01, ""), masked(0x00, "a"), masked(0x80, "")],
        "text \"a\"",
    );
    check(&[masked(0x02, ""), masked(0x80, [])], "binary []");
}

#[test]
fn a_message_in_fragments_with_control_frames_between_them() {
    check(
        &[
            masked(0x01, "He"),
            masked(0x89, "?"),
            masked(0x00, "ll"),
            masked(0x8a, ""),
            masked(0x89, "!"),
            masked(0x80, "o"),
            masked(0x81, "again"),
        ],
        "ping [3f], pong [], ping [21], text \"Hello\", text \"again\"",
    );
}

#[test]
fn a_close_frame_inside_a_message_ends_everything() {
    check(
        &[
            masked(0x02, "half"),
            masked(0x88, close_payload(1001, "bye")),
            masked(0x80, "rest"),
        ],
        "close 1001 \"bye\"",
    );
}

#[test]
fn control_frames_of_the_longest_length() {
    check(
        &[masked(0x89, [7; 125]), masked(0x8a, [8; 125])],
        "ping of 125, [07, 07, 07, 07]..[07, 07, 07, 07], pong of 125, [08, 08, 08, 08]..[08, 08, 08, 08]",
    );
    let reason = "r".repeat(REASON_BYTES_MAX);
    check(
        &[masked(0x88, close_payload(1000, &reason))],
        &format!("close 1000 {reason:?}"),
    );
}

#[test]
fn every_key_unmasks_in_pieces() {
    for key in [[0; 4], [255; 4], [1, 2, 3, 4], [0x80, 0, 0x7f, 1]] {
        let input = frame(0x81, Some(key), "κόσμε, and more".as_bytes());
        check_as(
            Role::Server,
            &WsLimits::default(),
            &input,
            "text \"κόσμε, and more\"",
        );
    }
}

#[test]
fn a_client_must_mask_and_a_server_must_not() {
    check(&[frame(0x81, None, b"Hello")], "fault NotMasked");
    check(&[frame(0x89, None, b"")], "fault NotMasked");
    check(
        &[masked(0x81, "a"), frame(0x88, None, b"")],
        "text \"a\", fault NotMasked",
    );
    check_client(&[masked(0x81, "Hello")], "fault Masked");
    // A mask of zeros is one.
    check_client(&[frame(0x81, Some([0; 4]), b"Hello")], "fault Masked");
}

#[test]
fn each_reserved_bit_is_refused() {
    for bits in [0x40, 0x20, 0x10, 0x70] {
        for first in [0x81, 0x82, 0x01, 0x88, 0x89, 0x8a] {
            check(&[masked(first | bits, "")], "fault ReservedBits");
        }
        check(
            &[masked(0x01, "a"), masked(0x80 | bits, "")],
            "fault ReservedBits",
        );
    }
}

#[test]
fn each_reserved_opcode_is_refused() {
    for opcode in (3..=7).chain(11..=15) {
        check(&[masked(0x80 | opcode, "")], "fault ReservedOpcode");
        check(&[masked(opcode, "abc")], "fault ReservedOpcode");
        check(
            &[masked(0x01, "a"), masked(0x80 | opcode, "")],
            "fault ReservedOpcode",
        );
    }
}

#[test]
fn control_frames_too_long_or_in_fragments_are_refused() {
    for first in [0x88, 0x89, 0x8a] {
        check(&[masked(first, [b'x'; 126])], "fault ControlTooLong");
        check(&[masked(first, vec![b'x'; 70000])], "fault ControlTooLong");
        check(&[masked(first & 0x0f, "")], "fault ControlFragmented");
    }
    // At the header: the payload need not come.
    check(
        &[vec![0x89, 0xfe, 0xff, 0xff, 1, 2, 3, 4]],
        "fault ControlTooLong",
    );
}

#[test]
fn a_length_must_be_written_the_short_way() {
    check(
        &[[&[0x82, 0xfe, 0, 125][..], &KEY].concat()],
        "fault LengthNotMinimal",
    );
    check(
        &[[&[0x82, 0xfe, 0, 0][..], &KEY].concat()],
        "fault LengthNotMinimal",
    );
    check(
        &[[&[0x89, 0xfe, 0, 5][..], &KEY].concat()],
        "fault LengthNotMinimal",
    );
    check(
        &[[&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff][..], &KEY].concat()],
        "fault LengthNotMinimal",
    );
    check(
        &[[&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 1][..], &KEY].concat()],
        "fault LengthNotMinimal",
    );
}

#[test]
fn a_length_has_no_top_bit() {
    check(
        &[[&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0][..], &KEY].concat()],
        "fault LengthTopBit",
    );
    check(
        &[[&[0x82, 0xff][..], &[255; 8], &KEY].concat()],
        "fault LengthTopBit",
    );
    check(
        &[[&[0x82, 0xff, 0x7f][..], &[255; 7], &KEY].concat()],
        "fault MessageTooBig",
    );
}

#[test]
fn continuations_continue_something_and_nothing_else_does() {
    check(&[masked(0x80, "a")], "fault UnexpectedContinuation");
    check(&[masked(0x00, "a")], "fault UnexpectedContinuation");
    check(
        &[masked(0x81, "a"), masked(0x80, "b")],
        "text \"a\", fault UnexpectedContinuation",
    );
    check(
        &[masked(0x01, "a"), masked(0x80, "b"), masked(0x80, "c")],
        "text \"ab\", fault UnexpectedContinuation",
    );
    for first in [0x81, 0x01, 0x82, 0x02] {
        check(
            &[masked(0x01, "a"), masked(first, "b")],
            "fault ContinuationExpected",
        );
        check(
            &[masked(0x02, ""), masked(0x89, ""), masked(first, "b")],
            "ping [], fault ContinuationExpected",
        );
    }
}

#[test]
fn a_message_may_be_as_long_as_its_limit() {
    let limits = WsLimits {
        message_bytes_max: 10,
        ..WsLimits::default()
    };
    let check =
        |frames: &[Vec<u8>], expected| check_as(Role::Server, &limits, &frames.concat(), expected);
    check(&[masked(0x81, "0123456789")], "text \"0123456789\"");
    check(&[masked(0x81, "0123456789a")], "fault MessageTooBig");
    check(
        &[
            masked(0x01, "01234"),
            masked(0x00, "56789"),
            masked(0x80, ""),
        ],
        "text \"0123456789\"",
    );
    check(
        &[masked(0x02, "01234"), masked(0x80, "56789a")],
        "fault MessageTooBig",
    );
    check(
        &[
            masked(0x01, "0123456789"),
            masked(0x89, ""),
            masked(0x00, "a"),
        ],
        "ping [], fault MessageTooBig",
    );
    // Bytes of an unfinished character count.
    check(
        &[masked(0x01, b"01234567\xe2\x82"), masked(0x80, b"\xac")],
        "fault MessageTooBig",
    );
    // Control frames have their own limit.
    check(
        &[masked(0x8a, [0; 12])],
        "pong [00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00]",
    );
}

#[test]
fn a_claim_over_the_limit_is_refused_before_any_of_it_comes() {
    let limits = WsLimits {
        message_bytes_max: 1000,
        ..WsLimits::default()
    };
    let mut endpoint = Endpoint::new(Role::Server);
    let mut input = [&[0x82, 0xfe, 0x03, 0xe9][..], &KEY].concat();
    assert_eq!(
        endpoint.next(&mut input, &limits),
        Err(PeerError::MessageTooBig)
    );
    assert_eq!(endpoint.bytes_held(), 0);
}

#[test]
fn memory_follows_the_bytes_that_came_and_not_the_claim() {
    let limits = WsLimits {
        message_bytes_max: usize::MAX,
        ..WsLimits::default()
    };
    for first in [0x81, 0x82] {
        let mut endpoint = Endpoint::new(Role::Server);
        let mut input = [&[first, 0xff, 0x7f][..], &[255; 7], &KEY, &KEY].concat();
        let len = input.len();
        assert_eq!(
            endpoint.next(&mut input, &limits),
            Ok((len, Step::NeedMore))
        );
        assert!(
            (4..300).contains(&endpoint.bytes_held()),
            "{}",
            endpoint.bytes_held()
        );
        for _ in 0..1000 {
            let mut more = KEY;
            assert_eq!(endpoint.next(&mut more, &limits), Ok((4, Step::NeedMore)));
        }
        assert!(
            (4004..9000).contains(&endpoint.bytes_held()),
            "{}",
            endpoint.bytes_held()
        );
    }
}

#[test]
fn memory_is_given_up_after_the_message() {
    let limits = WsLimits::default();
    let mut endpoint = Endpoint::new(Role::Server);
    let mut input = [masked(0x01, [b'a'; 5000]), masked(0x80, "b")].concat();
    let (_, step) = endpoint.next(&mut input, &limits).unwrap();
    assert_eq!(step, Step::Text(&("a".repeat(5000) + "b")));
    assert!(endpoint.bytes_held() > 5000);
    assert_eq!(endpoint.next(&mut [], &limits), Ok((0, Step::NeedMore)));
    assert_eq!(endpoint.bytes_held(), 0);
}

#[test]
fn a_whole_message_is_handed_out_where_it_lies() {
    let mut input = [
        masked(0x81, "one"),
        masked(0x82, "two"),
        masked(0x89, "three"),
    ]
    .concat();
    let within = input.as_ptr_range();
    let mut endpoint = Endpoint::new(Role::Server);
    let mut at = 0;
    for _ in 0..3 {
        let (used, step) = endpoint
            .next(&mut input[at..], &WsLimits::default())
            .unwrap();
        let (Step::Text(_) | Step::Binary(_) | Step::Ping(_)) = step else {
            panic!("{step:?}")
        };
        let start = match step {
            Step::Text(text) => text.as_ptr(),
            Step::Binary(bytes) | Step::Ping(bytes) => bytes.as_ptr(),
            _ => unreachable!(),
        };
        assert!(within.contains(&start));
        at += used;
        assert_eq!(endpoint.bytes_held(), 0);
    }
    assert_eq!(at, input.len());
}

#[test]
fn what_is_not_used_up_is_left_as_it_was() {
    let whole = masked(0x89, "a ping, whole but for its last byte");
    for cut in 0..whole.len() {
        let mut part = whole[..cut].to_vec();
        let mut endpoint = Endpoint::new(Role::Server);
        assert_eq!(
            endpoint.next(&mut part, &WsLimits::default()),
            Ok((0, Step::NeedMore))
        );
        assert_eq!(part, whole[..cut]);
    }
}

#[test]
fn fragments_are_counted_empty_ones_too() {
    let limits = WsLimits {
        fragments_max: 3,
        ..WsLimits::default()
    };
    let flood = |continuations: usize, last| {
        let mut input = masked(0x02, "");
        for _ in 0..continuations {
            input.extend(masked(0x00, ""));
        }
        input.extend(masked(last, "x"));
        input
    };
    check_as(Role::Server, &limits, &flood(2, 0x80), "binary [78]");
    check_as(
        Role::Server,
        &limits,
        &flood(3, 0x80),
        "fault TooManyFragments",
    );
    check_as(
        Role::Server,
        &limits,
        &flood(2000, 0x00),
        "fault TooManyFragments",
    );
    // Each message has its own count, and control frames have none.
    let mut many = Vec::new();
    for _ in 0..5 {
        many.extend(masked(0x02, ""));
        many.extend(masked(0x89, "").repeat(5));
        many.extend(masked(0x80, ""));
    }
    let expected = ["ping [], ping [], ping [], ping [], ping [], binary []"; 5].join(", ");
    check_as(Role::Server, &limits, &many, &expected);
    // By default.
    let defaults = WsLimits::default();
    let whole = hear(
        Role::Server,
        &defaults,
        [&flood(1023, 0x80)[..]].into_iter(),
    );
    assert_eq!(whole, ["binary [78]"]);
    let whole = hear(
        Role::Server,
        &defaults,
        [&flood(1024, 0x80)[..]].into_iter(),
    );
    assert_eq!(whole, ["fault TooManyFragments"]);
}

#[test]
fn text_is_cut_anywhere_also_inside_characters() {
    let text = "aé€🦀\u{10ffff}\u{800}\u{7ff}\0z";
    let bytes = text.as_bytes();
    check(&[masked(0x81, bytes)], &format!("text {text:?}"));
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            let input = [
                masked(0x01, &bytes[..first]),
                masked(0x00, &bytes[first..second]),
                masked(0x80, &bytes[second..]),
            ]
            .concat();
            for size in [1, 2, 5, input.len()] {
                let events = hear(Role::Server, &WsLimits::default(), input.chunks(size));
                assert_eq!(
                    events,
                    [format!("text {text:?}")],
                    "fragments at {first}, {second}"
                );
            }
        }
    }
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let cases: [&[u8]; 9] = [
        b"\x80",
        b"ab\xc3",
        b"\xe2\x82",
        b"\xf0\x9f\xa6",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"ok \xff no",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", // Autobahn's
    ];
    for bytes in cases {
        check(&[masked(0x81, bytes)], "fault InvalidUtf8");
        check_client(&[frame(0x81, None, bytes)], "fault InvalidUtf8");
        check(&[masked(0x82, bytes)], &describe(Step::Binary(bytes)));
        for cut in 0..=bytes.len() {
            let (front, back) = bytes.split_at(cut);
            check(
                &[masked(0x01, front), masked(0x80, back)],
                "fault InvalidUtf8",
            );
        }
    }
}

#[test]
fn text_fails_at_its_first_wrong_byte() {
    // The frame is not whole, nor the message: the byte that cannot be is enough.
    let mut start = masked(0x01, b"\xce\xba\xf4\x90 and much more");
    start.truncate(6 + 3);
    let mut endpoint = Endpoint::new(Role::Server);
    assert_eq!(
        endpoint.next(&mut start, &WsLimits::default()),
        Ok((9, Step::NeedMore))
    );
    let mut bad = [0x90 ^ KEY[3]];
    assert_eq!(
        endpoint.next(&mut bad, &WsLimits::default()),
        Err(PeerError::InvalidUtf8)
    );
}

#[test]
fn every_close_code_is_judged_as_the_rfc_and_the_registry_have_it() {
    for code in 0..=u16::MAX {
        let payload = close_payload(code, "why");
        let mut input = masked(0x88, &payload);
        let mut endpoint = Endpoint::new(Role::Server);
        let step = endpoint.next(&mut input, &WsLimits::default());
        let mut out = Vec::new();
        let said = Endpoint::new(Role::Server).close(CloseCode::from(code), "why", &mut out);
        let valid = match code {
            0..=999 => false,            // not used
            1004 => false,               // reserved
            1005 | 1006 | 1015 => false, // for use inside programs only
            1000..=1014 => true,
            1016..=2999 => false, // without a meaning
            3000..=4999 => true,
            5000.. => false,
        };
        if valid {
            assert_eq!(
                step,
                Ok((
                    input_len(&payload),
                    Step::Close(Some((CloseCode::from(code), "why")))
                ))
            );
            assert_eq!((said, &out), (Ok(()), &frame(0x88, None, &payload)));
            assert_eq!(endpoint.link(), Link::TheyClosed);
        } else {
            assert_eq!(step, Err(PeerError::BadCloseCode), "{code}");
            assert_eq!((said, out.len()), (Err(Misuse::BadCloseCode), 0), "{code}");
        }
    }
}

fn input_len(payload: &[u8]) -> usize {
    masked(0x88, payload).len()
}

#[test]
fn close_frames_with_nothing_half_a_code_or_a_reason() {
    check(&[masked(0x88, "")], "close");
    check(&[masked(0x88, [3])], "fault BadClosePayload");
    check(&[masked(0x88, close_payload(1000, ""))], "close 1000 \"\"");
    check(
        &[masked(0x88, close_payload(4321, "κόσμε"))],
        "close 4321 \"κόσμε\"",
    );
    check(
        &[masked(0x88, close_payload(1000, b"\xff"))],
        "fault InvalidUtf8",
    );
    check(
        &[masked(0x88, close_payload(1000, b"\xe2\x82"))],
        "fault InvalidUtf8",
    );
    check(
        &[masked(0x88, close_payload(1005, b"\xff"))],
        "fault BadCloseCode",
    );
}

#[test]
fn nothing_is_read_after_a_close_frame() {
    check(
        &[
            masked(0x88, ""),
            masked(0x81, "late"),
            b"\xff\xff\xff".to_vec(),
        ],
        "close",
    );
    let mut endpoint = Endpoint::new(Role::Server);
    endpoint
        .next(&mut masked(0x88, ""), &WsLimits::default())
        .unwrap();
    let mut late = [0xff; 100];
    assert_eq!(
        endpoint.next(&mut late, &WsLimits::default()),
        Ok((100, Step::NeedMore))
    );
}

#[test]
fn nothing_is_read_after_a_fault_or_the_end() {
    let limits = WsLimits::default();
    let mut endpoint = Endpoint::new(Role::Server);
    assert_eq!(
        endpoint.next(&mut [0x83, 0x80, 0, 0, 0, 0], &limits),
        Err(PeerError::ReservedOpcode)
    );
    assert_eq!(
        endpoint.next(&mut masked(0x81, "x"), &limits),
        Ok((7, Step::NeedMore))
    );

    let mut endpoint = Endpoint::new(Role::Server);
    assert_eq!(endpoint.eof(), End::Cut);
    assert_eq!(
        endpoint.next(&mut masked(0x81, "x"), &limits),
        Ok((7, Step::NeedMore))
    );
}

#[test]
fn the_peer_closes_and_we_answer() {
    let limits = WsLimits::default();
    let mut out = Vec::new();
    let mut endpoint = Endpoint::new(Role::Server);
    assert!(endpoint.is_open());
    let mut input = masked(0x88, close_payload(1001, "leaving"));
    let (_, step) = endpoint.next(&mut input, &limits).unwrap();
    let Step::Close(close) = step else {
        panic!("{step:?}")
    };
    let code = close.map(|(code, _)| code);
    assert_eq!(endpoint.link(), Link::TheyClosed);
    // Until then we may finish what we have to say (RFC 6455, 5.5.1).
    endpoint.text("a last word", &mut out).unwrap();
    out.clear();
    endpoint.close_reply(code, &mut out).unwrap();
    assert_eq!(out, frame(0x88, None, &close_payload(1001, "")));
    assert!(endpoint.is_over());
    assert_eq!(endpoint.eof(), End::Clean);
    assert!(endpoint.is_over());
}

#[test]
fn a_close_without_a_code_is_answered_without_one() {
    let mut out = Vec::new();
    let mut endpoint = Endpoint::new(Role::Server);
    endpoint
        .next(&mut masked(0x88, ""), &WsLimits::default())
        .unwrap();
    endpoint.close_reply(None, &mut out).unwrap();
    assert_eq!(out, [0x88, 0]);
    assert!(endpoint.is_over());
}

#[test]
fn we_close_and_the_peer_answers() {
    let limits = WsLimits::default();
    let mut out = Vec::new();
    let mut endpoint = Endpoint::new(Role::Server);
    endpoint
        .close(CloseCode::Away, "restart", &mut out)
        .unwrap();
    assert_eq!(out, frame(0x88, None, &close_payload(1001, "restart")));
    assert_eq!(endpoint.link(), Link::WeClosed);
    assert!(!endpoint.is_open() && !endpoint.is_over());
    // What was under way still comes.
    let mut input = masked(0x81, "under way");
    assert_eq!(
        endpoint.next(&mut input, &limits).unwrap().1,
        Step::Text("under way")
    );
    let mut input = masked(0x88, close_payload(1001, ""));
    assert_eq!(
        endpoint.next(&mut input, &limits).unwrap().1,
        Step::Close(Some((CloseCode::Away, "")))
    );
    assert!(endpoint.is_over());
    out.clear();
    endpoint
        .close_reply(Some(CloseCode::Away), &mut out)
        .unwrap();
    assert_eq!(out, b"", "theirs was the answer");
    assert_eq!(endpoint.eof(), End::Clean);
}

#[test]
fn the_end_of_the_stream_is_clean_only_after_both_close_frames() {
    let mut out = Vec::new();
    assert_eq!(Endpoint::new(Role::Server).eof(), End::Cut);

    let mut we_closed = Endpoint::new(Role::Server);
    we_closed.close(CloseCode::Normal, "", &mut out).unwrap();
    assert_eq!(we_closed.eof(), End::Cut);
    assert!(we_closed.is_over());

    let mut they_closed = Endpoint::new(Role::Server);
    they_closed
        .next(&mut masked(0x88, ""), &WsLimits::default())
        .unwrap();
    assert_eq!(they_closed.eof(), End::Cut);
    assert_eq!(they_closed.link(), Link::TheyClosed);

    let mut faulty = Endpoint::new(Role::Server);
    let error = faulty
        .next(&mut frame(0x81, None, b"x"), &WsLimits::default())
        .unwrap_err();
    faulty
        .close(error.close_code(), error.reason(), &mut out)
        .unwrap();
    assert!(faulty.is_over());
    assert_eq!(faulty.eof(), End::Cut);
}

#[test]
fn nothing_is_sent_after_our_close_frame() {
    let mut out = Vec::new();
    let mut endpoint = Endpoint::new(Role::Server);
    endpoint.close(CloseCode::Normal, "", &mut out).unwrap();
    out.clear();
    assert_eq!(endpoint.text("x", &mut out), Err(Misuse::AfterClose));
    assert_eq!(endpoint.binary(b"x", &mut out), Err(Misuse::AfterClose));
    assert_eq!(endpoint.ping(b"x", &mut out), Err(Misuse::AfterClose));
    assert_eq!(endpoint.pong(b"x", &mut out), Err(Misuse::AfterClose));
    assert_eq!(
        endpoint.close(CloseCode::Normal, "", &mut out),
        Err(Misuse::AfterClose)
    );
    assert_eq!(out, b"");
}

#[test]
fn what_may_not_be_sent_is_not_and_leaves_nothing_behind() {
    let mut out = Vec::new();
    let mut endpoint = Endpoint::new(Role::Server);
    assert_eq!(
        endpoint.ping(&[0; 126], &mut out),
        Err(Misuse::ControlTooLong)
    );
    assert_eq!(
        endpoint.pong(&[0; 126], &mut out),
        Err(Misuse::ControlTooLong)
    );
    let reason = "r".repeat(124);
    assert_eq!(
        endpoint.close(CloseCode::Normal, &reason, &mut out),
        Err(Misuse::ControlTooLong)
    );
    assert_eq!(
        endpoint.close_reply(Some(CloseCode::Status), &mut out),
        Err(Misuse::BadCloseCode)
    );
    assert_eq!(out, b"");
    assert!(endpoint.is_open());
}

#[test]
fn a_client_needs_a_fresh_key_for_every_frame() {
    let mut out = Vec::new();
    let mut client = Endpoint::new(Role::Client);
    assert_eq!(client.text("x", &mut out), Err(Misuse::NoMaskingKey));
    assert_eq!(
        client.close(CloseCode::Normal, "", &mut out),
        Err(Misuse::NoMaskingKey)
    );
    assert!(client.is_open(), "the close frame was not sent");
    client.mask_with(KEY).text("Hello", &mut out).unwrap();
    assert_eq!(client.text("x", &mut out), Err(Misuse::NoMaskingKey));
    assert_eq!(out, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
}

#[test]
fn each_side_hears_what_the_other_says() {
    for (speaker, listener) in [(Role::Client, Role::Server), (Role::Server, Role::Client)] {
        let mut speaker = Endpoint::new(speaker);
        let mut out = Vec::new();
        let mut expected = Vec::new();
        for len in [0, 1, 5, 8, 125, 126, 1000, 65535, 65536] {
            let text = "t".repeat(len);
            let bytes = vec![0xfe; len];
            speaker
                .mask_with([len as u8, 2, 3, 4])
                .text(&text, &mut out)
                .unwrap();
            speaker
                .mask_with([5, len as u8, 7, 8])
                .binary(&bytes, &mut out)
                .unwrap();
            expected.extend([describe(Step::Text(&text)), describe(Step::Binary(&bytes))]);
            if len <= CONTROL_BYTES_MAX {
                speaker.mask_with(KEY).ping(&bytes, &mut out).unwrap();
                speaker.mask_with(KEY).pong(&bytes, &mut out).unwrap();
                expected.extend([describe(Step::Ping(&bytes)), describe(Step::Pong(&bytes))]);
            }
        }
        let reason = "€".repeat(41);
        speaker
            .mask_with(KEY)
            .close(CloseCode::Library(4000), &reason, &mut out)
            .unwrap();
        expected.push(format!("close 4000 {reason:?}"));
        check_as(listener, &WsLimits::default(), &out, &expected.join(", "));
    }
}

#[test]
fn a_frame_for_many_is_the_frame_for_one() {
    for len in [0, 5, 125, 126, 65535, 65536] {
        let text = "x".repeat(len);
        let mut one = Vec::new();
        Endpoint::new(Role::Server).text(&text, &mut one).unwrap();
        assert_eq!(encode_text(&text), one);
        assert_eq!(one, frame(0x81, None, text.as_bytes()));
        one.clear();
        Endpoint::new(Role::Server)
            .binary(text.as_bytes(), &mut one)
            .unwrap();
        assert_eq!(encode_binary(text.as_bytes()), one);
        assert_eq!(one, frame(0x82, None, text.as_bytes()));
    }
    let mut both = encode_text("a");
    encode_binary_into(b"b", &mut both);
    encode_text_into("c", &mut both);
    assert_eq!(both, b"\x81\x01a\x82\x01b\x81\x01c");
}

#[test]
fn every_fault_has_a_close_frame() {
    use PeerError::*;
    for (error, code) in [
        (NotMasked, 1002),
        (Masked, 1002),
        (ReservedBits, 1002),
        (ReservedOpcode, 1002),
        (ControlTooLong, 1002),
        (ControlFragmented, 1002),
        (LengthNotMinimal, 1002),
        (LengthTopBit, 1002),
        (MessageTooBig, 1009),
        (TooManyFragments, 1009),
        (InvalidUtf8, 1007),
        (UnexpectedContinuation, 1002),
        (ContinuationExpected, 1002),
        (BadCloseCode, 1002),
        (BadClosePayload, 1002),
    ] {
        let mut out = Vec::new();
        Endpoint::new(Role::Server)
            .close(error.close_code(), error.reason(), &mut out)
            .unwrap();
        assert_eq!(out[2..4], u16::to_be_bytes(code), "{error}");
    }
}

#[test]
fn an_endpoint_is_two_words() {
    assert_eq!(size_of::<Endpoint>(), 16);
}

/// What the echo costs in this layer: `cargo test --release --lib echo_costs -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn echo_costs() {
    for (len, depth) in [(64, 1), (64, 16), (64, 256), (1024, 16), (65536, 1)] {
        let input = masked(0x81, "x".repeat(len)).repeat(depth);
        let limits = WsLimits::default();
        let mut endpoint = Endpoint::new(Role::Server);
        let mut buffer = input.clone();
        let mut out = Vec::with_capacity(2 * input.len());
        let rounds = 20_000_000 / input.len();
        let mut best = f64::MAX;
        for _ in 0..20 {
            let start = std::time::Instant::now();
            for _ in 0..rounds {
                buffer.copy_from_slice(&input);
                out.clear();
                let mut at = 0;
                loop {
                    let (reader, writer) = endpoint.split();
                    match reader.next(&mut buffer[at..], &limits).unwrap() {
                        (used, Step::Text(text)) => {
                            writer.text(text, &mut out).unwrap();
                            at += used;
                        }
                        (_, Step::NeedMore) => break,
                        _ => unreachable!(),
                    }
                }
                std::hint::black_box(&out);
            }
            best = best.min(start.elapsed().as_nanos() as f64 / (rounds * depth) as f64);
        }
        println!("{len} bytes, {depth} deep: {best:.1} ns a message");
    }
}
