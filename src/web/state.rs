//! The app's state, for those who cannot borrow it for as long as they live.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// State that handlers share. It has one method, so a borrow lives as long as a closure, and cannot cross an await.
pub struct Shared<S>(Rc<RefCell<S>>);

impl<S> Shared<S> {
    /// Share `state`.
    pub fn new(state: S) -> Self {
        Self(Rc::new(RefCell::new(state)))
    }

    /// Look at the state, or change it.
    ///
    /// # Panics
    /// Inside another `with` of the same state; and in a called handler, which has the state as `&mut S` already.
    pub fn with<R>(&self, look: impl FnOnce(&mut S) -> R) -> R {
        look(&mut self.0.borrow_mut())
    }
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S: fmt::Debug> fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
