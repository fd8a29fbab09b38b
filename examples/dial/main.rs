//! The dial in a terminal: live bars of a loop that runs elsewhere.
//!
//!     cargo run --release --example dial -- HOST:PORT [--at PATH] [--token TOKEN] [--once]
//!
//! HOST:PORT is a dial (`salon --dial` prints its address), or a server that has one mounted, or one with
//! `App::operations`. `--at` says where on it; else `/`, `/loop/` and `/ops` are tried. `--once` prints one line and
//! ends. With a dial's token, `p`, `r`, `s` and `c` and Enter pause the loop, resume it, step a turn, and step a
//! callback.
//!
//! To see something, first `cargo run --release --features dial --example salon -- --dial`, and give this the address
//! that it prints.
//!
//! What to look at: `view.rs` is what is known and how it is drawn; `live.rs` and `poll.rs` are the two ways to know it,
//! a WebSocket that tells what happens and routes that have to be asked. Where nobody looks, at the end of a pipe, it
//! prints a line a second.
//!
//! A question: a loop that sleeps is not woken to be looked at. Where in `view.rs` is it seen that nothing has come?

mod live;
mod poll;
mod view;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use tourbillon::event_loop::{EventLoop, Signal};
use tourbillon::task::{interval, sleep};
use tourbillon::web::Shared;

use view::View;

const USAGE: &str = "usage: dial HOST:PORT [--at PATH] [--token TOKEN] [--once]";
/// Between two pictures, or two lines.
const PAUSE: Duration = Duration::from_secs(1);

struct Options {
    host: String,
    /// Where the dial or the operations are mounted.
    at: Option<String>,
    token: Option<String>,
    once: bool,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        host: String::new(),
        at: None,
        token: None,
        once: false,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--at" => options.at = Some(value()?),
            "--token" => options.token = Some(value()?),
            "--once" => options.once = true,
            flag if flag.starts_with('-') => return Err(format!("unknown option {flag}")),
            host if options.host.is_empty() => options.host = host.to_owned(),
            more => return Err(format!("one HOST:PORT, not also {more}")),
        }
    }
    // As the dial prints it, too: http://127.0.0.1:4321/#token=…
    let host = options.host.trim_start_matches("http://");
    let (host, token) = host.split_once("/#token=").unwrap_or((host, ""));
    if !token.is_empty() {
        options.token.get_or_insert(token.to_owned());
    }
    let host = host.trim_end_matches('/').to_owned();
    let port = host.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(Options { host, ..options }),
        _ if host.is_empty() => Err("HOST:PORT is missing".to_owned()),
        _ => Err(format!("{host} is not HOST:PORT")),
    }
}

/// Find out what there is, and follow it until it ends.
async fn follow(options: &Options, view: &Shared<View>) -> Result<(), String> {
    let places = match &options.at {
        Some(at) => vec![at.as_str()],
        None => vec!["/", "/loop/", "/ops"],
    };
    let token = options.token.as_deref();
    for at in places {
        let at = at.trim_end_matches('/');
        if let Some(socket) = live::connect(&options.host, at).await? {
            return live::follow(socket, token, view).await;
        }
        if let Some(poll) = poll::connect(&options.host, at, token).await? {
            return poll.follow(view).await;
        }
    }
    let host = &options.host;
    Err(format!(
        "{host} has neither a dial nor operations there; see --at"
    ))
}

/// Draw what is known, again and again; or print it as lines, if nobody looks at a screen.
async fn draw(view: Shared<View>, once: bool) -> io::Result<()> {
    let mut out = io::stdout();
    if once {
        while !view.with(|view| view.is_complete()) {
            sleep(Duration::from_millis(20)).await;
        }
        sleep(PAUSE).await;
        return writeln!(out, "{}", view.with(View::line));
    }
    let is_screen = out.is_terminal();
    let mut ticks = interval(PAUSE);
    loop {
        ticks.tick().await;
        if !view.with(|view| view.is_complete()) {
            continue;
        }
        match is_screen {
            true => write!(out, "{}", view.with(View::picture))?,
            false => writeln!(out, "{}", view.with(View::line))?,
        }
        out.flush()?;
    }
}

fn run(options: Options) -> io::Result<Result<(), String>> {
    let is_screen = io::stdout().is_terminal() && !options.once;
    if is_screen {
        // A screen of its own, without a cursor; see xterm's "Control Sequences", 1049 and 25.
        print!("\x1b[?1049h\x1b[?25l");
    }
    let mut event_loop = EventLoop::new()?;
    for signal in [Signal::Interrupt, Signal::Terminate] {
        event_loop.ctx().on_signal(signal, |ctx| ctx.stop())?;
    }
    let view = Shared::new(View::new(&options.host));
    let end = Shared::new(Ok(()));
    let drawing = event_loop.spawn(draw(view.clone(), options.once));
    let ended = end.clone();
    drawing.on_done(move |ctx, drawn| {
        // A pipe that was closed at its other end is no failure.
        if let Ok(Err(error)) = drawn
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            ended.with(|end| *end = Err(error.to_string()));
        }
        ctx.stop();
    });
    let ended = end.clone();
    event_loop.spawn(async move {
        let followed = follow(&options, &view).await;
        ended.with(|end| *end = followed);
        tourbillon::event_loop::get_running_loop().stop();
    });
    event_loop.run()?;
    if is_screen {
        print!("\x1b[?25h\x1b[?1049l");
        io::stdout().flush()?;
    }
    Ok(end.with(|end| end.clone()))
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("dial: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let ended = run(options).unwrap_or_else(|error| Err(error.to_string()));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dial: {error}");
            ExitCode::FAILURE
        }
    }
}
