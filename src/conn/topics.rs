//! Topics, and rooms, which are topics with plain names: one message for everyone who subscribed, encoded once.
//!
//! Members subscribe to names in levels, and to filters over them: `sport/tennis/+`, `sport/#`. A connection is in
//! until it leaves or closes, and for no other reason; publishing changes nothing about who is in. Each member gets
//! each message once, and at most one write a turn; what is published and what is sent to it directly comes in the
//! order in which that was done. One that does not read has a bounded outbox of its own, so it delays nobody.
//!
//! [`Local`] holds the members of one loop; a [`Hub`] joins the loops of a process, and a [`Fanout`] joins processes.

mod fanout;
mod filter;
mod history;
mod hub;
mod local;
mod presence;
mod rooms;
#[cfg(test)]
mod tests;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

pub use fanout::{Fanout, Inlet, Interest, LinkDown, LinkState, Relayed};
use filter::Name;
pub use filter::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX, TopicError};
pub use history::{Cursor, History, NoCursor, Replay};
pub use hub::Hub;
use local::{Local, Post};
pub(super) use local::{Membership, leave_all};
pub use presence::{Announce, PRESENCE_BYTES_MAX, Presence, PresenceEvent, Present};
pub use rooms::Rooms;

use super::websocket::{SendOutcome, Sender};
use super::websocket_settings::OutboxPolicy;
use crate::proto::ws::{Message, OwnedMessage};

/// A set of topics. Cheap to clone; the clones share them. A topic needs no beginning: it is there as long as somebody
/// subscribes to it.
///
/// A name has levels with slashes between them. In a filter `+` stands for any one level, and a `#` at the end for all
/// that come, none included: `sport/#` is `sport`, `sport/tennis` and `sport/tennis/final`.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::web::{App, Message, Peer, Request, Response, Socket, Topics};
///
/// /// Hears what its path says: `/ws/prices/+/eur`.
/// struct Listener(String);
///
/// impl Socket<Topics> for Listener {
///     fn opened(&mut self, peer: &mut Peer<'_>, topics: &mut Topics) {
///         if let Err(error) = topics.subscribe(&self.0, peer.sender()) {
///             peer.send(&error.to_string());
///         }
///     }
///     fn message(&mut self, _: &mut Peer<'_>, _: Message<'_>, _: &mut Topics) {}
/// }
///
/// fn listen(request: &Request, _: &mut Topics) -> Result<Listener, Response> {
///     Ok(Listener(request.param("filter").unwrap_or_default().into_owned()))
/// }
///
/// let topics = Topics::new();
/// let app = App::new(topics.clone()).ws("/ws/{*filter}", listen);
/// let mut event_loop = EventLoop::new()?;
/// let (server, _) = app.listen(&mut event_loop.ctx(), "127.0.0.1:0")?;
/// // From anywhere on the loop's thread:
/// let published = topics.publish("prices/gold/eur", "3 710.20").expect("it is a name");
/// assert_eq!(published.delivered, 0, "nobody listens yet");
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Topics(Rc<Local>);

/// How the topics are treated that match a filter, see [`Topics::with`].
#[derive(Clone, Debug, Default)]
pub struct TopicSettings {
    /// How much of what is published there may wait for a member, and what happens to more. `None` for what the
    /// member's route says.
    pub outbox: Option<OutboxPolicy>,
    /// How much is kept for members who come late. `None` for nothing.
    pub history: Option<History>,
    /// Whether it is known who is there.
    pub presence: Presence,
}

/// How a member comes in, for [`Topics::subscribe_with`] and [`Rooms::join_with`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Joining<'a> {
    /// Be seen there, with this text: a name, or a few facts in the form that the clients know. See
    /// [`PRESENCE_BYTES_MAX`]. Who subscribes with wildcards watches, and is seen nowhere.
    pub present_as: Option<&'a str>,
    /// What it gets of the history.
    pub replay: Replay,
}

