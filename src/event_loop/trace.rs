//! What was recorded, as a picture: Chrome's trace-event JSON, which ui.perfetto.dev and chrome://tracing open.
//!
//! The format is that of "Trace Event Format" (Chromium's catapult project), of which this writes: `B` and `E` for the
//! slices of the loop's thread, turn → phase → work; `i` for what happens at one moment; `C` for what is measured; `b`,
//! `e` and `n` for a track of each source and of each connection's state; `s` and `f` for arrows from cause to effect;
//! `M` for names. Timestamps are in microseconds with three decimals, which is nanoseconds.
//!
//! The order of the records decides, and time only where it does not contradict: a slice is drawn behind the one before
//! it and inside of the one around it, and is at least a nanosecond long. So a run of the simulator, in whose turns
//! time stands still, can be looked at as well; there the arguments tell the time, and the picture the order.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, Write};

use super::driver::{Readiness, Token};
use super::recorder::{Name, NameId, Record, Recorder, StateId, Transfer, What, Why};

/// An owned copy of what a [`Recorder`] has, which may go to another thread.
#[derive(Clone, Debug)]
pub struct Recording {
    records: Vec<Record>,
    names: Vec<Name>,
    states: Vec<(&'static str, &'static str)>,
    lost: u64,
}

impl Recorder {
    /// A copy of the records from `cursor` on, as far as they are there, with what is needed to understand them.
    /// Takes some 5 ns a record.
    pub fn recording(&self, cursor: u64) -> Recording {
        let since = self.since(cursor);
        Recording {
            lost: since.lost(),
            records: since.collect(),
            names: self.names(),
            states: self.states(),
        }
    }

    /// Write everything that is recorded as Chrome trace-event JSON. Takes about a microsecond a record: while the loop
    /// serves others, hand a [`Recorder::recording`] to another thread, and write that.
    ///
    /// # Errors
    /// Those of `out`.
    ///
    /// ```
    /// use tourbillon::event_loop::{EventLoop, TurnBudget};
    ///
    /// let mut event_loop = EventLoop::new()?;
    /// event_loop.record(true);
    /// event_loop.call_soon(|_| ());
    /// event_loop.turn(TurnBudget::no_wait())?;
    ///
    /// let mut trace = Vec::new();
    /// event_loop.recorder().write_trace(&mut trace)?;
    /// assert!(trace.starts_with(b"{\"traceEvents\":["));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn write_trace(&self, out: &mut impl Write) -> io::Result<()> {
        self.recording(0).write_trace(out)
    }
}

impl Recording {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records, oldest first.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How many records from the cursor on had been overwritten.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// As [`Recorder::write_trace`].
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_trace(&self, out: &mut impl Write) -> io::Result<()> {
        Self::write_traces(&[("tourbillon", self)], out)
    }

    /// Write what several loops did as one trace, in which each is a process with a name.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_traces(loops: &[(&str, &Self)], out: &mut impl Write) -> io::Result<()> {
        out.write_all(b"{\"traceEvents\":[")?;
        let mut separator = "";
        for (process, (name, recording)) in (1..).zip(loops) {
            let nodes = tree(&recording.records);
            let mut writer = Writer {
                recording,
                arrows: Arrows::of(&recording.records, &nodes, process),
                out: &mut *out,
                separator,
                process,
                drawn_ns: 0,
                tracks: BTreeMap::new(),
            };
            writer.write(name, &nodes)?;
            separator = ",";
        }
        let records: usize = loops.iter().map(|(_, recording)| recording.len()).sum();
        let lost: u64 = loops.iter().map(|(_, recording)| recording.lost).sum();
        writeln!(
            out,
            "\n],\"displayTimeUnit\":\"ns\",\"otherData\":{{\"records\":{records},\"lost\":{lost}}}}}"
        )
    }

    /// As [`Recorder::name`].
    pub fn name(&self, name: NameId) -> Name {
        let name = self.names.get(name.index()).copied();
        name.unwrap_or(Name::UNKNOWN)
    }

    /// As [`Recorder::state`].
    pub fn state(&self, state: StateId) -> (&'static str, &'static str) {
        self.states.get(state.index()).copied().unwrap_or_default()
    }
}

