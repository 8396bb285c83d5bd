//! Offers every operation, to whoever holds a weak handle.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::time::Instant;

use crate::core::{Activity, Core};
use crate::drive::{BlockInPhaseError, BlockOnError};
use crate::group::Group;
use crate::join::JoinHandle;
use crate::phase::{Phase, PhaseGuard, PhaseInfo, run_in};
use crate::refusal::{Op, Reason, Refused};
use crate::snapshot::Snapshot;
use crate::spawn::{self, LocalSpawner, SpawnError, TaskBuilder};
use crate::spawner::Spawner;
use crate::sync::Arc;
use crate::tick::{Budget, Metrics, Tick};
use crate::visit::RunUntil;
use crate::watch::Watchdog;

/// Reaches an executor from its tasks and from the host's functions; weak, cloneable, bound
/// to the owner's thread.
///
/// Every operation is here, and an [`Executor`](crate::Executor) dereferences to its handle.
/// What must not happen at the moment is refused with a [`Refused`], which has no side
/// effect: nothing is polled, nothing is lost. Once the executor is gone, everything is
/// refused with [`Reason::Closed`].
///
/// | attempted | idle | inside a poll | inside a phase |
/// |---|---|---|---|
/// | [`try_block_on`](Self::try_block_on) | runs | `Nested` | `PhaseForbids`, but for `DriveAll` |
/// | [`tick`](Self::tick), [`tick_with`](Self::tick_with), [`Group::step`], [`tick_until`](Self::tick_until), [`run_until_stalled`](Self::run_until_stalled), [`run_until`](Self::run_until) | runs | `Reentrant` | `PhaseForbids`, but for `DriveAll` |
/// | [`block_in_phase`](Self::block_in_phase) | `NoPhase` | `NoPhase` | as [`OnBlock`](crate::OnBlock) says |
/// | [`spawn`](Self::spawn) | queued | queued | queued; in the driven group, a candidate at once |
/// | [`defer`](Self::defer) | queued | queued | kept until the phase ends |
/// | a wake, from any thread | queued | queued | queued |
/// | [`with_phase`](Self::with_phase), [`enter_phase`](Self::enter_phase) | runs | runs | runs: phases stack |
///
/// The phase wins over "inside a poll". "Inside a poll" includes hooks and destructors that
/// run during a drive. Inside a custom [`Park`](crate::Park) every drive is refused, phase or
/// not.
#[derive(Clone)]
pub struct Handle {
    core: Weak<Core>,
}

impl Handle {
    pub(crate) fn new(core: &Rc<Core>) -> Self {
        Self {
            core: Rc::downgrade(core),
        }
    }

    pub(crate) fn weak(&self) -> &Weak<Core> {
        &self.core
    }

    #[inline(always)]
    fn open(&self, op: Op, location: &'static Location<'static>) -> Result<Rc<Core>, Refused> {
        match self.core.upgrade() {
            Some(core) => Ok(core),
            None => Err(Refused::gone(op, location)),
        }
    }

