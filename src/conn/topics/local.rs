//! The members of one loop by what they subscribed to: the one structure behind rooms and topics.
//!
//! A member has a place in a group, and knows of its groups by a list of places; nothing else is kept for it. What is
//! borrowed here is given back before anyone else's code runs.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use slab::Slab;

use super::filter::{Filters, Matches, Name};
use super::history::{Cursor, Histories, Replayed};
use super::hub::{Hub, Seat};
use super::presence::{Attendance, Presence, PresenceEvent, Present};
use super::{Joined, Joining, Posted, Published, TopicSettings};
use crate::conn::batch::Batch;
use crate::conn::websocket::{Delivery, Frame, SendOutcome, Sender};
use crate::conn::websocket_settings::OutboxPolicy;
use crate::proto::ws::{Message, OwnedMessage};

/// See [`super::Topics::subscriptions_max`].
const SUBSCRIPTIONS_MAX: usize = 1000;

/// The part of a set of topics that one loop has.
pub(super) struct Local {
    groups: RefCell<Filters<Group>>,
    settings: RefCell<Filters<TopicSettings>>,
    /// How much one connection may subscribe to.
    pub(super) subscriptions_max: Cell<usize>,
    keeps_history: Cell<bool>,
    /// Others' code is making a numbered message.
    is_numbering: Cell<bool>,
    reach: Reach,
}

/// How far what is published goes.
enum Reach {
    /// No further than this loop.
    Loop(Box<RefCell<Books>>),
    /// To the loops of a hub, where this one has a seat while it has members.
    Hub(Hub, RefCell<Option<Seat>>),
}

/// What is kept beyond members: for all loops in common.
#[derive(Default)]
pub(super) struct Books {
    pub(super) histories: Histories,
    attendance: Attendance,
}

/// Those who subscribed to the same.
#[derive(Default)]
struct Group {
    members: Slab<Sender>,
    /// The stays of those who are present, by place.
    present: HashMap<u32, u64>,
    /// What is being published, while some of them have not read it.
    batch: Weak<Batch>,
    /// The places of those who do not read it.
    strays: Vec<u32>,
}

impl Group {
    fn admit(&mut self, member: Sender) -> u32 {
        self.end_batch();
        self.members.insert(member) as u32
    }

    fn remove(&mut self, place: u32) -> (Sender, Option<u64>) {
        self.end_batch();
        let member = self.members.remove(place as usize);
        (member, self.present.remove(&place))
    }

    /// Send a frame without a key to all but one. Those who are alike read it from a batch.
    fn publish(
        &mut self,
        mut frame: Frame,
        policy: Option<OutboxPolicy>,
        except: Option<&Sender>,
    ) -> Published {
        let open = self.batch.upgrade();
        let batch = match open.filter(|batch| batch.takes(policy)) {
            Some(batch) => batch,
            None => match self.begin_batch(policy) {
                Some(batch) => batch,
                None => return Published::default(),
            },
        };
        let mut published = Published::default();
        let how = Delivery {
            policy: policy.as_ref(),
            key: None,
        };
        for place in &self.strays {
            let member = &self.members[*place as usize];
            if Some(member) != except {
                published.count(member.send_frame(&mut frame, &how));
            }
        }
        let is_less = except.is_some_and(|member| member.pass_over(&batch));
        published.delivered += self.members.len() - self.strays.len() - usize::from(is_less);
        batch.push(frame);
        published
    }

    /// Have all read a new batch who can. `None` when nobody is here.
    fn begin_batch(&mut self, policy: Option<OutboxPolicy>) -> Option<Rc<Batch>> {
        self.end_batch();
        let (_, first) = self.members.iter().next()?;
        let batch = Rc::new(Batch::new(first.handle(), policy));
        let strays = self
            .members
            .iter()
            .filter(|(_, member)| !member.read_from(&batch));
        self.strays.clear();
        self.strays.extend(strays.map(|(place, _)| place as u32));
        self.batch = Rc::downgrade(&batch);
        Some(batch)
    }

