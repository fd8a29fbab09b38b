//! Tourbillon: a networking framework whose event loop is on display.

pub mod event_loop;
pub mod parts;
pub mod proto;
