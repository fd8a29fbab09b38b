//! What is published to a group of WebSockets between two flushes of the loop, kept once for all who are to have it.
//!
//! Most members of a room are alike: open, and with nothing that waits for them to read on. Whoever gave each of them
//! each message would touch the memory of a thousand connections for every line that is said. So a message joins the
//! batch of its group, and each reader has a place there: it is touched when the batch begins, and when it is flushed.
//!
//! ```text
//!      batch of the group       outbox    place
//!    ┌───────┬───────┬───────┐
//!    │ hello │ who?  │ me    │◄─ ann   ·        1   what was said before she has written already
//!    │       │       │       │◄─ bob   psst     3   was sent something else, which goes first
//!    └───────┴───────┴───────┘◄─ cem   ·        0   has all of it to write
//! ```
//!
//! A reader's outbox goes before what it has not read. So what is sent to it alone goes behind all of the batch so far,
//! which is moved to the outbox first; and so is what was said before a message that is for all but this one.
//!
//! Nothing is decided for one reader that is not decided for all. Who is slow or closed, or reads another batch, does
//! not read this one, and is sent to by itself. And a batch ends as soon as one of its readers is not like the others
//! any more: the next message begins another one, without it.

use std::cell::{Cell, RefCell, RefMut};
use std::num::NonZeroU32;
use std::rc::Rc;

use super::websocket::Frame;
use super::websocket_settings::OutboxPolicy;
use crate::event_loop::Handle;

/// Messages to a group, in order.
pub(super) struct Batch {
    handle: Handle,
    /// Of this flush: its readers are marked for it.
    flush: NonZeroU32,
    has_ended: Cell<bool>,
    /// Instead of the policies of its readers' routes.
    policy: Option<OutboxPolicy>,
    /// A message is taken while no more than so many bytes are here: what the most modest of its readers may have.
    bytes_max: Cell<usize>,
    bytes: Cell<usize>,
    frames: RefCell<Vec<Frame>>,
}

impl Batch {
    /// One for the next flush of a loop.
    pub(super) fn new(handle: &Handle, policy: Option<OutboxPolicy>) -> Self {
        Self {
            handle: handle.clone(),
            flush: handle.next_flush(),
            has_ended: Cell::new(false),
            policy,
            bytes_max: Cell::new(usize::MAX),
            bytes: Cell::new(0),
            frames: RefCell::default(),
        }
    }

    /// Whether it is of this loop.
    pub(super) fn is_of(&self, handle: &Handle) -> bool {
        self.handle.is_of_same_loop(handle)
    }

    /// Whether more may come.
    pub(super) fn is_open(&self) -> bool {
        !self.has_ended.get() && self.flush == self.handle.next_flush()
    }

    /// No more will come: something is to be decided for one of its readers alone.
    pub(super) fn end(&self) {
        self.has_ended.set(true);
    }

    /// Whether a message of this policy may join it.
    pub(super) fn takes(&self, policy: Option<OutboxPolicy>) -> bool {
        self.is_open() && self.policy == policy && self.bytes.get() <= self.bytes_max.get()
    }

    pub(super) fn push(&self, frame: Frame) {
        self.bytes.set(self.bytes.get() + frame.plain().len());
        self.frames.borrow_mut().push(frame);
    }

    /// The policy for a reader, whose route has this one.
    pub(super) fn policy_for(&self, of_route: OutboxPolicy) -> OutboxPolicy {
        self.policy.unwrap_or(of_route)
    }

    /// How much may wait for each of its readers, beside what is here.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max.get()
    }
}

/// How far a reader is.
pub(super) struct Place {
    batch: Rc<Batch>,
    next: u32,
}

impl Place {
    /// Before the first message of a batch, for a reader of that loop for whom no more than `bytes_max` may wait.
    pub(super) fn in_front(batch: &Rc<Batch>, bytes_max: usize) -> Self {
        batch.bytes_max.update(|least| least.min(bytes_max));
        Self {
            batch: Rc::clone(batch),
            next: 0,
        }
    }

    pub(super) fn batch(&self) -> &Rc<Batch> {
        &self.batch
    }

    /// Nothing is left to be read.
    pub(super) fn is_at_end(&self) -> bool {
        self.next as usize == self.batch.frames.borrow().len()
    }

    /// Bytes of what is left.
    pub(super) fn bytes(&self) -> usize {
        let frames = self.batch.frames.borrow();
        let left = &frames[self.next as usize..];
        left.iter().map(|frame| frame.plain().len()).sum()
    }

    /// The next message.
    pub(super) fn read(&mut self) -> Option<RefMut<'_, Frame>> {
        let (frames, next) = (self.batch.frames.borrow_mut(), self.next as usize);
        let frame = RefMut::filter_map(frames, |frames| frames.get_mut(next)).ok()?;
        self.next += 1;
        Some(frame)
    }

    /// Messages as they go to those who agreed on nothing, of less than `frame_bytes_max` each: to `out`, as long as it
    /// has less than `bytes_max`. How many there were.
    pub(super) fn copy(
        &mut self,
        out: &mut Vec<u8>,
        bytes_max: usize,
        frame_bytes_max: usize,
    ) -> usize {
        let frames = self.batch.frames.borrow();
        let mut copied = 0;
        for frame in &frames[self.next as usize..] {
            let frame = frame.plain();
            if out.len() >= bytes_max || frame.len() >= frame_bytes_max {
                break;
            }
            out.extend_from_slice(frame);
            copied += 1;
        }
        self.next += copied as u32;
        copied
    }

    /// The message that is about to be added is not for this reader, who has read all others.
    pub(super) fn pass_over(&mut self) {
        self.next += 1;
    }
}
