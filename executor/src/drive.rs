//! Drives the tasks: in rounds, until a future is done, or inside a phase.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::core::{Asleep, Core, Entered};
use crate::ids::GroupId;
use crate::phase::OnBlock;
use crate::refusal::{Op, Reason, Refused};
use crate::state::State;
use crate::sync::{acquire_fence, planted};
use crate::task::{Key, Slot};
use crate::tick::{Budget, Tick, TickEnd};

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
    /// Nothing can ever become ready: no waker escaped and no [`Spawner`](crate::Spawner) or
    /// [`RemoteJoinHandle`](crate::RemoteJoinHandle) is alive. `false` proves nothing.
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
    #[inline]
    pub(crate) fn begin(core: &'a Rc<Core>, location: &'static Location<'static>) -> Self {
        let outer = core.driven.get();
        core.driven.set((outer.0 + 1, Some(location)));
        if core.is_special() {
            core.show();
        }
        let host_slept = core.take_host() && core.remote.disarm_host();
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
        // A message may shut the executor down.
        while core.table.ready() == 0 && core.is_open() {
            if core.remote.arm_host() {
                core.asleep.set(Asleep::Host);
                return;
            }
            core.remote.disarm_host();
            core.drain_remote();
        }
    }
}

impl Drop for Drive<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.core.has_host() {
            return self.end_for_host();
        }
        self.core.driven.set(self.outer);
        if self.core.is_special() {
            self.core.show();
        }
    }
}

impl Drive<'_> {
    #[cold]
    #[inline(never)]
    fn end_for_host(&mut self) {
        let settled = self.settled;
        if !settled {
            self.settle();
        }
        self.core.driven.set(self.outer);
        self.core.show();
        // A tick's report says that tasks are ready. Any other drive is not the host's own
        // doing: a host that slept before it has to be woken.
        if !settled && self.host_slept && self.core.table.ready() > 0 {
            self.core.remote.wake_host();
        }
    }
}

/// A main future on the stack: its stand-in, which has its wakers.
pub(crate) struct Main<'a> {
    core: &'a Core,
    slot: Slot,
    outer: Option<Slot>,
}

impl<'a> Main<'a> {
    #[inline]
    pub(crate) fn begin(core: &'a Core, location: &'static Location<'static>) -> Self {
        let slot = core.table.stand_in(location);
        let outer = core.main.replace(Some(slot));
        Self { core, slot, outer }
    }

    fn is_woken(&self) -> bool {
        self.slot.state().has(State::WOKEN)
    }

    /// Whether it is to be polled now.
    fn take_woken(&self) -> bool {
        let woken = self.is_woken();
        self.slot.update(|state| state.without(State::WOKEN));
        woken
    }

    /// Polls the future that it stands for.
    #[inline(always)]
    pub(crate) fn poll<F: Future>(
        &self,
        core: &Rc<Core>,
        cx: Option<&mut Context<'_>>,
        future: Pin<&mut F>,
    ) -> Poll<F::Output> {
        let _poll = MainPoll(core.enter_poll(self.slot), self.slot);
        core.table.count_poll();
        match cx {
            // It belongs to another executor, and so does its waker.
            Some(cx) => future.poll(cx),
            None => {
                let waker = self.slot.waker();
                future.poll(&mut Context::from_waker(&waker))
            }
        }
    }
}

/// Ends the poll of a main future, also when that panics.
struct MainPoll<'a>(Entered<'a>, Slot);

impl Drop for MainPoll<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

impl Drop for Main<'_> {
    #[inline]
    fn drop(&mut self) {
        self.core.main.set(self.outer);
        self.core.table.end_stand_in(self.slot);
    }
}

/// Ends the sleep of the owner's thread.
struct Sleep<'a>(&'a Core);

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.0.asleep.set(Asleep::Nobody);
        self.0.show();
        self.0.remote.retract_park();
    }
}

/// Why the owner may sleep: something that can still make a task ready.
///
/// A waker that somebody else holds is only good while it exists. So the owner watches the
/// count of *one* task's wakers while it sleeps: whoever drops the last of them rouses it, and
/// it looks for another witness. One count a sleep, however many tasks wait.
enum Witness {
    /// A spawner, or the park itself.
    Other,
    /// A task, or the stand-in of the main future.
    Watched(Key),
}

/// Ends the watch, if the task still exists.
struct Watch<'a>(&'a Core, Witness);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Witness::Watched(key) = self.1
            && let Some(slot) = self.0.table.arena.resolve(key)
        {
            slot.unwatch();
        }
    }
}

impl Core {
    /// Polls in rounds until a bound is met, `done` holds or nothing is ready.
    pub(crate) fn run(
        self: &Rc<Self>,
        budget: Budget,
        location: &'static Location<'static>,
        done: Option<&mut dyn FnMut() -> bool>,
    ) -> Tick {
        let before = self.metrics();
        let mut drive = Drive::begin(self, location);
        let cut_short = self.run_rounds(budget, done);
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
        let next = self.table.next_ready_in(group);
        if let Some(slot) = next {
            self.poll_task(slot);
        }
        Ok(next.is_some())
    }