    /// What is published from here on is not for the same.
    fn end_batch(&self) {
        if let Some(batch) = self.batch.upgrade() {
            batch.end();
        }
    }
}

/// One connection's place in one group.
pub(in crate::conn) struct Membership {
    local: Weak<Local>,
    group: u32,
    place: u32,
}

/// How a message is to be published.
#[derive(Clone, Copy)]
pub(super) struct Post<'a> {
    pub(super) topic: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) except: Option<&'a Sender>,
}

impl<'a> Post<'a> {
    pub(super) fn to(topic: &'a str) -> Self {
        Self {
            topic,
            key: None,
            except: None,
        }
    }

    fn of(posted: &'a Posted) -> Self {
        Self {
            key: posted.key.as_deref(),
            ..Self::to(&posted.topic)
        }
    }

    fn posted(&self, frame: &Frame) -> Posted {
        Posted {
            topic: self.topic.into(),
            key: self.key.map(Arc::from),
            frame: Arc::from(&**frame.plain()),
        }
    }
}

impl Local {
    pub(super) fn new(hub: Option<&Hub>) -> Self {
        Self {
            groups: RefCell::default(),
            settings: RefCell::default(),
            subscriptions_max: Cell::new(SUBSCRIPTIONS_MAX),
            keeps_history: Cell::new(false),
            is_numbering: Cell::new(false),
            reach: match hub {
                None => Reach::Loop(Box::default()),
                Some(hub) => Reach::Hub(hub.clone(), RefCell::default()),
            },
        }
    }

    /// Treat the topics that match `filter` in this way.
    pub(super) fn set(&self, filter: Name<'_>, new: TopicSettings) {
        if let Some(history) = new.history {
            self.keeps_history.set(true);
            self.with_books(|books| books.histories.keep(filter, history));
        }
        let mut settings = self.settings.borrow_mut();
        let place = settings.find_or_insert(filter);
        *settings.get_mut(place) = new;
    }

    /// The settings for a topic: those that were set first of all that match.
    fn settings<T: Default>(&self, topic: &str, read: impl FnOnce(&TopicSettings) -> T) -> T {
        let settings = self.settings.borrow();
        if settings.is_empty() {
            return T::default();
        }
        let first = settings.matches(topic).iter().min();
        first.map_or_else(T::default, |place| read(&settings.get(place).value))
    }

    fn with_books<T>(&self, with: impl FnOnce(&mut Books) -> T) -> T {
        assert!(
            !self.is_numbering.get(),
            "the topics were used by what makes a numbered message for them"
        );
        match &self.reach {
            Reach::Loop(books) => with(&mut books.borrow_mut()),
            Reach::Hub(hub, _) => with(&mut hub.books()),
        }
    }

    // ---- who is in ----------------------------------------------------------------------------------------------

    /// Let a connection in. `None` when it is in already, or closed.
    pub(super) fn enter(
        self: &Rc<Self>,
        name: Name<'_>,
        member: &Sender,
        joining: &Joining<'_>,
    ) -> Option<Joined> {
        if !member.is_open() || self.is_member(name, member) {
            return None;
        }
        let (replayed, group, place) = if self.keeps_history.get() {
            // In one breath: what is published before is in the history, and what is published behind comes by itself.
            self.with_books(|books| {
                self.catch_up();
                let replayed = books.histories.replay(name, joining.replay);
                let (group, place) = self.admit(name, member);
                (replayed, group, place)
            })
        } else {
            let (group, place) = self.admit(name, member);
            (Replayed::default(), group, place)
        };
        let mut joined = Joined {
            has_gap: replayed.has_gap,
            ..Joined::default()
        };
        for posted in &replayed.messages {
            let mut frame = Frame::from_plain(Rc::from(&*posted.frame));
            let key = posted
                .key
                .as_deref()
                .map(|key| outbox_key(&posted.topic, key));
            let outbox = self.settings(&posted.topic, |settings| settings.outbox);
            let outcome = member.send_frame(
                &mut frame,
                &Delivery {
                    policy: outbox.as_ref(),
                    key: key.as_ref(),
                },
            );
            joined.replayed +=
                usize::from(matches!(outcome, SendOutcome::Sent | SendOutcome::Queued));
        }
        if let Some(text) = joining.present_as
            && !name.is_wild
        {
            joined.id = self.attend(name.text, member, text, (group, place));
        }
        self.pass_on();
        Some(joined)
    }

