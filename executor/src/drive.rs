//! Drives the tasks: in rounds, until a future is done, or inside a phase.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Weak;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::core::{Core, has_waker};
use crate::ids::{GroupId, Target, TaskId};
use crate::phase::OnBlock;
use crate::refusal::{Op, Reason, Refused};
use crate::sync::{Arc, acquire_fence};
use crate::tick::{Budget, Tick, TickEnd};
use crate::wake::WakeCell;

/// Why [`try_block_on`](crate::Handle::try_block_on) returned without a value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BlockOnError {
    /// It was refused; the future was not polled.
    Refused(Refused),
    /// Nothing is ready and waiting is pointless or impossible.
    Stalled(Stalled),
}

impl fmt::Display for BlockOnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Stalled(stalled) => stalled.fmt(f),
        }
    }
}

impl Error for BlockOnError {}

impl From<Refused> for BlockOnError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Nothing is ready, and the main future is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stalled {
    /// Tasks that have not ended, the main future not counted.
    pub pending: usize,
    /// How many tasks, the main future included, have a waker that somebody else holds.
    pub escaped_wakers: usize,
    /// Nothing can ever become ready: no waker escaped and no [`Spawner`](crate::Spawner)
    /// is alive. `false` proves nothing.
    ///
    /// A task that awaits another one's [`JoinHandle`](crate::JoinHandle) directly has no
    /// escaped waker; one that does so through a combinator with wakers of its own has.
    pub deadlock: bool,
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pending,
            escaped_wakers,
            deadlock,
        } = self;
        if *deadlock {
            write!(f, "deadlock: ")?;
        } else {
            write!(f, "stalled where this thread may not sleep: ")?;
        }
        write!(
            f,
            "the future is pending and nothing is ready; {pending} tasks wait, \
             {escaped_wakers} wakers are held elsewhere"
        )
    }
}

impl Error for Stalled {}

/// Why [`block_in_phase`](crate::Handle::block_in_phase) returned before its condition held.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BlockInPhaseError {
    /// It was refused; nothing was polled and the condition was not asked.
    Refused(Refused),
    /// The condition does not hold and no task that may be driven is ready: an outcome, not
    /// a refusal.
    NothingReady,
}

impl fmt::Display for BlockInPhaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::NothingReady => f.write_str("no task of the phase's group is ready"),
        }
    }
}

impl Error for BlockInPhaseError {}

impl From<Refused> for BlockInPhaseError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Counts a drive; when the outermost one ends, tells the host what it left.
pub(crate) struct Drive<'a> {
    core: &'a Rc<Core>,
    outer: (u32, Option<&'static Location<'static>>),
    /// The host was asleep and nobody had told it of anything.
    host_slept: bool,
    settled: bool,
}

impl<'a> Drive<'a> {
    pub(crate) fn begin(core: &'a Rc<Core>, location: &'static Location<'static>) -> Self {
        let outer = core.driven.get();
        core.driven.set((outer.0 + 1, Some(location)));
        core.show();
        let host_slept = core.armed.replace(false) && core.remote.disarm_host();
        Self {
            core,
            outer,
            host_slept,
            settled: false,
        }
    }

    /// Arms the host's waker if nothing is ready, and closes the gap to a wake that comes
    /// just now.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
        let core = self.core;
        if self.outer.0 > 0 || !core.has_host() || !core.is_open() {
            return;
        }
        while core.table.borrow().ready() == 0 {
            if core.remote.arm_host() {
                core.armed.set(true);
                return;
            }
            core.remote.disarm_host();
            core.drain_remote();
        }
    }
}

impl Drop for Drive<'_> {
    fn drop(&mut self) {
        let settled = self.settled;
        if !settled {
            self.settle();
        }
        self.core.driven.set(self.outer);
        self.core.show();
        // A tick's report says that tasks are ready. Any other drive is not the host's own
        // doing: a host that slept before it has to be woken.
        if !settled && self.host_slept && self.core.table.borrow().ready() > 0 {
            self.core.remote.wake_host();
        }
    }
}

/// Takes a main future off the stack again.
struct MainGuard<'a>(&'a Core);

impl Drop for MainGuard<'_> {
    fn drop(&mut self) {
        self.0.pop_main();
    }
}

/// Ends the sleep of the owner's thread.
struct Sleep<'a>(&'a Core);

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.0.parked.set(false);
        self.0.show();
        self.0.remote.retract_park();
    }
}

/// Why the owner may sleep: something that can still make a task ready.
///
/// A waker that somebody else holds is only good while it exists. So the owner gives up its
/// own reference to the cell of *one* such waker before it sleeps; then the drop of the last
/// waker is the drop of the cell, which rouses the owner, and it looks for another witness.
/// One cell a sleep, however many tasks wait.
enum Witness {
    /// A spawner, or the park itself.
    Other,
    Main(Weak<WakeCell>),
    Task(TaskId, Weak<WakeCell>),
}