/// What came of a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Joined {
    /// [`Present::id`], if it is seen.
    pub id: Option<u64>,
    /// How many messages of the history it gets. They come behind what was sent to it before, and before anything new.
    pub replayed: usize,
    /// It came with a [`Cursor`], and something behind that is not kept any more, or the cursor is of another process.
    pub has_gap: bool,
}

/// What became of a message, in members of this loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Published {
    /// It will be written in this turn.
    pub delivered: usize,
    /// It waits for members that are slow.
    pub queued: usize,
    /// Their outbox was full, and the policy is to drop it.
    pub dropped: usize,
    /// They are closing, or are now closed because their outbox was full.
    pub closed: usize,
}

impl Published {
    fn count(&mut self, outcome: SendOutcome) {
        match outcome {
            SendOutcome::Sent => self.delivered += 1,
            SendOutcome::Queued => self.queued += 1,
            SendOutcome::Dropped => self.dropped += 1,
            SendOutcome::Closed => self.closed += 1,
        }
    }
}

/// A published message, as it goes to other loops, and as it is kept.
#[derive(Clone, Debug)]
struct Posted {
    topic: Arc<str>,
    key: Option<Arc<str>>,
    frame: Arc<[u8]>,
}

impl Topics {
    /// Nobody subscribes to anything yet.
    pub fn new() -> Self {
        Self(Rc::new(Local::new(None)))
    }

    /// This loop's part of the topics that all loops with the same `hub` have together, for engines of several. What is
    /// published reaches the members in this loop at once, and those in others in their next turn. What one loop says
    /// comes in its order everywhere, and what comes from elsewhere comes in one order to all; in topics with a history
    /// there is one order for everyone. Between loops it waits without limit until that turn; behind it each member's
    /// own limit holds.
    pub fn spanning(hub: &Hub) -> Self {
        Self(Rc::new(Local::new(Some(hub))))
    }

    /// Treat the topics that match `filter` in this way, from now on. Of several filters that match a topic, the one
    /// that was given first holds. Topics that span several loops are to be given the same in each.
    ///
    /// ```
    /// use tourbillon::web::{History, OutboxPolicy, TopicSettings, Topics, WhenFull};
    ///
    /// let latest_only = OutboxPolicy { when_full: WhenFull::KeepLatest, ..OutboxPolicy::default() };
    /// let topics = Topics::new()
    ///     .with("prices/#", TopicSettings { outbox: Some(latest_only), ..TopicSettings::default() })
    ///     .with("chat/+", TopicSettings { history: Some(History::default()), ..TopicSettings::default() });
    /// # drop(topics);
    /// ```
    ///
    /// # Panics
    /// When the filter is not well formed, see [`TopicError`].
    #[track_caller]
    pub fn with(self, filter: &str, settings: TopicSettings) -> Self {
        match Name::filter(filter) {
            Ok(filter) => self.0.set(filter, settings),
            Err(error) => panic!("{filter:?}: {error}"),
        }
        self
    }

    /// A connection may have no more than so many subscriptions, rooms counted with them. Default 1,000: each takes
    /// some memory, and where clients choose what they subscribe to, one of them could take all.
    pub fn subscriptions_max(self, max: usize) -> Self {
        self.0.subscriptions_max.set(max);
        self
    }

    /// The topics as rooms: what is said in a room comes to those who subscribe to its name as a topic, or to a filter
    /// that matches it.
    pub fn rooms(&self) -> Rooms {
        Rooms::of(Rc::clone(&self.0))
    }

    /// Subscribe a connection to a topic, or to all that match a filter; it gets what is kept of them. `false` when it
    /// has subscribed to the same before, or is closed. However many of its filters match, it gets a message once.
    ///
    /// # Errors
    /// When the filter is not well formed, or the connection has too many subscriptions.
    pub fn subscribe(&self, filter: &str, member: &Sender) -> Result<bool, TopicError> {
        let joined = self.subscribe_with(filter, member, &Joining::default())?;
        Ok(joined.is_some())
    }

