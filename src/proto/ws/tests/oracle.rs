//! The same numbers, named by tungstenite; the same headers, read and written by its codec; and the same streams, heard
//! by its own message layer.
//!
//! Where the two differ on purpose, the streams avoid it or the comparison says so:
//! - tungstenite takes lengths that are not minimal: the streams have none (the tests above do).
//! - To a code that may not be sent it says "close 1002" where we say that it is a fault; and it does not know 1014.
//! - It judges a control frame's length when all of its payload is there: the streams end with whole frames.
//! - It has no limit on the number of fragments.
//! - Of two faults in one frame it may name the other; faults are compared by their close code, and the streams have no
//!   frame with two of different codes.

use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding;
use tungstenite::protocol::{self, WebSocketConfig, WebSocketContext};

use super::super::frame::{Header, encode};
use super::super::opcode::{Control, Data, OpCode};
use super::*;

/// Names, and for close codes whether they may be sent, too.
#[test]
fn every_opcode_and_every_close_code_is_what_tungstenite_says_it_is() {
    for bits in 0..16 {
        let theirs = coding::OpCode::from(bits);
        let expected = match theirs {
            coding::OpCode::Data(coding::Data::Reserved(_))
            | coding::OpCode::Control(coding::Control::Reserved(_)) => None,
            named => Some((format!("{named:?}"), bits)),
        };
        let ours = OpCode::from_bits(bits).map(|opcode| (format!("{opcode:?}"), opcode.bits()));
        assert_eq!(ours, expected, "{bits}");
    }
    for number in 0..=u16::MAX {
        let ours = CloseCode::from(number);
        let theirs = match number {
            1014 => ("BadGateway".to_owned(), "1014".to_owned(), 1014, true),
            _ => {
                let code = coding::CloseCode::from(number);
                (
                    format!("{code:?}"),
                    code.to_string(),
                    code.into(),
                    code.is_allowed(),
                )
            }
        };
        let ours = (
            format!("{ours:?}"),
            ours.to_string(),
            u16::from(ours),
            ours.is_allowed(),
        );
        assert_eq!(ours, theirs, "{number}");
    }
}

/// What tungstenite reads, judged by hand in our order.
fn parsed_by_tungstenite(
    input: &[u8],
    role: Role,
    may_be_deflated: bool,
) -> Result<Option<Header>, PeerError> {
    let mut cursor = Cursor::new(input);
    let (header, payload_len) = match FrameHeader::parse(&mut cursor) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return Ok(None),
        Err(Error::Protocol(ProtocolError::InvalidOpcode(_))) => {
            return Err(PeerError::ReservedOpcode);
        }
        Err(other) => panic!("{other:?}"),
    };
    let header_len = cursor.position() as usize;
    let opcode = OpCode::from_bits(header.opcode.into()).expect("it reads no others");
    let is_control = matches!(opcode, OpCode::Control(_));
    let begins_message = matches!(opcode, OpCode::Data(Data::Text | Data::Binary));
    let may_be_deflated = may_be_deflated && begins_message;
    let faults = [
        (
            (header.rsv1 && !may_be_deflated) || header.rsv2 || header.rsv3,
            PeerError::ReservedBits,
        ),
        (
            role == Role::Server && header.mask.is_none(),
            PeerError::NotMasked,
        ),
        (
            role == Role::Client && header.mask.is_some(),
            PeerError::Masked,
        ),
        (payload_len > i64::MAX as u64, PeerError::LengthTopBit),
        (
            header_len != header.len(payload_len),
            PeerError::LengthNotMinimal,
        ),
        (is_control && payload_len > 125, PeerError::ControlTooLong),
        (is_control && !header.is_final, PeerError::ControlFragmented),
    ];
    match faults.into_iter().find(|(is_there, _)| *is_there) {
        Some((_, fault)) => Err(fault),
        None => Ok(Some(Header {
            opcode,
            is_final: header.is_final,
            is_deflated: header.rsv1,
            key: header.mask,
            header_len,
            payload_len,
        })),
    }
}

