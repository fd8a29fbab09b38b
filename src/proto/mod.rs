//! Protocol machines: bytes in, events out; no socket, no clock, no loop.

pub mod http1;
pub mod ws;
