//! What is said: the messages of `PROTOCOL.md` as types, and the rules for what people may type.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tourbillon::web::Message;

use crate::alarm::Alert;

/// In a message, in Unicode scalar values.
pub(crate) const MESSAGE_CHARS_MAX: usize = 2000;
/// In a user's name.
pub(crate) const NAME_CHARS_MAX: usize = 40;
/// In a room's name.
pub(crate) const ROOM_CHARS_MAX: usize = 64;

/// From a chat page.
#[derive(Deserialize, PartialEq, Debug)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum FromChatter {
    Message { message: String },
    Name { name: String },
    Ping,
}

/// To a chat page.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToChatter<'a> {
    Welcome {
        user_id: &'a str,
        room: &'a str,
        users: usize,
        timestamp: u64,
    },
    UserJoined {
        user_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_name: Option<&'a str>,
        users: usize,
        timestamp: u64,
    },
    UserLeft {
        user_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_name: Option<&'a str>,
        users: usize,
        timestamp: u64,
    },
    UserRenamed {
        user_id: &'a str,
        user_name: &'a str,
        timestamp: u64,
    },
    NewMessage {
        user_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_name: Option<&'a str>,
        message: &'a str,
        timestamp: u64,
    },
    Pong {
        timestamp: u64,
    },
    Error {
        message: Refusal,
    },
}

/// From a dashboard page.
#[derive(Deserialize, PartialEq, Debug)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum FromWatcher {
    Subscribe,
    Ping,
}

/// To a dashboard page.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToWatcher<'a> {
    Subscribed {
        interval_ms: u64,
    },
    Metrics(&'a Metrics),
    Alert {
        #[serde(flatten)]
        alert: Alert,
        timestamp: u64,
    },
    Pong {
        timestamp: u64,
    },
    Error {
        message: Refusal,
    },
}

/// The figures of one tick. `None` is what the platform does not tell.
#[derive(Serialize)]
pub(crate) struct Metrics {
    pub(crate) timestamp: u64,
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) loop_lag_ms: f64,
    pub(crate) connections: usize,
    pub(crate) requests: u64,
    pub(crate) turns: u64,
    pub(crate) rooms: usize,
    pub(crate) chatters: usize,
}

/// Why something that a client sent has no effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    Binary,
    NotAnObject,
    Unknown,
    BlankMessage,
    LongMessage,
    EmptyName,
    LongName,
    ControlInName,
    LongRoom,
    ControlInRoom,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binary => f.write_str("messages are text, and this one was binary"),
            Self::NotAnObject => f.write_str("a message is a JSON object"),
            Self::Unknown => {
                f.write_str("unknown type, or a field is missing or of the wrong kind")
            }
            Self::BlankMessage => f.write_str("the message is blank"),
            Self::LongMessage => write!(f, "a message has at most {MESSAGE_CHARS_MAX} characters"),
            Self::EmptyName => f.write_str("the name is empty"),
            Self::LongName => write!(f, "a name has at most {NAME_CHARS_MAX} characters"),
            Self::ControlInName => f.write_str("a name has no control characters"),
            Self::LongRoom => write!(f, "a room's name has at most {ROOM_CHARS_MAX} characters"),
            Self::ControlInRoom => f.write_str("a room's name has no control characters"),
        }
    }
}

impl Serialize for Refusal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Understand what a client sent.
pub(crate) fn decode<T: DeserializeOwned>(message: Message<'_>) -> Result<T, Refusal> {
    let Message::Text(text) = message else {
        return Err(Refusal::Binary);
    };
    // In two steps, because serde would take an array for a message as well.
    let fields: Map<String, Value> =
        serde_json::from_str(text).map_err(|_| Refusal::NotAnObject)?;
    serde_json::from_value(Value::Object(fields)).map_err(|_| Refusal::Unknown)
}

/// As JSON.
pub(crate) fn encode(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("every map here has strings for keys")
}

/// A moment as messages give it: in milliseconds since 1970.
pub(crate) fn timestamp(wall_clock: SystemTime) -> u64 {
    let since = wall_clock.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}

/// What somebody says, if it can be said.
pub(crate) fn check_message(message: &str) -> Result<(), Refusal> {
    if message.trim().is_empty() {
        Err(Refusal::BlankMessage)
    } else if message.chars().count() > MESSAGE_CHARS_MAX {
        Err(Refusal::LongMessage)
    } else {
        Ok(())
    }
}

/// A user's name out of what was typed.
pub(crate) fn user_name(typed: &str) -> Result<String, Refusal> {
    let name = typed.trim();
    if name.is_empty() {
        Err(Refusal::EmptyName)
    } else if name.chars().count() > NAME_CHARS_MAX {
        Err(Refusal::LongName)
    } else if name.contains(char::is_control) {
        Err(Refusal::ControlInName)
    } else {
        Ok(name.to_owned())
    }
}

