//! HTTP/1.1, either half (RFC 9112; meanings from RFC 9110): bytes in, events out, and our own bytes back.
//!
//! [`Server`] and [`Client`] are the machines; they own no buffer, read no clock and know no socket, so a test feeds
//! them from an array and the connection layer from a socket, and both see the same. They are strict: where two
//! readers of the same bytes could disagree about where a message ends, they refuse instead of guessing (each refusal
//! has a name in [`PeerError`]). And they are indifferent to cuts: the same bytes give the same events and the same
//! error however they arrive.
//!
//! | file | what |
//! | --- | --- |
//! | `server.rs` | the server's machine: what is read, what is written, whether the connection goes on |
//! | `client.rs` | the client's machine, and the head of a request as it goes out |
//! | `head.rs` | a request's head: in one stroke when it is all there, line by line as it comes when it is not |
//! | `incoming.rs` | a response's head, as it comes in |
//! | `line.rs` | the rules for one line: request line, target, field |
//! | `body.rs` | bodies by length and in chunks |
//! | `response.rs` | outgoing fields and the response's head |
//! | `error.rs` | what a peer can do wrong, and what we can |
//! | `status.rs`, `date.rs`, `percent.rs` | reason phrases; the `Date` field; percent encoding and queries |
//! | `swar.rs` | looking at eight bytes at once |

mod body;
mod client;
pub mod date;
mod error;
mod head;
mod incoming;
mod line;
mod percent;
mod response;
mod server;
mod status;
mod swar;
#[cfg(test)]
mod tests;

pub use client::{Client, OutgoingRequest, ResponseStep};
pub use error::{Misuse, PeerError};
pub use head::{HeadLimits, Method, RequestHead, Version};
pub use incoming::IncomingResponse;
pub(in crate::proto) use line::is_token;
#[cfg(feature = "deflate")]
pub(in crate::proto) use line::is_token_byte;
pub use percent::{percent_decode, query_pairs};
pub use response::{BadField, BodyLength, Fields, Preamble, ResponseHead};
pub use server::{After, Server, Step};
pub use status::reason;
