//! Percent encoding (RFC 3986, 2.1) and the pairs of a query.

use std::borrow::Cow;

/// `text` with each `%` and its two hexadecimal digits turned into the byte they stand for. `None` if a `%` lacks its
/// digits, or if the bytes are not UTF-8. Borrows when there is nothing to decode.
///
/// Decode a path only after it has been split at its slashes: `%2F` is a slash in a name, not a separator. The result
/// may hold any character, NUL included.
///
/// ```
/// use tourbillon::proto::http1::percent_decode;
/// assert_eq!(percent_decode("caf%C3%A9").as_deref(), Some("café"));
/// assert_eq!(percent_decode("100%"), None);
/// ```
pub fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'%' {
            decoded.push(hex_pair(rest)?);
            rest = &rest[2..];
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// The names and values of a query or a form body (`application/x-www-form-urlencoded`), as the WHATWG URL standard
/// reads them: pairs stand between `&`, an empty one is skipped, a missing `=` means an empty value, `+` is a space, a
/// `%` without two hexadecimal digits stands for itself, and bytes that are not UTF-8 become U+FFFD.
///
/// ```
/// let pairs: Vec<_> = tourbillon::proto::http1::query_pairs("q=a+b&lang=de&flag").collect();
/// assert_eq!(pairs, [("q".into(), "a b".into()), ("lang".into(), "de".into()), ("flag".into(), "".into())]);
/// ```
pub fn query_pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decode(name), form_decode(value))
        })
}

fn form_decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, hex_pair(rest)) {
            (b'%', Some(value)) => {
                decoded.push(value);
                rest = &rest[2..];
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// The value of the two hexadecimal digits at the front.
fn hex_pair(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [high, low, ..] => Some(hex_digit(*high)? << 4 | hex_digit(*low)?),
        _ => None,
    }
}

/// The value of one hexadecimal digit of either case.
pub(super) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_a_percent_sign_is_borrowed() {
        assert!(matches!(
            percent_decode("/a+b/c"),
            Some(Cow::Borrowed("/a+b/c"))
        ));
    }

    #[test]
    fn digits_of_either_case_are_decoded() {
        assert_eq!(percent_decode("%2f%2F%41z").as_deref(), Some("//Az"));
    }

    #[test]
    fn a_percent_sign_without_two_digits_is_refused() {
        for text in ["%", "%4", "a%", "a%g1", "%1g", "%+1", "%%41"] {
            assert_eq!(percent_decode(text), None, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused() {
        for text in ["%ff", "%C3", "%C3%28", "%ED%A0%80"] {
            assert_eq!(percent_decode(text), None, "{text}");
        }
    }

    #[test]
    fn a_query_is_read_leniently() {
        let pairs = |query| {
            query_pairs(query)
                .map(|(name, value)| format!("{name}:{value}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(pairs(""), [""; 0]);
        assert_eq!(pairs("&&a=1&"), ["a:1"]);
        assert_eq!(pairs("a=b=c"), ["a:b=c"]);
        assert_eq!(pairs("=x"), [":x"]);
        assert_eq!(pairs("a%20b=c%2Bd+e"), ["a b:c+d e"]);
        assert_eq!(pairs("x=100%&y=%zz"), ["x:100%", "y:%zz"]);
        assert_eq!(pairs("x=%ff"), ["x:\u{fffd}"]);
    }
}
