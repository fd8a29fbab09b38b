//! The one place where a panic of code we did not write is caught.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::debug::Work;
use super::stats::Origin;

/// A panic that was caught: what it said, and what had been given to the loop where.
#[derive(Clone, Debug)]
pub struct Panicked {
    /// The panic's message, when it was text.
    pub message: String,
    /// What panicked: `callback`, `task`, `handler`, `job`, `waker` (one that is not the loop's), or a source of another
    /// [`super::Inspection::kind`].
    pub kind: &'static str,
    /// Its name, if it was given one.
    pub name: Option<Arc<str>>,
    /// Where it was created.
    pub origin: Origin,
}

impl Panicked {
    /// It was `work` that panicked.
    pub(crate) fn of(self, work: Work) -> Self {
        let Work { kind, name, origin } = work;
        let message = self.message;
        Self {
            message,
            kind,
            name,
            origin,
        }
    }

    /// What panicked.
    pub fn work(&self) -> Work {
        Work {
            kind: self.kind,
            name: self.name.clone(),
            origin: self.origin,
        }
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} panicked: {}", self.work(), self.message)
    }
}

impl std::error::Error for Panicked {}

/// The text of a panic's payload.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "(a panic whose payload is not text)".to_owned()
    }
}

/// Run `code`; a panic becomes a value.
///
/// What `code` borrowed may be left half changed. That is safe here because the loop drops what panicked: a callback
/// is gone, a source is closed, a handler's connection ends.
pub(crate) fn guarded<R>(origin: Origin, code: impl FnOnce() -> R) -> Result<R, Panicked> {
    caught(code).map_err(|caught| caught.blame(origin))
}

/// As [`guarded`], for those who find out only afterwards where the code came from.
#[inline]
pub(crate) fn caught<R>(code: impl FnOnce() -> R) -> Result<R, Caught> {
    catch_unwind(AssertUnwindSafe(code)).map_err(Caught)
}

/// A panic that was caught and is not blamed on anyone yet.
pub(crate) struct Caught(Box<dyn Any + Send>);

impl Caught {
    /// A handler that was given to the loop at `origin` panicked so; what is no handler is named by [`Panicked::of`].
    #[cold]
    pub(crate) fn blame(self, origin: Origin) -> Panicked {
        let message = panic_message(&*self.0);
        // A payload may panic when it is dropped; then there is nothing left to trust.
        if catch_unwind(AssertUnwindSafe(|| drop(self.0))).is_err() {
            std::process::abort();
        }
        Panicked {
            message,
            kind: "handler",
            name: None,
            origin,
        }
    }
}