/// Gives up the owner's reference to a cell; `None` if it was the last after all.
fn lend(cell: Arc<WakeCell>) -> Option<Weak<WakeCell>> {
    let weak = Arc::downgrade(&cell);
    drop(cell);
    if weak.strong_count() > 0 {
        return Some(weak);
    }
    acquire_fence("waker.gone");
    None
}

/// Takes a lent cell back, if it still exists.
struct Lent<'a> {
    core: &'a Core,
    main: &'a mut Option<Arc<WakeCell>>,
    witness: Witness,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let (Witness::Main(weak) | Witness::Task(_, weak)) = &self.witness else {
            return;
        };
        let Some(cell) = weak.upgrade() else {
            // What its holders did before they let go has to be seen.
            acquire_fence("waker.gone");
            return;
        };
        match self.witness {
            Witness::Task(id, _) => {
                let left = self.core.table.borrow_mut().give_cell(id, cell);
                // The task was aborted meanwhile. Dropped with nothing borrowed.
                drop(left);
            }
            _ => *self.main = Some(cell),
        }
    }
}

impl Core {
    /// Polls in rounds until a bound is met, `done` holds or nothing is ready.
    pub(crate) fn run(
        self: &Rc<Self>,
        budget: Budget,
        location: &'static Location<'static>,
        mut done: impl FnMut() -> bool,
    ) -> Tick {
        let before = self.metrics();
        let mut drive = Drive::begin(self, location);
        let cut_short = self.run_rounds(budget, &mut done);
        drive.settle();
        let after = self.metrics();
        let end = match (after.live, after.ready) {
            (0, _) => TickEnd::Empty,
            (_, 0) => TickEnd::Stalled,
            _ if cut_short => TickEnd::Budget,
            _ => TickEnd::Round,
        };
        Tick {
            polled: after.polls - before.polls,
            completed: after.completed - before.completed,
            spawned: after.spawned - before.spawned,
            woken_local: after.woken_local - before.woken_local,
            woken_remote: after.woken_remote - before.woken_remote,
            ready: after.ready,
            live: after.live,
            end,
        }
    }

    /// Polls one ready task of a group; false if there is none.
    pub(crate) fn step(
        self: &Rc<Self>,
        group: GroupId,
        location: &'static Location<'static>,
    ) -> Result<bool, Refused> {
        self.check(Op::Step, location)?;
        let _drive = Drive::begin(self, location);
        self.drain_remote();
        let next = self.table.borrow_mut().next_ready_in(group);
        if let Some(id) = next {
            self.poll_task(id);
        }
        Ok(next.is_some())
    }

    /// Says whether something other than the end of the last round ended it.
    pub(crate) fn run_rounds(
        self: &Rc<Self>,
        budget: Budget,
        done: &mut impl FnMut() -> bool,
    ) -> bool {
        let mut polls = budget.polls.unwrap_or(u64::MAX);
        let mut rounds = budget.rounds.unwrap_or(u64::MAX);
        while rounds > 0 && self.is_open() {
            rounds -= 1;
            self.drain_remote();
            if done() {
                return true;
            }
            let end = self.table.borrow().now();
            let mut polled = false;
            loop {
                let next = self.table.borrow_mut().next_ready(end);
                let Some(id) = next else { break };
                if polls == 0
                    || budget
                        .deadline
                        .is_some_and(|deadline| Instant::now() >= deadline)
                {
                    return true;
                }
                polls -= 1;
                polled = true;
                self.poll_task(id);
                if done() || !self.is_open() {
                    return true;
                }
            }
            if !polled {
                break;
            }
        }
        false
    }

    pub(crate) fn try_block_on<F: Future>(
        self: &Rc<Self>,
        future: F,
        location: &'static Location<'static>,
    ) -> Result<F::Output, BlockOnError> {
        self.check(Op::BlockOn, location)?;
        let _drive = Drive::begin(self, location);
        let target = Target::Main(self.push_main());
        let _main = MainGuard(self);
        // Lent out while we sleep, perhaps for ever; then the next poll gets another one.
        let mut lendable = None;
        // Declared last, dropped first: its destructor runs inside the drive.
        let mut future = pin!(future);
        loop {
            self.drain_remote();
            let cell = lendable.get_or_insert_with(|| self.cell_for(target));
            if self.take_main(cell)
                && let Poll::Ready(output) = self.poll_main(target, cell, future.as_mut())
            {
                return Ok(output);
            }
            let end = self.table.borrow().now();
            while self.is_open() {
                let next = self.table.borrow_mut().next_ready(end);
                match next {
                    Some(id) => self.poll_task(id),
                    None => break,
                }
            }
            if !self.is_open() {
                return Err(self.refuse(Op::BlockOn, Reason::Closed, location).into());
            }
            if self.table.borrow().ready() == 0 && !self.is_main_woken() {
                self.wait(&mut lendable).map_err(|stalled| {
                    self.hook(|hooks| hooks.on_stalled(&stalled));
                    BlockOnError::Stalled(stalled)
                })?;
            }
        }
    }

