//! The HTTP client.

mod error;
mod pool;
mod redirect;
mod retry;
mod url;
mod websocket;

pub use error::{Error, ErrorKind, Held, Phase, PoolReport, TimeLimit, Timeout};
pub use redirect::Redirects;
pub use retry::RetryPolicy;
pub use url::{IntoUrl, Scheme, Url, UrlError};
pub use websocket::{
    CloseFrame, Reconnect, Refusal, WebSocket, WebSocketBuilder, WebSocketError, WebSocketSender,
    WebSocketTimeout,
};
