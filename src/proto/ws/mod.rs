//! WebSocket, RFC 6455: what the peer's bytes mean, and the bytes that say what we mean.
//!
//! [`check_request`] judges the handshake, and [`ClientHandshake`] asks for one; from then on one [`Endpoint`] a
//! connection is the protocol, on either side of it. It takes bytes from the caller's buffer and appends bytes to the
//! caller's buffer, and knows of nothing else: no socket, no clock, no loop. When to answer a ping, how long to wait
//! for a close and what a slow peer may cost are the connection's questions.
//!
//! What a header says, what frames make up a message, and which do not, is held against `tungstenite` in the tests.

mod close_code;
#[cfg(feature = "deflate")]
mod deflate;
mod endpoint;
mod error;
#[cfg(feature = "deflate")]
mod extensions;
mod frame;
mod handshake;
mod mask;
mod mask_keys;
mod message;
mod opcode;
mod reader;
mod utf8;
mod writer;

#[cfg(test)]
mod tests;

pub use close_code::CloseCode;
#[cfg(feature = "deflate")]
pub use deflate::{Deflate, DeflatePool, DeflateVariant};
pub use endpoint::{End, Endpoint, Link, Role, WsLimits};
pub use error::{Misuse, PeerError};
#[cfg(feature = "deflate")]
pub use extensions::{
    Agreement, BadExtensions, DeflateContext, DeflateOptions, WINDOW_BITS_MAX, WINDOW_BITS_MIN,
};
pub(crate) use frame::encoded_message;
pub use frame::{
    CONTROL_BYTES_MAX, HEADER_BYTES_MAX, encode_binary, encode_binary_into, encode_text,
    encode_text_into,
};
pub use handshake::{
    Accepted, BadSubprotocol, ClientHandshake, HandshakeError, Opened, ResponseError, accept_key,
    check_request, subprotocols,
};
pub use mask_keys::MaskKeys;
pub use message::{Message, OwnedMessage};
pub use reader::{Deflated, Reader, Step, deflated_bytes_max, short_message};
pub use writer::{REASON_BYTES_MAX, Writer};