/// Each first byte with each second byte, each of these that has a length behind it with the lengths at which something
/// changes, and each of all these cut at each place.
#[test]
fn every_header_is_read_as_tungstenite_reads_it() {
    let lengths = [
        0,
        1,
        125,
        126,
        127,
        0xffff,
        0x1_0000,
        u64::MAX >> 1,
        1 << 63,
        u64::MAX,
    ];
    for (first, second) in
        (0..=255u8).flat_map(|first| (0..=255u8).map(move |second| (first, second)))
    {
        let lengths: &[u64] = match second & 0x7f {
            126 => &lengths[..6],
            127 => &lengths,
            _ => &lengths[..1],
        };
        for length in lengths {
            let mut input = vec![first, second];
            match second & 0x7f {
                126 => input.extend((*length as u16).to_be_bytes()),
                127 => input.extend(length.to_be_bytes()),
                _ => {}
            }
            input.extend(KEY);
            input.extend(b"payload");
            for (role, may_be_deflated) in [
                (Role::Server, false),
                (Role::Client, false),
                (Role::Server, true),
                (Role::Client, true),
            ] {
                for end in 0..=input.len() {
                    let input = &input[..end];
                    assert_eq!(
                        Header::parse(input, role, may_be_deflated),
                        parsed_by_tungstenite(input, role, may_be_deflated),
                        "{input:02x?} to a {role:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_header_is_written_as_tungstenite_writes_it() {
    let opcodes = [
        OpCode::Data(Data::Text),
        OpCode::Data(Data::Binary),
        OpCode::Control(Control::Close),
        OpCode::Control(Control::Ping),
        OpCode::Control(Control::Pong),
    ];
    for len in [
        0, 1, 124, 125, 126, 127, 128, 0xfffe, 0xffff, 0x1_0000, 0x1_0001,
    ] {
        let payload: Vec<u8> = (0..len as u32).map(|i| (i * 7 + 3) as u8).collect();
        for (opcode, mask) in opcodes
            .into_iter()
            .flat_map(|opcode| [(opcode, None), (opcode, Some(KEY))])
        {
            let mut expected = b"before".to_vec();
            let header = FrameHeader {
                opcode: opcode.bits().into(),
                mask,
                ..FrameHeader::default()
            };
            header.format(len as u64, &mut expected).unwrap();
            let key = mask.unwrap_or_default();
            expected.extend(
                payload
                    .iter()
                    .enumerate()
                    .map(|(i, byte)| byte ^ key[i % 4]),
            );
            let mut out = b"before".to_vec();
            encode(opcode, mask, &payload, &mut out);
            assert!(out == expected, "{opcode:?} of {len}, {mask:02x?}");
        }
    }
}

/// A stream that gives its bytes in pieces, and takes any.
struct Wire<'a> {
    input: &'a [u8],
    piece: usize,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.piece.min(buffer.len()).min(self.input.len());
        let (piece, rest) = self.input.split_at(len);
        buffer[..len].copy_from_slice(piece);
        self.input = rest;
        Ok(len)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite hears; a fault by its close code.
fn oracle(role: Role, message_bytes_max: usize, input: &[u8], piece: usize) -> Vec<String> {
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    let role = match role {
        Role::Server => protocol::Role::Server,
        Role::Client => protocol::Role::Client,
    };
    let mut context = WebSocketContext::new(role, Some(config));
    let mut wire = Wire { input, piece };
    let mut events = Vec::new();
    loop {
        use tungstenite::Message::*;
        match context.read(&mut wire) {
            Ok(Text(text)) => events.push(describe(Step::Text(&text))),
            Ok(Binary(bytes)) => events.push(describe(Step::Binary(&bytes))),
            Ok(Ping(bytes)) => events.push(describe(Step::Ping(&bytes))),
            Ok(Pong(bytes)) => events.push(describe(Step::Pong(&bytes))),
            Ok(Close(Some(close))) if &*close.reason == "Protocol violation" => {
                events.push("fault 1002".to_owned());
                return events;
            }
            Ok(Close(close)) => {
                let close = close
                    .as_ref()
                    .map(|close| (u16::from(close.code).into(), close.reason.as_str()));
                events.push(describe(Step::Close(close)));
                return events;
            }
            Ok(Frame(_)) => unreachable!("not from read"),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return events,
            Err(error) => {
                events.push(match error {
                    Error::Protocol(_) => "fault 1002".to_owned(),
                    Error::Utf8(_) => "fault 1007".to_owned(),
                    Error::Capacity(_) => "fault 1009".to_owned(),
                    other => panic!("{other:?}"),
                });
                return events;
            }
        }
    }
}

/// What we hear, a fault by its close code. It is the same when short messages are looked for first.
fn ours(role: Role, limits: &WsLimits, input: &[u8], piece: usize) -> Vec<String> {
    let events = heard(role, limits, input, piece, false);
    assert_eq!(heard(role, limits, input, piece, true), events);
    events
}

fn heard(
    role: Role,
    limits: &WsLimits,
    input: &[u8],
    piece: usize,
    short_first: bool,
) -> Vec<String> {
    let fault = |error: PeerError| format!("fault {}", error.close_code());
    let mut endpoint = Endpoint::new(role);
    let mut events = Vec::new();
    let mut kept = Vec::new();
    for piece in input.chunks(piece) {
        kept.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let short = match short_first && role == Role::Server && endpoint.is_at_rest() {
                true => short_message(&mut kept[at..], limits),
                false => None,
            };
            if let Some((used, short)) = short {
                at += used;
                match short {
                    Ok(message) => {
                        events.push(describe(match message {
                            Message::Text(text) => Step::Text(text),
                            Message::Binary(bytes) => Step::Binary(bytes),
                        }));
                    }
                    Err(error) => {
                        events.push(fault(error));
                        return events;
                    }
                }
                continue;
            }
            match endpoint.next(&mut kept[at..], limits) {
                Ok((used, step)) => {
                    at += used;
                    if step == Step::NeedMore {
                        break;
                    }
                    events.push(describe(step));
                }
                Err(error) => {
                    events.push(fault(error));
                    return events;
                }
            }
        }
        kept.drain(..at);
    }
    events
}

/// Pieces of text of which most neighbours make text, and some do not.
fn text_piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[a-zé€🦀]{0,12}".prop_map(String::into_bytes),
        1 => Just(b"\xf0\x9f".to_vec()),
        1 => Just(b"\xa6\x80".to_vec()),
        1 => Just(b"\xe2".to_vec()),
        1 => Just(b"\x82\xac".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
        1 => (120usize..140).prop_map(|len| vec![b'y'; len]),
    ]
}

/// A close frame's payload with one fault at most.
fn close_frame_payload() -> impl Strategy<Value = Vec<u8>> {
    let codes = prop_oneof![990u16..1014, 1015u16..1020, 2995u16..3005, 4995u16..5005];
    prop_oneof![
        1 => Just(Vec::new()),
        1 => Just(vec![3]),
        4 => (codes, "[a-zé€🦀]{0,12}").prop_map(|(code, reason)| close_payload(code, reason)),
        4 => text_piece().prop_map(|reason| close_payload(1000, reason)),
    ]
}

/// One frame: mostly as it should be.
fn any_frame(role: Role) -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => Just(0x81u8), 4 => Just(0x82), 6 => Just(0x01), 3 => Just(0x02),
        8 => Just(0x00), 8 => Just(0x80), 3 => Just(0x89), 3 => Just(0x8a), 2 => Just(0x88),
        1 => any::<u8>(),
    ];
    let should_mask = role == Role::Server;
    let masks = prop::bool::weighted(if should_mask { 0.98 } else { 0.02 });
    (
        first,
        masks,
        any::<[u8; 4]>(),
        text_piece(),
        close_frame_payload(),
    )
        .prop_map(|(first, masks, key, text, close)| {
            let payload = if first & 0x0f == 8 { close } else { text };
            frame(first, masks.then_some(key), &payload)
        })
}

/// Messages as they should be, in fragments, with pings between: long enough to hit a limit now and then.
fn good_message() -> impl Strategy<Value = Vec<u8>> {
    (
        "[a-zé€🦀]{0,40}",
        any::<bool>(),
        prop::collection::vec((0usize..160, any::<[u8; 4]>(), any::<bool>()), 0..5),
    )
        .prop_map(|(text, is_text, mut cuts)| {
            let bytes = text.as_bytes();
            cuts.sort();
            let mut input = Vec::new();
            let mut at = 0;
            let mut opcode = if is_text { 1 } else { 2 };
            for (cut, key, ping) in cuts {
                let cut = cut.min(bytes.len());
                input.extend(frame(opcode, Some(key), &bytes[at..cut]));
                if ping {
                    input.extend(frame(0x89, Some(key), b"between"));
                }
                (at, opcode) = (cut, 0);
            }
            input.extend(frame(0x80 | opcode, Some(KEY), &bytes[at..]));
            input
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_server_hears_what_tungstenite_hears(
        frames in prop::collection::vec(any_frame(Role::Server), 0..10),
        (our_piece, their_piece) in (1usize..200, 1usize..200),
    ) {
        let input = frames.concat();
        let expected = oracle(Role::Server, usize::MAX, &input, their_piece);
        let limits = WsLimits { message_bytes_max: usize::MAX, ..WsLimits::default() };
        prop_assert_eq!(&ours(Role::Server, &limits, &input, our_piece), &expected);
        prop_assert_eq!(&ours(Role::Server, &limits, &input, usize::MAX), &expected);
    }

    #[test]
    fn a_client_hears_what_tungstenite_hears(
        frames in prop::collection::vec(any_frame(Role::Client), 0..10),
        (our_piece, their_piece) in (1usize..200, 1usize..200),
    ) {
        let input = frames.concat();
        let expected = oracle(Role::Client, usize::MAX, &input, their_piece);
        let limits = WsLimits { message_bytes_max: usize::MAX, ..WsLimits::default() };
        prop_assert_eq!(&ours(Role::Client, &limits, &input, our_piece), &expected);
    }

    #[test]
    fn limits_fall_where_tungstenite_has_them(
        messages in prop::collection::vec(good_message(), 0..6),
        message_bytes_max in 20usize..200,
        piece in 1usize..100,
    ) {
        let input = messages.concat();
        let expected = oracle(Role::Server, message_bytes_max, &input, 64);
        let limits = WsLimits { message_bytes_max, ..WsLimits::default() };
        prop_assert_eq!(&ours(Role::Server, &limits, &input, piece), &expected);
    }

    #[test]
    fn tungstenite_hears_what_we_say(
        messages in prop::collection::vec(("[a-zé€🦀]{0,200}", 0u8..4, any::<[u8; 4]>()), 0..8),
        to_server in any::<bool>(),
    ) {
        let (we, they) = if to_server { (Role::Client, Role::Server) } else { (Role::Server, Role::Client) };
        let mut endpoint = Endpoint::new(we);
        let mut out = Vec::new();
        let mut expected = Vec::new();
        for (text, kind, key) in &messages {
            let bytes = text.as_bytes();
            let short = &bytes[..bytes.len().min(CONTROL_BYTES_MAX)];
            endpoint.mask_with(*key);
            match kind {
                0 => { endpoint.text(text, &mut out).unwrap(); expected.push(describe(Step::Text(text))); }
                1 => { endpoint.binary(bytes, &mut out).unwrap(); expected.push(describe(Step::Binary(bytes))); }
                2 => { endpoint.ping(short, &mut out).unwrap(); expected.push(describe(Step::Ping(short))); }
                _ => { endpoint.pong(short, &mut out).unwrap(); expected.push(describe(Step::Pong(short))); }
            }
        }
        endpoint.mask_with(KEY).close(CloseCode::Away, "over", &mut out).unwrap();
        expected.push("close 1001 \"over\"".to_owned());
        prop_assert_eq!(oracle(they, usize::MAX, &out, 64), expected);
    }

    #[test]
    fn noise_is_heard_alike_whatever_the_cuts(
        input in prop::collection::vec(any::<u8>(), 0..400),
        role in prop_oneof![Just(Role::Server), Just(Role::Client)],
        piece in 1usize..40,
    ) {
        let limits = WsLimits { message_bytes_max: 200, fragments_max: 4 };
        let whole = hear(role, &limits, [&input[..]].into_iter());
        prop_assert_eq!(hear(role, &limits, input.chunks(piece)), whole);
    }
}
