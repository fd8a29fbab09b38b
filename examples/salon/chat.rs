//! Chat in rooms: who comes in, who leaves, and who hears what.
//!
//! A member is in the room from `opened` to `closed`; nothing else changes who is in. A message is encoded once and put
//! into every member's outbox, where a slow one holds up nobody else.

use tourbillon::event_loop::{Ctx, Token};
use tourbillon::web::{CloseReason, Message, Peer, Request, Response, Socket};

use crate::Salon;
use crate::messages::{
    FromChatter, Refusal, ToChatter, check_message, decode, encode, room_name, timestamp, user_name,
};

/// One person at the chat page.
pub(crate) struct Chatter {
    room: String,
    name: Option<String>,
}

/// `/ws?room=NAME&name=NAME`: into a room, or not at all.
pub(crate) fn enter(request: &Request, _: &mut Salon) -> Result<Chatter, Response> {
    let room = room_name(&request.query("room").unwrap_or_default())
        .map_err(|refusal| Response::text(format!("{refusal}\n")).with_status(400))?;
    Ok(Chatter {
        room,
        name: request
            .query("name")
            .and_then(|typed| user_name(&typed).ok()),
    })
}

impl Socket<Salon> for Chatter {
    fn opened(&mut self, peer: &mut Peer<'_>, salon: &mut Salon) {
        salon.rooms.join(&self.room, peer.sender());
        let user_id = &user_id(peer.sender().id());
        let users = salon.rooms.count(&self.room);
        let timestamp = timestamp(peer.ctx().wall_clock());
        peer.send(&encode(&ToChatter::Welcome {
            user_id,
            room: &self.room,
            users,
            timestamp,
        }));
        let joined = ToChatter::UserJoined {
            user_id,
            user_name: self.name.as_deref(),
            users,
            timestamp,
        };
        salon
            .rooms
            .publish_except(&self.room, peer.sender(), &encode(&joined));
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>, salon: &mut Salon) {
        if let Err(refusal) = self.hear(peer, message, salon) {
            peer.send(&encode(&ToChatter::Error { message: refusal }));
        }
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>, _: &CloseReason, salon: &mut Salon) {
        let left = ToChatter::UserLeft {
            user_id: &user_id(ctx.token()),
            user_name: self.name.as_deref(),
            users: salon.rooms.count(&self.room),
            timestamp: timestamp(ctx.wall_clock()),
        };
        salon.rooms.publish(&self.room, &encode(&left));
    }
}

impl Chatter {
    fn hear(
        &mut self,
        peer: &mut Peer<'_>,
        message: Message<'_>,
        salon: &mut Salon,
    ) -> Result<(), Refusal> {
        let user_id = &user_id(peer.sender().id());
        let timestamp = timestamp(peer.ctx().wall_clock());
        match decode(message)? {
            FromChatter::Message { message } => {
                check_message(&message)?;
                let said = ToChatter::NewMessage {
                    user_id,
                    user_name: self.name.as_deref(),
                    message: &message,
                    timestamp,
                };
                salon.rooms.publish(&self.room, &encode(&said));
            }
            FromChatter::Name { name } => {
                let name = self.name.insert(user_name(&name)?);
                let renamed = ToChatter::UserRenamed {
                    user_id,
                    user_name: name,
                    timestamp,
                };
                salon.rooms.publish(&self.room, &encode(&renamed));
            }
            FromChatter::Ping => {
                peer.send(&encode(&ToChatter::Pong { timestamp }));
            }
        }
        Ok(())
    }
}

/// A connection's token names it for good: its slot will be used again, but in another generation.
fn user_id(token: Token) -> String {
    format!("{:x}.{:x}", token.index(), token.generation())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_is_used_again_is_another_user() {
        assert_ne!(user_id(Token::new(1, 2)), user_id(Token::new(1, 3)));
        assert_ne!(user_id(Token::new(1, 0x12)), user_id(Token::new(0x11, 2)));
        assert!(user_id(Token::new(u32::MAX, u32::MAX)).len() <= 40);
    }
}