    /// Give a member its place.
    fn admit(self: &Rc<Self>, name: Name<'_>, member: &Sender) -> (u32, u32) {
        if let Reach::Hub(hub, seat) = &self.reach {
            let mut seat = seat.borrow_mut();
            let seat = seat.get_or_insert_with(|| hub.enter(member.handle(), self));
            hub.count_in(seat, name);
        }
        let mut groups = self.groups.borrow_mut();
        let group = groups.find_or_insert(name);
        let place = groups.get_mut(group).admit(member.clone());
        let mut memberships = member.memberships().borrow_mut();
        if memberships.is_empty() {
            // Most are in one room, and shall not pay for four.
            memberships.reserve_exact(1);
        }
        memberships.push(Membership {
            local: Rc::downgrade(self),
            group,
            place,
        });
        (group, place)
    }

    /// Take a connection out. `false` when it is not in.
    pub(super) fn leave(&self, name: Name<'_>, member: &Sender) -> bool {
        let Some(group) = self.groups.borrow().find(name) else {
            return false;
        };
        let membership = {
            let mut memberships = member.memberships().borrow_mut();
            let found = memberships
                .iter()
                .position(|membership| membership.is_in(self, group));
            found.map(|place| memberships.swap_remove(place))
        };
        membership.map(Membership::end).is_some()
    }

    pub(super) fn is_member(&self, name: Name<'_>, member: &Sender) -> bool {
        let Some(group) = self.groups.borrow().find(name) else {
            return false;
        };
        let memberships = member.memberships().borrow();
        memberships
            .iter()
            .any(|membership| membership.is_in(self, group))
    }

    /// A member's place is given up.
    fn remove(&self, group_number: u32, place: u32) {
        let mut groups = self.groups.borrow_mut();
        let group = groups.get_mut(group_number);
        let (member, stay) = group.remove(place);
        let is_last = group.members.is_empty();
        let entry = groups.get(group_number);
        let (text, is_wild) = (Arc::clone(&entry.name), entry.is_wild);
        if is_last {
            groups.remove(group_number);
        }
        let nobody_is_left = groups.is_empty();
        drop(groups);
        drop(member);
        let name = Name {
            text: &text,
            is_wild,
        };
        self.leave_hub(name, 1, nobody_is_left);
        if let Some(id) = stay {
            let who = self.with_books(|books| books.attendance.leave(&text, id));
            if let Some(who) = who {
                let left = PresenceEvent::Left {
                    topic: &text,
                    who: &who,
                };
                self.announce(left, None);
            }
        }
        self.pass_on();
    }

    fn leave_hub(&self, name: Name<'_>, members: usize, nobody_is_left: bool) {
        let Reach::Hub(hub, seat) = &self.reach else {
            return;
        };
        let mut seat = seat.borrow_mut();
        let Some(here) = &*seat else { return };
        hub.count_out(here, name, members);
        if nobody_is_left {
            hub.leave(here);
            *seat = None;
        }
    }

    /// Everyone under a name who is in this loop.
    pub(super) fn members(&self, name: Name<'_>) -> Vec<Sender> {
        let groups = self.groups.borrow();
        let group = groups.find(name).map(|group| &groups.get(group).value);
        let members = group.into_iter().flat_map(|group| &group.members);
        members.map(|(_, member)| member.clone()).collect()
    }

