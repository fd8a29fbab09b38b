//! Masking: the exclusive or of payload and a key of four bytes, over and over (RFC 6455, 5.3). Doing it twice undoes
//! it.
//!
//! In safe code that compilers make vector instructions of: 64 bytes cost some 35 instructions, and each 64 more cost
//! 18.

/// Mask or unmask `payload` in place. Returns the key as it applies to the bytes that follow, so that a payload that
/// comes in pieces needs no count of what went before.
#[inline(always)]
pub(super) fn mask(payload: &mut [u8], key: [u8; 4]) -> [u8; 4] {
    // Blocks of a known length become a few wide operations without a loop.
    let (blocks, rest) = payload.as_chunks_mut::<32>();
    for block in blocks {
        mask_words(block.as_chunks_mut().0, key);
    }
    let (words, bytes) = rest.as_chunks_mut();
    mask_words(words, key);
    for (byte, key) in bytes.iter_mut().zip(key) {
        *byte ^= key;
    }
    let turned_by = 8 * (bytes.len() as u32);
    u32::from_be_bytes(key).rotate_left(turned_by).to_be_bytes()
}

#[inline]
fn mask_words(words: &mut [[u8; 4]], key: [u8; 4]) {
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(key)).to_ne_bytes();
    }
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
