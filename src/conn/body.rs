//! The body of a message: all there, or on its way.

use std::rc::Rc;

use super::pipe::{BodyError, BodyReader, BodySender, body_channel};

/// A body. Bytes that are all there are sent with their length; a stream whose length nobody said goes out in chunks.
#[derive(Debug, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// Text or bytes that live as long as the program.
    Static(&'static [u8]),
    /// Bytes of its own.
    Owned(Vec<u8>),
    /// Bytes that many answers share. A large one is never copied.
    Shared(Rc<[u8]>),
    /// Bytes that come one piece after another, with their sum when it is known.
    Stream {
        /// Where they come from.
        reader: BodyReader,
        /// How many there will be.
        length: Option<u64>,
    },
}

impl Body {
    /// A body that is sent in pieces, and the end that they are put into.
    ///
    /// ```
    /// use tourbillon::web::{Body, Response, Shared, Request, task};
    /// async fn count(_: Request, _: Shared<()>) -> Response {
    ///     let (mut sender, body) = Body::channel();
    ///     tourbillon::task::spawn(async move {
    ///         for n in 0..3 {
    ///             // Waits while the peer does not read; fails when it has gone.
    ///             if sender.send(format!("{n}\n")).await.is_err() { return }
    ///         }
    ///         sender.finish();
    ///     });
    ///     Response::new(body)
    /// }
    /// # let _ = task(count);
    /// ```
    pub fn channel() -> (BodySender, Self) {
        let (sender, reader) = body_channel(64 * 1024);
        (
            sender,
            Self::Stream {
                reader,
                length: None,
            },
        )
    }

    /// The bytes, unless they are still to come.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Static(bytes) => Some(bytes),
            Self::Owned(bytes) => Some(bytes),
            // Apart, for a jump by a table costs more than two comparisons.
            rarer => rarer.rarer_bytes(),
        }
    }

    #[cold]
    fn rarer_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Empty => Some(&[]),
            Self::Shared(bytes) => Some(bytes),
            Self::Stream { .. } => None,
            Self::Static(_) | Self::Owned(_) => unreachable!("these are not rare"),
        }
    }

    /// How many bytes it has, if that is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Stream { length, .. } => *length,
            _ => self.as_bytes().map(|bytes| bytes.len() as u64),
        }
    }

    /// The next piece, or `None` at the end. What is all there comes as one piece.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] when the end will not come.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, BodyError> {
        match self {
            Self::Stream { reader, .. } => reader.chunk().await,
            _ => {
                let bytes = match std::mem::take(self) {
                    Self::Owned(bytes) => bytes,
                    whole => whole.as_bytes().unwrap_or_default().to_vec(),
                };
                Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
            }
        }
    }

    /// All of it, at most `bytes_max` bytes; `Ok(None)` when there are more.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] when the end will not come.
    pub async fn collect(mut self, bytes_max: usize) -> Result<Option<Vec<u8>>, BodyError> {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > bytes_max {
                return Ok(None);
            }
            if all.is_empty() {
                all = chunk;
            } else {
                all.extend_from_slice(&chunk);
            }
        }
        Ok(Some(all))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Owned(bytes)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Owned(text.into_bytes())
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::Static(text.as_bytes())
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Self::Static(bytes)
    }
}

impl From<Rc<[u8]>> for Body {
    fn from(bytes: Rc<[u8]>) -> Self {
        Self::Shared(bytes)
    }
}