    /// How many are under a name, as far as this reaches.
    pub(super) fn count(&self, name: Name<'_>) -> usize {
        match &self.reach {
            Reach::Hub(hub, _) => hub.count_of(name),
            Reach::Loop(_) => {
                let groups = self.groups.borrow();
                let group = groups.find(name);
                group.map_or(0, |group| groups.get(group).value.members.len())
            }
        }
    }

    /// Every name with how many are under it, as far as this reaches, by name.
    pub(super) fn counts(&self) -> Vec<(String, usize)> {
        match &self.reach {
            Reach::Hub(hub, _) => hub.counts(),
            Reach::Loop(_) => {
                let groups = self.groups.borrow();
                let counts = groups.iter();
                let mut counts: Vec<_> = counts
                    .map(|entry| (entry.name.to_string(), entry.value.members.len()))
                    .collect();
                counts.sort_unstable();
                counts
            }
        }
    }

    // ---- who is present -----------------------------------------------------------------------------------------

    /// A member is present in a topic from now on, if that is of interest there.
    fn attend(
        &self,
        topic: &str,
        member: &Sender,
        text: &str,
        (group, place): (u32, u32),
    ) -> Option<u64> {
        let presence = self.settings(topic, |settings| settings.presence.clone());
        if let Presence::Off = presence {
            return None;
        }
        let who = self.with_books(|books| books.attendance.enter(topic, text));
        let mut groups = self.groups.borrow_mut();
        groups.get_mut(group).present.insert(place, who.id);
        drop(groups);
        self.announce(PresenceEvent::Joined { topic, who: &who }, Some(member));
        Some(who.id)
    }

    fn announce(&self, event: PresenceEvent<'_>, except: Option<&Sender>) {
        let topic = event.topic();
        let presence = self.settings(topic, |settings| settings.presence.clone());
        if let Presence::Announced(announce) = presence
            && let Some(message) = announce(event)
        {
            let post = Post {
                except,
                ..Post::to(topic)
            };
            self.send(&post, Frame::of(Message::from(&message)));
        }
    }

    pub(super) fn present(&self, topic: &str) -> Vec<Present> {
        self.with_books(|books| books.attendance.list(topic))
    }

    // ---- what is said -------------------------------------------------------------------------------------------

    pub(super) fn publish(&self, post: &Post<'_>, message: Message<'_>) -> Published {
        if self.keeps_history.get() && self.with_books(|books| books.histories.keeps(post.topic)) {
            return self.keep(post, |_| Frame::of(message));
        }
        if let Reach::Loop(_) = self.reach {
            let groups = &mut *self.groups.borrow_mut();
            let matches = groups.matches(post.topic);
            return match matches.len() {
                0 => Published::default(),
                _ => self.deliver_to(groups, &matches, post, Frame::of(message)),
            };
        }
        self.send(post, Frame::of(message))
    }

    /// Publish what is made when its number is known.
    pub(super) fn publish_numbered(
        &self,
        post: &Post<'_>,
        make: impl FnOnce(Cursor) -> OwnedMessage,
    ) -> Published {
        /// Ends the making, also when that panics.
        struct Numbering<'a>(&'a Cell<bool>);

