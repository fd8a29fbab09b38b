//! The event loop.

mod driver;

pub use driver::{
    BlockingJob, Driver, Event, Executor, Notify, Readiness, Signal, Socket, Token, Watch,
};
