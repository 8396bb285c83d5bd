//! Counts the runs of guest code that are inside one another on this thread, of whatever store.
//!
//! A store counts its own nesting. But a host function may make another store, whose guest calls a
//! host function, which makes another store: only the thread sees all of them.

use crate::error::Error;
use crate::limits::MAX_NESTED_STORES;
use std::cell::Cell;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// One run of guest code on this thread, until it is dropped.
pub(super) struct Run(());

impl Run {
    /// # Errors
    ///
    /// `Limit`, when there are too many runs inside one another.
    pub(super) fn begin() -> Result<Run, Error> {
        let depth = DEPTH.get();
        if depth >= MAX_NESTED_STORES {
            return Err(Error::limit(
                "nested stores",
                MAX_NESTED_STORES as u64,
                "runs of guest code inside one another on one thread",
                "it cannot be raised; let host functions spawn or defer what runs another store",
            ));
        }
        DEPTH.set(depth + 1);
        Ok(Run(()))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}
