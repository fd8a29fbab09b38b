//! Rooms: one message for everyone in them, encoded once.
//!
//! A connection is in a room until it leaves or closes, and for no other reason; publishing changes nothing about who
//! is in. Each member gets at most one write a turn, and one that does not read has a bounded outbox of its own, so
//! it delays nobody.
//!
//! Rooms are one loop's, unless they span a [`Hub`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use slab::Slab;

use super::hub::{Hub, Mailbox};
use super::websocket::{Delivery, Frame, SendOutcome, Sender};
use crate::proto::ws::Message;

/// A set of rooms by name. Cheap to clone; the clones share the rooms.
///
/// ```
/// use tourbillon::event_loop::Ctx;
/// use tourbillon::web::{CloseReason, Message, Peer, Rooms, Socket};
///
/// struct Chatter;
///
/// impl Socket<Rooms> for Chatter {
///     fn opened(&mut self, peer: &mut Peer<'_>, rooms: &mut Rooms) {
///         rooms.join("lobby", peer.sender());
///         rooms.publish_except("lobby", peer.sender(), "someone joined");
///     }
///     fn message(&mut self, _: &mut Peer<'_>, message: Message<'_>, rooms: &mut Rooms) {
///         rooms.publish("lobby", message);
///     }
///     fn closed(&mut self, _: &mut Ctx<'_>, _: &CloseReason, rooms: &mut Rooms) {
///         rooms.publish("lobby", "someone left");
///     }
/// }
/// ```
#[derive(Clone, Default)]
pub struct Rooms(Rc<Local>);

/// The rooms of one loop.
#[derive(Default)]
pub(super) struct Local {
    rooms: RefCell<BTreeMap<Rc<str>, Room>>,
    /// The rooms of the other loops.
    hub: Option<Hub>,
    /// What they say, while somebody here is in a room.
    mailbox: RefCell<Option<Arc<Mailbox>>>,
}

#[derive(Default)]
struct Room {
    members: Slab<Sender>,
}

/// One connection's place in one room.
pub(super) struct Membership {
    rooms: Weak<Local>,
    room: Rc<str>,
    place: usize,
}

/// What became of a message to a room, in members of this loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Published {
    /// It will be written in this turn.
    pub delivered: usize,
    /// It waits for members that are slow.
    pub queued: usize,
    /// Their outbox was full, and the policy is to drop.
    pub dropped: usize,
    /// They are closing, or are now closed because their outbox was full.
    pub closed: usize,
}

impl Rooms {
    /// No rooms yet; a room is there as long as somebody is in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// This loop's part of the rooms that all loops with the same `hub` have together, for engines of several. What is
    /// published reaches the members in this loop at once, and those in others in their next turn. What one loop says
    /// comes in its order everywhere, and what comes from elsewhere comes in one order to all. Between loops it waits
    /// without limit until that turn; behind it each member's own limit holds.
    ///
    /// ```
    /// use tourbillon::web::{App, Engine, Hub, Message, Peer, Request, Rooms, Socket};
    ///
    /// struct Chatter;
    ///
    /// impl Socket<Rooms> for Chatter {
    ///     fn opened(&mut self, peer: &mut Peer<'_>, rooms: &mut Rooms) {
    ///         rooms.join("lobby", peer.sender());
    ///     }
    ///     fn message(&mut self, _: &mut Peer<'_>, message: Message<'_>, rooms: &mut Rooms) {
    ///         rooms.publish("lobby", message);
    ///     }
    /// }
    ///
    /// let hub = Hub::new();
    /// let make_app = move || App::new(Rooms::spanning(&hub)).ws("/ws", |_: &Request, _: &mut Rooms| Ok(Chatter));
    /// let running = Engine::Loops(2).start("127.0.0.1:0", make_app)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn spanning(hub: &Hub) -> Self {
        Self(Rc::new(Local {
            rooms: RefCell::default(),
            hub: Some(hub.clone()),
            mailbox: RefCell::default(),
        }))
    }

    /// Let a connection into a room. `false` when it is in already, or closed.
    pub fn join(&self, room: &str, member: &Sender) -> bool {
        if !member.is_open() || self.is_member(room, member) {
            return false;
        }
        self.0.enter_hub(room, member);
        let mut rooms = self.0.rooms.borrow_mut();
        let name = rooms
            .get_key_value(room)
            .map_or_else(|| Rc::from(room), |(name, _)| Rc::clone(name));
        let place = rooms
            .entry(Rc::clone(&name))
            .or_default()
            .members
            .insert(member.clone());
        member.rooms().borrow_mut().push(Membership {
            rooms: Rc::downgrade(&self.0),
            room: name,
            place,
        });
        true
    }

    /// Take a connection out of a room. `false` when it is not in it.
    pub fn leave(&self, room: &str, member: &Sender) -> bool {
        let membership = {
            let mut memberships = member.rooms().borrow_mut();
            let found = memberships
                .iter()
                .position(|membership| membership.is_in(self, room));
            found.map(|place| memberships.swap_remove(place))
        };
        membership.map(Membership::end).is_some()
    }

    /// Whether a connection is in a room.
    pub fn is_member(&self, room: &str, member: &Sender) -> bool {
        member
            .rooms()
            .borrow()
            .iter()
            .any(|membership| membership.is_in(self, room))
    }

    /// Send to everyone in a room. What became of it is told of the members in this loop.
    pub fn publish<'m>(&self, room: &str, message: impl Into<Message<'m>>) -> Published {
        self.publish_to(room, message.into(), |_| true)
    }

    /// Send to everyone in a room but one.
    pub fn publish_except<'m>(
        &self,
        room: &str,
        except: &Sender,
        message: impl Into<Message<'m>>,
    ) -> Published {
        self.publish_to(room, message.into(), |member| member != except)
    }

    fn publish_to(
        &self,
        room: &str,
        message: Message<'_>,
        to: impl Fn(&Sender) -> bool,
    ) -> Published {
        let is_here = self.0.rooms.borrow().contains_key(room);
        if !is_here && self.0.hub.is_none() {
            return Published::default();
        }
        let frame = Frame::of(message);
        if let Some(hub) = &self.0.hub {
            hub.publish(self.0.mailbox.borrow().as_ref(), room, frame.plain());
        }
        self.0.deliver(room, frame, to)
    }

    /// How many are in a room, in all loops that it spans.
    pub fn count(&self, room: &str) -> usize {
        match &self.0.hub {
            Some(hub) => hub.count(room),
            None => self
                .0
                .rooms
                .borrow()
                .get(room)
                .map_or(0, |room| room.members.len()),
        }
    }

    /// Every room with how many are in it, in all loops that it spans, by name.
    pub fn counts(&self) -> Vec<(String, usize)> {
        match &self.0.hub {
            Some(hub) => hub.counts(),
            None => self.0.counts(),
        }
    }

    /// Everyone in a room who is in this loop.
    pub fn members(&self, room: &str) -> Vec<Sender> {
        let rooms = self.0.rooms.borrow();
        rooms.get(room).map_or_else(Vec::new, |room| {
            room.members
                .iter()
                .map(|(_, member)| member.clone())
                .collect()
        })
    }
}

