//! A server that runs out of descriptors, real ones: it goes on, and whoever cannot be served learns it quickly.
#![cfg(unix)]

mod yardstick;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use yardstick::{Yardstick, example_file};

/// How long anything may take before the test fails. Less than any deadline of the server: who is closed within it was
/// turned away.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many descriptors the server may have. Some it has before the first connection.
const DESCRIPTORS: usize = 40;
/// More clients than that.
const CLIENTS: usize = 60;
const REQUEST: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n";

/// A yardstick with few descriptors, and a limit of its own that is out of their reach.
fn yardstick() -> Yardstick {
    let script = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" --port 0 --connections-max 1000");
    Yardstick::run_by(
        Command::new("sh")
            .args(["-c", &script])
            .arg(example_file("yardstick")),
    )
}

impl Yardstick {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// One request on a connection of its own: the status, or `None` if it was closed without one.
    fn get(&self) -> Option<String> {
        let mut client = self.connect();
        let _ = client.write_all(REQUEST);
        status(&mut client)
    }

    /// Whether it still runs.
    fn lives(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }
}

/// The status of the next answer; `None` at the connection's end.
fn status(client: &mut TcpStream) -> Option<String> {
    let mut bytes = [0; 1_000];
    match client.read(&mut bytes) {
        Ok(0) => None,
        Ok(read) => {
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            Some(text["HTTP/1.1 ".len()..][..3].to_owned())
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        Err(error) => panic!("neither an answer nor the end: {error}"),
    }
}

/// Whether the server has closed it.
fn is_closed(client: &mut TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let read = client.read(&mut [0]);
    client.set_nonblocking(false).unwrap();
    match read {
        Ok(0) => true,
        Ok(_) => panic!("an answer to half a request"),
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[test]
fn who_is_idle_gives_way() {
    let server = yardstick();
    // All stay open at this end.
    let mut clients: Vec<TcpStream> = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = server.connect();
        client.write_all(REQUEST).unwrap();
        assert_eq!(status(&mut client).as_deref(), Some("200"));
        clients.push(client);
    }
    let closed = clients
        .iter_mut()
        .filter_map(|one| is_closed(one).then_some(()));
    assert!(closed.count() >= CLIENTS - DESCRIPTORS);
}

#[test]
fn when_all_are_busy_the_others_are_turned_away_and_later_served() {
    let mut server = yardstick();
    let mut held: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let mut client = server.connect();
            // Half a request: whoever has sent that is not idle.
            let _ = client.write_all(&REQUEST[..10]);
            client
        })
        .collect();
    let since = Instant::now();
    while held.len() > DESCRIPTORS {
        assert!(since.elapsed() < PATIENCE, "{} are left", held.len());
        held.retain_mut(|client| !is_closed(client));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(held.len() > DESCRIPTORS / 2, "only {} are held", held.len());

    // Nobody else comes in, and nobody is left waiting.
    for _ in 0..10 {
        assert_eq!(server.get(), None);
    }
    assert!(server.lives());
    // Those who are in are served.
    for client in &mut held {
        if !is_closed(client) {
            client.write_all(&REQUEST[10..]).unwrap();
            assert_eq!(status(client).as_deref(), Some("200"));
        }
    }
    drop(held);
    let since = Instant::now();
    while server.get().as_deref() != Some("200") {
        assert!(since.elapsed() < PATIENCE, "it does not serve again");
    }
    assert!(server.lives());
}
