//! The sockets that are not TCP: Unix sockets, pipes, UDP. Apart from those, so that the way of a request stays short.

use std::io::{self, ErrorKind, IoSlice};
#[cfg(unix)]
use std::io::{Read, Write};
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::fd::{AsRawFd, OwnedFd};

#[cfg(unix)]
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry};

use super::super::driver::{Group, Watch};
use super::uninterrupted;

pub(super) enum Other {
    #[cfg(unix)]
    Unix(UnixStream),
    #[cfg(unix)]
    UnixListener(UnixListener),
    #[cfg(unix)]
    PipeIn(mio::unix::pipe::Receiver),
    /// `None` once it has ended: a pipe ends when it is closed.
    #[cfg(unix)]
    PipeOut(Option<mio::unix::pipe::Sender>),
    Udp(mio::net::UdpSocket),
}

fn wrong_kind() -> io::Error {
    io::Error::new(
        ErrorKind::InvalidInput,
        "the socket is of a kind that cannot do this",
    )
}

impl Other {
    #[cfg(unix)]
    pub(super) fn pipe(fd: OwnedFd, watch: Watch) -> io::Result<Self> {
        match watch {
            Watch::Read => {
                let pipe = mio::unix::pipe::Receiver::from(fd);
                pipe.set_nonblocking(true)?;
                Ok(Self::PipeIn(pipe))
            }
            Watch::Write => {
                let pipe = mio::unix::pipe::Sender::from(fd);
                pipe.set_nonblocking(true)?;
                Ok(Self::PipeOut(Some(pipe)))
            }
        }
    }

    #[cfg(unix)]
    pub(super) fn descriptor(&self) -> Option<i32> {
        match self {
            Self::Unix(stream) => Some(stream.as_raw_fd()),
            Self::UnixListener(listener) => Some(listener.as_raw_fd()),
            Self::PipeIn(pipe) => Some(pipe.as_raw_fd()),
            Self::PipeOut(pipe) => pipe.as_ref().map(AsRawFd::as_raw_fd),
            Self::Udp(socket) => Some(socket.as_raw_fd()),
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: mio::Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            #[cfg(unix)]
            Self::Unix(stream) => registry.register(stream, token, both),
            #[cfg(unix)]
            Self::UnixListener(listener) => registry.register(listener, token, Interest::READABLE),
            #[cfg(unix)]
            Self::PipeIn(pipe) => registry.register(pipe, token, Interest::READABLE),
            #[cfg(unix)]
            Self::PipeOut(Some(pipe)) => registry.register(pipe, token, Interest::WRITABLE),
            #[cfg(unix)]
            Self::PipeOut(None) => Err(ErrorKind::BrokenPipe.into()),
            Self::Udp(socket) => registry.register(socket, token, both),
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| match self {
            #[cfg(unix)]
            Self::Unix(stream) => stream.read(buffer),
            #[cfg(unix)]
            Self::PipeIn(pipe) => pipe.read(buffer),
            Self::Udp(socket) => socket.recv(buffer),
            #[cfg(unix)]
            Self::UnixListener(_) | Self::PipeOut(_) => Err(wrong_kind()),
        })
    }

    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        uninterrupted(|| match self {
            #[cfg(unix)]
            Self::Unix(stream) => stream.write_vectored(slices),
            #[cfg(unix)]
            Self::PipeOut(Some(pipe)) => pipe.write_vectored(slices),
            #[cfg(unix)]
            Self::PipeOut(None) => Err(ErrorKind::BrokenPipe.into()),
            #[cfg(unix)]
            Self::UnixListener(_) | Self::PipeIn(_) => Err(wrong_kind()),
            Self::Udp(_) => Err(wrong_kind()),
        })
    }

    pub(super) fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            #[cfg(unix)]
            Self::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
            #[cfg(unix)]
            Self::PipeOut(pipe) => {
                *pipe = None;
                Ok(())
            }
            _ => Err(wrong_kind()),
        }
    }

    pub(super) fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        match self {
            #[cfg(unix)]
            Self::Unix(stream) => stream.take_error(),
            Self::Udp(socket) => socket.take_error(),
            #[cfg(unix)]
            _ => Ok(None),
        }
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Udp(socket) => socket.local_addr(),
            #[cfg(unix)]
            _ => Err(wrong_kind()),
        }
    }

    #[cfg(unix)]
    pub(super) fn accept(&self) -> io::Result<UnixStream> {
        match self {
            Self::UnixListener(listener) => {
                Ok(uninterrupted(|| listener.accept()).map(|(stream, _)| stream)?)
            }
            _ => Err(wrong_kind()),
        }
    }

    fn udp(&self) -> io::Result<&mio::net::UdpSocket> {
        match self {
            Self::Udp(socket) => Ok(socket),
            #[cfg(unix)]
            _ => Err(wrong_kind()),
        }
    }

    pub(super) fn connect_udp(&self, peer: SocketAddr) -> io::Result<()> {
        self.udp()?.connect(peer)
    }

    pub(super) fn send_to(&self, bytes: &[u8], peer: Option<SocketAddr>) -> io::Result<usize> {
        let socket = self.udp()?;
        uninterrupted(|| match peer {
            Some(peer) => socket.send_to(bytes, peer),
            None => socket.send(bytes),
        })
    }

    pub(super) fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let socket = self.udp()?;
        uninterrupted(|| socket.recv_from(buffer))
    }

    pub(super) fn join(&self, group: Group) -> io::Result<()> {
        match group {
            Group::V4(group, interface) => self.udp()?.join_multicast_v4(&group, &interface),
            Group::V6(group, interface) => self.udp()?.join_multicast_v6(&group, interface),
        }
    }

    pub(super) fn leave(&self, group: Group) -> io::Result<()> {
        match group {
            Group::V4(group, interface) => self.udp()?.leave_multicast_v4(&group, &interface),
            Group::V6(group, interface) => self.udp()?.leave_multicast_v6(&group, interface),
        }
    }
}
