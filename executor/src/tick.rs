//! Says how much to do at one go, and what was done.

use std::time::{Duration, Instant};

use crate::limits;

/// How much one call may do; whichever bound is met first ends it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Budget {
    /// At most so many polls.
    pub polls: Option<u64>,
    /// At most so many rounds. A round polls everything that was ready at its start, once.
    pub rounds: Option<u64>,
    /// Nothing is polled after this time. A poll under way is not interrupted.
    pub deadline: Option<Instant>,
}

impl Budget {
    /// No bound: a task that keeps waking itself makes the call endless.
    pub const UNLIMITED: Self = Self {
        polls: None,
        rounds: None,
        deadline: None,
    };

    /// At most `polls` polls.
    pub fn polls(polls: u64) -> Self {
        Self {
            polls: Some(polls),
            ..Self::UNLIMITED
        }
    }

    /// At most `rounds` rounds.
    pub fn rounds(rounds: u64) -> Self {
        Self {
            rounds: Some(rounds),
            ..Self::UNLIMITED
        }
    }

    /// Until `deadline`.
    pub fn until(deadline: Instant) -> Self {
        Self {
            deadline: Some(deadline),
            ..Self::UNLIMITED
        }
    }

    /// For `duration` from now.
    pub fn lasting(duration: Duration) -> Self {
        Self {
            deadline: Instant::now().checked_add(duration),
            ..Self::UNLIMITED
        }
    }

    /// Adds a bound on polls.
    pub fn and_polls(mut self, polls: u64) -> Self {
        self.polls = Some(polls);
        self
    }

    /// Adds a bound on rounds.
    pub fn and_rounds(mut self, rounds: u64) -> Self {
        self.rounds = Some(rounds);
        self
    }

    /// Adds a deadline.
    pub fn and_until(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl Default for Budget {
    /// 1,048,576 polls: enough not to matter, finite all the same.
    fn default() -> Self {
        Self::polls(limits::DEFAULT_POLLS)
    }
}

/// What one drive did, and where it left the executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tick {
    /// Polls made.
    pub polled: u64,
    /// Tasks that ended, of their own accord or aborted.
    pub completed: u64,
    /// Tasks spawned.
    pub spawned: u64,
    /// Tasks made ready by wakes on this thread.
    pub woken_local: u64,
    /// Tasks made ready by wakes on other threads.
    pub woken_remote: u64,
    /// Tasks that are ready now.
    pub ready: usize,
    /// Tasks that have not ended.
    pub live: usize,
    /// Why the drive ended.
    pub end: TickEnd,
}

/// Why a drive ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TickEnd {
    /// No task is left.
    Empty,
    /// Tasks are left and none is ready: the host waker, if there is one, will be woken
    /// once when one is.
    Stalled,
    /// A bound of the budget was met, or the condition of
    /// [`tick_until`](crate::Handle::tick_until), with tasks still ready: drive again.
    Budget,
    /// The round is over, and tasks are ready for the next: drive again.
    Round,
}

/// What an executor has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Tasks spawned, deferred ones included.
    pub spawned: u64,
    /// Tasks that ended, however they did.
    pub completed: u64,
    /// Polls of tasks and of main futures.
    pub polls: u64,
    /// Tasks made ready by wakes on the owner's thread.
    pub woken_local: u64,
    /// Tasks made ready by wakes on other threads.
    pub woken_remote: u64,
    /// Tasks that ended by a panic.
    pub panicked: u64,
    /// Panics of hooks, wakers and destructors, which were caught and dropped.
    pub foreign_panics: u64,
    /// Operations that were refused.
    pub refused: u64,
    /// Tasks that have not ended.
    pub live: usize,
    /// Tasks that are ready.
    pub ready: usize,
    /// Groups that exist.
    pub groups: usize,
}
