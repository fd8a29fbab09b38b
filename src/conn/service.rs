//! What a connection asks of the layer above it.

use std::borrow::Cow;
use std::sync::Arc;

use super::later::Later;
use super::request::Request;
use super::response::Response;
use super::websocket::WebSocketHandler;
use super::websocket_settings::WebSocketSettings;
use crate::event_loop::{Ctx, Origin};

/// How the body of a request is to be taken.
#[derive(Debug)]
pub enum BodyPlan {
    /// Whole, up to so many bytes, before the handler is called. More is answered with 413.
    Whole {
        /// The limit.
        bytes_max: usize,
    },
    /// In pieces, with the handler called before them.
    Stream,
    /// Not at all: answer at once.
    Refuse(Response),
}

/// An answer, or how it will come.
pub enum Reply {
    /// Here it is.
    Now(Response),
    /// A task will give it. It is polled at once.
    Later(Later),
    /// Go on as a WebSocket.
    WebSocket(Accept),
}

/// What a task gives for an answer.
pub enum Answer {
    /// A response.
    Response(Response),
    /// Go on as a WebSocket.
    WebSocket(Accept),
}

/// The word that a request may open a WebSocket, if its handshake is in order (RFC 6455, 4.2); else it is answered with
/// what is wrong, see [`Request::websocket_handshake`].
pub struct Accept {
    /// Gets the messages. It is dropped when no WebSocket is opened.
    pub socket: Box<dyn WebSocketHandler>,
    /// The subprotocol: one of [`Request::subprotocols`], for with any other the client must not go on.
    pub subprotocol: Option<Cow<'static, str>>,
}

/// What answers requests. Calls are caught when they panic: 500, and the connection closes.
pub trait Service {
    /// The head is here: what is to become of the body? May note a route in the request.
    fn plan(&self, request: &mut Request) -> BodyPlan;

    /// Answer. A task may take the request out and leave another, empty one.
    fn call(&self, ctx: &mut Ctx<'_>, request: &mut Request) -> Reply;

    /// Both, for a request that has no body: answer it, if need be with a refusal.
    fn answer(&self, ctx: &mut Ctx<'_>, request: &mut Request) -> Reply;

    /// How the WebSockets of `route` are kept, where that is not as the server's limits say, see [`Request::route`].
    fn websocket(&self, route: u32) -> Option<&WebSocketSettings> {
        let _ = route;
        None
    }

    /// The method and the path of `route`, for reports.
    fn route_name(&self, route: u32) -> Option<(&'static str, Arc<str>)> {
        let _ = route;
        None
    }

    /// Whether the time that requests take is to be measured, see [`super::RouteCounts`].
    fn measures_routes(&self) -> bool {
        false
    }

    /// Where the code that answers requests of `route` was given to the service, see [`Request::route`].
    fn origin(&self, route: u32) -> Origin;
}
