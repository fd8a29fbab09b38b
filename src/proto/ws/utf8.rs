//! Text that arrives in pieces, cut anywhere, also inside a character. What is wrong is found at the first wrong
//! byte, not at the end of the message (RFC 6455, 8.1 lets us wait; nobody is served by it).

use super::PeerError;

/// A text, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    text: String,
    /// The beginning of a character whose other bytes are still to come: at most three, the first `tail_len` of
    /// these. The fourth is where the last one to come is tried.
    tail: [u8; 4],
    tail_len: usize,
}

impl Utf8 {
    /// Append `bytes`.
    ///
    /// # Errors
    /// `InvalidUtf8` as soon as no continuation could make this a text.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), PeerError> {
        let bytes = self.finish_character(bytes)?;
        match str::from_utf8(bytes) {
            Ok(text) => self.text.push_str(text),
            Err(error) if error.error_len().is_some() => return Err(PeerError::InvalidUtf8),
            Err(error) => {
                let (valid, tail) = bytes.split_at(error.valid_up_to());
                // Looked at twice, for want of a safe way to say that it was; only where a cut falls inside a
                // character.
                self.text
                    .push_str(str::from_utf8(valid).map_err(|_| PeerError::InvalidUtf8)?);
                self.tail[..tail.len()].copy_from_slice(tail);
                self.tail_len = tail.len();
            }
        }
        Ok(())
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// `InvalidUtf8` when the text ends inside a character.
    pub(super) fn end(&self) -> Result<(), PeerError> {
        if self.tail_len == 0 {
            Ok(())
        } else {
            Err(PeerError::InvalidUtf8)
        }
    }

    /// The whole characters so far.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Bytes received.
    pub(super) fn len(&self) -> usize {
        self.text.len() + self.tail_len
    }

    /// Bytes of memory held.
    pub(super) fn capacity(&self) -> usize {
        self.text.capacity()
    }

    /// Take from the front of `bytes` what the unfinished character lacks; returns what is left.
    fn finish_character<'b>(&mut self, mut bytes: &'b [u8]) -> Result<&'b [u8], PeerError> {
        while self.tail_len > 0
            && let Some((byte, rest)) = bytes.split_first()
        {
            bytes = rest;
            self.tail[self.tail_len] = *byte;
            self.tail_len += 1;
            match str::from_utf8(&self.tail[..self.tail_len]) {
                Ok(character) => {
                    self.text.push_str(character);
                    self.tail_len = 0;
                }
                Err(error) if error.error_len().is_some() => return Err(PeerError::InvalidUtf8),
                Err(_) => {}
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{PeerError, Utf8};

    fn all_in(pieces: &[&[u8]]) -> Result<String, PeerError> {
        let mut utf8 = Utf8::default();
        for piece in pieces {
            utf8.push(piece)?;
        }
        utf8.end()?;
        Ok(utf8.as_str().to_owned())
    }

    /// `bytes` whole, byte by byte, and cut at every two places, give what std says of the whole.
    fn check(bytes: &[u8]) {
        let expected = str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| PeerError::InvalidUtf8);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(all_in(&single), expected, "{bytes:02x?} byte by byte");
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(
                    all_in(&pieces),
                    expected,
                    "{bytes:02x?} cut at {first} and {second}"
                );
            }
        }
    }

    #[test]
    fn characters_of_every_width_and_their_borders() {
        for character in [
            '\0',
            '\x7f',
            '\u{80}',
            '\u{7ff}',
            '\u{800}',
            '\u{d7ff}',
            '\u{e000}',
            '\u{fffd}',
            '\u{ffff}',
            '\u{10000}',
            '\u{10ffff}',
        ] {
            check(format!("a{character}b{character}{character}").as_bytes());
        }
        check("κόσμε \u{feff} 日本語 🦀🦀".as_bytes());
    }

    #[test]
    fn what_is_not_utf8() {
        let cases: [&[u8]; 26] = [
            b"\x80",                          // a continuation on its own
            b"\xbf\x80",                      // two of them
            b"a\xc3",                         // ends inside two
            b"a\xe2\x82",                     // inside three
            b"a\xf0\x9f\xa6",                 // inside four
            b"\xc3(",                         // the continuation is missing
            b"\xe2\x82(",                     //
            b"\xe2(\xa1",                     //
            b"\xf0\x9f\xa6(",                 //
            b"\xc0\xaf",                      // a slash in two bytes, three, four
            b"\xe0\x80\xaf",                  //
            b"\xf0\x80\x80\xaf",              //
            b"\xc1\xbf",                      // the longest of the overlong
            b"\xe0\x9f\xbf",                  //
            b"\xf0\x8f\xbf\xbf",              //
            b"\xc0\x80",                      // a nul in two
            b"\xed\xa0\x80",                  // a high surrogate
            b"\xed\xbf\xbf",                  // a low one
            b"\xed\xa0\x80\xed\xb0\x80",      // a pair
            b"\xf4\x90\x80\x80",              // U+110000
            b"\xf5\x80\x80\x80",              // leads nobody uses
            b"\xf8\x88\x80\x80\x80",          // five bytes
            b"\xfc\x84\x80\x80\x80\x80",      // six
            b"\xfe",                          //
            b"\xff",                          //
            b"\xce\xba\xcf\x8c\xed\xa0\x80e", // good, bad, good
        ];
        for bytes in cases {
            assert!(str::from_utf8(bytes).is_err());
            check(bytes);
        }
    }

    #[test]
    fn every_pair_of_bytes_after_every_lead() {
        for lead in 0xc0..=0xff {
            for second in 0..=0xff {
                for third in [0x00, 0x7f, 0x80, 0xbf, 0xc0] {
                    let bytes = [lead, second, third];
                    let whole = str::from_utf8(&bytes).is_ok();
                    assert_eq!(
                        all_in(&[&bytes[..1], &bytes[1..2], &bytes[2..]]).is_ok(),
                        whole
                    );
                }
            }
        }
    }

    #[test]
    fn the_first_impossible_byte_is_refused_at_once() {
        for (good, bad) in [
            (&b""[..], 0x80),
            (b"", 0xc0),
            (b"", 0xf5),
            (b"\xe0", 0x9f),
            (b"\xed", 0xa0),
            (b"\xf0", 0x8f),
            (b"\xf4", 0x90),
            (b"\xe2\x82", 0xc0),
            (b"\xf0\x9f\xa6", 0x00),
        ] {
            let mut utf8 = Utf8::default();
            assert_eq!(utf8.push(good), Ok(()), "{good:02x?} may become something");
            assert_eq!(
                utf8.push(&[bad]),
                Err(PeerError::InvalidUtf8),
                "{good:02x?} {bad:02x}"
            );
        }
    }
}
