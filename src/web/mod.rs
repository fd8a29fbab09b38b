//! What a user of the library writes against: an app of routes, handlers that are called and handlers that are tasks,
//! WebSockets and rooms.

mod app;
mod engine;
mod handler;
mod opening;
mod router;
mod socket;
mod state;
mod test_app;

pub use app::{App, stop_on_signals};
pub use engine::{Engine, Running, Threads, UnknownEngine};
pub use handler::{Handler, Task, task};
pub use opening::Opening;
pub use socket::{Socket, Upgrade, WebSocket};
pub use state::Shared;
pub use test_app::TestApp;

pub use crate::conn::{
    Body, BodyError, BodyReader, BodySender, Budget, CloseReason, Counts, Disconnected, Dropped,
    Hits, Hub, IntoResponse, Limits, OnDisconnect, Origins, OutboxPolicy, Peer, Published, Refusal,
    RemoteSender, Request, Response, Rooms, SendOutcome, Sender, Server, ShutdownReport,
    WeakSender, WeakServer, WebSocketSettings, WhenFull,
};
pub use crate::proto::ws::{CloseCode, Message, OwnedMessage};
