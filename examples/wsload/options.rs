//! The command line.

use std::net::ToSocketAddrs;
use std::time::Duration;

use tourbillon::client::{WebSocket, WebSocketBuilder};
#[cfg(feature = "tls")]
use tourbillon::net::TlsConnector;
#[cfg(feature = "deflate")]
use tourbillon::proto::ws::DeflateOptions;
use tourbillon::proto::ws::WsLimits;

pub(crate) const USAGE: &str = "usage: wsload [echo|broadcast|idle|reflect] URL [options]

  echo                 each connection sends a message and waits for it to come back
  broadcast            some connections send, and all hear it: the URL is of a room
  idle                 connections that say nothing
  reflect              one connection that sends back what comes, until the server closes it

  --connections N      how many connections, at most 100,000 (100)
  --seconds S          for how long, once all are open, at most 3,600 (10)
  --size N             bytes of a message, from 16 to 16 MiB (64)
  --depth N            echo: messages of a connection that are under way at the same time (1)
  --senders N          broadcast: how many of the connections send (1)
  --rate N             broadcast: messages a second of each of them (10)
  --binary             send binary messages instead of text
  --deflate            offer compression (permessage-deflate), with one compressor for all
  --ca FILE            wss: trust who is signed by the certificates of this PEM file, and nobody else
  --force              load a server that is not on the loopback interface. Only your own
  --help               this";

/// What to do.
pub(crate) enum Command {
    Help,
    Reflect(Box<WebSocketBuilder>),
    Load(Box<Options>),
}

pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) builder: WebSocketBuilder,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    pub(crate) size: usize,
    pub(crate) depth: usize,
    pub(crate) senders: usize,
    pub(crate) rate: u32,
    pub(crate) is_binary: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Echo,
    Broadcast,
    Idle,
}

/// What the first word asks for.
enum Task {
    Load(Mode),
    Reflect,
}

/// What the server may send in one message: Autobahn's go up to 16 MiB.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

impl Command {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = arguments.peekable();
        let task = match arguments.peek().map(String::as_str) {
            Some("echo") => Some(Task::Load(Mode::Echo)),
            Some("broadcast") => Some(Task::Load(Mode::Broadcast)),
            Some("idle") => Some(Task::Load(Mode::Idle)),
            Some("reflect") => Some(Task::Reflect),
            _ => None,
        };
        if task.is_some() {
            arguments.next();
        }
        let (mode, is_reflecting) = match task {
            Some(Task::Load(mode)) => (mode, false),
            Some(Task::Reflect) => (Mode::Echo, true),
            None => (Mode::Echo, false),
        };
        let mut options = Options {
            mode,
            builder: WebSocket::builder(""),
            connections: 100,
            duration: Duration::from_secs(10),
            size: 64,
            depth: 1,
            senders: 1,
            rate: 10,
            is_binary: false,
        };
        let (mut url, mut is_forced, mut is_compressed) = (None, false, is_reflecting);
        let mut roots = None;
        while let Some(name) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.ok_or_else(|| format!("{name} needs a value"))
            };
            match name.as_str() {
                "--help" => return Ok(Self::Help),
                "--force" => is_forced = true,
                "--binary" => options.is_binary = true,
                "--deflate" if cfg!(feature = "deflate") => is_compressed = true,
                "--deflate" => return Err("--deflate needs the feature `deflate`".to_owned()),
                "--ca" if cfg!(feature = "tls") => roots = Some(value()?),
                "--ca" => return Err("--ca needs the feature `tls`".to_owned()),
                "--connections" => options.connections = number(&name, &value()?, 1..=100_000)?,
                "--seconds" => {
                    options.duration =
                        Duration::from_secs(number(&name, &value()?, 1..=3_600)? as u64);
                }
                "--size" => options.size = number(&name, &value()?, 16..=MESSAGE_BYTES_MAX)?,
                "--depth" => options.depth = number(&name, &value()?, 1..=1_000)?,
                "--senders" => options.senders = number(&name, &value()?, 1..=100_000)?,
                "--rate" => options.rate = number(&name, &value()?, 1..=100_000)? as u32,
                _ if name.starts_with('-') || url.is_some() => {
                    return Err(format!("unknown argument {name}"));
                }
                _ => url = Some(name),
            }
        }
        let url = url.ok_or("whom? The URL is missing")?;
        if !is_forced && !is_loopback(&url)? {
            return Err(format!(
                "{url} is not on the loopback interface; --force loads it all the same"
            ));
        }
        options.builder = WebSocket::builder(&url).limits(WsLimits {
            message_bytes_max: MESSAGE_BYTES_MAX,
            fragments_max: 1 << 20,
        });
        #[cfg(feature = "tls")]
        if let Some(roots) = &roots {
            options.builder = options.builder.tls(trusting(roots)?);
        }
        let _ = roots;
        #[cfg(feature = "deflate")]
        if is_compressed {
            options.builder = options.builder.deflate(match is_reflecting {
                // Whatever the server asks for, and compress whatever comes.
                true => DeflateOptions {
                    threshold_bytes: 0,
                    ..DeflateOptions::own_context()
                },
                false => DeflateOptions::default(),
            });
        }
        let _ = is_compressed;
        Ok(match is_reflecting {
            true => Self::Reflect(Box::new(options.builder)),
            false => Self::Load(Box::new(options)),
        })
    }
}

/// Trusts the certificates of `file`.
#[cfg(feature = "tls")]
fn trusting(file: &str) -> Result<TlsConnector, String> {
    let pem = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let connector = TlsConnector::builder().without_roots().add_roots(&pem);
    let connector = connector.and_then(|connector| connector.build());
    connector.map_err(|error| format!("{file}: {error}"))
}

fn number(
    name: &str,
    value: &str,
    range: std::ops::RangeInclusive<usize>,
) -> Result<usize, String> {
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{name}: {value:?} is not a number from {range:?}"))
}

/// Whether all addresses of the URL's host are.
fn is_loopback(url: &str) -> Result<bool, String> {
    let (_, rest) = url
        .split_once("://")
        .ok_or_else(|| format!("{url} is no URL: it begins with ws:// or wss://"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => authority,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = (host, 0)
        .to_socket_addrs()
        .map_err(|error| format!("{host}: {error}"))?;
    Ok(addresses
        .into_iter()
        .all(|address| address.ip().is_loopback()))
}
