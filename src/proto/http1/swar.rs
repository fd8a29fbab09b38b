//! Looking at eight bytes at once (SIMD within a register), in plain arithmetic.
//!
//! Most bytes of a head are looked at twice: once for the end of their line, once for what a field may not hold. Both
//! are questions about each byte by itself, and a machine word answers eight of them in about as many instructions as
//! one byte takes.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// The highest bit of each byte that is zero. A byte above the first such one may be marked by mistake.
#[inline]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// As [`zeros`], for bytes that are `byte`.
#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    zeros(word ^ (ONES * u64::from(byte)))
}

/// As [`zeros`], for bytes below `bound`, which is at most 128.
#[inline]
fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(bound)) & !word & HIGHS
}

/// Where the first `byte` lies.
#[inline]
pub(super) fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        // The first of a word stands lowest: what is marked by mistake stands above it.
        let found = equal(u64::from_le_bytes(*word), byte);
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let found = rest.iter().position(|known| *known == byte)?;
    Some(bytes.len() - rest.len() + found)
}

/// How many bytes at the front are no control characters but the tab (RFC 9110, 5.5): what a field's value may hold.
#[inline(always)]
pub(super) fn field_text_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    while let Some((word, _)) = bytes[len..].split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let marked = below(word, b' ') | equal(word, 0x7f);
        if marked == 0 {
            len += 8;
            if len >= 16 {
                len += plain_sixteens_len(&bytes[len..]);
            }
            continue;
        }
        // The first of a word stands lowest: what is marked by mistake stands above it.
        len += marked.trailing_zeros() as usize / 8;
        if bytes[len] != b'\t' {
            return len;
        }
        len += 1;
    }
    let is_text = |byte: &&u8| !byte.is_ascii_control() || **byte == b'\t';
    len + bytes[len..].iter().take_while(is_text).count()
}

/// How far the front of `bytes` has no control character, in whole sixteens: where the compiler has registers that
/// wide, one question for all of them.
#[inline(always)]
fn plain_sixteens_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    while let Some((sixteen, _)) = bytes[len..].split_first_chunk::<16>()
        && sixteen
            .iter()
            .fold(true, |all, byte| all & (*byte >= b' ') & (*byte != 0x7f))
    {
        len += 16;
    }
    len
}

/// Whether there is no control character but the tab.
#[inline]
pub(super) fn is_field_text(bytes: &[u8]) -> bool {
    let is_plain = |word: &[u8; 8]| {
        let word = u64::from_ne_bytes(*word);
        below(word, b' ') | equal(word, 0x7f) == 0
    };
    match bytes.last_chunk() {
        // The last word overlaps the one before it: so there is no rest.
        Some(last) if is_plain(last) && bytes.as_chunks().0.iter().all(is_plain) => true,
        _ => field_text_len(bytes) == bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_eight_at_once_find_is_what_one_by_one_find() {
        // Every byte at every place of a word and of the rest behind it, among bytes that differ from it by one bit or
        // by one.
        for byte in 0..=255_u8 {
            for other in [byte ^ 1, byte ^ 0x80, byte.wrapping_sub(1), b'a'] {
                for place in 0..19 {
                    let mut bytes = [other; 19];
                    bytes[place] = byte;
                    for from in 0..=place {
                        let part = &bytes[from..];
                        let position = part.iter().position(|known| *known == byte);
                        assert_eq!(find(part, byte), position, "{byte:#x} in {part:x?}");
                    }
                    let is_text = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
                    let len = bytes.iter().take_while(|byte| is_text(byte)).count();
                    assert_eq!(field_text_len(&bytes), len, "{bytes:x?}");
                    assert_eq!(is_field_text(&bytes), len == bytes.len(), "{bytes:x?}");
                }
            }
        }
    }
}
