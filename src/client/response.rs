//! A response: its head, and its body as it comes.

use std::fmt;
use std::future::poll_fn;
use std::ops::Range;
#[cfg(feature = "compression")]
use std::task::ready;
use std::task::{Context, Poll};

#[cfg(feature = "compression")]
use super::decode::{DecodeError, Decoder};
use super::error::{Error, ErrorKind, Phase};
use super::exchange::Exchange;
use super::session::Client;
use super::timeouts::Deadlines;
use super::url::Url;
use crate::net::Stream;
use crate::proto::http1::{IncomingResponse, Version};

/// A response whose head has come. Its body is read as it is asked for, and the server has to wait meanwhile.
///
/// A body that was read to its end gives the connection back to the pool. One that is dropped before closes it, unless
/// what is missing had come already.
pub struct Response {
    client: Client,
    url: Url,
    history: Vec<Hop>,
    head: IncomingResponse,
    /// `None` behind the end of the body.
    exchange: Option<Box<Exchange>>,
    deadlines: Deadlines,
    /// Of a body that comes compressed.
    #[cfg(feature = "compression")]
    decoding: Option<Decoding>,
}

#[cfg(feature = "compression")]
struct Decoding {
    decoder: Decoder,
    /// What has come and is still to be decoded, in the exchange's buffer. Empty if the decoder itself has more to
    /// give.
    rest: Option<Range<usize>>,
    /// The piece that was asked for last.
    output: Vec<u8>,
}

/// A redirect that was followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hop {
    /// Its status.
    pub status: u16,
    /// What was asked for.
    pub url: Url,
}

impl Response {
    pub(super) fn new(
        client: Client,
        url: Url,
        head: IncomingResponse,
        exchange: Exchange,
        deadlines: Deadlines,
    ) -> Self {
        Self {
            client,
            url,
            history: Vec::new(),
            head,
            exchange: Some(Box::new(exchange)),
            deadlines,
            #[cfg(feature = "compression")]
            decoding: None,
        }
    }

    pub(super) fn set_history(&mut self, history: Vec<Hop>) {
        self.history = history;
    }

    /// Decode the body, if it comes compressed.
    #[cfg(feature = "compression")]
    pub(super) fn decode(&mut self) -> Result<(), Error> {
        let codings = self.head.headers();
        let codings = codings.filter(|(name, _)| name.eq_ignore_ascii_case("Content-Encoding"));
        let codings: Vec<_> = codings
            .map(|(_, value)| String::from_utf8_lossy(value))
            .collect();
        if codings.is_empty() {
            return Ok(());
        }
        // Who reads it piece by piece may read any length; who reads it whole has a limit of his own.
        let decoder = Decoder::new(&codings.join(","), u64::MAX);
        let decoder = decoder.map_err(|fault| self.undecodable(fault))?;
        self.decoding = decoder.map(|decoder| Decoding {
            decoder,
            rest: None,
            output: Vec::new(),
        });
        Ok(())
    }

    #[cfg(feature = "compression")]
    fn undecodable(&self, fault: DecodeError) -> Error {
        Error::new(ErrorKind::Decode(fault.into()), Phase::Body).about(&self.url)
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// Whether the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        matches!(self.status(), 200..=299)
    }

    /// Itself, unless its status is 400 or above.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Status`].
    pub fn error_for_status(self) -> Result<Self, Error> {
        match self.status() {
            status @ 400.. => {
                Err(Error::new(ErrorKind::Status(status), Phase::Wait).about(&self.url))
            }
            _ => Ok(self),
        }
    }

