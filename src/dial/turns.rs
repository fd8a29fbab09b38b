//! From records to what a page draws: turns with their phases and blocks, and the journey of one connection.

use std::mem;

use super::desk::SLOW_NS;
use super::messages::{Block, Id, Place, Step, TurnTold};
use crate::event_loop::{Name, Phase, Readiness, Record, Recording, Token, Transfer, What};

/// Blocks of one turn that are told, slow ones apart; a turn of more is a busy one, and no page is wide enough for it.
const BLOCKS_MAX: usize = 200;

/// What was recorded, read bit by bit.
#[derive(Default)]
pub(super) struct Turns {
    /// The turn that is going on.
    open: Open,
    /// The last one that the driver returned in: how long it was asked to wait, and did.
    pub(super) poll: (Option<u64>, u64),
    /// Since the first look.
    pub(super) timers_fired: u64,
    pub(super) timers_cancelled: u64,
    /// Records that were overwritten before they were read.
    pub(super) lost: u64,
}

#[derive(Default)]
struct Open {
    asleep_ns: u64,
    events: u32,
    phases: Vec<(usize, u64, u64)>,
    pauses: Vec<(u64, u64)>,
    blocks: Vec<Block>,
    /// Those that were told as having run.
    told: usize,
    cut: usize,
    /// Reads and writes whose block has not ended: they stand before it, one deeper.
    transfers: Vec<(u8, bool, Transfer)>,
    panicked: bool,
}

impl Turns {
    /// Read on. What comes out: the turns that have ended, and the blocks that have run since the last time, each with
    /// its turn; `turn` is the number of the one that is going on.
    pub(super) fn read(
        &mut self,
        recording: &Recording,
        turn: u64,
    ) -> (Vec<TurnTold>, Vec<(u64, Block)>) {
        if recording.lost() > 0 {
            self.lost += recording.lost();
            // Half of a turn is none.
            self.open = Open::default();
        }
        let (mut turns, mut ran) = (Vec::new(), Vec::new());
        for record in recording.records() {
            match record.what() {
                What::Turn { number, took_ns } => {
                    let open = mem::take(&mut self.open);
                    ran.extend(open.newly_run().map(|block| (number, block.clone())));
                    turns.push(TurnTold {
                        n: number,
                        from_ns: record.at_ns(),
                        asleep_ns: open.asleep_ns,
                        took_ns,
                        events: open.events,
                        phases: open.phases,
                        pauses: open.pauses,
                        blocks: open.blocks,
                        cut: open.cut,
                    });
                }
                What::Poll {
                    asked_ns,
                    slept_ns,
                    events,
                } => {
                    self.poll = (asked_ns, slept_ns);
                    (self.open.asleep_ns, self.open.events) = (slept_ns, events);
                }
                What::TimerFired { .. } => self.timers_fired += 1,
                What::TimerCancelled { .. } => self.timers_cancelled += 1,
                _ => self.open.read(*record, recording),
            }
        }
        ran.extend(self.open.newly_run().map(|block| (turn, block.clone())));
        self.open.told = self.open.blocks.len();
        (turns, ran)
    }
}

impl Open {
    fn newly_run(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().skip(self.told)
    }

    fn read(&mut self, record: Record, recording: &Recording) {
        match record.what() {
            What::Phase { phase, took_ns } => {
                let phase = phase_index(phase);
                self.phases.push((phase, record.at_ns(), took_ns));
                for block in self.blocks.iter_mut().rev() {
                    if block.phase.is_some() {
                        break;
                    }
                    block.phase = Some(phase);
                }
            }
            What::Visit {
                token,
                name,
                took_ns,
                ..
            } => self.end(record, recording.name(name), Some(token), took_ns),
            What::Callback { name, took_ns, .. } => {
                self.end(record, recording.name(name), None, took_ns);
            }
            What::Paused { took_ns } => self.pauses.push((record.at_ns(), took_ns)),
            What::Panicked { .. } => self.panicked = true,
            What::Read { transfer, .. } => self.transfers.push((record.depth(), false, transfer)),
            What::Wrote { transfer, .. } => self.transfers.push((record.depth(), true, transfer)),
            _ => {}
        }
    }

