//! Names tasks and groups so that a name never comes to mean another one.

use std::fmt;

use crate::task::Slot;

/// Identifies one task of one executor, for ever.
///
/// Numbers are not used again, so the id of a finished task names nothing rather than the
/// task that took its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    pub(crate) number: u64,
}

impl TaskId {
    pub(crate) fn of(slot: Slot) -> Self {
        Self {
            number: slot.number(),
        }
    }

    /// What it prints after the `#`; tasks are numbered from 1 in the order of their spawning.
    pub fn number(self) -> u64 {
        self.number
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.number)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId(#{})", self.number)
    }
}

/// Identifies one group of one executor, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupId {
    pub(crate) index: u32,
    pub(crate) generation: u64,
}
