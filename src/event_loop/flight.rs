//! The flight recorder: when something goes wrong, what the loop did just before is kept.
//!
//! It watches the turns that the [`super::Recorder`] records, and takes a copy of its records after a slow turn, after
//! a turn in which something panicked, and on SIGUSR2. The loop only copies: at most 1.5 MiB unless asked for more,
//! which holds it for some 0.3 ms. A thread of the executor makes a trace of the copy and writes the file.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::debug::{SLOW_THRESHOLD, Span};
use super::driver::Signal;
use super::trace::Recording;
use super::{EventLoop, RECORDS};

/// How many files a flight recorder leaves, unless [`FlightRecorder::files_max`] says otherwise. One of
/// [`RECORDS`] records has about 12 MB.
pub const FLIGHTS_MAX: usize = 8;
/// The time between two of them at least, unless [`FlightRecorder::pause`] says otherwise.
pub const FLIGHT_PAUSE: Duration = Duration::from_secs(1);

/// Why a flight was kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A turn was awake for so long.
    SlowTurn(Duration),
    /// Something has panicked.
    Panic,
    /// The process got SIGUSR2.
    Signal,
}

impl Cause {
    fn word(self) -> &'static str {
        match self {
            Self::SlowTurn(_) => "slow",
            Self::Panic => "panic",
            Self::Signal => "signal",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlowTurn(took) => write!(f, "a turn took {}", Span(*took)),
            Self::Panic => f.write_str("something panicked"),
            Self::Signal => f.write_str("SIGUSR2"),
        }
    }
}

/// What a loop did before something went wrong.
#[derive(Clone, Debug)]
pub struct Flight {
    /// Why it was kept.
    pub cause: Cause,
    /// What happened, the turn that is to blame last.
    pub recording: Recording,
}

/// Where flights go, and when there is one. See [`EventLoop::start_flight_recorder`].
///
/// ```no_run
/// use std::time::Duration;
/// use tourbillon::event_loop::{EventLoop, FlightRecorder};
///
/// let mut event_loop = EventLoop::new()?;
/// event_loop.start_flight_recorder(
///     FlightRecorder::in_folder("/var/log/salon").slow_turn(Duration::from_millis(50)),
/// )?;
/// event_loop.run()?;
/// # std::io::Result::Ok(())
/// ```
pub struct FlightRecorder {
    sink: Sink,
    slow_turn: Duration,
    pause: Duration,
    records_max: usize,
    files_max: usize,
}

enum Sink {
    Folder(PathBuf),
    Hook(Box<dyn FnMut(Flight)>),
}

impl FlightRecorder {
    /// Write flights to files in `folder`, which exists, as Chrome trace-event JSON:
    /// `tourbillon-PROCESS-NUMBER-CAUSE.json`, where the numbers of a process go up from 1, and the cause is `slow`,
    /// `panic` or `signal`. While a file is written its name ends in `.part`. What cannot be written is told on
    /// standard error.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self::to(Sink::Folder(folder.into()))
    }

    /// Hand flights to `hook`, on the loop's thread, at the end of the turn. It holds the loop.
    pub fn with_hook(hook: impl FnMut(Flight) + 'static) -> Self {
        Self::to(Sink::Hook(Box::new(hook)))
    }

    fn to(sink: Sink) -> Self {
        Self {
            sink,
            slow_turn: SLOW_THRESHOLD,
            pause: FLIGHT_PAUSE,
            records_max: RECORDS,
            files_max: FLIGHTS_MAX,
        }
    }

    /// A turn that is awake for so long is slow; [`SLOW_THRESHOLD`] unless set.
    pub fn slow_turn(mut self, took: Duration) -> Self {
        self.slow_turn = took;
        self
    }

    /// At least so much time from one flight to the next: what goes wrong sooner is not kept by itself, and mostly is
    /// in the next one. [`FLIGHT_PAUSE`] unless set.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Copy so many records at most, the newest; [`RECORDS`] unless set. Copying holds the loop for some 5 ns a record.
    pub fn records_max(mut self, records: usize) -> Self {
        self.records_max = records;
        self
    }

    /// Leave so many files at most: the oldest that this flight recorder has written goes first. [`FLIGHTS_MAX`] unless
    /// set.
    pub fn files_max(mut self, files: usize) -> Self {
        self.files_max = files.max(1);
        self
    }
}

