//! Marks the thread as busy for `futures_executor` while something is polled, under the
//! feature `futures-guard`.
//!
//! With the mark set, `futures_executor::block_on` and `LocalPool::run` panic in place of
//! nesting; in a task the panic goes to its handle. Other crates' `block_on` know no such
//! mark.

/// The mark, taken off again when it is dropped.
#[cfg(feature = "futures-guard")]
pub(crate) struct Mark {
    /// `None` if the thread was marked already: by an outer poll, or by a `LocalPool` that we
    /// run in.
    _entered: Option<futures_executor::Enter>,
}

#[cfg(feature = "futures-guard")]
impl Mark {
    pub(crate) fn new() -> Self {
        Self {
            _entered: futures_executor::enter().ok(),
        }
    }
}

#[cfg(not(feature = "futures-guard"))]
pub(crate) struct Mark;

#[cfg(not(feature = "futures-guard"))]
impl Mark {
    pub(crate) fn new() -> Self {
        Self
    }
}
