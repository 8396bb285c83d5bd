//! Lets a host watch what the executor does.

use crate::drive::Stalled;
use crate::ids::TaskId;
use crate::phase::PhaseInfo;
use crate::refusal::Refused;

/// What a poll came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PollOutcome {
    /// The task goes on later.
    Pending,
    /// The task returned its output.
    Completed,
    /// The task panicked, in its poll or in the destructor of its future.
    Panicked,
}

/// What happened to a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PhaseEvent {
    /// It was entered.
    Entered,
    /// It ended, and its deferred work was handed on.
    Committed,
    /// It ended, and its deferred work is about to be discarded.
    Discarded,
}

/// Called on the owner's thread as things happen; every method does nothing by default.
///
/// # Re-entrancy
///
/// Nothing of the executor is borrowed while a hook runs: it may spawn, wake and abort.
/// What is refused inside a poll is refused inside a hook that a drive calls.
///
/// # Panics
///
/// A panic in a hook is caught and counted in
/// [`Metrics::foreign_panics`](crate::Metrics::foreign_panics).
#[allow(unused_variables)]
pub trait Hooks: 'static {
    /// A task was spawned or deferred.
    fn on_spawn(&self, id: TaskId, name: Option<&str>) {}
    /// A task is about to be polled.
    fn before_poll(&self, id: TaskId) {}
    /// A task was polled.
    fn after_poll(&self, id: TaskId, outcome: PollOutcome) {}
    /// A phase began or ended.
    fn on_phase(&self, event: PhaseEvent, phase: &PhaseInfo) {}
    /// Something was refused.
    fn on_refused(&self, refused: &Refused) {}
    /// A `try_block_on` gave up waiting.
    fn on_stalled(&self, stalled: &Stalled) {}
    /// A poll or the code of a phase put the thread to sleep.
    #[cfg(feature = "blocking-detector")]
    fn on_blocked(&self, blocked: &crate::Blocked) {}
    /// A deferred task was discarded with its phase; its future is dropped after this.
    fn on_discarded(&self, id: TaskId, name: Option<&str>) {}
}
