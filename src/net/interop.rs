//! The ecosystem's traits for streams, so that what is written against them runs on our loop: those of `futures-io`
//! and `futures-core` behind the feature `futures`, tokio's behind `tokio-io`.
//!
//! Sockets have them themselves; [`Compat`] gives them to any other [`Stream`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::socket_stream::SocketStream;
use super::stream::Stream;

/// Any [`Stream`], with the traits of others: `AsyncRead` and `AsyncWrite` of `futures-io` and of tokio. And it is
/// itself a [`Stream`] no more; take it out for that.
#[derive(Clone, Debug)]
pub struct Compat<S>(pub S);

impl<S> Unpin for Compat<S> {}

#[cfg(feature = "futures")]
mod futures {
    use super::*;
    use crate::net::{Buffered, SocketListener};
    use futures_io::{AsyncBufRead, AsyncRead, AsyncWrite};

    impl<S: Stream> AsyncRead for Compat<S> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            self.0.poll_read(context, buffer)
        }
    }

    impl<S: Stream> AsyncWrite for Compat<S> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.poll_flush(context)
        }

        fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.poll_shutdown(context)
        }
    }

    impl<S: Stream> AsyncBufRead for Compat<Buffered<S>> {
        fn poll_fill_buf(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<io::Result<&[u8]>> {
            let buffered = &mut self.get_mut().0;
            if buffered.ahead().is_empty() {
                ready!(buffered.poll_fill(context))?;
            }
            Poll::Ready(Ok(buffered.ahead()))
        }

        fn consume(mut self: Pin<&mut Self>, used: usize) {
            self.0.consume(used);
        }
    }

    impl<A: Unpin + 'static> AsyncRead for SocketStream<A> {
        fn poll_read(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Stream::poll_read(self.get_mut(), context, buffer)
        }
    }

    impl<A: Unpin + 'static> AsyncWrite for SocketStream<A> {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Stream::poll_write(self.get_mut(), context, bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Stream::poll_flush(self.get_mut(), context)
        }

        fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.get_mut().poll_shutdown(context)
        }
    }

    /// The connections that come in; it has no end.
    impl<A: Clone + Unpin> futures_core::Stream for SocketListener<A> {
        type Item = io::Result<SocketStream<A>>;

        fn poll_next(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Self::Item>> {
            self.poll_accept(context).map(Some)
        }
    }
}

#[cfg(feature = "tokio-io")]
mod tokio_io {
    use super::*;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    fn read_into(
        stream: &mut impl Stream,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(stream.poll_read(context, buffer.initialize_unfilled()))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }

    impl<S: Stream> AsyncRead for Compat<S> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            read_into(&mut self.0, context, buffer)
        }
    }

    impl<S: Stream> AsyncWrite for Compat<S> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.poll_flush(context)
        }

        fn poll_shutdown(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
            self.0.poll_shutdown(context)
        }
    }

    impl<A: Unpin + 'static> AsyncRead for SocketStream<A> {
        fn poll_read(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            read_into(self.get_mut(), context, buffer)
        }
    }

    impl<A: Unpin + 'static> AsyncWrite for SocketStream<A> {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Stream::poll_write(self.get_mut(), context, bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Stream::poll_flush(self.get_mut(), context)
        }

        fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Stream::poll_shutdown(self.get_mut(), context)
        }
    }
}
