//! Marks the thread as busy for `futures_executor` while something is polled, under the
//! feature `futures-guard`.
//!
//! With the mark set, `futures_executor::block_on` and `LocalPool::run` panic in place of
//! nesting; in a task the panic goes to its handle. Other crates' `block_on` know no such
//! mark.

/// The mark, taken off again when it is removed or dropped.
#[cfg(feature = "futures-guard")]
pub(crate) struct Mark {
    /// `None` if the thread was marked already: by an outer poll, or by a `LocalPool` that we
    /// run in.
    entered: Option<futures_executor::Enter>,
}

#[cfg(feature = "futures-guard")]
impl Mark {
    pub(crate) fn new() -> Self {
        Self {
            entered: futures_executor::enter().ok(),
        }
    }

    pub(crate) fn remove(&mut self) {
        self.entered = None;
    }
}

#[cfg(not(feature = "futures-guard"))]
pub(crate) struct Mark;

#[cfg(not(feature = "futures-guard"))]
impl Mark {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn remove(&mut self) {}
}
