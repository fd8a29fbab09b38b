//! What the connections do, and what is counted meanwhile.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tourbillon::client::{WebSocket, WebSocketBuilder, WebSocketError};
use tourbillon::metrics::{Histogram, Outcomes};
use tourbillon::proto::ws::{CloseCode, Message, OwnedMessage};
use tourbillon::task::{JoinHandle, sleep, spawn, timeout};

use super::options::{Mode, Options};

/// How many connections are being opened at the same time.
const OPENERS: usize = 64;

/// What all connections count.
struct Tally {
    began: Instant,
    open: Cell<usize>,
    /// Could not be opened, or ended before their time.
    lost: Cell<usize>,
    first_error: RefCell<Option<WebSocketError>>,
    sent: Cell<u64>,
    /// Messages that came: when they were sent is in them, or known.
    outcomes: RefCell<Outcomes>,
    /// The same of the present second.
    second: RefCell<Histogram>,
}

impl Tally {
    fn came(&self, after: Duration) {
        self.outcomes.borrow_mut().success(after);
        self.second.borrow_mut().record(after);
    }

    fn lost(&self, error: WebSocketError) {
        self.lost.set(self.lost.get() + 1);
        self.first_error.borrow_mut().get_or_insert(error);
    }
}

/// Send back what comes, as it came, until the connection has ended.
pub(crate) async fn reflect(builder: WebSocketBuilder) -> Result<(), WebSocketError> {
    let mut socket = builder.connect().await?;
    // What the server does wrong it does on purpose: it wants to see it refused.
    while let Ok(Some(message)) = socket.recv().await {
        if socket.send(&message).await.is_err() {
            break;
        }
    }
    // So that our last word gets there.
    let _ = socket.close(CloseCode::Normal, "").await;
    Ok(())
}

/// Open all connections, have them do what they are for, and print what came of it.
pub(crate) async fn load(options: Options) -> Result<(), WebSocketError> {
    let options = Rc::new(options);
    let tally = Rc::new(Tally {
        began: Instant::now(),
        open: Cell::new(0),
        lost: Cell::new(0),
        first_error: RefCell::new(None),
        sent: Cell::new(0),
        outcomes: RefCell::default(),
        second: RefCell::default(),
    });
    let progress = spawn(progress(Rc::clone(&tally)));
    let sockets = open_all(&options, &tally).await;
    let opened = (sockets.len(), tally.began.elapsed());
    if sockets.is_empty() {
        progress.abort();
        let error = tally.first_error.take();
        return Err(error.unwrap_or(WebSocketError::Closed));
    }

    let from = Instant::now();
    let until = from + options.duration;
    let tasks: Vec<_> = sockets
        .into_iter()
        .enumerate()
        .map(|(number, socket)| {
            let (options, tally) = (Rc::clone(&options), Rc::clone(&tally));
            spawn(async move {
                let ran = run(number, socket, &options, &tally, until).await;
                tally.open.set(tally.open.get() - 1);
                if let Err(error) = ran {
                    tally.lost(error);
                }
            })
        })
        .collect();
    for task in tasks {
        let _ = task.await;
    }
    progress.abort();
    print_table(&options, &tally, opened, from.elapsed());
    Ok(())
}

async fn open_all(options: &Rc<Options>, tally: &Rc<Tally>) -> Vec<WebSocket> {
    let openers: Vec<JoinHandle<Vec<WebSocket>>> = (0..OPENERS)
        .map(|first| {
            let (options, tally) = (Rc::clone(options), Rc::clone(tally));
            spawn(async move {
                let mut sockets = Vec::new();
                for _ in (first..options.connections).step_by(OPENERS) {
                    match options.builder.connect().await {
                        Ok(socket) => {
                            tally.open.set(tally.open.get() + 1);
                            sockets.push(socket);
                        }
                        Err(error) => tally.lost(error),
                    }
                }
                sockets
            })
        })
        .collect();
    let mut sockets = Vec::new();
    for opener in openers {
        sockets.extend(opener.await.unwrap_or_default());
    }
    sockets
}

