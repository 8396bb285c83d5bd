//! Names tasks and groups so that a name never comes to mean another one.

use std::fmt;

/// Identifies one task of one executor, for ever.
///
/// The table reuses its slots; the generation does not repeat, so an id of a finished
/// task names nothing rather than the task that came after it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    pub(crate) index: u32,
    pub(crate) generation: u64,
}

impl TaskId {
    /// What it prints after the `#`; tasks are numbered from 1 in the order of their spawning.
    pub fn number(self) -> u64 {
        self.generation
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.generation)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId(#{} in slot {})", self.generation, self.index)
    }
}

/// Identifies one group of one executor, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupId {
    pub(crate) index: u32,
    pub(crate) generation: u64,
}

impl Target {
    /// The future inside a `run_until`, which another executor wakes.
    pub(crate) const VISITOR: Self = Self::Main(u64::MAX);
}

/// Whom a wake is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A task in the table.
    Task(TaskId),
    /// The main future of the `try_block_on` with this number.
    Main(u64),
}