/// A record with all that happened in it.
struct Node {
    /// Its place among the records.
    index: usize,
    children: Vec<Node>,
}

/// Build the tree that the recorder has written from its leaves to its roots.
fn tree(records: &[Record]) -> Vec<Node> {
    let mut open: Vec<Node> = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let is_inside = |node: &Node| match (record.what(), records[node.index].what()) {
            (What::Turn { .. }, What::Turn { .. }) => false,
            (What::Turn { .. }, _) => true,
            (What::Phase { .. }, What::Turn { .. } | What::Phase { .. }) => false,
            (What::Phase { .. }, _) => true,
            (
                What::Visit { .. } | What::Callback { .. },
                What::Turn { .. } | What::Phase { .. },
            ) => false,
            (What::Visit { .. } | What::Callback { .. }, _) => {
                records[node.index].depth() > record.depth()
            }
            _ => false,
        };
        let inside = open.iter().rev().take_while(|node| is_inside(node)).count();
        let children = open.split_off(open.len() - inside);
        open.push(Node { index, children });
    }
    open
}

/// Which arrows begin and which end at a record.
#[derive(Default)]
struct Arrows {
    begin: HashMap<usize, Vec<Arrow>>,
    end: HashMap<usize, Vec<Arrow>>,
    number: u64,
}

#[derive(Clone, Copy)]
struct Arrow {
    id: u64,
    name: &'static str,
}

/// What an effect has to name, so that its cause is found.
#[derive(PartialEq, Eq, Hash)]
enum Cause {
    Woken(u64),
    Marked(u64),
    Called(u64),
    Spawned(u64),
    Timer(u64),
    Job(u64),
}

impl Arrows {
    /// Walk through the records in the order in which things began, and match effects with causes. The arrows of a
    /// process have numbers of their own.
    fn of(records: &[Record], nodes: &[Node], process: usize) -> Self {
        let mut arrows = Self {
            number: (process as u64) << 32,
            ..Self::default()
        };
        let mut causes = HashMap::new();
        arrows.walk(records, nodes, &mut causes);
        arrows
    }

    fn walk(&mut self, records: &[Record], nodes: &[Node], causes: &mut HashMap<Cause, usize>) {
        for node in nodes {
            let index = node.index;
            let mut remember = |cause| {
                causes.insert(cause, index);
            };
            match records[index].what() {
                What::Woken { token, .. } => {
                    causes.entry(Cause::Woken(token.to_bits())).or_insert(index);
                }
                What::Marked { token } => remember(Cause::Marked(token.to_bits())),
                What::Called { call, .. } => remember(Cause::Called(call)),
                What::Spawned { task } => remember(Cause::Spawned(task)),
                What::TimerSet { timer, .. } => remember(Cause::Timer(timer)),
                What::Submitted { job } => remember(Cause::Job(job)),
                What::TimerCancelled { timer } => {
                    causes.remove(&Cause::Timer(timer));
                }
                What::TimerFired { timer, .. } => {
                    self.add("timer", causes.remove(&Cause::Timer(timer)), index);
                }
                What::Began { task } => {
                    self.add("spawn", causes.remove(&Cause::Spawned(task)), index);
                }
                What::JobDone { job } => self.add("job", causes.remove(&Cause::Job(job)), index),
                What::Callback { call, .. } => {
                    self.add("call", causes.remove(&Cause::Called(call)), index);
                }
                What::Visit {
                    token, readiness, ..
                } => {
                    let bits = token.to_bits();
                    if readiness.intersects(Readiness::WOKEN | Readiness::TIMER) {
                        self.add("wake", causes.remove(&Cause::Woken(bits)), index);
                    }
                    if readiness.contains(Readiness::FLUSH) {
                        self.add("write", causes.remove(&Cause::Marked(bits)), index);
                    }
                }
                _ => {}
            }
            self.walk(records, &node.children, causes);
        }
    }

    fn add(&mut self, name: &'static str, cause: Option<usize>, effect: usize) {
        let Some(cause) = cause else { return };
        self.number += 1;
        let id = self.number;
        let arrow = Arrow { id, name };
        self.begin.entry(cause).or_default().push(arrow);
        self.end.entry(effect).or_default().push(arrow);
    }
}

