//! Between the loop and the protocols: connections that come in, and streams for tasks.

mod accept;
mod ask;
mod buffered;
mod connect;
mod copy;
mod endpoint;
#[cfg(any(feature = "futures", feature = "tokio-io"))]
mod interop;
mod link;
mod resolver;
mod socket_listener;
mod socket_stream;
mod stream;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
mod udp;
#[cfg(unix)]
mod unix;

pub use accept::Acceptor;
pub(crate) use ask::{ask_loop, on_executor};
pub use buffered::Buffered;
pub use connect::{ATTEMPT_DELAY, Connector, Target};
pub use copy::{copy, copy_bidirectional};
#[cfg(any(feature = "futures", feature = "tokio-io"))]
pub use interop::Compat;
pub use resolver::{NAMES_MAX, Resolver, TIME_TO_LIVE};
pub use socket_listener::SocketListener;
pub use socket_stream::{ReadHalf, SocketStream, WriteHalf};
pub use stream::{Stream, StreamExt};
pub use tcp::{TcpListener, TcpStream};
#[cfg(feature = "tls")]
pub use tls::{
    CertificateFault, TlsAcceptor, TlsAcceptorBuilder, TlsConnector, TlsConnectorBuilder, TlsError,
    TlsStream,
};
pub use udp::UdpSocket;
#[cfg(unix)]
pub use unix::{UnixListener, UnixStream};