async fn run(
    number: usize,
    mut socket: WebSocket,
    options: &Options,
    tally: &Rc<Tally>,
    until: Instant,
) -> Result<(), WebSocketError> {
    match options.mode {
        Mode::Echo => echo(&mut socket, options, tally, until).await?,
        Mode::Broadcast => {
            let speaker = (number < options.senders).then(|| {
                spawn(speak(
                    socket.sender(),
                    message(options),
                    options.rate,
                    Rc::clone(tally),
                    until,
                ))
            });
            listen(&mut socket, tally, until).await?;
            if let Some(speaker) = speaker {
                speaker.abort();
            }
        }
        Mode::Idle => listen(&mut socket, tally, until).await?,
    }
    socket.close(CloseCode::Normal, "").await.map(drop)
}

/// Send, and again each time one comes back.
async fn echo(
    socket: &mut WebSocket,
    options: &Options,
    tally: &Tally,
    until: Instant,
) -> Result<(), WebSocketError> {
    let message = message(options);
    let mut under_way = VecDeque::with_capacity(options.depth);
    loop {
        while under_way.len() < options.depth && Instant::now() < until {
            under_way.push_back(Instant::now());
            socket.send(&message).await?;
            tally.sent.set(tally.sent.get() + 1);
        }
        let Some(sent) = under_way.pop_front() else {
            return Ok(());
        };
        let came = socket.recv().await?.ok_or(WebSocketError::Closed)?;
        if came != message {
            tally.outcomes.borrow_mut().failure(sent.elapsed());
            continue;
        }
        tally.came(sent.elapsed());
    }
}

/// Say something `rate` times a second; the time of it stands in front.
async fn speak(
    sender: tourbillon::client::WebSocketSender,
    mut message: OwnedMessage,
    rate: u32,
    tally: Rc<Tally>,
    until: Instant,
) {
    let mut next = Instant::now();
    while next < until {
        let stamp = format!("{:016x}", tally.began.elapsed().as_nanos() as u64);
        match &mut message {
            OwnedMessage::Text(text) => text.replace_range(..16, &stamp),
            OwnedMessage::Binary(bytes) => bytes[..16].copy_from_slice(stamp.as_bytes()),
        }
        if sender.send(&message).await.is_err() {
            return;
        }
        tally.sent.set(tally.sent.get() + 1);
        next += Duration::from_secs(1) / rate;
        sleep(next.saturating_duration_since(Instant::now())).await;
    }
}

/// Hear what comes; of what has a time in front it is known how long it took.
async fn listen(
    socket: &mut WebSocket,
    tally: &Tally,
    until: Instant,
) -> Result<(), WebSocketError> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(came) = timeout(left, socket.recv()).await else {
            return Ok(());
        };
        let came = came?.ok_or(WebSocketError::Closed)?;
        let stamp = Message::from(&came).as_bytes().get(..16);
        let stamp = stamp.and_then(|stamp| std::str::from_utf8(stamp).ok());
        let sent = stamp.and_then(|stamp| u64::from_str_radix(stamp, 16).ok());
        if let Some(sent) = sent {
            let now = tally.began.elapsed();
            tally.came(now.saturating_sub(Duration::from_nanos(sent)));
        }
    }
}

fn message(options: &Options) -> OwnedMessage {
    // Words, so that compression has something to do.
    let words = "All work and no play makes a dull load. ";
    let text: String = words.chars().cycle().take(options.size).collect();
    match options.is_binary {
        true => OwnedMessage::Binary(text.into_bytes()),
        false => OwnedMessage::Text(text),
    }
}

/// A line a second.
async fn progress(tally: Rc<Tally>) {
    loop {
        sleep(Duration::from_secs(1)).await;
        let second = tally.second.replace(Histogram::new());
        let p99 = second
            .p99()
            .map_or(String::new(), |p99| format!(", p99 {p99:.1?}"));
        eprintln!(
            "{:>4} s: {} open, {} lost, {} messages{p99}",
            tally.began.elapsed().as_secs(),
            tally.open.get(),
            tally.lost.get(),
            second.count(),
        );
    }
}

fn print_table(options: &Options, tally: &Tally, opened: (usize, Duration), elapsed: Duration) {
    let (connections, took) = opened;
    println!(
        "connections {connections} of {} in {took:.1?}, {} lost",
        options.connections,
        tally.lost.get()
    );
    if let Some(error) = &*tally.first_error.borrow() {
        println!("first error {error}");
    }
    println!("sent        {}", tally.sent.get());
    println!("{}", tally.outcomes.borrow().summary(elapsed));
}