    /// The version of HTTP that the server answered in.
    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// The value of the first header of this name, whatever its case. `None` as well if it is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// All headers in the order sent, names as sent.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.head.headers()
    }

    /// What the server says the body's length is, as it is sent: not decoded. Of a response to HEAD it is that of a
    /// body which does not follow.
    pub fn content_length(&self) -> Option<u64> {
        self.head.content_length()
    }

    /// The URL that was answered: after redirects, the last one.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The redirects that led here.
    pub fn history(&self) -> &[Hop] {
        &self.history
    }

    /// The next piece of the body, decoded; `None` behind the last. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from coming. The connection is closed then, and there is nothing more to be had.
    pub async fn chunk(&mut self) -> Result<Option<&[u8]>, Error> {
        let piece = poll_fn(|context| self.poll_piece(context)).await?;
        Ok(piece.map(|piece| self.piece(piece)))
    }

    /// The whole body.
    ///
    /// # Errors
    ///
    /// As [`chunk`](Self::chunk); [`ErrorKind::BodyTooLarge`] beyond
    /// [`body_bytes_max`](super::ClientBuilder::body_bytes_max).
    pub async fn bytes(mut self) -> Result<Vec<u8>, Error> {
        let bytes_max = self.client.inner().body_bytes_max;
        let declared = self.content_length().filter(|_| self.exchange.is_some());
        let too_large =
            |url: &Url| Err(Error::new(ErrorKind::BodyTooLarge(bytes_max), Phase::Body).about(url));
        if declared.is_some_and(|length| length > bytes_max) {
            return too_large(&self.url);
        }
        // A server may declare what it never sends.
        const TRUSTED_BYTES: u64 = 1 << 20;
        let mut whole = Vec::with_capacity(declared.unwrap_or(0).min(TRUSTED_BYTES) as usize);
        while let Some(piece) = poll_fn(|context| self.poll_piece(context)).await? {
            let piece = self.piece(piece);
            if (whole.len() + piece.len()) as u64 > bytes_max {
                return too_large(&self.url);
            }
            whole.extend_from_slice(piece);
        }
        Ok(whole)
    }

    /// The whole body as text, which has to be UTF-8.
    ///
    /// # Errors
    ///
    /// As [`bytes`](Self::bytes), and [`ErrorKind::NotUtf8`].
    pub async fn text(self) -> Result<String, Error> {
        let url = self.url.clone();
        let text = String::from_utf8(self.bytes().await?);
        text.map_err(|_| Error::new(ErrorKind::NotUtf8, Phase::Body).about(&url))
    }

    /// The whole body as JSON.
    ///
    /// # Errors
    ///
    /// As [`bytes`](Self::bytes), and [`ErrorKind::Json`].
    #[cfg(feature = "json")]
    pub async fn json<T: serde::de::DeserializeOwned>(self) -> Result<T, Error> {
        let url = self.url.clone();
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(ErrorKind::Json(error), Phase::Body).about(&url))
    }

    /// The connection as a stream of another protocol, after 101 to a request that offered one, with what has come of
    /// it already. `None` after any other response. It does not count towards the pool's limits any more.
    pub fn upgrade(mut self) -> Option<(Box<dyn Stream>, Vec<u8>)> {
        if self.status() != 101 {
            return None;
        }
        let connection = self.exchange.take()?.into_connection()?;
        Some(connection.into_stream())
    }

    /// The next piece of the body, for [`piece`](Self::piece).
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Range<usize>>, Error>> {
        #[cfg(feature = "compression")]
        if self.decoding.is_some() {
            return self.poll_decoded(context);
        }
        self.poll_coded(context)
    }

    fn piece(&self, range: Range<usize>) -> &[u8] {
        #[cfg(feature = "compression")]
        if let Some(decoding) = &self.decoding {
            return &decoding.output[range];
        }
        let exchange = self.exchange.as_ref();
        exchange.expect("a piece is no end").input(range)
    }

    #[cfg(feature = "compression")]
    fn poll_decoded(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Range<usize>>, Error>> {
        while let Some(decoding) = &mut self.decoding {
            let (Some(rest), Some(exchange)) = (&mut decoding.rest, &self.exchange) else {
                let coded = ready!(self.poll_coded(context))?;
                match (coded, self.decoding.take()) {
                    (None, Some(decoding)) => {
                        let finished = decoding.decoder.finish();
                        finished.map_err(|fault| self.undecodable(fault))?;
                    }
                    (rest, decoding) => {
                        self.decoding = decoding.map(|decoding| Decoding { rest, ..decoding });
                    }
                }
                continue;
            };
            decoding.output.clear();
            let input = exchange.input(rest.clone());
            match decoding.decoder.decode(input, &mut decoding.output) {
                Ok(step) if step.has_more => rest.start += step.taken,
                Ok(_) => decoding.rest = None,
                Err(fault) => {
                    self.exchange = None;
                    self.decoding = None;
                    return Poll::Ready(Err(self.undecodable(fault)));
                }
            }
            if !decoding.output.is_empty() {
                return Poll::Ready(Ok(Some(0..decoding.output.len())));
            }
        }
        Poll::Ready(Ok(None))
    }

    /// The next piece of the body as it is sent.
    fn poll_coded(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Range<usize>>, Error>> {
        let Some(exchange) = &mut self.exchange else {
            return Poll::Ready(Ok(None));
        };
        let polled = exchange.poll_data(context, &mut self.head, &mut self.deadlines);
        match &polled {
            Poll::Pending | Poll::Ready(Ok(Some(_))) => return polled,
            Poll::Ready(Ok(None)) => {
                if let Some(exchange) = self.exchange.take() {
                    exchange.end(&self.deadlines);
                }
            }
            Poll::Ready(Err(_)) => self.exchange = None,
        }
        polled.map_err(|error| error.about(&self.url))
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            exchange.leave(&mut self.head, &self.deadlines);
        }
        let head = std::mem::take(&mut self.head);
        self.client.inner().leases.give_back_head(head);
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status())
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