/// A room's name out of what was typed; nothing means the lobby.
pub(crate) fn room_name(typed: &str) -> Result<String, Refusal> {
    let name = typed.trim();
    if name.is_empty() {
        Ok("lobby".to_owned())
    } else if name.chars().count() > ROOM_CHARS_MAX {
        Err(Refusal::LongRoom)
    } else if name.contains(char::is_control) {
        Err(Refusal::ControlInRoom)
    } else {
        Ok(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Result<FromChatter, Refusal> {
        decode(Message::Text(text))
    }

    #[test]
    fn messages_are_understood_whatever_else_they_carry() {
        let name = |name: &str| {
            Ok(FromChatter::Name {
                name: name.to_owned(),
            })
        };
        assert_eq!(heard(r#"{"type":"ping"}"#), Ok(FromChatter::Ping));
        assert_eq!(
            heard(r#" {"more":[1],"type":"ping"} "#),
            Ok(FromChatter::Ping)
        );
        assert_eq!(
            heard(r#"{"name":"A\u0064a","type":"name","age":7}"#),
            name("Ada")
        );
        assert_eq!(
            decode(Message::Text(r#"{"type":"subscribe"}"#)),
            Ok(FromWatcher::Subscribe)
        );
    }

    #[test]
    fn what_is_no_message_is_refused_for_what_it_is() {
        for text in [
            "",
            "not json",
            "null",
            "7",
            "[]",
            r#"["ping"]"#,
            r#"{"type":"ping"} x"#,
        ] {
            assert_eq!(heard(text), Err(Refusal::NotAnObject), "{text}");
        }
        for text in [
            "{}",
            r#"{"type":"fly"}"#,
            r#"{"type":"message"}"#,
            r#"{"type":"message","message":7}"#,
        ] {
            assert_eq!(heard(text), Err(Refusal::Unknown), "{text}");
        }
        assert_eq!(
            decode::<FromChatter>(Message::Binary(b"{}")),
            Err(Refusal::Binary)
        );
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        assert_eq!(check_message(&"é".repeat(2000)), Ok(()));
        assert_eq!(check_message(&"é".repeat(2001)), Err(Refusal::LongMessage));
        assert_eq!(check_message(" \n\t"), Err(Refusal::BlankMessage));
        assert_eq!(user_name(&"鐘".repeat(40)), Ok("鐘".repeat(40)));
        assert_eq!(user_name(&"鐘".repeat(41)), Err(Refusal::LongName));
        assert_eq!(room_name(&"é".repeat(64)), Ok("é".repeat(64)));
        assert_eq!(room_name(&"é".repeat(65)), Err(Refusal::LongRoom));
    }

    #[test]
    fn names_are_trimmed_and_printable() {
        assert_eq!(user_name("  Ada Lovelace\n").as_deref(), Ok("Ada Lovelace"));
        assert_eq!(user_name(" \t"), Err(Refusal::EmptyName));
        assert_eq!(user_name("A\u{7}da"), Err(Refusal::ControlInName));
        assert_eq!(room_name("   ").as_deref(), Ok("lobby"));
        assert_eq!(room_name(" atelier & co ").as_deref(), Ok("atelier & co"));
        assert_eq!(room_name("a\nb"), Err(Refusal::ControlInRoom));
    }

    #[test]
    fn what_is_sent_has_the_protocols_names_and_shapes() {
        let message = |user_name| {
            encode(&ToChatter::NewMessage {
                user_id: "u",
                user_name,
                message: "\"<b>\"",
                timestamp: 1,
            })
        };
        assert_eq!(
            message(Some("Ada")),
            r#"{"type":"new_message","user_id":"u","user_name":"Ada","message":"\"<b>\"","timestamp":1}"#
        );
        assert_eq!(
            message(None),
            r#"{"type":"new_message","user_id":"u","message":"\"<b>\"","timestamp":1}"#
        );
        assert_eq!(
            encode(&ToChatter::Error {
                message: Refusal::EmptyName
            }),
            r#"{"type":"error","message":"the name is empty"}"#
        );
        let metrics = Metrics {
            timestamp: 1,
            cpu_percent: Some(12.5),
            memory_bytes: None,
            loop_lag_ms: 0.25,
            connections: 2,
            requests: 3,
            turns: 4,
            rooms: 5,
            chatters: 6,
        };
        assert_eq!(
            encode(&ToWatcher::Metrics(&metrics)),
            concat!(
                r#"{"type":"metrics","timestamp":1,"cpu_percent":12.5,"memory_bytes":null,"loop_lag_ms":0.25,"#,
                r#""connections":2,"requests":3,"turns":4,"rooms":5,"chatters":6}"#
            )
        );
    }
}
