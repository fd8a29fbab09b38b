//! Runs the cases under `tests/conformance`: one text file each, read by the machine whole, byte by byte, and cut at
//! every position, and once more over a socket. Then what `docs/http-conformance.md` says about them.
//!
//! A case is lines of `what text`; a line that begins with `#` says why the case exists.
//!
//! - `limit NAME NUMBER` sets a field of `HeadLimits`.
//! - `> BYTES` is what the peer sends; the lines are joined with nothing between them. `\r`, `\n`, `\t`, `\0`, `\\` and
//!   `\xNN` are bytes, `\{TEXT*NUMBER}` is a repetition.
//! - Every other line is an event that must come, in this order: `head METHOD TARGET VERSION`, `field NAME: VALUE` for
//!   each field of that head, `host NAME` for the host that it is for (both only if the case names one), `data BYTES`,
//!   `end`, `next` or `close` after the answer, `eof` for a quiet end of the input, `fault NAME STATUS`.
//! - `socket STATUS... next` or `close`: what a client is answered, and whether the connection goes on, where that does
//!   not follow from the events: routes and the limit on bodies have a say too.

#[path = "conformance/escapes.rs"]
mod escapes;
#[path = "conformance/socket.rs"]
mod socket;
#[path = "conformance/table.rs"]
mod table;

use std::fs;
use std::path::Path;

use escapes::unescape;
use tourbillon::proto::http1::{
    After, BodyLength, Fields, HeadLimits, PeerError, RequestHead, ResponseHead, Server, Step,
    Version, date,
};

#[test]
fn every_case_gives_its_events_however_it_is_cut() {
    check_each(Case::failure);
}

#[test]
fn every_case_is_answered_over_a_socket_as_by_the_machine() {
    let mut servers = socket::Servers::default();
    check_each(|case| servers.failure(case));
}

#[test]
fn every_row_of_the_table_is_held_by_what_exists() {
    let (faults, rows) = table::faults();
    assert!(rows > 90, "the table is there: {rows} rows");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Hold all cases against what `failure` finds wrong with one.
fn check_each(failure: impl FnMut(&Case) -> Option<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(paths.len() > 50, "the corpus is there");
    let cases: Vec<_> = paths.iter().map(|path| Case::read(path)).collect();
    let failures: Vec<_> = cases.iter().filter_map(failure).collect();
    assert!(
        failures.is_empty(),
        "{} of {} cases failed\n\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n\n")
    );
}

struct Case {
    name: String,
    limits: HeadLimits,
    input: Vec<u8>,
    expected: Vec<String>,
    shows_fields: bool,
    shows_host: bool,
    /// Statuses, then `next` or `close`.
    over_socket: Option<String>,
}

