//! What a user of the library writes against: an app of routes, handlers that are called and handlers that are tasks,
//! WebSockets, topics and rooms.

mod app;
mod engine;
mod guard;
mod handler;
mod opening;
mod router;
mod socket;
mod state;
mod test_app;

pub use app::{App, stop_on_signals};
pub use engine::{Engine, Running, Threads, UnknownEngine};
pub use guard::Guard;
pub use handler::{Handler, Task, task};
pub use opening::Opening;
pub use socket::{Socket, Upgrade, WebSocket};
pub use state::Shared;
pub use test_app::TestApp;

pub use crate::conn::{
    Announce, Body, BodyError, BodyReader, BodySender, Budget, Census, CloseReason, ConnectionInfo,
    Counts, Cursor, Disconnected, Dropped, Fanout, History, HitCounter, Hits, Hub, Inlet, Interest,
    IntoResponse, Joined, Joining, Limits, LinkDown, LinkState, NoCursor, OnDisconnect, Origins,
    OutboxPolicy, PRESENCE_BYTES_MAX, Peer, Presence, PresenceEvent, Present, Published, Refusal,
    Relayed, RemoteSender, Replay, Request, Response, Rooms, RouteCounts, RouteReport, SendOutcome,
    Sender, Server, ShutdownReport, TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX, TopicError, TopicSettings,
    Topics, WeakSender, WeakServer, WebSocketCounts, WebSocketSettings, WhenFull,
};
pub use crate::proto::ws::{CloseCode, Message, OwnedMessage};
