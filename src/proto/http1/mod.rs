//! HTTP/1.1, the server's half (RFC 9112; meanings from RFC 9110): bytes in, events out, and the answer's bytes back.
//!
//! [`Server`] is the machine; it owns no buffer, reads no clock and knows no socket, so a test feeds it from an array
//! and the connection layer from a socket, and both see the same. It is strict: where two readers of the same bytes
//! could disagree about where a message ends, it refuses instead of guessing (each refusal has a name in
//! [`PeerError`]). And it is indifferent to cuts: the same bytes give the same events and the same error however they
//! arrive.
//!
//! | file | what |
//! | --- | --- |
//! | `server.rs` | the machine: what is read, what is written, whether the connection goes on |
//! | `head.rs` | a request's head: in one stroke when it is all there, line by line as it comes when it is not |
//! | `line.rs` | the rules for one line: request line, target, field |
//! | `body.rs` | bodies by length and in chunks |
//! | `response.rs` | outgoing fields and the response's head |
//! | `error.rs` | what a peer can do wrong, and what we can |
//! | `status.rs`, `date.rs`, `percent.rs` | reason phrases; the `Date` field; percent encoding and queries |
//! | `swar.rs` | looking at eight bytes at once |

mod body;
pub mod date;
mod error;
mod head;
mod line;
mod percent;
mod response;
mod server;
mod status;
mod swar;
#[cfg(test)]
mod tests;

pub use error::{Misuse, PeerError};
pub use head::{HeadLimits, Method, RequestHead, Version};
pub use percent::{percent_decode, query_pairs};
pub use response::{BadField, BodyLength, Fields, Preamble, ResponseHead};
pub use server::{After, Server, Step};
pub use status::reason;
