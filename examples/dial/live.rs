//! What a dial tells by itself: its WebSocket, see `src/dial/PROTOCOL.md`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use serde_json::{Value, json};
use tourbillon::client::{WebSocket, WebSocketError, WebSocketSender};
use tourbillon::event_loop::Handle;
use tourbillon::proto::ws::{OwnedMessage, WsLimits};
use tourbillon::sync::mpsc;
use tourbillon::task::spawn;
use tourbillon::web::Shared;

use crate::view::View;

/// A tick of a loop with thousands of connections is some hundred KiB.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The dial that is mounted at `at`; `None` if nothing is there.
pub(crate) async fn connect(host: &str, at: &str) -> Result<Option<WebSocket>, String> {
    let limits = WsLimits {
        message_bytes_max: MESSAGE_BYTES_MAX,
        ..WsLimits::default()
    };
    let builder = WebSocket::builder(&format!("ws://{host}{at}/live"))
        .limits(limits)
        .connect_timeout(Duration::from_secs(5));
    match builder.connect().await {
        Ok(socket) => Ok(Some(socket)),
        Err(WebSocketError::Refused(refusal)) => match refusal.status() {
            403 => Err(String::from_utf8_lossy(refusal.body())
                .trim_end()
                .to_owned()),
            _ => Ok(None),
        },
        Err(error) => Err(format!("{host}: {error}")),
    }
}

/// Keep `view` as the dial says, until it ends.
pub(crate) async fn follow(
    mut socket: WebSocket,
    token: Option<&str>,
    view: &Shared<View>,
) -> Result<(), String> {
    let sender = socket.sender();
    send(&sender, &json!({"id": 1, "do": "rate", "hz": 4})).await?;
    if let Some(token) = token {
        send(&sender, &json!({"id": 2, "do": "control", "token": token})).await?;
    }
    while let Some(message) = socket.recv().await.map_err(|error| error.to_string())? {
        let OwnedMessage::Text(text) = message else {
            continue;
        };
        let message: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        match message["type"].as_str().unwrap_or_default() {
            "hello" => view.with(|view| view.hello(&message)),
            "tick" => view.with(|view| view.tick(&message)),
            "finding" => view.with(|view| view.found(&message["text"])),
            "answer" if message["id"] == 2 => match message["ok"].as_bool() {
                Some(true) => {
                    view.with(View::may_control);
                    if io::stdin().is_terminal() {
                        obey_keys(sender.clone());
                    }
                }
                _ => return Err(message["error"].as_str().unwrap_or_default().to_owned()),
            },
            "answer" if message["ok"] == false => view.with(|view| view.found(&message["error"])),
            _ => {}
        }
    }
    Err("the dial has ended".to_owned())
}

async fn send(sender: &WebSocketSender, message: &Value) -> Result<(), String> {
    let sent = sender.send(message.to_string().as_str()).await;
    sent.map_err(|error| error.to_string())
}

/// Each line that is typed is an order. They are read on a thread, since reading a terminal blocks.
fn obey_keys(sender: WebSocketSender) {
    let (typed, mut orders) = mpsc::unbounded();
    let typed = typed.remote(&Handle::current());
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            let order = match line.trim() {
                "p" => "pause",
                "r" => "resume",
                "s" => "step_turn",
                "c" => "step_callback",
                _ => continue,
            };
            if typed.send(order).is_err() {
                return;
            }
        }
    });
    spawn(async move {
        while let Ok(order) = orders.recv().await {
            if send(&sender, &json!({"id": 3, "do": order})).await.is_err() {
                return;
            }
        }
    });
}
