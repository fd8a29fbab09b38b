//! Fetches a URL: prints the status, a newline, and the body as it came.
//!
//!     cargo run --release --example fetch -- URL [--repeat N] [--head] [--timeout SECS]
//!
//! With `--repeat N` it fetches N times, one after another over one client, and prints a line `STATUS LENGTH` each: the
//! length of the body that came. `--head` asks for the head alone. `--timeout` bounds each fetch, and is 60 s. What goes
//! wrong is told on stderr with its type, and the exit code is 1.
//!
//! What to look at: the body is written piece by piece as it comes, so it may be larger than memory.
//!
//! A question: with `--repeat 2`, how many connections are made? What has to be read for that?

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use tourbillon::client::{Client, Error};
use tourbillon::event_loop::EventLoop;

const USAGE: &str = "usage: fetch URL [--repeat N] [--head] [--timeout SECS]";

struct Options {
    url: String,
    repeat: Option<u32>,
    method: &'static str,
    timeout: Duration,
}

/// What can go wrong; each says its type.
enum Failure {
    Usage(String),
    Fetch(Error),
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Fetch(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        url: String::new(),
        repeat: None,
        method: "GET",
        timeout: Duration::from_secs(60),
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--head" => options.method = "HEAD",
            "--repeat" => {
                let value = value()?;
                let repeat = value
                    .parse()
                    .map_err(|_| format!("not a number: {value}"))?;
                options.repeat = Some(repeat);
            }
            "--timeout" => {
                let value = value()?;
                let seconds = value.parse().ok().map(Duration::try_from_secs_f64);
                let timeout = seconds
                    .and_then(Result::ok)
                    .filter(|timeout| !timeout.is_zero());
                options.timeout = timeout.ok_or(format!("not a time in seconds: {value}"))?;
            }
            flag if flag.starts_with("--") => return Err(format!("unknown option {flag}")),
            url if options.url.is_empty() => options.url = url.to_owned(),
            more => return Err(format!("one URL, not also {more}")),
        }
    }
    match options.url.is_empty() {
        true => Err("a URL is missing".to_owned()),
        false => Ok(options),
    }
}

async fn fetch(options: Options) -> Result<(), Failure> {
    let client = Client::builder().timeout(options.timeout).build()?;
    let mut out = io::stdout().lock();
    for _ in 0..options.repeat.unwrap_or(1) {
        let request = client.request(options.method, &options.url);
        let mut response = request.send().await?;
        let (status, mut length) = (response.status(), 0);
        if options.repeat.is_none() {
            writeln!(out, "{status}")?;
        }
        while let Some(piece) = response.chunk().await? {
            length += piece.len();
            if options.repeat.is_none() {
                out.write_all(piece)?;
            }
        }
        if options.repeat.is_some() {
            writeln!(out, "{status} {length}")?;
        }
    }
    Ok(out.flush()?)
}

fn run() -> Result<(), Failure> {
    let options = options(std::env::args().skip(1)).map_err(Failure::Usage)?;
    EventLoop::new()?.run_until(fetch(options))?
}

fn main() -> ExitCode {
    let Err(failure) = run() else {
        return ExitCode::SUCCESS;
    };
    match failure {
        Failure::Usage(fault) => eprintln!("fetch: UsageError: {fault}\n{USAGE}"),
        Failure::Fetch(error) => eprintln!("fetch: {}: {error}", error.kind().name()),
        Failure::Output(error) => eprintln!("fetch: IoError: {error}"),
    }
    ExitCode::FAILURE
}
