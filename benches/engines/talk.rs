//! One client's side: the same question again and again, and the end of each answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Whoever is silent for so long is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a WebSocket client says: short enough for a frame's shortest form.
const MESSAGE: [u8; 64] = [b'm'; 64];

/// What a client asks.
#[derive(Clone, Copy)]
pub(crate) enum Script {
    /// A request for this path.
    Get(&'static str),
    /// A WebSocket at this path, on which each message comes back.
    Chat(&'static str),
}

/// A connection that follows a script.
pub(crate) struct Talk {
    pub(crate) stream: TcpStream,
    pub(crate) listener: Listener,
    pub(crate) question: Arc<[u8]>,
}

impl Talk {
    /// Connect, and open the WebSocket if it is one.
    pub(crate) fn open(address: SocketAddr, script: Script) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut listener = Listener::Head(Vec::new());
        let question = match script {
            Script::Get(path) => request(path, "").into(),
            Script::Chat(path) => {
                let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
                exchange(&mut stream, &mut listener, &request(path, upgrade))?;
                listener = Listener::Frames { heard: 0 };
                question_frame().into()
            }
        };
        Ok(Self {
            stream,
            listener,
            question,
        })
    }

    /// Ask, and wait for the whole answer.
    pub(crate) fn ask(&mut self) -> io::Result<()> {
        exchange(&mut self.stream, &mut self.listener, &self.question)
    }
}

fn request(path: &str, fields: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n").into_bytes()
}

/// RFC 6455, 5.2: final, text, masked, with a length of one byte.
fn question_frame() -> Vec<u8> {
    let mask = [0x1f, 0x2e, 0x3d, 0x4c];
    let mut frame = vec![0x81, 0x80 | MESSAGE.len() as u8];
    frame.extend(mask);
    frame.extend(
        MESSAGE
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

const ANSWER_FRAME: [u8; 2 + MESSAGE.len()] = {
    let mut frame = [MESSAGE[0]; 2 + MESSAGE.len()];
    frame[0] = 0x81;
    frame[1] = MESSAGE.len() as u8;
    frame
};

fn exchange(stream: &mut TcpStream, listener: &mut Listener, question: &[u8]) -> io::Result<()> {
    stream.write_all(question)?;
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = stream.read(&mut buffer)?;
        if listener.hear(&buffer[..length])? > 0 {
            return Ok(());
        }
    }
}

/// Hears when an answer is complete, and whether it is the right one.
pub(crate) enum Listener {
    Head(Vec<u8>),
    Body {
        bytes_left: usize,
    },
    /// So many bytes of a frame have come.
    Frames {
        heard: usize,
    },
}

impl Listener {
    /// How many answers `bytes` complete. No bytes are the end of the connection.
    pub(crate) fn hear(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut answers = 0;
        while !bytes.is_empty() {
            match self {
                Self::Head(head) => {
                    let before = head.len();
                    head.extend_from_slice(bytes);
                    let Some((head_bytes, body_bytes)) = measure(head)? else {
                        break;
                    };
                    bytes = &bytes[head_bytes - before..];
                    if body_bytes == 0 {
                        answers += 1;
                        head.clear();
                    } else {
                        *self = Self::Body {
                            bytes_left: body_bytes,
                        };
                    }
                }
                Self::Body { bytes_left } => {
                    let here = bytes.len().min(*bytes_left);
                    *bytes_left -= here;
                    bytes = &bytes[here..];
                    if *bytes_left == 0 {
                        answers += 1;
                        *self = Self::Head(Vec::new());
                    }
                }
                Self::Frames { heard } => {
                    let rest = &ANSWER_FRAME[*heard..];
                    let here = bytes.len().min(rest.len());
                    if bytes[..here] != rest[..here] {
                        return Err(wrong("another frame than was sent"));
                    }
                    bytes = &bytes[here..];
                    *heard += here;
                    if *heard == ANSWER_FRAME.len() {
                        *heard = 0;
                        answers += 1;
                    }
                }
            }
        }
        Ok(answers)
    }
}

/// The bytes of a whole head and of the body behind it.
fn measure(head: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response
        .parse(head)
        .map_err(|_| wrong("not an HTTP response"))?;
    let httparse::Status::Complete(head_bytes) = parsed else {
        return Ok(None);
    };
    let length = |value: &[u8]| std::str::from_utf8(value).ok()?.parse().ok();
    let mut named = response.headers.iter();
    let body = named.find(|field| field.name.eq_ignore_ascii_case("content-length"));
    match (response.code, body.and_then(|field| length(field.value))) {
        (Some(101), None) => Ok(Some((head_bytes, 0))),
        (Some(200), Some(body_bytes)) => Ok(Some((head_bytes, body_bytes))),
        (status, _) => Err(wrong(&format!("status {status:?}"))),
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the server sent {what}"),
    )
}