    /// Polls in rounds; `done` is asked before the first poll and after every one. Says whether
    /// something other than the end of the last round ended it.
    pub(crate) fn run_rounds(
        self: &Rc<Self>,
        budget: Budget,
        mut done: Option<&mut dyn FnMut() -> bool>,
    ) -> bool {
        let mut polls = budget.polls.unwrap_or(u64::MAX);
        let mut rounds = budget.rounds.unwrap_or(u64::MAX);
        // What is to be looked at after every poll leaves room for no second one.
        let at_once = match (&done, budget.deadline) {
            (None, None) => u64::MAX,
            _ => 1,
        };
        let mut is_done = || done.as_mut().is_some_and(|done| done());
        while rounds > 0 && self.is_open() {
            rounds -= 1;
            self.drain_remote();
            if is_done() {
                return true;
            }
            let round = self.table.polls();
            let mut idle = true;
            while self.table.first_ready(round).is_some() {
                let late = |deadline| Instant::now() >= deadline;
                if polls == 0 || budget.deadline.is_some_and(late) {
                    return true;
                }
                polls -= self.poll_round(round, polls.min(at_once));
                idle = false;
                if is_done() || !self.is_open() {
                    return true;
                }
            }
            if idle {
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
        // What `check` asks first; here it costs not even the making of its answer.
        if !self.is_at_rest() {
            self.check(Op::BlockOn, location)?;
        }
        let _drive = Drive::begin(self, location);
        let main = Main::begin(self, location);
        // Declared last, dropped first: its destructor runs inside the drive.
        let mut future = pin!(future);
        loop {
            self.drain_remote();
            if main.take_woken() {
                let mark = self.mark();
                let polled = main.poll(self, None, future.as_mut());
                self.look_at_poll(mark, None);
                if let Poll::Ready(output) = polled {
                    return Ok(output);
                }
            }
            // With neither a message to take in nor the main future to poll, one round is the
            // next.
            let next = |core: &Self| {
                (!core.remote.is_pending() && !main.is_woken()).then(|| core.table.polls())
            };
            self.poll_rounds(self.table.polls(), || true, next);
            if !self.is_open() {
                return Err(self.refuse(Op::BlockOn, Reason::Closed, location).into());
            }
            if self.table.ready() == 0 && !main.is_woken() {
                self.wait(&main).map_err(|stalled| {
                    self.hook(|hooks| hooks.on_stalled(&stalled));
                    BlockOnError::Stalled(stalled)
                })?;
            }
        }
    }

    /// Sleeps until something may be ready; fails when that can't help or can't be done.
    fn wait(&self, main: &Main<'_>) -> Result<(), Stalled> {
        let announced = self.remote.announce_park();
        let _sleep = Sleep(self);
        if !announced {
            return Ok(());
        }
        // The order matters: a thread sends first and gives up its waker or spawner second.
        // So when none is left, whatever was sent is visible now.
        let Some(witness) = self.find_witness(main) else {
            return if self.remote.is_pending() {
                Ok(())
            } else {
                Err(self.stalled(main, true))
            };
        };
        debug_assert_eq!(self.asleep.get(), Asleep::Nobody, "the host drives");
        self.asleep.set(Asleep::Owner);
        self.show();
        // The executor's own sleep: nobody is to blame for it.
        let mark = self.mark();
        let parked = {
            let _watch = Watch(self, witness);
            self.park.park()
        };
        self.excuse(mark);
        match parked {
            Ok(()) => Ok(()),
            Err(_) if self.remote.is_pending() => Ok(()),
            Err(_) if self.table.ready() > 0 || main.is_woken() => Ok(()),
            Err(_) => Err(self.stalled(main, false)),
        }
    }

    /// Finds something that may still make a task ready; `None` proves a deadlock.
    fn find_witness(&self, main: &Main<'_>) -> Option<Witness> {
        if self.park.brings_work()
            || self.park.next_deadline().is_some()
            || self.remote.has_spawner()
        {
            return Some(Witness::Other);
        }
        // For the count of spawners, which was read as 0.
        acquire_fence("waker.gone");
        // The task that had a waker out last time usually still has, and the search ends there.
        let last = self.witness.get();
        let last = last
            .and_then(|key| self.table.arena.resolve(key))
            .filter(|slot| slot.state().has(State::LIVE));
        if let Some(slot) = [Some(main.slot), last].into_iter().flatten().find(watch) {
            return Some(Witness::Watched(Key::of(slot)));
        }
        let slot = self.table.tasks().into_iter().find(watch)?;
        self.witness.set(Some(Key::of(slot)));
        Some(Witness::Watched(Key::of(slot)))
    }

    fn stalled(&self, main: &Main<'_>, deadlock: bool) -> Stalled {
        let tasks = self.table.tasks().into_iter();
        let escaped = tasks.chain([main.slot]).filter(|slot| slot.has_waker());
        Stalled {
            pending: self.table.live(),
            escaped_wakers: escaped.count(),
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
                OnBlock::DriveAll { .. } => self.table.next_ready(u64::MAX),
                _ if planted("phase.scope") => self.table.next_ready(u64::MAX),
                OnBlock::DriveGroup | OnBlock::Refuse => self.table.next_ready_in(phase.group),
            };
            match next {
                Some(slot) => self.poll_task(slot),
                None => return Err(BlockInPhaseError::NothingReady),
            }
        }
        Ok(())
    }
}

/// Watches a task's wakers; false if it has none and nobody else can wake it.
fn watch(slot: &Slot) -> bool {
    slot.has_waker()
        && (slot.watch() || {
            slot.unwatch();
            false
        })
}
