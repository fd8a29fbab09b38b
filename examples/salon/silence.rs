//! A client that vanished without a word, cable and all, is noticed by its silence.

use std::time::Duration;

use tourbillon::event_loop::CallHandle;
use tourbillon::web::{CloseCode, Peer};

/// The pages ping every 20 s; a browser slows that to once a minute in a tab that nobody looks at. Two of those may get
/// lost.
const SILENCE_MAX: Duration = Duration::from_secs(180);

/// Closes a WebSocket that has said nothing for [`SILENCE_MAX`]. It has one timer, which every message moves in place.
#[derive(Default)]
pub(crate) struct Silence(Option<CallHandle>);

impl Silence {
    pub(crate) fn begin(&mut self, peer: &mut Peer<'_>) {
        let sender = peer.sender().clone();
        let hang_up = peer.ctx().call_later(SILENCE_MAX, move |_| {
            sender.close(CloseCode::Policy, "nothing was heard for too long");
        });
        self.0 = Some(hang_up);
    }

    pub(crate) fn break_it(&self) {
        self.0.iter().for_each(|hang_up| {
            hang_up.reset(SILENCE_MAX);
        });
    }

    pub(crate) fn end(&self) {
        self.0.iter().for_each(|hang_up| {
            hang_up.cancel();
        });
    }
}