    fn poll_main<F: Future>(
        self: &Rc<Self>,
        target: Target,
        cell: &Arc<WakeCell>,
        future: Pin<&mut F>,
    ) -> Poll<F::Output> {
        let waker = futures_task::waker_ref(cell);
        let mark = self.mark();
        let polled = {
            let _poll = self.begin_poll(target, &waker);
            self.table.borrow_mut().polls = self.counters.polls.get();
            future.poll(&mut Context::from_waker(&waker))
        };
        self.look_at_poll(mark, None);
        polled
    }

    /// Sleeps until something may be ready; fails when that can't help or can't be done.
    fn wait(&self, main: &mut Option<Arc<WakeCell>>) -> Result<(), Stalled> {
        let announced = self.remote.announce_park();
        let _sleep = Sleep(self);
        if !announced {
            return Ok(());
        }
        // The order matters: a thread sends first and gives up its waker or spawner second.
        // So when none is left, whatever was sent is visible now.
        let Some(witness) = self.lend_witness(main) else {
            return if self.remote.is_pending() {
                Ok(())
            } else {
                Err(self.stalled(main.as_ref(), true))
            };
        };
        self.parked.set(true);
        self.show();
        // The executor's own sleep: nobody is to blame for it.
        let mark = self.mark();
        let parked = {
            let _lent = Lent {
                core: self,
                main: &mut *main,
                witness,
            };
            self.park.park()
        };
        self.excuse(mark);
        match parked {
            Ok(()) => Ok(()),
            Err(_) if self.remote.is_pending() => Ok(()),
            Err(_) if self.table.borrow().ready() > 0 || self.is_main_woken() => Ok(()),
            Err(_) => Err(self.stalled(main.as_ref(), false)),
        }
    }

    /// Finds something that may still make a task ready; `None` proves a deadlock.
    fn lend_witness(&self, main: &mut Option<Arc<WakeCell>>) -> Option<Witness> {
        if self.park.brings_work()
            || self.park.next_deadline().is_some()
            || self.remote.has_spawner()
        {
            return Some(Witness::Other);
        }
        // For the count of spawners, which was read as 0.
        acquire_fence("waker.gone");
        if let Some(weak) = main.take_if(|cell| has_waker(cell)).and_then(lend) {
            return Some(Witness::Main(weak));
        }
        loop {
            // The borrow ends before the cell is lent: its drop calls the unparker.
            let (id, cell) = self.table.borrow_mut().take_witness(self.witness.get())?;
            self.witness.set(Some(id));
            if let Some(weak) = lend(cell) {
                return Some(Witness::Task(id, weak));
            }
        }
    }

    fn stalled(&self, main: Option<&Arc<WakeCell>>, deadlock: bool) -> Stalled {
        let table = self.table.borrow();
        let tasks = table
            .ids()
            .filter(|(_, slot)| slot.cell.as_ref().is_some_and(has_waker));
        Stalled {
            pending: table.live(),
            escaped_wakers: tasks.count() + usize::from(main.is_some_and(has_waker)),
            deadlock,
        }
    }

    pub(crate) fn block_in_phase(
        self: &Rc<Self>,
        mut until: impl FnMut() -> bool,
        location: &'static Location<'static>,
    ) -> Result<(), BlockInPhaseError> {
        self.check(Op::BlockInPhase, location)?;
        let phase = self.phases.borrow().in_force();
        let Some(phase) = phase else {
            return Err(self
                .refuse(Op::BlockInPhase, Reason::NoPhase, location)
                .into());
        };
        let _drive = Drive::begin(self, location);
        while !until() {
            if !self.is_open() {
                return Err(self
                    .refuse(Op::BlockInPhase, Reason::Closed, location)
                    .into());
            }
            self.drain_remote();
            let next = match phase.on_block {
                OnBlock::DriveAll { .. } => self.table.borrow_mut().next_ready(u64::MAX),
                OnBlock::DriveGroup | OnBlock::Refuse => {
                    self.table.borrow_mut().next_ready_in(phase.group)
                }
            };
            match next {
                Some(id) => self.poll_task(id),
                None => return Err(BlockInPhaseError::NothingReady),
            }
        }
        Ok(())
    }
}
