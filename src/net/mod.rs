//! Between the loop and the protocols: connections that come in, and streams for tasks.

mod accept;
mod ask;
mod endpoint;
mod link;
mod socket_stream;
mod stream;
mod tcp;

pub use accept::Acceptor;
pub(crate) use ask::ask_loop;
pub use socket_stream::{ReadHalf, SocketStream, WriteHalf};
pub use stream::{Stream, StreamExt};
pub use tcp::{TcpListener, TcpStream};
