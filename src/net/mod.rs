//! Between the loop and the protocols: connections that come in, and streams for tasks.

mod accept;
mod ask;
mod connect;
mod endpoint;
mod link;
mod resolver;
mod socket_stream;
mod stream;
mod tcp;
#[cfg(feature = "tls")]
mod tls;

pub use accept::Acceptor;
pub use connect::{ATTEMPT_DELAY, Connector, Target};
pub use resolver::{NAMES_MAX, Resolver, TIME_TO_LIVE};
pub use socket_stream::{ReadHalf, SocketStream, WriteHalf};
pub use stream::{Stream, StreamExt};
pub use tcp::{TcpListener, TcpStream};
#[cfg(feature = "tls")]
pub use tls::{
    CertificateFault, TlsAcceptor, TlsAcceptorBuilder, TlsConnector, TlsConnectorBuilder, TlsError,
    TlsStream,
};