impl EventLoop {
    /// Switch the recorder on, and keep what it has whenever something goes wrong: when a turn was awake for too long,
    /// when a panic was caught, and when the process gets SIGUSR2, where there is such a signal. Not while
    /// [`super::Handle::record`] has switched it off again. A second call replaces the first.
    ///
    /// # Errors
    /// When the signal cannot be caught.
    pub fn start_flight_recorder(&mut self, flight_recorder: FlightRecorder) -> io::Result<()> {
        self.stop_flight_recorder();
        let is_signalled = Rc::new(Cell::new(false));
        let signalled = Rc::clone(&is_signalled);
        let watch = self
            .ctx()
            .on_signal(Signal::User2, move |_| signalled.set(true));
        let watch = match watch {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
            watch => Some(watch?),
        };
        let mut keeper = Keeper {
            flight_recorder,
            is_signalled,
            panics: self.stats().panics,
            last: None,
            files: VecDeque::new(),
        };
        let watch_turn = move |event_loop: &mut EventLoop, awake| keeper.look(event_loop, awake);
        self.flights = Some(Flights {
            watch_turn: Box::new(watch_turn),
            watch,
        });
        self.record(true);
        Ok(())
    }

    /// End what [`EventLoop::start_flight_recorder`] has begun. The recorder goes on.
    pub fn stop_flight_recorder(&mut self) {
        if let Some(Flights {
            watch: Some(watch), ..
        }) = self.flights.take()
        {
            self.ctx().close(watch);
        }
    }
}

type TurnHook = Box<dyn FnMut(&mut EventLoop, Duration)>;

/// What the loop knows of a flight recorder: no more, so that a program without one has nothing of it in its binary.
pub(super) struct Flights {
    /// Called at the end of a turn that was recorded, with the time for which it was awake.
    pub(super) watch_turn: TurnHook,
    watch: Option<super::Token>,
}

struct Keeper {
    flight_recorder: FlightRecorder,
    is_signalled: Rc<Cell<bool>>,
    /// How many there had been at the last look.
    panics: u64,
    /// When the last flight was kept.
    last: Option<Instant>,
    /// The files that are there, the oldest first.
    files: VecDeque<PathBuf>,
}

/// Numbers the flights of a process.
static FLIGHTS: AtomicU32 = AtomicU32::new(0);

impl Keeper {
    /// A turn has ended.
    fn look(&mut self, event_loop: &mut EventLoop, awake: Duration) {
        let panics = event_loop.stats.panics;
        let has_panicked = std::mem::replace(&mut self.panics, panics) < panics;
        let cause = match () {
            () if self.is_signalled.take() => Cause::Signal,
            () if has_panicked => Cause::Panic,
            () if awake >= self.flight_recorder.slow_turn => Cause::SlowTurn(awake),
            () => return,
        };
        let now = event_loop.time();
        let is_early = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < self.flight_recorder.pause);
        // Who asks by hand gets an answer.
        if is_early && cause != Cause::Signal {
            return;
        }
        self.last = Some(now);
        let recorder = event_loop.recorder();
        let records_max = self.flight_recorder.records_max as u64;
        let recording = recorder.recording(recorder.written().saturating_sub(records_max));
        match &mut self.flight_recorder.sink {
            Sink::Hook(hook) => hook(Flight { cause, recording }),
            Sink::Folder(folder) => {
                let number = FLIGHTS.fetch_add(1, Ordering::Relaxed) + 1;
                let (process, word) = (std::process::id(), cause.word());
                let file = folder.join(format!("tourbillon-{process}-{number}-{word}.json"));
                self.files.push_back(file.clone());
                let too_many = self.files.len() > self.flight_recorder.files_max;
                let oldest = self.files.pop_front_if(|_| too_many);
                write_elsewhere(event_loop, file, oldest, recording);
            }
        }
    }
}

/// Have a thread write `file`, and remove `oldest`.
fn write_elsewhere(
    event_loop: &EventLoop,
    file: PathBuf,
    oldest: Option<PathBuf>,
    recording: Recording,
) {
    let name = file.clone();
    let job = move || {
        if let Err(error) = write_file(&file, &recording) {
            tell(&file, &error);
        }
        if let Some(oldest) = oldest {
            // It may have been moved away, which is what it is there for.
            let _ = std::fs::remove_file(oldest);
        }
    };
    if let Err(error) = event_loop.handle.executor().submit(Box::new(job)) {
        tell(&name, &error);
    }
}

fn write_file(file: &Path, recording: &Recording) -> io::Result<()> {
    let part = file.with_extension("json.part");
    let mut out = BufWriter::new(File::create_new(&part)?);
    recording.write_trace(&mut out)?;
    out.flush()?;
    std::fs::rename(part, file)
}

fn tell(file: &Path, error: &io::Error) {
    // Where nobody reads, nothing is lost.
    let _ = writeln!(
        io::stderr(),
        "tourbillon: {} was not written: {error}",
        file.display()
    );
}
