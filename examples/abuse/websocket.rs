//! A WebSocket client that masks only when it wants to.

use std::io;
use std::time::Duration;

use crate::client::{Connection, PATIENCE, find};
use crate::target::Target;

pub(crate) const FIN: u8 = 0x80;
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
const MASKED: u8 = 0x80;

/// The request of a handshake, up to its last field: the empty line is missing.
pub(crate) fn handshake(target: &Target, path: &str) -> String {
    let host = &target.options.host;
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
}

/// Open one, and forget the answer's head.
pub(crate) fn open(target: &Target, path: &str) -> io::Result<Connection> {
    let mut connection = target.connect()?;
    connection.send(
        format!("{}\r\n", handshake(target, path)).as_bytes(),
        PATIENCE,
    );
    let mut head_end = None;
    while head_end.is_none() && connection.receive(PATIENCE) > 0 {
        head_end = find(&connection.received, b"\r\n\r\n");
    }
    match head_end {
        Some(end) if connection.received.starts_with(b"HTTP/1.1 101 ") => {
            connection.received.drain(..end + 4);
            connection.received_count = connection.received.len() as u64;
            Ok(connection)
        }
        _ => Err(io::Error::other(format!("no WebSocket at {path}"))),
    }
}

/// A frame as a client sends it. `first` is the opcode with its flags. The mask is all zeros: it need not hide anything
/// here.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, MASKED, payload.len() as u64);
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// The header of a masked frame that claims `length` bytes, with its mask.
pub(crate) fn claiming(first: u8, length: u64) -> Vec<u8> {
    let mut frame = header(first, MASKED, length);
    frame.extend_from_slice(&[0; 4]);
    frame
}

pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, 0, payload.len() as u64);
    frame.extend_from_slice(payload);
    frame
}

fn header(first: u8, mask: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..126 => header.push(mask | length as u8),
        126..0x1_0000 => {
            header.push(mask | 126);
            header.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            header.push(mask | 127);
            header.extend_from_slice(&length.to_be_bytes());
        }
    }
    header
}

/// The code of the close frame among what a server sent, if there is one; 1005 for one without.
pub(crate) fn close_code(mut received: &[u8]) -> Option<u16> {
    loop {
        let (first, second) = (*received.first()?, *received.get(1)?);
        let (header_length, length): (usize, usize) = match second & 0x7f {
            126 => {
                let length = received.get(2..4)?.try_into().ok()?;
                (4, usize::from(u16::from_be_bytes(length)))
            }
            127 => {
                let length = received.get(2..10)?.try_into().ok()?;
                (10, usize::try_from(u64::from_be_bytes(length)).ok()?)
            }
            length => (2, usize::from(length)),
        };
        let payload = received.get(header_length..header_length.checked_add(length)?)?;
        if first & 0xf == CLOSE {
            let code = payload.get(..2).and_then(|code| code.try_into().ok());
            return Some(code.map_or(1005, u16::from_be_bytes));
        }
        received = &received[header_length + length..];
    }
}

/// Receive until a close frame or the connection's end has come, or for `patience`.
pub(crate) fn receive_close(connection: &mut Connection, patience: Duration) -> Option<u16> {
    let until = std::time::Instant::now() + patience;
    loop {
        let code = close_code(&connection.received);
        let left = until.saturating_duration_since(std::time::Instant::now());
        if code.is_some() || connection.end.is_some() || left.is_zero() {
            return code;
        }
        connection.receive(left);
    }
}
