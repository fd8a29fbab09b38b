//! Clients who do not behave. What they are told must be right, and the server must be rid of them in time.

use std::collections::VecDeque;

use tourbillon::sim::{Client, World};

use crate::http::{Actor, HttpClient, Op};
use crate::ws::WsClient;

/// Draw somebody rude. `size_max` bounds what is sent and asked for.
pub(crate) fn drawn(world: &World, client: Client, size_max: usize) -> Box<dyn Actor> {
    let mut ops = VecDeque::new();
    let mut say = |text: &str| ops.push_back(Op::Send(text.as_bytes().to_vec()));
    match world.range(0..=12) {
        0..=3 => return Box::new(HttpClient::breaking_off(world, client, size_max)),
        4 | 5 => return Box::new(WsClient::breaking_off(world, client)),
        // Connects and says nothing.
        6 => {}
        // Says its head a letter at a time.
        7 => {
            for letter in "GET / HTTP/1.1\r\nHost: server\r\nX-Patience: ".bytes() {
                ops.push_back(Op::Send(vec![letter]));
                ops.push_back(Op::Sleep(world.range(100..=3_000)));
            }
        }
        // Sends a body too slowly to be worth a connection.
        8 => {
            say("POST /sum HTTP/1.1\r\nHost: server\r\nContent-Length: 100000\r\n\r\n");
            for _ in 0..30 {
                ops.push_back(Op::Send(vec![b'x'; 8]));
                ops.push_back(Op::Sleep(world.range(100..=4_000)));
            }
        }
        // Asks for much and takes nothing.
        9 => {
            ops.push_back(Op::PauseReading(10_000_000));
            for _ in 0..world.range(1..=5) {
                ops.push_back(Op::Send(
                    b"GET /static HTTP/1.1\r\nHost: server\r\n\r\n".to_vec(),
                ));
            }
        }
        // Announces more than is taken.
        10 => {
            say("POST /sum HTTP/1.1\r\nHost: server\r\nContent-Length: 9999999\r\n\r\n");
            ops.push_back(Op::Send(vec![b'x'; size_max]));
        }
        // Has its own idea of HTTP.
        11 => {
            const WRONG: [&str; 6] = [
                "GET / HTTP/1.1\r\n\r\n",
                "GET / HTTP/1.1\nHost: a\n\n",
                "POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
                "\u{16}\u{3}\u{1}\0\u{ff}",
                "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc\r\n",
            ];
            say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            say(world.pick::<&str>(&WRONG));
            say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            return Box::new(HttpClient::scripted(client, ops));
        }
        // Opens a WebSocket and does not mask, or claims too much.
        _ => {
            say(
                "GET /ws/echo HTTP/1.1\r\nHost: server\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            );
            say(world.pick::<&str>(&[
                "\u{1}\u{2}hi",
                "\u{1}\u{7f}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}",
            ]));
            return Box::new(WsClient::wrong(client, ops));
        }
    }
    Box::new(HttpClient::scripted(client, ops))
}
