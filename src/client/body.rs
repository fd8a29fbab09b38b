//! Bodies of requests: bytes that can be sent again, and streams, which are pulled from as fast as the server reads.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::event_loop::{Detail, waits_on};
use crate::net::Stream;

/// The body of a request.
///
/// From bytes and text it is made without copying them, and can be sent as often as redirects and retries want it.
/// Otherwise see [`Body::stream`].
pub struct Body(Content);

enum Content {
    Bytes(Payload),
    Stream {
        length: Option<u64>,
        /// `None` once a part of it has been sent.
        source: Option<Box<dyn BodySource>>,
    },
}

/// Where a body comes from that is not all there.
pub trait BodySource: 'static {
    /// The next piece; `None` behind the last. Asked only when the piece before it has been handed to the connection,
    /// so there is never more than one on its way.
    ///
    /// # Errors
    ///
    /// Whatever keeps the body from being produced: the request fails with it, and its connection closes.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>>;
}

impl<F: FnMut(&mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> + 'static> BodySource for F {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        self(context)
    }
}

impl Body {
    /// A body that comes piece by piece. With a `length` it says so, and has to keep to it; without one it is sent in
    /// chunks, which HTTP/1.0 servers do not know.
    ///
    /// It can be sent once: a redirect that keeps the method, or a retry, fails with
    /// [`BodyGone`](super::ErrorKind::BodyGone).
    pub fn stream(length: Option<u64>, source: impl BodySource) -> Self {
        Self(Content::Stream {
            length,
            source: Some(Box::new(source)),
        })
    }

    /// All that `stream` still has to say, as [`Body::stream`].
    pub fn read_from(length: Option<u64>, mut stream: impl Stream) -> Self {
        Self::stream(length, move |context: &mut Context<'_>| {
            let mut piece = Vec::new();
            stream
                .poll_read_vec(context, &mut piece)
                .map_ok(|read| (read > 0).then_some(piece))
        })
    }

    /// A body that a task writes, as [`Body::stream`], and the end to write it with.
    pub fn channel(length: Option<u64>) -> (BodyWriter, Self) {
        let passage = Rc::new(RefCell::new(Passage::default()));
        let reader = PassageReader(Rc::clone(&passage));
        (BodyWriter(passage), Self::stream(length, reader))
    }

    pub(super) const fn empty() -> Self {
        Self(Content::Bytes(Payload::Static(&[])))
    }

    /// `None` if nobody knows.
    pub(super) fn length(&self) -> Option<u64> {
        match &self.0 {
            Content::Bytes(payload) => Some(payload.bytes().len() as u64),
            Content::Stream { length, .. } => *length,
        }
    }

    /// What is to be sent, or `None` if it has been.
    pub(super) fn begin(&mut self) -> Option<Upload> {
        match &mut self.0 {
            Content::Bytes(payload) => Some(Upload::Bytes {
                payload: payload.clone(),
                sent: None,
            }),
            Content::Stream { source, .. } => source.take().map(Upload::Stream),
        }
    }

    /// Whether [`begin`](Self::begin) has something to give.
    pub(super) fn is_there(&self) -> bool {
        match &self.0 {
            Content::Bytes(_) => true,
            Content::Stream { source, .. } => source.is_some(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("length", &self.length())
            .field("is_there", &self.is_there())
            .finish()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Content::Bytes(Payload::Shared(Rc::new(bytes))))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Self(Content::Bytes(Payload::Static(bytes)))
    }
}

impl<const N: usize> From<&'static [u8; N]> for Body {
    fn from(bytes: &'static [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        text.as_bytes().into()
    }
}

/// Bytes that several tries share.
#[derive(Clone)]
pub(super) enum Payload {
    Static(&'static [u8]),
    Shared(Rc<Vec<u8>>),
}

impl Payload {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// A body on its way out.
pub(super) enum Upload {
    Bytes {
        payload: Payload,
        /// How many were handed to the connection; `None` before the first try.
        sent: Option<usize>,
    },
    Stream(Box<dyn BodySource>),
    /// All of it is sent, or it will not be.
    Done,
}

/// Writes the body of a request, see [`Body::channel`]. [`finish`](Self::finish) ends it; dropped before that it makes
/// the request fail, so that half a body does not pass for a whole one.
pub struct BodyWriter(Rc<RefCell<Passage>>);

/// One piece at a time goes through.
#[derive(Default)]
struct Passage {
    piece: Option<Vec<u8>>,
    ending: Ending,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Default, PartialEq)]
enum Ending {
    #[default]
    NotYet,
    Finished,
    /// The writer was dropped.
    BrokenOff,
    /// The reader was.
    Unwanted,
}

impl Passage {
    fn end(passage: &RefCell<Self>, ending: Ending) {
        let mut borrowed = passage.borrow_mut();
        if borrowed.ending != Ending::NotYet {
            return;
        }
        borrowed.ending = ending;
        let (reader, writer) = (borrowed.reader.take(), borrowed.writer.take());
        drop(borrowed);
        reader.into_iter().chain(writer).for_each(Waker::wake);
    }
}

impl BodyWriter {
    /// Send a piece; waits until the one before it has been handed to the connection. Dropping the future sends
    /// nothing.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` when the request has ended, in whatever way.
    pub async fn send(&mut self, piece: impl Into<Vec<u8>>) -> io::Result<()> {
        let mut piece = Some(piece.into());
        if piece.as_ref().is_some_and(Vec::is_empty) {
            return Ok(());
        }
        poll_fn(|context| {
            let mut passage = self.0.borrow_mut();
            if passage.ending != Ending::NotYet {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if passage.piece.is_some() {
                passage.writer = Some(context.waker().clone());
                waits_on("request body", Detail::None);
                return Poll::Pending;
            }
            passage.piece = piece.take();
            let reader = passage.reader.take();
            drop(passage);
            reader.into_iter().for_each(Waker::wake);
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// The body is complete.
    pub fn finish(self) {
        Passage::end(&self.0, Ending::Finished);
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        Passage::end(&self.0, Ending::BrokenOff);
    }
}

impl fmt::Debug for BodyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyWriter").finish_non_exhaustive()
    }
}

struct PassageReader(Rc<RefCell<Passage>>);

impl BodySource for PassageReader {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        let mut passage = self.0.borrow_mut();
        if let Some(piece) = passage.piece.take() {
            let writer = passage.writer.take();
            drop(passage);
            writer.into_iter().for_each(Waker::wake);
            return Poll::Ready(Ok(Some(piece)));
        }
        match passage.ending {
            Ending::NotYet | Ending::Unwanted => {
                passage.reader = Some(context.waker().clone());
                waits_on("request body", Detail::None);
                Poll::Pending
            }
            Ending::Finished => Poll::Ready(Ok(None)),
            Ending::BrokenOff => {
                let why = "the body's writer was dropped before it was finished";
                Poll::Ready(Err(io::Error::other(why)))
            }
        }
    }
}

impl Drop for PassageReader {
    fn drop(&mut self) {
        Passage::end(&self.0, Ending::Unwanted);
    }
}
