//! Masking: the exclusive or of payload and a key of four bytes, over and over (RFC 6455, 5.3). Doing it twice undoes
//! it.
//!
//! Eight bytes at a time, in safe code: compilers make vector instructions of it, and for the small frames that are
//! most of the traffic it costs a few nanoseconds.

/// Mask or unmask `payload` in place. Returns the key as it applies to the bytes that follow, so that a payload that
/// comes in pieces needs no count of what went before.
pub(super) fn mask(payload: &mut [u8], key: [u8; 4]) -> [u8; 4] {
    let next_key = {
        let mut key = key;
        key.rotate_left(payload.len() % 4);
        key
    };
    let [a, b, c, d] = key;
    let key_twice = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ key_twice).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key_twice.to_ne_bytes()) {
        *byte ^= key;
    }
    next_key
}

#[cfg(test)]
mod tests {
    use super::mask;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn bytewise(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
        (0..payload.len())
            .map(|i| payload[i] ^ key[i % 4])
            .collect()
    }

    #[test]
    fn words_and_bytes_agree_at_every_length() {
        let plain: Vec<u8> = (0..300u32).map(|i| (i * 7 + 3) as u8).collect();
        for len in 0..plain.len() {
            let mut masked = plain[..len].to_vec();
            mask(&mut masked, KEY);
            assert_eq!(masked, bytewise(&plain[..len], KEY), "length {len}");
            mask(&mut masked, KEY);
            assert_eq!(masked, plain[..len], "length {len}, undone");
        }
    }

    #[test]
    fn a_payload_in_three_pieces_is_masked_as_one() {
        let plain: Vec<u8> = (0..40u8).collect();
        let whole = bytewise(&plain, KEY);
        for first in 0..plain.len() {
            for second in first..plain.len() {
                let mut pieces = plain.clone();
                let key = mask(&mut pieces[..first], KEY);
                let key = mask(&mut pieces[first..second], key);
                mask(&mut pieces[second..], key);
                assert_eq!(pieces, whole, "cut at {first} and {second}");
            }
        }
    }
}
