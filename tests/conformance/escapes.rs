//! How a case writes bytes.

/// The bytes that `text` stands for.
pub(super) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let Some(escape) = rest.strip_prefix('\\') else {
            rest = &rest[first.len_utf8()..];
            bytes.extend(first.to_string().bytes());
            continue;
        };
        let (name, behind) = escape.split_at(1);
        rest = behind;
        match name {
            "r" => bytes.push(b'\r'),
            "n" => bytes.push(b'\n'),
            "t" => bytes.push(b'\t'),
            "0" => bytes.push(0),
            "\\" => bytes.push(b'\\'),
            "x" => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                rest = &rest[2..];
            }
            "{" => {
                let (repetition, behind) = rest.split_once('}').unwrap();
                let (unit, times) = repetition.rsplit_once('*').unwrap();
                bytes.extend(unescape(unit).repeat(times.parse().unwrap()));
                rest = behind;
            }
            _ => panic!("{text}: unknown escape {name}"),
        }
    }
    bytes
}
