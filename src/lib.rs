//! Tourbillon: a networking framework whose event loop is on display.

pub mod conn;
pub mod event_loop;
pub mod net;
pub mod parts;
pub mod proto;
#[cfg(feature = "sim")]
pub mod sim;
pub mod task;
pub mod web;
