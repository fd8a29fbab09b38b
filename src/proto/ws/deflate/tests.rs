//! Compression against the RFC's examples, against Python's zlib, and against itself.

use proptest::prelude::*;

use super::{Deflate, DeflatePool};
use crate::proto::ws::{
    Agreement, DeflateContext, DeflateOptions, PeerError, Role, deflated_bytes_max,
};

const PLENTY: usize = 1 << 20;

/// All that is not short is compressed.
fn options(context: DeflateContext, window_bits: u8) -> DeflateOptions {
    DeflateOptions {
        context,
        level: 9,
        threshold_bytes: 0,
        window_bits,
        peer_window_bits: 15,
    }
}

/// Both sides of a connection on which the client offered everything and the server chose by `options`.
fn pair(options: &DeflateOptions) -> (Deflate, Deflate) {
    let field = "permessage-deflate; client_max_window_bits";
    let agreement = options.choose(field).unwrap().unwrap();
    (
        Deflate::new(&agreement, Role::Server, options),
        Deflate::new(&agreement, Role::Client, options),
    )
}

/// Whoever gets messages, with a pool of its own.
struct Receiver {
    deflate: Deflate,
    pool: DeflatePool,
}

impl Receiver {
    fn new(context: DeflateContext) -> Self {
        Self {
            deflate: pair(&options(context, 15)).1,
            pool: DeflatePool::default(),
        }
    }

    fn get(&mut self, payload: &[u8], bytes_max: usize) -> Result<Vec<u8>, PeerError> {
        let mut out = Vec::new();
        self.deflate
            .inflate(payload, bytes_max, &mut self.pool, &mut out)?;
        Ok(out)
    }
}

/// One message alone, by a receiver that remembers and by one that does not.
fn inflated(payload: &[u8], bytes_max: usize) -> [Result<Vec<u8>, PeerError>; 2] {
    [DeflateContext::Shared, DeflateContext::Own]
        .map(|context| Receiver::new(context).get(payload, bytes_max))
}

