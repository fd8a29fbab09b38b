//! The cases over a socket: a small app answers each request with the body it was sent, so statuses and bodies can be
//! held against the events, and what follows a case shows whether the connection goes on.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tourbillon::event_loop::{EventLoop, Remote};
use tourbillon::proto::http1::HeadLimits;
use tourbillon::web::{App, Limits, Request};

use super::Case;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two pieces, so that the server reads them apart. If it does not, a case shows less and still holds.
const BETWEEN_PIECES: Duration = Duration::from_millis(1);
/// Sent behind every case. It is answered with 299 if the connection goes on, and not at all if it closes.
const PROBE: &[u8] = b"GET /probe HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n";

/// A server for each set of limits that a case asks for.
#[derive(Default)]
pub(super) struct Servers(BTreeMap<String, Running>);

impl Servers {
    /// What went wrong with a case, if anything did.
    pub(super) fn failure(&mut self, case: &Case) -> Option<String> {
        let server = self
            .0
            .entry(format!("{:?}", case.limits))
            .or_insert_with(|| Running::new(case.limits.clone()));
        let expected = Expected::of(case);
        let mut sent = case.input.clone();
        if !expected.is_truncated {
            sent.extend_from_slice(PROBE);
        }
        let thirds = [case.input.len() / 3, case.input.len() * 2 / 3];
        [("whole", [0, 0]), ("in three pieces", thirds)]
            .into_iter()
            .find_map(|(how, cuts)| {
                let answers = talk(server.address, &sent, cuts, &expected)
                    .and_then(|received| expected.read(&received));
                (answers != Ok(expected.answers.clone())).then(|| {
                    format!(
                        "{}, over a socket, {how}\nexpected\n  {:?}\ngot\n  {answers:?}",
                        case.name, expected.answers
                    )
                })
            })
    }
}

struct Running {
    address: SocketAddr,
    remote: Remote,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn new(head: HeadLimits) -> Self {
        let (ready, is_ready) = channel();
        let thread = thread::spawn(move || {
            let mut event_loop = EventLoop::new().unwrap();
            let echo = |request: &Request, (): &mut ()| request.body().to_vec();
            let app = App::new(())
                .limits(Limits {
                    head,
                    ..Limits::default()
                })
                .get("/probe", |_: &Request, (): &mut ()| 299)
                .get("/get-only", echo)
                .any("/", echo)
                .any("/{*path}", echo);
            let (_, address) = app.listen(&mut event_loop.ctx(), "127.0.0.1:0").unwrap();
            ready.send((address, event_loop.remote())).unwrap();
            event_loop.run().unwrap();
        });
        let (address, remote) = is_ready.recv_timeout(PATIENCE).unwrap();
        Self {
            address,
            remote,
            thread: Some(thread),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.remote.stop();
        let ended = self.thread.take().unwrap().join();
        if !thread::panicking() {
            ended.unwrap();
        }
    }
}

/// What must come back for a case.
struct Expected {
    /// A status each; of a 200 the body too.
    answers: Vec<String>,
    /// The methods of the requests that were read.
    methods: Vec<String>,
    /// The peer asked for the close itself.
    is_asked_to_close: bool,
    /// The peer ends in the middle of a request.
    is_truncated: bool,
}

impl Expected {
    fn of(case: &Case) -> Self {
        let mut statuses = Vec::new();
        let (mut methods, mut bodies) = (Vec::new(), Vec::new());
        let mut data = String::new();
        let mut last = "eof";
        for event in &case.expected {
            let mut words = event.split(' ');
            last = words.next().unwrap_or_default();
            match last {
                "head" => methods.push(words.next().unwrap_or_default().to_owned()),
                "data" => event["data ".len()..].clone_into(&mut data),
                "end" => {
                    statuses.push("200");
                    bodies.push(std::mem::take(&mut data));
                }
                "fault" => statuses.push(words.next_back().unwrap_or_default()),
                _ => {}
            }
        }
        let mut goes_on = last == "eof";
        if let Some(answers) = &case.over_socket {
            statuses = answers.split(' ').collect();
            goes_on = statuses.pop() == Some("next");
        }
        if goes_on {
            statuses.push("299");
        }
        if case.input.starts_with(b"HEAD ") && methods.is_empty() {
            methods.push("HEAD".into());
        }
        let mut echoes = bodies.into_iter().zip(methods.iter());
        let answers = statuses
            .iter()
            .map(|status| {
                let echo = match status.starts_with('1') {
                    true => None,
                    false => echoes.next(),
                };
                match (*status, echo) {
                    ("200", Some((body, method))) if !body.is_empty() && method != "HEAD" => {
                        format!("200 {body}")
                    }
                    _ => (*status).to_owned(),
                }
            })
            .collect();
        Self {
            answers,
            is_asked_to_close: last == "close",
            is_truncated: case
                .expected
                .iter()
                .any(|event| event.contains("Truncated")),
            methods,
        }
    }

    /// The answers that were received, and an error if they are not framed as they say.
    fn read(&self, received: &[u8]) -> Result<Vec<String>, String> {
        let mut answers = Vec::new();
        let mut methods = self.methods.iter();
        let mut rest = received;
        while !rest.is_empty() {
            let end = rest
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .ok_or_else(|| format!("no head in {:?}", rest.escape_ascii().to_string()))?;
            let head = String::from_utf8_lossy(&rest[..end]);
            rest = &rest[end + 4..];
            let status = head
                .strip_prefix("HTTP/1.1 ")
                .and_then(|line| line.get(..3))
                .ok_or_else(|| format!("no status in {head}"))?;
            if status.starts_with('1') {
                answers.push(status.to_owned());
                continue;
            }
            if !head.contains("\r\nDate: ") {
                return Err(format!("no date in {head}"));
            }
            let length = match methods.next() {
                Some(method) if method == "HEAD" => 0,
                _ => head
                    .split("\r\n")
                    .find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok())
                    .ok_or_else(|| format!("no length in {head}"))?,
            };
            let (body, behind) = rest
                .split_at_checked(length)
                .ok_or_else(|| format!("the answer is cut off: {head}"))?;
            rest = behind;
            match (status, body) {
                ("200", [_, ..]) => answers.push(format!("200 {}", body.escape_ascii())),
                _ => answers.push(status.to_owned()),
            }
        }
        Ok(answers)
    }
}

/// Send the pieces between `cuts`, and take what comes until the server closes.
fn talk(
    address: SocketAddr,
    bytes: &[u8],
    cuts: [usize; 2],
    expected: &Expected,
) -> Result<Vec<u8>, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).map_err(text)?;
    stream.set_nodelay(true).map_err(text)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(text)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(text)?;
    let [first, second] = cuts;
    for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
        // A server that has closed takes no more; what it answered before is still there to read.
        let _ = stream.write_all(piece);
        if !piece.is_empty() && cuts != [0, 0] {
            thread::sleep(BETWEEN_PIECES);
        }
    }
    if expected.is_truncated {
        stream.shutdown(Shutdown::Write).map_err(text)?;
    }
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(received),
            Ok(len) => received.extend_from_slice(&buffer[..len]),
            // Who asks for the close and goes on sending is told so. A refusal must be readable.
            Err(error)
                if error.kind() == ErrorKind::ConnectionReset && expected.is_asked_to_close =>
            {
                return Ok(received);
            }
            Err(error) => {
                return Err(format!(
                    "{error} behind {:?}",
                    received.escape_ascii().to_string()
                ));
            }
        }
    }
}
