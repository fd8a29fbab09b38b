//! A strict reader of answers: what a careful client would accept, and nothing else. Shares no code with the server.

/// An answer as it was read, without its `Date`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    /// Behind `HTTP/1.1 `.
    pub(crate) status: String,
    /// In order.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn closes(&self) -> bool {
        self.field("Connection") == Some("close")
    }

    pub(crate) fn is_interim(&self) -> bool {
        self.status.starts_with('1') && self.status != "101 Switching Protocols"
    }
}

/// The first answer in `bytes`, with its length; `None` when it is not all there. `to_head`: it answers HEAD.
/// `ended`: nothing will follow `bytes`.
pub(crate) fn read(
    bytes: &[u8],
    to_head: bool,
    ended: bool,
) -> Result<Option<(Answer, usize)>, String> {
    let Some(head_len) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..head_len]).map_err(|_| "a head that is no text")?;
    let body = &bytes[head_len + 4..];
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .ok_or_else(|| format!("no status line: {head:?}"))?;
    let is_status = status.len() > 3
        && status.as_bytes()[..3].iter().all(u8::is_ascii_digit)
        && status.as_bytes()[3] == b' ';
    if !is_status {
        return Err(format!("a status {status:?}"));
    }
    let mut fields = Vec::new();
    let mut dates = 0;
    for line in lines {
        let (name, value) = line
            .split_once(": ")
            .ok_or_else(|| format!("a field {line:?}"))?;
        if line.contains(['\r', '\n', '\0']) || name.is_empty() || value.trim() != value {
            return Err(format!("a field {line:?}"));
        }
        if name == "Date" {
            dates += 1;
        } else {
            fields.push((name.to_owned(), value.to_owned()));
        }
    }
    let mut answer = Answer {
        status: status.to_owned(),
        fields,
        body: Vec::new(),
    };
    // RFC 9110, 6.6.1: an origin server with a clock sends one in all but interim answers. The answer to a connection
    // too many is written without a clock.
    let wants_date = !status.starts_with('1') && answer.field("Retry-After").is_none();
    if dates != usize::from(wants_date) {
        return Err(format!("{dates} dates: {head:?}"));
    }
    let lengths: Vec<&str> = answer
        .fields
        .iter()
        .filter(|(name, _)| name == "Content-Length" || name == "Transfer-Encoding")
        .map(|(_, value)| value.as_str())
        .collect();
    if lengths.len() > 1 {
        return Err(format!("framed twice: {head:?}"));
    }
    let has_none = to_head || status.starts_with('1') || status.starts_with("204");
    let used = match lengths.first() {
        _ if has_none => Some(0),
        Some(&"chunked") => match read_chunks(body)? {
            Some((content, used)) => {
                answer.body = content;
                Some(used)
            }
            None => None,
        },
        Some(length) => {
            let length: usize = length.parse().map_err(|_| format!("length {length:?}"))?;
            body.get(..length).map(|content| {
                answer.body = content.to_vec();
                length
            })
        }
        None if !answer.closes() => return Err(format!("an answer without an end: {head:?}")),
        None => ended.then(|| {
            answer.body = body.to_vec();
            body.len()
        }),
    };
    Ok(used.map(|used| (answer, head_len + 4 + used)))
}

fn read_chunks(mut bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let whole = bytes.len();
    let mut content = Vec::new();
    loop {
        let Some(line_len) = bytes.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let digits = std::str::from_utf8(&bytes[..line_len]).map_err(|_| "a chunk size")?;
        let size = usize::from_str_radix(digits, 16)
            .ok()
            .filter(|size| digits == format!("{size:x}"))
            .ok_or_else(|| format!("a chunk size {digits:?}"))?;
        let Some(rest) = bytes.get(line_len + 2..) else {
            return Ok(None);
        };
        let (Some(data), Some(end)) = (rest.get(..size), rest.get(size..size + 2)) else {
            return Ok(None);
        };
        if end != b"\r\n" {
            return Err("a chunk without an end".to_owned());
        }
        content.extend_from_slice(data);
        bytes = &rest[size + 2..];
        if size == 0 {
            return Ok(Some((content, whole - bytes.len())));
        }
    }
}

#[test]
fn the_reader_takes_what_is_right_and_nothing_else() {
    const DATE: &str = "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n";
    let one = |rest: &str| {
        read(
            format!("HTTP/1.1 200 OK\r\n{DATE}{rest}").as_bytes(),
            false,
            false,
        )
    };
    let body = |rest: &str| one(rest).unwrap().map(|(answer, _)| answer.body);
    assert_eq!(body("Content-Length: 2\r\n\r\nab").unwrap(), b"ab");
    assert_eq!(body("Content-Length: 2\r\n\r\na"), None);
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        body(&format!("{chunked}a\r\n0123456789\r\n0\r\n\r\n")).unwrap(),
        b"0123456789"
    );
    assert_eq!(body(&format!("{chunked}1\r\na\r\n0\r\n\r")), None);
    assert!(one(&format!("{chunked}01\r\na\r\n0\r\n\r\n")).is_err());
    assert!(one(&format!("{chunked}1\r\nab\r\n0\r\n\r\n")).is_err());
    assert!(one("Content-Length: 2\r\nContent-Length: 2\r\n\r\nab").is_err());
    assert!(one("X:y\r\nContent-Length: 0\r\n\r\n").is_err());
    assert!(one("\r\n").is_err(), "no end to the body");
    assert!(
        read(b"HTTP/1.1 204 No Content\r\n\r\n", false, false).is_err(),
        "no date"
    );
    assert!(read(b"HTTP/1.0 200 OK\r\n\r\n", false, true).is_err());
}
