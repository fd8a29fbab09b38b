//! The server under attack: what it was found to have.

use std::io;

use crate::client::{Connection, PATIENCE};
use crate::options::Options;
use crate::websocket;

pub(crate) struct Target {
    pub(crate) options: Options,
    /// A small answer to GET.
    pub(crate) path: String,
    /// Takes POST, if anything does.
    pub(crate) post: String,
    /// The method for `post`: GET where no POST is taken, since a 405 would hide what becomes of the body.
    pub(crate) post_method: &'static str,
    /// An answer of at least [`LARGE_BYTES_MIN`].
    pub(crate) large: Option<String>,
    pub(crate) ws: Option<String>,
    pub(crate) room: Option<String>,
}

/// More than the kernel takes for a client that does not read.
pub(crate) const LARGE_BYTES_MIN: u64 = 8 << 20;

impl Target {
    /// Ask politely what is there.
    ///
    /// # Errors
    ///
    /// Nobody listens, or nothing answers GET.
    pub(crate) fn find(mut options: Options) -> io::Result<Self> {
        let mut target = Self {
            path: String::new(),
            post: String::new(),
            post_method: "POST",
            large: options.large.take(),
            ws: options.ws.take(),
            room: options.room.take(),
            options,
        };
        let paths = match target.options.path.take() {
            Some(path) => vec![path],
            None => vec!["/plaintext".to_owned(), "/".to_owned()],
        };
        target.path = (paths.into_iter())
            .map(|path| Ok((target.status("GET", &path)?, path)))
            .find_map(|found: io::Result<_>| match found {
                Ok((status, path)) => (200..300).contains(&status).then_some(Ok(path)),
                Err(error) => Some(Err(error)),
            })
            .unwrap_or_else(|| {
                Err(io::Error::other(
                    "GET of /plaintext and / is not answered 200; --path?",
                ))
            })?;
        let post = target
            .options
            .post
            .take()
            .unwrap_or_else(|| "/echo".to_owned());
        if (200..300).contains(&target.status("POST", &post)?) {
            target.post = post;
        } else {
            target.post = target.path.clone();
            target.post_method = "GET";
        }
        target.large = (target.large.take())
            .or_else(|| Some("/bytes/16777216".to_owned()))
            .filter(|path| target.is_large(path));
        target.ws = (target.ws.take())
            .or_else(|| Some("/ws".to_owned()))
            .filter(|path| websocket::open(&target, path).is_ok());
        target.room = (target.room.take())
            .or_else(|| Some("/room".to_owned()))
            .filter(|path| websocket::open(&target, path).is_ok());
        Ok(target)
    }

    pub(crate) fn connect(&self) -> io::Result<Connection> {
        Connection::open(self.options.address)
    }

    /// A request for the small answer.
    pub(crate) fn get(&self) -> Vec<u8> {
        let (path, host) = (&self.path, &self.options.host);
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
    }

    /// The beginning of a request with a body: its framing is still to come, and the empty line.
    pub(crate) fn post_head(&self) -> String {
        let (method, path, host) = (self.post_method, &self.post, &self.options.host);
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n")
    }

    fn status(&self, method: &str, path: &str) -> io::Result<u16> {
        let mut connection = self.connect()?;
        let length = match method {
            "POST" => "Content-Length: 0\r\n",
            _ => "",
        };
        let host = &self.options.host;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n");
        connection.send(request.as_bytes(), PATIENCE);
        let answer = connection.answer(PATIENCE);
        let silence = || io::Error::other(format!("no answer to {method} {path}"));
        answer.map(|answer| answer.status).ok_or_else(silence)
    }

    fn is_large(&self, path: &str) -> bool {
        let Ok(mut connection) = self.connect() else {
            return false;
        };
        let host = &self.options.host;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        connection.send(request.as_bytes(), PATIENCE);
        connection.receive(PATIENCE);
        (connection.answers().first()).is_some_and(|answer| {
            answer.status == 200
                && answer
                    .length
                    .is_some_and(|length| length >= LARGE_BYTES_MIN)
        })
    }
}