/// The track of a source that was seen and has not ended.
struct Track {
    name: Name,
    title: String,
    state: Option<&'static str>,
}

struct Writer<'r, W> {
    recording: &'r Recording,
    arrows: Arrows,
    out: W,
    /// What stands before the next event.
    separator: &'static str,
    process: usize,
    /// How far the picture is drawn.
    drawn_ns: u64,
    tracks: BTreeMap<Token, Track>,
}

/// A time as the format has it.
struct Micros(u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// A token as people read it, and as it is named on the dial.
struct Dotted(Token);

impl fmt::Display for Dotted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.index(), self.0.generation())
    }
}

/// Text inside of a JSON string (RFC 8259, 7).
struct Escaped<T>(T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escape<'f, 'g>(&'f mut fmt::Formatter<'g>);
        impl fmt::Write for Escape<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for character in text.chars() {
                    match character {
                        '"' | '\\' => write!(self.0, "\\{character}")?,
                        '\0'..' ' => write!(self.0, "\\u{:04x}", u32::from(character))?,
                        _ => fmt::Write::write_char(self.0, character)?,
                    }
                }
                Ok(())
            }
        }
        fmt::write(&mut Escape(f), format_args!("{}", self.0))
    }
}

/// What work is, and where it was created.
struct Title(Name);

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.origin {
            Some(origin) => write!(f, "{} {}:{}", self.0.kind, origin.file(), origin.line()),
            None => f.write_str(self.0.kind),
        }
    }
}