    /// Spawns a task; it is first polled when the executor is next driven.
    ///
    /// # Errors
    ///
    /// If the executor has shut down; the error gives the future back.
    ///
    /// # Cancellation
    ///
    /// Dropping the handle detaches the task. To end it: [`JoinHandle::abort`],
    /// [`JoinHandle::abort_on_drop`], [`Group::abort_all`].
    #[inline]
    #[track_caller]
    pub fn spawn<F: Future + 'static>(
        &self,
        future: F,
    ) -> Result<JoinHandle<F::Output>, SpawnError<F>> {
        spawn::start_plain(&self.core, future, Location::caller())
    }

    /// Prepares a task with a name or a group.
    pub fn task(&self) -> TaskBuilder {
        TaskBuilder::new(self.core.clone())
    }

    /// Spawns a task that runs only if the phase in force commits; outside of a phase, the
    /// same as [`spawn`](Self::spawn).
    ///
    /// When the phase commits, its deferred tasks become ready in the order in which they
    /// were deferred; if an enclosing phase of the same scope is in force, they wait for
    /// that one. When it ends otherwise, they end with
    /// [`JoinError::Discarded`](crate::JoinError::Discarded), and their futures are dropped
    /// after the phase is off the stack.
    ///
    /// # Errors
    ///
    /// If the executor has shut down; the error gives the future back.
    #[track_caller]
    pub fn defer<F: Future + 'static>(
        &self,
        future: F,
    ) -> Result<JoinHandle<F::Output>, SpawnError<F>> {
        self.task().defer(future)
    }

    /// Makes a group, the root of a new tree.
    pub fn group(&self, name: impl Into<Cow<'static, str>>) -> Group {
        Group::create(self.core.clone(), name.into(), None)
    }

    /// A spawner for this thread.
    pub fn spawner(&self) -> LocalSpawner {
        LocalSpawner::new(self.core.clone())
    }

    /// A spawner for other threads. It may be asked for on the owner's thread only; its
    /// clones may be made anywhere.
    ///
    /// # Panics
    ///
    /// If the executor is gone.
    #[track_caller]
    pub fn send_spawner(&self) -> Spawner {
        match self.core.upgrade() {
            Some(core) => Spawner::new(Arc::clone(&core.remote)),
            None => panic!("a spawner was asked of an executor that is gone"),
        }
    }

    /// Polls everything that is ready now, once: one round.
    ///
    /// Tasks that become ready meanwhile wait for the next one, so a task that wakes itself
    /// neither makes a tick endless nor keeps others waiting.
    ///
    /// # Errors
    ///
    /// Inside a poll, and inside a phase that is not
    /// [`OnBlock::DriveAll`](crate::OnBlock::DriveAll).
    #[track_caller]
    pub fn tick(&self) -> Result<Tick, Refused> {
        self.run(Op::Tick, Budget::rounds(1), Location::caller(), None)
    }

    /// Polls within a budget; one round unless the budget has a number of rounds.
    ///
    /// # Errors
    ///
    /// As for [`tick`](Self::tick).
    #[track_caller]
    pub fn tick_with(&self, mut budget: Budget) -> Result<Tick, Refused> {
        budget.rounds.get_or_insert(1);
        self.run(Op::Tick, budget, Location::caller(), None)
    }

    /// Polls round after round until nothing is ready or a bound of the budget is met.
    ///
    /// # Errors
    ///
    /// As for [`tick`](Self::tick).
    #[track_caller]
    pub fn run_until_stalled(&self, budget: Budget) -> Result<Tick, Refused> {
        self.run(Op::RunUntilStalled, budget, Location::caller(), None)
    }

    /// Polls until `done` returns true, nothing is ready or a bound of the budget is met.
    ///
    /// `done` is asked before the first poll and after every one.
    ///
    /// # Errors
    ///
    /// As for [`tick`](Self::tick); `done` is not called then.
    #[track_caller]
    pub fn tick_until(
        &self,
        budget: Budget,
        mut done: impl FnMut() -> bool,
    ) -> Result<Tick, Refused> {
        let location = Location::caller();
        self.run(Op::RunUntilStalled, budget, location, Some(&mut done))
    }

    fn run(
        &self,
        op: Op,
        budget: Budget,
        location: &'static Location<'static>,
        done: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Tick, Refused> {
        let core = self.open(op, location)?;
        core.check(op, location)?;
        Ok(core.run(budget, location, done))
    }

    /// Drives the executor from inside another one, until `future` is done: a future for that
    /// other executor to poll.
    ///
    /// It needs no thread of its own and no host waker: whenever a task becomes ready, from
    /// whatever thread, the other executor is told to poll it. `future` itself belongs to the
    /// other executor: it is polled whenever this is.
    ///
    /// ```
    /// use vestibule_executor::Executor;
    ///
    /// let executor = Executor::new();
    /// let task = executor.spawn(async { 42 })?;
    /// // pollster's, tokio's, a LocalPool's, or another one of these.
    /// let answer = pollster::block_on(executor.run_until(task))??;
    /// assert_eq!(answer, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns a refusal if it is polled where a [`tick`](Self::tick) would be
    /// refused, and when the executor shuts down. Never a stall: only the other executor knows
    /// what else may come.
    #[track_caller]
    pub fn run_until<F: Future>(&self, future: F) -> RunUntil<F> {
        RunUntil::new(self.core.clone(), future, Location::caller())
    }

    /// Drives the executor until `future` is done.
    ///
    /// The future is polled first, and then only when it was woken; between its polls all
    /// ready tasks get a turn. When nothing is ready the thread [parks](crate::Park).
    ///
    /// # Errors
    ///
    /// [`BlockOnError::Refused`] inside a poll and inside a phase that is not `DriveAll`;
    /// `future` is then dropped without being polled. [`BlockOnError::Stalled`] when nothing
    /// can ever become ready (a proven deadlock), or when nothing is ready and the thread
    /// may not sleep; the tasks stay.
    ///
    /// # Panics
    ///
    /// A panic of `future` goes through; the executor stays usable. A panic of a task goes
    /// to its [`JoinHandle`].
    #[track_caller]
    pub fn try_block_on<F: Future>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let location = Location::caller();
        let core = self.open(Op::BlockOn, location)?;
        core.try_block_on(future, location)
    }

    /// Drives the executor until `future` is done, and panics if that is refused or futile.
    ///
    /// # Panics
    ///
    /// With the text of the error that [`try_block_on`](Self::try_block_on) would return.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self.try_block_on(future) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs `f` inside `phase`; `Ok` commits it, an error or an unwind discards it.
    ///
    /// # Errors
    ///
    /// What `f` returns; or a refusal, converted, if the executor has shut down or the
    /// phase's group is another executor's, and then `f` is not called.
    #[track_caller]
    pub fn with_phase<R, E: From<Refused>>(
        &self,
        phase: Phase,
        f: impl FnOnce() -> Result<R, E>,
    ) -> Result<R, E> {
        let guard = self.enter_phase(phase)?;
        run_in(guard, f)
    }

    /// Enters `phase` until the guard is committed, discarded or dropped.
    ///
    /// For code that can't nest; [`with_phase`](Self::with_phase) is the better form.
    ///
    /// # Errors
    ///
    /// If the executor has shut down, or the phase's group is another executor's.
    #[track_caller]
    pub fn enter_phase(&self, phase: Phase) -> Result<PhaseGuard, Refused> {
        let location = Location::caller();
        let core = self.open(Op::EnterPhase, location)?;
        core.check(Op::EnterPhase, location)?;
        if !phase.belongs_to(&core) {
            return Err(core.refuse(Op::EnterPhase, Reason::ForeignGroup, location));
        }
        Ok(core.enter_phase(phase, location))
    }

    /// The innermost phase, as it is now.
    pub fn phase(&self) -> PhaseInfo {
        self.core
            .upgrade()
            .map(|core| core.phase_info())
            .unwrap_or_default()
    }

    /// What the executor is doing.
    pub fn activity(&self) -> Activity {
        self.core
            .upgrade()
            .map_or(Activity::Closed, |core| core.activity())
    }

    /// Waits inside a phase until `until` returns true, as the phase's
    /// [`OnBlock`](crate::OnBlock) says.
    ///
    /// Asks `until`; if it does not hold, polls one ready task of the phase's group, and asks
    /// again. Tasks on the stack are no candidates. Wakes, from this thread and others, count
    /// at once; tasks that may not be driven stay queued and run later.
    ///
    /// # Errors
    ///
    /// [`BlockInPhaseError::NothingReady`] when `until` does not hold and no candidate is
    /// ready. [`BlockInPhaseError::Refused`] outside of a phase, under `OnBlock::Refuse`,
    /// and when drives are nested too deeply; nothing is polled then and `until` is not
    /// called.
    #[track_caller]
    pub fn block_in_phase(&self, until: impl FnMut() -> bool) -> Result<(), BlockInPhaseError> {
        let location = Location::caller();
        let core = self.open(Op::BlockInPhase, location)?;
        core.block_in_phase(until, location)
    }

    /// Makes the refusal of an operation of the host's, with the phase, the task and the
    /// places as they are now.
    #[track_caller]
    pub fn refuse(&self, op: Op, reason: Reason) -> Refused {
        let location = Location::caller();
        match self.core.upgrade() {
            Some(core) => core.refuse(op, reason, location),
            None => Refused::gone(op, location),
        }
    }

    /// Whether the executor exists and has not shut down.
    pub fn is_alive(&self) -> bool {
        self.core.upgrade().is_some_and(|core| core.is_open())
    }

    /// Ends the executor: what dropping it does.
    ///
    /// Every task ends with [`JoinError::ExecutorGone`](crate::JoinError::ExecutorGone), its
    /// future dropped on this thread before this returns, but for tasks on the stack: they
    /// are dropped when their polls end. Everything is refused from now on, and wakers are
    /// inert.
    pub fn shutdown(&self) {
        if let Some(core) = self.core.upgrade() {
            core.shut_down();
        }
    }

    /// A view of what this executor is doing for other threads.
    ///
    /// # Panics
    ///
    /// If the executor is gone.
    #[track_caller]
    pub fn watchdog(&self) -> Watchdog {
        match self.core.upgrade() {
            Some(core) => core.watchdog(core.stamps),
            None => panic!("a watchdog was asked of an executor that is gone"),
        }
    }

    /// When the park's earliest timer is due, if it has timers: how long a foreign loop may
    /// sleep in its place. See [`Park::next_deadline`](crate::Park::next_deadline).
    pub fn next_deadline(&self) -> Option<Instant> {
        self.core.upgrade()?.park.next_deadline()
    }

    /// All live tasks, for a person who wants to know who waits for whom. Takes time linear
    /// in their number; inside a poll it works as anywhere.
    pub fn snapshot(&self) -> Snapshot {
        self.core
            .upgrade()
            .map(|core| core.snapshot())
            .unwrap_or_default()
    }

    /// What the executor has done so far.
    pub fn metrics(&self) -> Metrics {
        self.core
            .upgrade()
            .map(|core| core.metrics())
            .unwrap_or_default()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("activity", &self.activity())
            .finish_non_exhaustive()
    }
}