        impl Drop for Numbering<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }

        self.keep(post, |cursor| {
            self.is_numbering.set(true);
            let _numbering = Numbering(&self.is_numbering);
            Frame::of(Message::from(&make(cursor)))
        })
    }

    /// Publish a message that has a number, in the order of the numbers for everyone.
    fn keep(&self, post: &Post<'_>, make: impl FnOnce(Cursor) -> Frame) -> Published {
        let frame = self.with_books(|books| {
            self.catch_up();
            let frame = make(books.histories.next_cursor());
            let posted = post.posted(&frame);
            books.histories.push(&posted);
            self.post(post, || posted);
            frame
        });
        let published = self.deliver(post, frame);
        self.pass_on();
        published
    }

    /// Publish a message that nobody keeps.
    fn send(&self, post: &Post<'_>, frame: Frame) -> Published {
        self.post(post, || post.posted(&frame));
        let published = self.deliver(post, frame);
        self.pass_on();
        published
    }

    /// To the other loops.
    fn post(&self, post: &Post<'_>, posted: impl FnOnce() -> Posted) {
        if let Reach::Hub(hub, seat) = &self.reach {
            hub.publish(seat.borrow().as_ref(), post.topic, posted);
        }
    }

    /// To other processes, when no lock is held.
    fn pass_on(&self) {
        if let Reach::Hub(hub, _) = &self.reach {
            hub.pass_on();
        }
    }

    /// Deliver what other loops have posted.
    pub(super) fn catch_up(&self) {
        let posted = match &self.reach {
            Reach::Hub(_, seat) => seat.borrow().as_ref().map(Seat::take_posted),
            Reach::Loop(_) => None,
        };
        for posted in posted.iter().flatten() {
            let frame = Frame::from_plain(Rc::from(&*posted.frame));
            self.deliver(&Post::of(posted), frame);
        }
    }

    /// Send a frame to everyone here who is to have it.
    fn deliver(&self, post: &Post<'_>, frame: Frame) -> Published {
        let groups = &mut *self.groups.borrow_mut();
        let matches = groups.matches(post.topic);
        self.deliver_to(groups, &matches, post, frame)
    }

    fn deliver_to(
        &self,
        groups: &mut Filters<Group>,
        matches: &Matches,
        post: &Post<'_>,
        mut frame: Frame,
    ) -> Published {
        let outbox = self.settings(post.topic, |settings| settings.outbox);
        if let (Some(group), None) = (matches.only(), post.key) {
            return groups.get_mut(group).publish(frame, outbox, post.except);
        }
        let mut published = Published::default();
        let key = post.key.map(|key| outbox_key(post.topic, key));
        let how = Delivery {
            policy: outbox.as_ref(),
            key: key.as_ref(),
        };
        let mut send = |member: &Sender| {
            if Some(member) != post.except {
                published.count(member.send_frame(&mut frame, &how));
            }
        };
        let all = || {
            let groups = matches.iter().map(|group| &groups.get(group).value);
            groups.flat_map(|group| &group.members)
        };
        if matches.len() <= 1 {
            all().for_each(|(_, member)| send(member));
        } else {
            // Who is in several of the groups gets it once.
            for (_, member) in all() {
                if !member.is_reached().replace(true) {
                    send(member);
                }
            }
            all().for_each(|(_, member)| member.is_reached().set(false));
        }
        published
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let groups = self.groups.take();
        for entry in groups.iter() {
            self.leave_hub(entry.name(), entry.value.members.len(), false);
            for id in entry.value.present.values() {
                self.with_books(|books| books.attendance.leave(&entry.name, *id));
            }
        }
        if let Reach::Hub(hub, seat) = &self.reach
            && let Some(seat) = seat.take()
        {
            hub.leave(&seat);
        }
        self.pass_on();
    }
}

impl Membership {
    fn is_in(&self, local: &Local, group: u32) -> bool {
        self.group == group && std::ptr::eq(self.local.as_ptr(), local)
    }

    fn end(self) {
        if let Some(local) = self.local.upgrade() {
            local.remove(self.group, self.place);
        }
    }
}

/// A key for a member's outbox, where one topic's messages shall not replace another's.
fn outbox_key(topic: &str, key: &str) -> Rc<str> {
    [topic, "\0", key].concat().into()
}

/// A connection has closed: it is in nothing any more.
pub(in crate::conn) fn leave_all(member: &Sender) {
    let memberships = member.memberships().take();
    memberships.into_iter().for_each(Membership::end);
}