impl<W: Write> Writer<'_, W> {
    fn write(&mut self, name: &str, nodes: &[Node]) -> io::Result<()> {
        let name = Escaped(name);
        self.event(format_args!(
            "\"ph\":\"M\",\"name\":\"process_name\",\"args\":{{\"name\":\"{name}\"}}"
        ))?;
        self.event(format_args!(
            "\"ph\":\"M\",\"name\":\"thread_name\",\"args\":{{\"name\":\"loop\"}}"
        ))?;
        self.draw(nodes)?;
        while let Some((&token, _)) = self.tracks.first_key_value() {
            self.end_track(token)?;
        }
        Ok(())
    }

    /// One event; `fields` are its own.
    fn event(&mut self, fields: fmt::Arguments<'_>) -> io::Result<()> {
        let (separator, process) = (std::mem::replace(&mut self.separator, ","), self.process);
        write!(
            self.out,
            "{separator}\n{{\"pid\":{process},\"tid\":1,{fields}}}"
        )
    }

    /// One event of now.
    fn event_now(&mut self, phase: &str, fields: fmt::Arguments<'_>) -> io::Result<()> {
        let now = Micros(self.drawn_ns);
        self.event(format_args!("\"ph\":\"{phase}\",\"ts\":{now},{fields}"))
    }

    fn draw(&mut self, nodes: &[Node]) -> io::Result<()> {
        for node in nodes {
            let record = self.recording.records[node.index];
            self.drawn_ns = self.drawn_ns.max(record.at_ns());
            match record.took_ns() {
                Some(took_ns) => self.draw_slice(node, record, took_ns)?,
                None => self.draw_moment(node.index, record)?,
            }
        }
        Ok(())
    }

    fn draw_slice(&mut self, node: &Node, record: Record, took_ns: u64) -> io::Result<()> {
        let at_ns = record.at_ns();
        let times = format!("\"at_ns\":{at_ns},\"took_ns\":{took_ns}");
        let mut track = None;
        match record.what() {
            What::Turn { number, .. } => self.event_now(
                "B",
                format_args!("\"cat\":\"turn\",\"name\":\"turn {number}\",\"args\":{{{times}}}"),
            ),
            What::Phase { phase, .. } => self.event_now(
                "B",
                format_args!(
                    "\"cat\":\"phase\",\"name\":\"{}\",\"args\":{{{times}}}",
                    phase.name()
                ),
            ),
            What::Poll {
                asked_ns, events, ..
            } => {
                let asked = asked_ns.map_or("null".to_owned(), |asked| asked.to_string());
                self.event_now(
                    "B",
                    format_args!(
                        "\"cat\":\"phase\",\"name\":\"poll\",\
                         \"args\":{{{times},\"asked_ns\":{asked},\"events\":{events}}}"
                    ),
                )
            }
            What::Visit {
                token,
                readiness,
                name,
                ..
            } => {
                track = Some(token);
                let name = self.begin_track(token, self.recording.name(name))?;
                let (title, token_text) = (Escaped(Title(name)), Dotted(token));
                self.draw_track("b", "source", token, "visit")?;
                self.event_now(
                    "B",
                    format_args!(
                        "\"cat\":\"visit\",\"name\":\"{title}\",\
                         \"args\":{{{times},\"token\":\"{token_text}\",\"readiness\":\"{}\"}}",
                        reasons(readiness)
                    ),
                )
            }
            What::Callback { name, .. } => {
                let title = Escaped(Title(self.recording.name(name)));
                self.event_now(
                    "B",
                    format_args!("\"cat\":\"callback\",\"name\":\"{title}\",\"args\":{{{times}}}"),
                )
            }
            What::Paused { .. } => self.event_now(
                "B",
                format_args!("\"cat\":\"phase\",\"name\":\"paused\",\"args\":{{{times}}}"),
            ),
            _ => unreachable!("nothing else has a duration"),
        }?;
        self.draw_arrows(node.index)?;
        self.draw(&node.children)?;
        self.drawn_ns = (self.drawn_ns + 1).max(at_ns + took_ns);
        self.event(format_args!(
            "\"ph\":\"E\",\"ts\":{}",
            Micros(self.drawn_ns)
        ))?;
        if let Some(token) = track
            && self.tracks.contains_key(&token)
        {
            self.draw_track("e", "source", token, "visit")?;
        }
        Ok(())
    }

    fn draw_moment(&mut self, index: usize, record: Record) -> io::Result<()> {
        match record.what() {
            What::Gauge { gauge, value } => {
                let name = gauge.name();
                self.event_now(
                    "C",
                    format_args!("\"name\":\"{name}\",\"args\":{{\"value\":{value}}}"),
                )
            }
            What::Panicked { name } => {
                let title = Escaped(Title(self.recording.name(name)));
                self.event_now(
                    "i",
                    format_args!("\"s\":\"p\",\"cat\":\"panic\",\"name\":\"panic: {title}\""),
                )
            }
            What::Added { token, name } => {
                self.begin_track(token, self.recording.name(name))?;
                self.instant("slab", format_args!("added {}", Dotted(token)))
            }
            What::Removed { token } => {
                self.end_track(token)?;
                self.instant("slab", format_args!("removed {}", Dotted(token)))
            }
            What::State { token, state } => self.draw_state(token, state),
            What::Read { token, transfer } => self.draw_transfer("read", token, transfer),
            What::Wrote { token, transfer } => self.draw_transfer("write", token, transfer),
            What::Woken { token, why } => self.instant(
                "queue",
                format_args!("wake {}{}", Dotted(token), because(why)),
            ),
            What::Marked { token } => {
                self.instant("queue", format_args!("bytes for {}", Dotted(token)))
            }
            What::Called { why, .. } => self.instant("queue", format_args!("call{}", because(why))),
            What::Spawned { .. } => self.instant("queue", format_args!("spawn")),
            What::Began { .. } => self.instant("task", format_args!("first poll")),
            What::TimerSet { due_tick, .. } => {
                self.instant("timer", format_args!("set timer, due at {due_tick} ms"))
            }
            What::TimerCancelled { .. } => self.instant("timer", format_args!("cancel timer")),
            What::Cascaded { timers } => {
                self.instant("timer", format_args!("cascade of {timers} timers"))
            }
            What::TimerFired { due_tick, .. } => {
                self.instant("timer", format_args!("timer fired, due at {due_tick} ms"))
            }
            What::Message => self.instant("message", format_args!("message")),
            What::Submitted { job } => self.instant("job", format_args!("submit job {job}")),
            What::JobDone { job } => self.instant("job", format_args!("result of job {job}")),
            What::Turn { .. }
            | What::Phase { .. }
            | What::Poll { .. }
            | What::Visit { .. }
            | What::Callback { .. }
            | What::Paused { .. } => unreachable!("these have a duration"),
        }?;
        self.draw_arrows(index)
    }

    fn instant(&mut self, category: &str, name: fmt::Arguments<'_>) -> io::Result<()> {
        self.event_now(
            "i",
            format_args!("\"s\":\"t\",\"cat\":\"{category}\",\"name\":\"{name}\""),
        )
    }

    fn draw_transfer(
        &mut self,
        verb: &str,
        token: Option<Token>,
        transfer: Transfer,
    ) -> io::Result<()> {
        let name = match transfer {
            Transfer::Bytes(bytes) => format!("{verb} {bytes} bytes"),
            Transfer::WouldBlock => format!("{verb}: would block"),
            Transfer::Failed => format!("{verb}: failed"),
        };
        if let Some(token) = token
            && self.tracks.contains_key(&token)
        {
            self.draw_track("n", "source", token, &name)?;
        }
        self.instant("io", format_args!("{name}"))
    }

    fn draw_arrows(&mut self, index: usize) -> io::Result<()> {
        for Arrow { id, name } in self.arrows.end.remove(&index).unwrap_or_default() {
            self.event_now(
                "f",
                format_args!("\"bp\":\"e\",\"cat\":\"cause\",\"id\":{id},\"name\":\"{name}\""),
            )?;
        }
        for Arrow { id, name } in self.arrows.begin.remove(&index).unwrap_or_default() {
            self.event_now(
                "s",
                format_args!("\"cat\":\"cause\",\"id\":{id},\"name\":\"{name}\""),
            )?;
        }
        Ok(())
    }

    /// A source is there, and perhaps was all the time. Returns what it is, as far as is known by now.
    fn begin_track(&mut self, token: Token, name: Name) -> io::Result<Name> {
        if let Some(track) = self.tracks.get(&token) {
            return Ok(track.name);
        }
        let title = format!("{} {}", Dotted(token), Escaped(Title(name)));
        self.draw_track("b", "source", token, &title)?;
        let track = Track {
            name,
            title,
            state: None,
        };
        self.tracks.insert(token, track);
        Ok(name)
    }

    fn end_track(&mut self, token: Token) -> io::Result<()> {
        let Some(track) = self.tracks.remove(&token) else {
            return Ok(());
        };
        if let Some(state) = track.state {
            self.draw_track("e", "state", token, state)?;
        }
        self.draw_track("e", "source", token, &track.title)
    }

    fn draw_state(&mut self, token: Token, state: StateId) -> io::Result<()> {
        let (kind, state) = self.recording.state(state);
        let unknown = Name {
            kind,
            ..Name::UNKNOWN
        };
        self.begin_track(token, unknown)?;
        let Some(track) = self.tracks.get_mut(&token) else {
            return Ok(());
        };
        track.name.kind = kind;
        if let Some(before) = track.state.replace(state) {
            self.draw_track("e", "state", token, before)?;
        }
        self.draw_track("b", "state", token, state)
    }

    /// An event on the track of a source.
    fn draw_track(
        &mut self,
        phase: &str,
        category: &str,
        token: Token,
        name: &str,
    ) -> io::Result<()> {
        let token = Dotted(token);
        self.event_now(
            phase,
            format_args!(
                "\"cat\":\"{category}\",\"id2\":{{\"local\":\"{token}\"}},\"name\":\"{name}\""
            ),
        )
    }
}

fn because(why: Why) -> &'static str {
    match why {
        Why::Asked => "",
        Why::Timer => ", by a timer",
        Why::Message => ", by a message",
    }
}

/// The bits of a readiness, in words.
fn reasons(readiness: Readiness) -> String {
    let words = [
        (Readiness::READABLE, "readable"),
        (Readiness::WRITABLE, "writable"),
        (Readiness::CLOSING, "closing"),
        (Readiness::WOKEN, "woken"),
        (Readiness::TIMER, "timer"),
        (Readiness::FLUSH, "flush"),
    ];
    let set = words.iter().filter(|(bit, _)| readiness.contains(*bit));
    let set: Vec<&str> = set.map(|(_, word)| *word).collect();
    set.join(" ")
}
