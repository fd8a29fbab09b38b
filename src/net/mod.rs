//! Between the loop and the protocols: taking connections in.

mod accept;

pub use accept::Acceptor;