impl Case {
    fn read(path: &Path) -> Self {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).unwrap();
        let mut case = Self {
            name,
            limits: HeadLimits::default(),
            input: Vec::new(),
            expected: Vec::new(),
            shows_fields: false,
            shows_host: false,
            over_socket: None,
        };
        for line in text.lines().map(str::trim_end) {
            match line.split_once(' ') {
                _ if line.is_empty() || line.starts_with('#') => {}
                Some(("limit", limit)) => case.set_limit(limit),
                Some(("socket", answers)) => case.over_socket = Some(answers.into()),
                Some((">", bytes)) => case.input.extend(unescape(bytes)),
                _ => {
                    case.shows_fields |= line.starts_with("field ");
                    case.shows_host |= line.starts_with("host ");
                    case.expected.push(line.into());
                }
            }
        }
        assert!(
            !case.expected.is_empty(),
            "{}: a case expects something",
            case.name
        );
        case
    }

    fn set_limit(&mut self, text: &str) {
        let (name, number) = text.split_once(' ').unwrap();
        let limit = match name {
            "head_bytes_max" => &mut self.limits.head_bytes_max,
            "line_bytes_max" => &mut self.limits.line_bytes_max,
            "fields_max" => &mut self.limits.fields_max,
            "chunk_extension_bytes_max" => &mut self.limits.chunk_extension_bytes_max,
            "chunk_extensions_bytes_max" => &mut self.limits.chunk_extensions_bytes_max,
            "trailer_bytes_max" => &mut self.limits.trailer_bytes_max,
            _ => panic!("{}: no limit is called {name}", self.name),
        };
        *limit = number.parse().unwrap();
    }

    /// What went wrong, if anything did.
    fn failure(&self) -> Option<String> {
        let different = |how: String, events: Vec<String>| {
            let (expected, events) = (self.expected.join("\n  "), events.join("\n  "));
            (self.expected.join("\n  ") != events).then(|| {
                format!(
                    "{}, {how}\nexpected\n  {expected}\ngot\n  {events}",
                    self.name
                )
            })
        };
        different("whole".into(), self.events(&[&self.input]))
            .or_else(|| {
                different(
                    "byte by byte".into(),
                    self.events(&self.input.chunks(1).collect::<Vec<_>>()),
                )
            })
            .or_else(|| {
                (1..self.input.len()).find_map(|cut| {
                    let (front, back) = self.input.split_at(cut);
                    different(format!("cut at {cut}"), self.events(&[front, back]))
                })
            })
    }

    fn events(&self, pieces: &[&[u8]]) -> Vec<String> {
        let mut peer = Peer {
            case: self,
            server: Server::new(),
            head: RequestHead::new(),
            events: Vec::new(),
            data: Vec::new(),
        };
        let mut pending = Vec::new();
        let outcome = pieces.iter().try_for_each(|piece| {
            pending.extend_from_slice(piece);
            peer.read(&mut pending)
        });
        let outcome = outcome.and_then(|()| peer.server.eof().map_err(Stop::Fault));
        peer.flush_data();
        match outcome {
            Ok(()) => peer.events.push("eof".into()),
            Err(Stop::Closed) => peer.events.push("close".into()),
            Err(Stop::Fault(fault)) => peer
                .events
                .push(format!("fault {fault:?} {}", fault.status())),
        }
        peer.events
    }
}

/// Why a run ended before its input.
enum Stop {
    Closed,
    Fault(PeerError),
}

struct Peer<'c> {
    case: &'c Case,
    server: Server,
    head: RequestHead,
    events: Vec<String>,
    data: Vec<u8>,
}

impl Peer<'_> {
    fn read(&mut self, pending: &mut Vec<u8>) -> Result<(), Stop> {
        loop {
            let (used, step) = self
                .server
                .next(pending, &mut self.head, &self.case.limits)
                .map_err(Stop::Fault)?;
            let needs_more = step == Step::NeedMore;
            match step {
                Step::Head => self.show_head(),
                Step::Data(data) => self.data.extend_from_slice(data),
                Step::End => {
                    self.flush_data();
                    self.events.push("end".into());
                    self.answer();
                }
                Step::NeedMore => {}
                Step::Paused => match self.server.after() {
                    After::NextExchange => self.events.push("next".into()),
                    _ => return Err(Stop::Closed),
                },
            }
            pending.drain(..used);
            if needs_more {
                return Ok(());
            }
        }
    }

    fn show_head(&mut self) {
        let version = match self.head.version() {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
        };
        self.events.push(format!(
            "head {} {} {version}",
            self.head.method_str(),
            self.head.target()
        ));
        if self.case.shows_fields {
            self.events.extend(self.head.headers().map(|(name, value)| {
                format!("field {name}: {}", value.escape_ascii())
                    .trim_end()
                    .into()
            }));
        }
        if self.case.shows_host {
            self.events.push(format!("host {}", self.head.host()));
        }
    }

    fn answer(&mut self) {
        let (fields, mut out) = (Fields::new(), Vec::new());
        let head = ResponseHead {
            status: 200,
            fields: &fields,
            content_type: None,
            length: BodyLength::Known(0),
            date: &date::format(0),
        };
        self.server.respond(&head, &mut out).unwrap();
        self.server.end(&mut out).unwrap();
    }

    fn flush_data(&mut self) {
        if !self.data.is_empty() {
            self.events
                .push(format!("data {}", self.data.escape_ascii()));
            self.data.clear();
        }
    }
}
