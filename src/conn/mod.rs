//! A connection: the socket below, the protocol's machine inside, the handler above, and the limits around them.
//!
//! `connection.rs` holds the source; its three verbs are `fill` (socket to input), `step` (input through the machine
//! and the handler to output), `flush` (output to socket). What a connection asks of the layer above is the trait
//! [`Service`]; it knows no routes.

mod batch;
mod body;
mod census;
mod connection;
mod crowd;
mod deadline;
mod http;
mod http_link;
mod later;
mod limits;
mod meters;
mod origins;
mod outbox;
mod pipe;
mod request;
mod response;
mod server;
mod service;
mod topics;
mod wear;
mod websocket;
mod websocket_connection;
mod websocket_link;
mod websocket_settings;
mod wire;

pub use body::Body;
pub use census::{Census, ConnectionInfo};
pub use crowd::Crowd;
pub(crate) use later::within;
pub use later::{Disconnection, Later, OnDisconnect};
pub use limits::{Budget, HitCounter, Hits, Limits, Refusal};
pub use meters::{RouteCounts, RouteReport, WebSocketCounts};
pub use origins::Origins;
pub use outbox::Dropped;
pub use pipe::{BodyError, BodyReader, BodySender, Disconnected, body_channel};
pub use request::{PARAMETERS_MAX, Parameters, Request};
pub use response::{IntoResponse, Response};
pub use server::{Counts, Server, ShutdownReport, WeakServer};
pub use service::{Accept, Answer, BodyPlan, Reply, Service};
pub use topics::{
    Announce, Cursor, Fanout, History, Hub, Inlet, Interest, Joined, Joining, LinkDown, LinkState,
    NoCursor, PRESENCE_BYTES_MAX, Presence, PresenceEvent, Present, Published, Relayed, Replay,
    Rooms, TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX, TopicError, TopicSettings, Topics,
};
pub use websocket::{
    CloseReason, Peer, RemoteSender, SendOutcome, Sender, WeakSender, WebSocketHandler,
};
pub use websocket_settings::{OutboxPolicy, WebSocketSettings, WhenFull};

pub use crate::proto::ws::Message;