fn check(payload: &[u8], means: &[u8]) {
    for got in inflated(payload, PLENTY) {
        assert_eq!(got.as_deref(), Ok(means));
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .bytes()
        .filter(|byte| *byte != b' ')
        .map(|byte| (byte as char).to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// Bytes that do not shrink; Python's vectors were made with the same.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

/// A block that comes again at the far end of a window of `bits`.
fn far_apart(bits: u8) -> Vec<u8> {
    let block = noise(24);
    let between = vec![0; (1 << bits) - 324];
    [&block[..], &between, &block].concat()
}

#[test]
fn the_examples_of_the_rfc_are_understood() {
    check(&bytes("f2 48 cd c9 c9 07 00"), b"Hello"); // 7.2.3.1, one block
    check(&bytes("00 05 00 fa ff 48 65 6c 6c 6f 00"), b"Hello"); // .3, without compression
    check(&bytes("f3 48 cd c9 c9 07 00 00"), b"Hello"); // .4, BFINAL
    check(&bytes("f2 48 05 00 00 00 ff ff ca c9 c9 07 00"), b"Hello"); // .5, two blocks
    check(&bytes("00"), b""); // .6, empty
}

#[test]
fn a_second_message_may_refer_to_the_first_where_that_was_agreed_on() {
    // RFC 7692, 7.2.3.2.
    let (first, second) = (bytes("f2 48 cd c9 c9 07 00"), bytes("f2 00 11 00 00"));
    let mut remembers = Receiver::new(DeflateContext::Own);
    assert_eq!(remembers.get(&first, PLENTY).unwrap(), b"Hello");
    assert_eq!(remembers.get(&second, PLENTY).unwrap(), b"Hello");

    let mut forgets = Receiver::new(DeflateContext::Shared);
    assert_eq!(forgets.get(&first, PLENTY).unwrap(), b"Hello");
    assert_eq!(forgets.get(&second, PLENTY), Err(PeerError::BadDeflate));
    // And what was wrong with one message says nothing of the next.
    assert_eq!(forgets.get(&first, PLENTY).unwrap(), b"Hello");
}

#[test]
fn messages_are_compressed_as_in_the_rfc() {
    let mut pool = DeflatePool::default();
    let mut own = pair(&options(DeflateContext::Own, 15)).0;
    for expected in ["f2 48 cd c9 c9 07 00", "f2 00 11 00 00"] {
        let mut out = b"before".to_vec();
        assert!(own.deflate(b"Hello", &mut pool, &mut out));
        assert_eq!(out, [b"before", &bytes(expected)[..]].concat());
    }
    let mut out = Vec::new();
    assert!(own.deflate(b"", &mut pool, &mut out));
    assert_eq!(out, [0]);
}

#[test]
fn streams_that_end_are_followed_by_others() {
    // By Python's zlib: "one two " finished, and "one two three" flushed.
    let both = bytes("cbcf4b552829cf570000cacf4b552829cf5728c9284a4d0500");
    check(&both, b"one two one two three");
    // By the RFC a byte follows on the last block. Those who leave it out mean the same.
    check(&bytes("f3 48 cd c9 c9 07 00"), b"Hello");
}

#[test]
fn what_python_compresses_in_any_window_is_understood() {
    for (bits, payload) in [
        (
            9,
            "ca695a9a74baa157e09ad1bece138176fb7326cd37b9fbab673ec310063938fc0400",
        ),
        (
            10,
            "ca695a9a74baa157e09ad1bece138176fb7326cd37b9fbab673ec32818054314e4e048d30000",
        ),
        (
            11,
            "ca695a9a74baa157e09ad1bece138176fb7326cd37b9fbab673ec3281805a360148c825130c4400e\
             8e3a0d00",
        ),
        (
            12,
            "ca695a9a74baa157e09ad1bece138176fb7326cd37b9fbab673ec3281805a360148c8251300a46c1\
             281805a360148c825130c8410e8e3e2d00",
        ),
        (
            13,
            "ecd9b10d4040140050239845aeb68315d47f08d149682c7095356825d7eb2ca232815af3de1a2fc6\
             ad2fc3525fcd3e9d5d7bc49ad3fdccb902000000000000809fc5c769bf00",
        ),
        (
            14,
            "ecdbb10d4040140050239845aeb68315d47f08d149682c7095356825d7eb2ca232814afbde1e2fc6\
             ad2fc3525fcd3e9d5d7bc49ad3fdccb9020000000000000000000000000000809fe2e3b4bf00",
        ),
        (
            15,
            "ecddb10d4040140050239845aeb68315d47f08d149682c7095356825d7eb2ca232810124ef2df262\
             dcfa322cf5d5ecd3d9b547ac39ddcf9c2b00000000000000000000000000000000000000000000000\
             0000000000000007e2f3e4efb17",
        ),
    ] {
        check(&bytes(payload), &far_apart(bits));
    }
}

#[test]
fn what_python_compresses_in_one_context_is_understood() {
    let mut receiver = Receiver::new(DeflateContext::Own);
    for (payload, means) in [
        (
            "aa562a28ca4c4e55b252303430d43332d551502aceac02f1cd6b0100",
            r#"{"price": 101.25, "size": 7}"#,
        ),
        ("aa4691333540c819d70200", r#"{"price": 101.50, "size": 3}"#),
        ("aac6a9cfb21600", r#"{"price": 101.25, "size": 9}"#),
    ] {
        assert_eq!(
            receiver.get(&bytes(payload), PLENTY).unwrap(),
            means.as_bytes()
        );
    }
}

#[test]
fn no_message_refers_further_back_than_the_window_that_was_agreed_on() {
    for context in [DeflateContext::Shared, DeflateContext::Own] {
        for (bits, apart) in (9..=15).flat_map(|bits| (9..=15).map(move |apart| (bits, apart))) {
            let len = |bits| {
                let (mut pool, mut out) = (DeflatePool::default(), Vec::new());
                let mut server = pair(&options(context, bits)).0;
                assert!(server.deflate(&far_apart(apart), &mut pool, &mut out));
                check(&out, &far_apart(apart));
                out.len()
            };
            // The block's 24 bytes are found again where the window reaches so far, and nowhere else.
            let is_found = len(bits) < len(15) + 12;
            assert_eq!(is_found, bits >= apart, "{bits} bits, {apart} apart");
        }
    }
}

#[test]
fn short_messages_and_those_that_do_not_shrink_are_sent_as_they_are() {
    let mut pool = DeflatePool::default();
    let mut out = b"before".to_vec();
    let mut sent = |server: &mut Deflate, message: &[u8]| {
        let is_compressed = server.deflate(message, &mut pool, &mut out);
        assert_eq!(is_compressed, out.len() > 6);
        out.truncate(6);
        assert_eq!(out, b"before");
        is_compressed
    };
    for context in [DeflateContext::Shared, DeflateContext::Own] {
        let with_threshold = DeflateOptions {
            threshold_bytes: 100,
            ..options(context, 15)
        };
        let (mut server, _) = pair(&with_threshold);
        assert!(!sent(&mut server, &[7; 99]));
        assert!(sent(&mut server, &[7; 100]));
        // Where later messages may refer to it, the peer must see what we saw.
        let may_refer = context == DeflateContext::Own;
        assert_eq!(sent(&mut server, &noise(2000)), may_refer);
    }
}

#[test]
fn a_window_of_eight_bits_is_one_in_which_we_do_not_compress() {
    for context in [DeflateContext::Shared, DeflateContext::Own] {
        let options = options(context, 15);
        let field = "permessage-deflate; client_max_window_bits=8; server_no_context_takeover";
        let agreement: Agreement = options.check_response(field).unwrap().unwrap();
        let mut client = Deflate::new(&agreement, Role::Client, &options);
        let mut out = Vec::new();
        assert!(!client.deflate(&[7; 1000], &mut DeflatePool::default(), &mut out));
        assert_eq!((out, client.variant()), (Vec::new(), None));
    }
}

#[test]
fn a_bomb_costs_no_more_than_the_limit() {
    let bomb = {
        let (mut pool, mut out) = (DeflatePool::default(), Vec::new());
        let mut server = pair(&options(DeflateContext::Shared, 15)).0;
        server.deflate(&vec![0; 64 << 20], &mut pool, &mut out);
        out
    };
    assert!(bomb.len() < 70_000);
    for context in [DeflateContext::Shared, DeflateContext::Own] {
        for bytes_max in [0, 1, 1000, 65_536, 1 << 20] {
            let mut receiver = Receiver::new(context);
            let mut out = Vec::new();
            let error = receiver
                .deflate
                .inflate(&bomb, bytes_max, &mut receiver.pool, &mut out)
                .unwrap_err();
            assert_eq!(error, PeerError::MessageTooBig);
            assert_eq!(u16::from(error.close_code()), 1009);
            assert!(out.capacity() <= bytes_max + 1, "{} bytes", out.capacity());
        }
    }
}

#[test]
fn the_limit_is_exact() {
    let (mut pool, mut payload) = (DeflatePool::default(), Vec::new());
    let mut server = pair(&options(DeflateContext::Shared, 15)).0;
    let message = [noise(500), vec![1; 500]].concat();
    server.deflate(&message, &mut pool, &mut payload);
    for got in inflated(&payload, 1000) {
        assert_eq!(got.as_ref(), Ok(&message));
    }
    for got in inflated(&payload, 999) {
        assert_eq!(got, Err(PeerError::MessageTooBig));
    }
    check(&[0], b"");
    for got in inflated(&[0], 0) {
        assert_eq!(got.as_deref(), Ok(&[][..]));
    }
}

#[test]
fn what_does_not_shrink_stays_within_the_bound_for_compressed_messages() {
    for len in [1, 5, 100, 16_383, 16_384, 100_000, 1 << 20] {
        let (mut pool, mut out) = (DeflatePool::default(), Vec::new());
        pair(&options(DeflateContext::Own, 15))
            .0
            .deflate(&noise(len), &mut pool, &mut out);
        assert!(out.len() <= deflated_bytes_max(len), "{len}: {}", out.len());
        check(&out, &noise(len));
    }
}

#[test]
fn bad_data_is_the_peers_fault() {
    for payload in [
        "07",                                  // a block of a kind that there is not
        "ff ff ff ff",                         //
        "00 05 00 fa fe 48 65 6c 6c 6f",       // a length that contradicts itself
        "f2 48 cd c9 c9 07 00 f2 00 91 05 00", // a distance beyond the beginning
    ] {
        for got in inflated(&bytes(payload), PLENTY) {
            assert_eq!(got, Err(PeerError::BadDeflate), "{payload}");
        }
    }
    assert_eq!(u16::from(PeerError::BadDeflate.close_code()), 1007);
}

#[test]
fn a_message_that_breaks_off_anywhere_is_refused_where_none_can_follow() {
    let (mut pool, mut payload) = (DeflatePool::default(), Vec::new());
    let message: Vec<u8> = (0..40)
        .flat_map(|i| format!("line {i} ").into_bytes())
        .collect();
    pair(&options(DeflateContext::Shared, 15))
        .0
        .deflate(&message, &mut pool, &mut payload);
    let mut receiver = Receiver::new(DeflateContext::Shared);
    for cut in 0..payload.len() {
        let got = receiver.get(&payload[..cut], PLENTY);
        assert_eq!(got, Err(PeerError::BadDeflate), "cut at {cut}");
        assert_eq!(receiver.get(&payload, PLENTY).as_ref(), Ok(&message));
    }
}

#[test]
fn connections_that_share_do_not_mix() {
    let mut pool = DeflatePool::default();
    let shared = options(DeflateContext::Shared, 15);
    let ((mut one, _), (mut other, mut peer)) = (pair(&shared), pair(&shared));
    assert_eq!(one.variant(), other.variant());
    let (message, mut first) = ("the same ".repeat(20), Vec::new());
    assert!(one.deflate(message.as_bytes(), &mut pool, &mut first));
    let mut second = Vec::new();
    assert!(other.deflate(message.as_bytes(), &mut pool, &mut second));
    assert_eq!(first, second);
    let mut got = Vec::new();
    peer.inflate(&second, PLENTY, &mut pool, &mut got).unwrap();
    assert_eq!(got, message.as_bytes());
    assert_eq!((one.bytes_held(), peer.bytes_held()), (0, 0));
    assert!(one.can_stand_for(&other));
    let own = options(DeflateContext::Own, 15);
    let (narrow, own) = (pair(&options(DeflateContext::Shared, 9)).0, pair(&own).0);
    assert!(!one.can_stand_for(&narrow) && !one.can_stand_for(&own) && !own.can_stand_for(&own));
    assert_ne!(
        one.variant(),
        pair(&options(DeflateContext::Shared, 9)).0.variant()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_come_out_as_they_went_in(
        bits in 9_u8..=15,
        level in 1_u8..=9,
        own in any::<bool>(),
        // Few different bytes, so that some shrink and some do not.
        messages in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..3000), 1_u8..=255), 1..8),
    ) {
        let context = if own { DeflateContext::Own } else { DeflateContext::Shared };
        let options = DeflateOptions { level, ..options(context, bits) };
        let (mut server, mut client) = pair(&options);
        let mut pool = DeflatePool::default();
        for (message, modulus) in messages {
            let message: Vec<u8> = message.into_iter().map(|byte| byte % modulus).collect();
            // There and back: both directions share the pool, and the connection's contexts are apart.
            for _ in 0..2 {
                let (mut sent, mut got) = (Vec::new(), Vec::new());
                if server.deflate(&message, &mut pool, &mut sent) {
                    client.inflate(&sent, message.len(), &mut pool, &mut got).unwrap();
                    prop_assert_eq!(&got, &message);
                }
                std::mem::swap(&mut server, &mut client);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_refused_within_the_limit(
        payload in proptest::collection::vec(any::<u8>(), 0..500),
        bytes_max in 0_usize..5000,
    ) {
        for context in [DeflateContext::Shared, DeflateContext::Own] {
            let mut receiver = Receiver::new(context);
            let mut out = Vec::new();
            let got = receiver.deflate.inflate(&payload, bytes_max, &mut receiver.pool, &mut out);
            prop_assert!(got.is_err() || out.len() <= bytes_max);
            prop_assert!(out.capacity() <= bytes_max + 1);
        }
    }
}
