//! Rooms: topics with plain names, as simple as that.

use std::fmt;
use std::rc::Rc;

use super::filter::Name;
use super::local::{Local, Post};
use super::{Cursor, Hub, Joined, Joining, Present, Published, TopicSettings};
use crate::conn::websocket::Sender;
use crate::proto::ws::{Message, OwnedMessage};

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
#[derive(Clone)]
pub struct Rooms(Rc<Local>);

impl Rooms {
    /// No rooms yet; a room is there as long as somebody is in it.
    pub fn new() -> Self {
        Self::of(Rc::new(Local::new(None)))
    }

    /// This loop's part of the rooms that all loops with the same `hub` have together, for engines of several, see
    /// [`super::Topics::spanning`].
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
        Self::of(Rc::new(Local::new(Some(hub))))
    }

    pub(super) fn of(local: Rc<Local>) -> Self {
        Self(local)
    }

    /// Treat all rooms in this way, from now on: with an outbox policy, a history, or announcements of who comes and
    /// goes.
    pub fn with(self, settings: TopicSettings) -> Self {
        let all = Name {
            text: "#",
            is_wild: true,
        };
        self.0.set(all, settings);
        self
    }

    /// Let a connection into a room; it gets what is kept of it. `false` when it is in already, or closed.
    pub fn join(&self, room: &str, member: &Sender) -> bool {
        self.join_with(room, member, &Joining::default()).is_some()
    }

    /// As [`Rooms::join`], in a particular way. `None` where that returns `false`.
    pub fn join_with(&self, room: &str, member: &Sender, joining: &Joining<'_>) -> Option<Joined> {
        self.0.enter(Name::plain(room), member, joining)
    }

    /// Take a connection out of a room. `false` when it is not in it.
    pub fn leave(&self, room: &str, member: &Sender) -> bool {
        self.0.leave(Name::plain(room), member)
    }

    /// Whether a connection is in a room.
    pub fn is_member(&self, room: &str, member: &Sender) -> bool {
        self.0.is_member(Name::plain(room), member)
    }

    /// Send to everyone in a room. What became of it is told of the members in this loop.
    pub fn publish<'m>(&self, room: &str, message: impl Into<Message<'m>>) -> Published {
        self.0.publish(&Post::to(room), message.into())
    }

    /// Send to everyone in a room but one.
    pub fn publish_except<'m>(
        &self,
        room: &str,
        except: &Sender,
        message: impl Into<Message<'m>>,
    ) -> Published {
        let post = Post {
            except: Some(except),
            ..Post::to(room)
        };
        self.0.publish(&post, message.into())
    }

    /// As [`super::Topics::publish_keyed`].
    pub fn publish_keyed<'m>(
        &self,
        room: &str,
        key: &str,
        message: impl Into<Message<'m>>,
    ) -> Published {
        let post = Post {
            key: Some(key),
            ..Post::to(room)
        };
        self.0.publish(&post, message.into())
    }

    /// As [`super::Topics::publish_numbered`].
    ///
    /// # Panics
    /// When `make` uses these rooms.
    pub fn publish_numbered(
        &self,
        room: &str,
        make: impl FnOnce(Cursor) -> OwnedMessage,
    ) -> Published {
        self.0.publish_numbered(&Post::to(room), make)
    }

    /// How many are in a room, in all loops that it spans.
    pub fn count(&self, room: &str) -> usize {
        self.0.count(Name::plain(room))
    }

    /// Every room with how many are in it, in all loops that it spans, by name.
    pub fn counts(&self) -> Vec<(String, usize)> {
        self.0.counts()
    }

    /// Everyone in a room who is in this loop.
    pub fn members(&self, room: &str) -> Vec<Sender> {
        self.0.members(Name::plain(room))
    }

    /// Who came into a room to be seen ([`Joining::present_as`]), in all loops, in the order in which they came.
    pub fn present(&self, room: &str) -> Vec<Present> {
        self.0.present(room)
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.counts()).finish()
    }
}