    /// A visit or a callback has ended: it holds what is deeper and stands before it.
    fn end(&mut self, record: Record, name: Name, token: Option<Token>, took_ns: u64) {
        let depth = record.depth();
        let mut block = Block {
            kind: match (token, name.kind) {
                (None, _) => "callback",
                (Some(_), "task") => "task",
                (Some(_), _) => "visit",
            },
            what: name.kind,
            name: None,
            token: token.map(Id),
            origin: name.origin.map(Place),
            from_ns: record.at_ns(),
            took_ns,
            phase: None,
            read: Vec::new(),
            written: Vec::new(),
            blocked: false,
            panicked: mem::take(&mut self.panicked),
            depth,
        };
        let is_inside = |of: &(u8, bool, Transfer)| of.0 > depth;
        let from = self.transfers.len()
            - (self.transfers.iter().rev())
                .take_while(|of| is_inside(of))
                .count();
        for (_, is_write, transfer) in self.transfers.drain(from..) {
            match transfer {
                Transfer::Bytes(bytes) if is_write => block.written.push(bytes),
                Transfer::Bytes(bytes) => block.read.push(bytes),
                Transfer::WouldBlock => block.blocked = true,
                Transfer::Failed => {}
            }
        }
        if self.blocks.len() >= BLOCKS_MAX && took_ns < SLOW_NS {
            self.cut += 1;
            return;
        }
        let inside = (self.blocks.iter().rev())
            .take_while(|other| other.phase.is_none() && other.depth > depth)
            .count();
        self.blocks.insert(self.blocks.len() - inside, block);
    }
}

pub(super) fn phase_index(phase: Phase) -> usize {
    phase as usize
}

/// Steps that are told of one journey, the newest.
const STEPS_MAX: usize = 500;

/// The visits to `token`, as far back as the recording goes. `turn` is the number of the one that is going on.
pub(super) fn journey(recording: &Recording, token: Token, turn: u64) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    // Steps whose turn has not ended.
    let mut open = 0;
    let mut did: Vec<String> = Vec::new();
    let mut until_ns = None;
    for record in recording.records() {
        match record.what() {
            What::Added { token: whose, name } if whose == token => {
                did.push(format!("a {} came in", recording.name(name).kind));
            }
            What::Removed { token: whose } if whose == token => did.push("it was closed".into()),
            What::State {
                token: whose,
                state,
            } if whose == token => did.push(recording.state(state).1.to_owned()),
            What::Read {
                token: whose,
                transfer,
            } if whose == Some(token) => did.push(told("read", transfer)),
            What::Wrote {
                token: whose,
                transfer,
            } if whose == Some(token) => did.push(told("wrote", transfer)),
            What::Visit {
                token: whose,
                readiness,
                took_ns,
                ..
            } if whose == token => {
                let from_ns = record.at_ns();
                let gap_ns = until_ns.map_or(0, |until| from_ns.saturating_sub(until));
                until_ns = Some(from_ns + took_ns);
                let what = match did.is_empty() {
                    true => "visited".to_owned(),
                    false => mem::take(&mut did).join(", "),
                };
                steps.push(Step {
                    turn,
                    from_ns,
                    took_ns,
                    what,
                    gap_ns,
                    gap_is: waited_for(readiness),
                });
                open += 1;
            }
            What::Turn { number, .. } => {
                let ended = steps.len() - mem::take(&mut open);
                steps[ended..].iter_mut().for_each(|it| it.turn = number);
            }
            _ => {}
        }
    }
    // What happened outside a visit, such as its end in step 8.
    if let Some(last) = steps.last_mut()
        && !did.is_empty()
    {
        last.what = format!("{}; {}", last.what, did.join(", "));
    }
    steps.drain(..steps.len().saturating_sub(STEPS_MAX));
    steps
}

fn told(verb: &str, transfer: Transfer) -> String {
    match transfer {
        Transfer::Bytes(0) if verb == "read" => "read the end".to_owned(),
        Transfer::Bytes(bytes) => format!("{verb} {bytes} bytes"),
        Transfer::WouldBlock if verb == "read" => "nothing more to read".to_owned(),
        Transfer::WouldBlock => "no room to write".to_owned(),
        Transfer::Failed => format!("{verb}: failed"),
    }
}

/// What a source had waited for, by what it was visited for.
fn waited_for(readiness: Readiness) -> &'static str {
    let by = |bits| readiness.intersects(bits);
    if by(Readiness::READABLE | Readiness::CLOSING) {
        "the peer"
    } else if by(Readiness::WRITABLE) {
        "room to write"
    } else if by(Readiness::TIMER) {
        "a timer"
    } else if by(Readiness::WOKEN) {
        "a task"
    } else if by(Readiness::FLUSH) {
        "what others gave it to send"
    } else {
        "its turn"
    }
}
