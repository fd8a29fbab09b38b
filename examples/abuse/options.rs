//! What the command line says: whom to attack, what he promises, and how far to go.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

pub(crate) const USAGE: &str =
    "usage: abuse HOST:PORT [--pid PID] [--only NAME,...] [--list] [--seconds N] [--long] [--force]
  --pid PID              of the server, on this machine: its memory and CPU time are judged too
  --only NAME,...        these attacks only
  --list                 print what each attack does and when it passes, and end
  --seconds N            deadlines longer than this are not waited for (default 35)
  --long                 wait for all of them
  --force                attack a server that is not on the loopback interface. Only your own
the server's deadlines, in seconds (defaults: those of this library)
  --first-byte-timeout 10  from the connection's acceptance to its first byte
  --header-timeout 10    from the first byte of a head to its last
  --body-timeout 10      a body that stands still, or trickles
  --write-timeout 30     a client that does not take its answer
  --keepalive-timeout 75 between two requests
  --ws-timeout 40        a WebSocket that says nothing, nor answers pings
  --slack 3              how much later than its deadline a connection may be closed
bounds
  --connections 500      how many idle connections are opened at once
  --floor MS             a polite client's 99th percentile below this is never held against the server (default 20)
  --memory-max MIB       by how much the server's resident memory may grow in one attack (default 64)
paths (found by asking, if not given)
  --path /plaintext      a small answer to GET; else /
  --post /echo           takes POST; else the path above
  --large /bytes/16777216  an answer of at least 8 MiB
  --ws /ws               takes a WebSocket
  --room /room           a WebSocket whose messages go to all who are there";

pub(crate) struct Options {
    /// As given: it goes into `Host`.
    pub(crate) host: String,
    pub(crate) address: SocketAddr,
    pub(crate) pid: Option<u32>,
    pub(crate) only: Vec<String>,
    /// Deadlines longer than this are not waited for.
    pub(crate) wait_max: Duration,
    pub(crate) first_byte_timeout: Duration,
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) keep_alive_timeout: Duration,
    pub(crate) ws_timeout: Duration,
    pub(crate) slack: Duration,
    pub(crate) connections: usize,
    pub(crate) floor: Duration,
    pub(crate) memory_bytes_max: u64,
    pub(crate) path: Option<String>,
    pub(crate) post: Option<String>,
    pub(crate) large: Option<String>,
    pub(crate) ws: Option<String>,
    pub(crate) room: Option<String>,
}

pub(crate) enum Command {
    Help,
    List,
    Attack(Box<Options>),
}

impl Command {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Options {
            host: String::new(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            pid: None,
            only: Vec::new(),
            wait_max: Duration::from_secs(35),
            first_byte_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(75),
            ws_timeout: Duration::from_secs(40),
            slack: Duration::from_secs(3),
            connections: 500,
            floor: Duration::from_millis(20),
            memory_bytes_max: 64 << 20,
            path: None,
            post: None,
            large: None,
            ws: None,
            room: None,
        };
        let mut is_forced = false;
        while let Some(name) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.ok_or_else(|| format!("{name} needs a value"))
            };
            match name.as_str() {
                "--help" => return Ok(Self::Help),
                "--list" => return Ok(Self::List),
                "--long" => options.wait_max = Duration::MAX,
                "--force" => is_forced = true,
                "--pid" => options.pid = Some(number(&name, &value()?)?),
                "--only" => options
                    .only
                    .extend(value()?.split(',').map(|name| name.trim().to_owned())),
                "--seconds" => options.wait_max = seconds(&name, &value()?)?,
                "--first-byte-timeout" => options.first_byte_timeout = seconds(&name, &value()?)?,
                "--header-timeout" => options.header_timeout = seconds(&name, &value()?)?,
                "--body-timeout" => options.body_timeout = seconds(&name, &value()?)?,
                "--write-timeout" => options.write_timeout = seconds(&name, &value()?)?,
                "--keepalive-timeout" => options.keep_alive_timeout = seconds(&name, &value()?)?,
                "--ws-timeout" => options.ws_timeout = seconds(&name, &value()?)?,
                "--slack" => options.slack = seconds(&name, &value()?)?,
                "--connections" => options.connections = number(&name, &value()?)?,
                "--floor" => options.floor = Duration::from_millis(number(&name, &value()?)?),
                "--memory-max" => {
                    let mebibytes: u32 = number(&name, &value()?)?;
                    options.memory_bytes_max = u64::from(mebibytes) << 20;
                }
                "--path" => options.path = Some(path(&name, value()?)?),
                "--post" => options.post = Some(path(&name, value()?)?),
                "--large" => options.large = Some(path(&name, value()?)?),
                "--ws" => options.ws = Some(path(&name, value()?)?),
                "--room" => options.room = Some(path(&name, value()?)?),
                _ if name.starts_with('-') || !options.host.is_empty() => {
                    return Err(format!("unknown argument {name}"));
                }
                _ => options.host = name,
            }
        }
        if options.host.is_empty() {
            return Err("whom? HOST:PORT is missing".to_owned());
        }
        let mut addresses = (options.host.to_socket_addrs())
            .map_err(|error| format!("{}: {error}", options.host))?;
        options.address =
            (addresses.next()).ok_or_else(|| format!("{} has no address", options.host))?;
        if !is_forced && !options.address.ip().is_loopback() {
            return Err(format!(
                "{} is not on the loopback interface; --force attacks it all the same",
                options.address
            ));
        }
        Ok(Self::Attack(Box::new(options)))
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    let number = value.parse();
    number.map_err(|_| format!("{name}: {value:?} is not a number in range"))
}

fn seconds(name: &str, value: &str) -> Result<Duration, String> {
    number(name, value).map(Duration::from_secs)
}

fn path(name: &str, value: String) -> Result<String, String> {
    match value.starts_with('/') {
        true => Ok(value),
        false => Err(format!("{name}: {value:?} does not begin with /")),
    }
}