impl Local {
    /// Send a frame to everyone here who is in a room.
    pub(super) fn deliver(
        &self,
        room: &str,
        mut frame: Frame,
        to: impl Fn(&Sender) -> bool,
    ) -> Published {
        let mut published = Published::default();
        let rooms = self.rooms.borrow();
        let Some(room) = rooms.get(room) else {
            return published;
        };
        for (_, member) in room.members.iter().filter(|(_, member)| to(member)) {
            match member.send_frame(&mut frame, &Delivery::default()) {
                SendOutcome::Sent => published.delivered += 1,
                SendOutcome::Queued => published.queued += 1,
                SendOutcome::Dropped => published.dropped += 1,
                SendOutcome::Closed => published.closed += 1,
            }
        }
        published
    }

    fn counts(&self) -> Vec<(String, usize)> {
        self.rooms
            .borrow()
            .iter()
            .map(|(name, room)| (name.to_string(), room.members.len()))
            .collect()
    }

    /// Somebody is joining a room.
    fn enter_hub(self: &Rc<Self>, room: &str, member: &Sender) {
        let Some(hub) = &self.hub else { return };
        hub.count_in(room);
        self.mailbox
            .borrow_mut()
            .get_or_insert_with(|| hub.enter(member.handle(), self));
    }

    /// So many have left a room.
    fn leave_hub(&self, room: &str, members: usize) {
        let Some(hub) = &self.hub else { return };
        hub.count_out(room, members);
        if self.rooms.borrow().is_empty()
            && let Some(mailbox) = self.mailbox.take()
        {
            hub.leave(&mailbox);
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        for (room, Room { members }) in self.rooms.take() {
            self.leave_hub(&room, members.len());
        }
    }
}

impl Membership {
    fn is_in(&self, rooms: &Rooms, room: &str) -> bool {
        *self.room == *room && self.rooms.as_ptr() == Rc::as_ptr(&rooms.0)
    }

    fn end(self) {
        let Some(local) = self.rooms.upgrade() else {
            return;
        };
        let mut rooms = local.rooms.borrow_mut();
        if let Some(room) = rooms.get_mut(&self.room) {
            let member = room.members.try_remove(self.place);
            if room.members.is_empty() {
                rooms.remove(&self.room);
            }
            drop(rooms);
            if member.is_some() {
                local.leave_hub(&self.room, 1);
            }
            drop(member);
        }
    }
}

/// A connection has closed: it is in no room any more.
pub(super) fn leave_all(member: &Sender) {
    let memberships = member.rooms().take();
    memberships.into_iter().for_each(Membership::end);
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.counts()).finish()
    }
}