    /// As [`Topics::subscribe`], in a particular way. `None` where that returns `false`.
    ///
    /// # Errors
    /// As [`Topics::subscribe`].
    pub fn subscribe_with(
        &self,
        filter: &str,
        member: &Sender,
        joining: &Joining<'_>,
    ) -> Result<Option<Joined>, TopicError> {
        let filter = Name::filter(filter)?;
        let has_all = member.memberships().borrow().len() >= self.0.subscriptions_max.get();
        if has_all && !self.0.is_member(filter, member) {
            return Err(TopicError::TooMany);
        }
        Ok(self.0.enter(filter, member, joining))
    }

    /// End a subscription, given by the same filter. `false` when there is none.
    pub fn unsubscribe(&self, filter: &str, member: &Sender) -> bool {
        Name::filter(filter).is_ok_and(|filter| self.0.leave(filter, member))
    }

    /// Whether a connection subscribes to exactly this.
    pub fn is_subscribed(&self, filter: &str, member: &Sender) -> bool {
        Name::filter(filter).is_ok_and(|filter| self.0.is_member(filter, member))
    }

    /// Send to everyone who subscribes to a topic. What became of it is told of the members in this loop.
    ///
    /// # Errors
    /// When `topic` is not the name of one topic.
    pub fn publish<'m>(
        &self,
        topic: &str,
        message: impl Into<Message<'m>>,
    ) -> Result<Published, TopicError> {
        let topic = Name::topic(topic)?.text;
        Ok(self.0.publish(&Post::to(topic), message.into()))
    }

    /// As [`Topics::publish`], to all but one.
    ///
    /// # Errors
    /// As [`Topics::publish`].
    pub fn publish_except<'m>(
        &self,
        topic: &str,
        except: &Sender,
        message: impl Into<Message<'m>>,
    ) -> Result<Published, TopicError> {
        let post = Post {
            except: Some(except),
            ..Post::to(Name::topic(topic)?.text)
        };
        Ok(self.0.publish(&post, message.into()))
    }

    /// As [`Topics::publish`], for one of a series of messages of which the latest is what counts: a price, a position.
    /// Where the policy is [`super::WhenFull::KeepLatest`], at most one message of this topic with this key waits for a
    /// member, also within a turn; and a history keeps one with this key.
    ///
    /// # Errors
    /// As [`Topics::publish`].
    pub fn publish_keyed<'m>(
        &self,
        topic: &str,
        key: &str,
        message: impl Into<Message<'m>>,
    ) -> Result<Published, TopicError> {
        let post = Post {
            key: Some(key),
            ..Post::to(Name::topic(topic)?.text)
        };
        Ok(self.0.publish(&post, message.into()))
    }

    /// As [`Topics::publish`], with a message that says where in the history it stands, so that a client that comes
    /// back can say how much it has heard: see [`Replay::Since`].
    ///
    /// ```
    /// # let topics = tourbillon::web::Topics::new();
    /// topics.publish_numbered("news", |cursor| format!("{cursor} it rains").into())?;
    /// # Ok::<(), tourbillon::web::TopicError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Topics::publish`].
    ///
    /// # Panics
    /// When `make` uses these topics: other loops wait for it, so that numbers and messages keep one order.
    pub fn publish_numbered(
        &self,
        topic: &str,
        make: impl FnOnce(Cursor) -> OwnedMessage,
    ) -> Result<Published, TopicError> {
        let post = Post::to(Name::topic(topic)?.text);
        Ok(self.0.publish_numbered(&post, make))
    }

    /// How many subscribe to exactly this topic or filter, in all loops that these topics span.
    pub fn count(&self, filter: &str) -> usize {
        Name::filter(filter).map_or(0, |filter| self.0.count(filter))
    }

    /// Every topic and filter that somebody subscribes to, with how many do, in all loops, by name.
    pub fn counts(&self) -> Vec<(String, usize)> {
        self.0.counts()
    }

    /// Who is present in a topic, in all loops, in the order in which they came.
    pub fn present(&self, topic: &str) -> Vec<Present> {
        self.0.present(topic)
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.counts()).finish()
    }
}
