//! Owns the state of one executor, and polls one task at a time.
//!
//! Rules:
//! 1. Foreign code (polls, wakes, destructors, hooks) runs with nothing borrowed: take out,
//!    give the borrow back, call.
//! 2. What a poll changes (`running`, `polls`, the phases) is restored by a guard, on every
//!    way out.
//! 3. Foreign code that isn't the caller's own is called through [`Core::contain`], so a
//!    panic of a hook or a destructor ends nothing but itself.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::panic::Location;
use std::rc::Rc;
use std::task::{Context, Poll, RawWakerVTable, Waker};

use crate::blocking::Detector;
use crate::guard::Mark;
use crate::hooks::{Hooks, PollOutcome};
use crate::ids::{Target, TaskId};
use crate::join::{BoxedTask, Completion, JoinError, Waiter};
use crate::limits;
use crate::panics::{AfterEnd, PanicPolicy};
use crate::park::Park;
use crate::phase::Phases;
use crate::remote::{Message, Remote};
use crate::snapshot::WakeSource;
use crate::sync::{Arc, acquire_fence, catch};
use crate::table::{Doom, Meanwhile, NewTask, Removed, Slot, Table, Woken};
use crate::tick::Metrics;
use crate::wake::{self, WakeCell};
use crate::watch::Watched;

/// What the executor is doing, as it knows itself (the phase is what the host declares).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activity {
    /// Nothing of it is on the stack.
    Idle,
    /// It is being driven and is between two polls: a hook or a destructor runs.
    Driving,
    /// It is polling a task or a main future.
    Polling {
        /// How many polls are on the stack.
        depth: u32,
    },
    /// It waits for a wake.
    Parked,
    /// It is dropping what is left.
    ShuttingDown,
    /// It is gone.
    Closed,
}

/// Whether the executor still works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    ShuttingDown,
    Closed,
}

/// The innermost poll.
#[derive(Clone, Copy)]
struct Running {
    target: Target,
    /// Identify its waker, compared and never followed.
    data: *const (),
    vtable: &'static RawWakerVTable,
}

/// A main future of a `try_block_on` on the stack.
struct Main {
    number: u64,
    woken: bool,
    /// Its wake cell was claimed and has to be opened before the next poll.
    reopen: bool,
}

/// Plain counters.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) spawned: Cell<u64>,
    pub(crate) completed: Cell<u64>,
    pub(crate) polls: Cell<u64>,
    pub(crate) woken_local: Cell<u64>,
    pub(crate) woken_remote: Cell<u64>,
    panicked: Cell<u64>,
    foreign_panics: Cell<u64>,
    pub(crate) refused: Cell<u64>,
}

pub(crate) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// One executor.
pub(crate) struct Core {
    pub(crate) remote: Arc<Remote>,
    pub(crate) table: RefCell<Table>,
    pub(crate) phases: RefCell<Phases>,
    pub(crate) park: Box<dyn Park>,
    pub(crate) counters: Counters,
    hooks: Option<Box<dyn Hooks>>,
    mains: RefCell<Vec<Main>>,
    next_main: Cell<u64>,
    spare_cells: RefCell<Vec<Arc<WakeCell>>>,
    running: Cell<Option<Running>>,
    pub(crate) polls: Cell<u32>,
    pub(crate) max_poll_depth: u32,
    on_panic: PanicPolicy,
    /// Drives on the stack, and where the innermost was started.
    pub(crate) driven: Cell<(u32, Option<&'static Location<'static>>)>,
    pub(crate) parked: Cell<bool>,
    /// The host sleeps and has not been woken by this thread.
    pub(crate) armed: Cell<bool>,
    life: Cell<Life>,
    nested_drops: Cell<u32>,
    queued_drops: RefCell<Vec<BoxedTask>>,
    pub(crate) watched: OnceCell<std::sync::Arc<Watched>>,
    pub(crate) stamps: bool,
    pub(crate) detector: Detector,
    /// The `run_until`s of other executors.
    pub(crate) visitors: Cell<usize>,
    pub(crate) next_visit: Cell<u64>,
    /// A task whose waker was out when we last looked.
    pub(crate) witness: Cell<Option<TaskId>>,
}

/// What a core is made of.
pub(crate) struct Parts {
    pub(crate) remote: Arc<Remote>,
    pub(crate) table: Table,
    pub(crate) park: Box<dyn Park>,
    pub(crate) hooks: Option<Box<dyn Hooks>>,
    pub(crate) max_poll_depth: u32,
    pub(crate) on_panic: PanicPolicy,
    pub(crate) stamps: bool,
    pub(crate) detector: Detector,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Rc<Self> {
        let armed = parts.remote.has_host() && parts.remote.arm_host();
        let core = Rc::new(Self {
            remote: parts.remote,
            table: RefCell::new(parts.table),
            phases: RefCell::default(),
            park: parts.park,
            counters: Counters::default(),
            hooks: parts.hooks,
            mains: RefCell::default(),
            next_main: Cell::new(0),
            spare_cells: RefCell::default(),
            running: Cell::new(None),
            polls: Cell::new(0),
            max_poll_depth: parts.max_poll_depth,
            on_panic: parts.on_panic,
            driven: Cell::new((0, None)),
            parked: Cell::new(false),
            armed: Cell::new(armed),
            life: Cell::new(Life::Open),
            nested_drops: Cell::new(0),
            queued_drops: RefCell::default(),
            watched: OnceCell::new(),
            stamps: parts.stamps,
            detector: parts.detector,
            visitors: Cell::new(0),
            next_visit: Cell::new(0),
            witness: Cell::new(None),
        });
        wake::move_in(&core);
        core
    }

    pub(crate) fn is_open(&self) -> bool {
        self.life.get() == Life::Open
    }

    pub(crate) fn drives(&self) -> u32 {
        self.driven.get().0
    }

    pub(crate) fn activity(&self) -> Activity {
        match self.life.get() {
            Life::ShuttingDown => Activity::ShuttingDown,
            Life::Closed => Activity::Closed,
            Life::Open if self.parked.get() => Activity::Parked,
            Life::Open if self.polls.get() > 0 => Activity::Polling {
                depth: self.polls.get(),
            },
            Life::Open if self.drives() > 0 => Activity::Driving,
            Life::Open => Activity::Idle,
        }
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let counters = &self.counters;
        let table = self.table.borrow();
        Metrics {
            spawned: counters.spawned.get(),
            completed: counters.completed.get(),
            polls: counters.polls.get(),
            woken_local: counters.woken_local.get(),
            woken_remote: counters.woken_remote.get(),
            panicked: counters.panicked.get(),
            foreign_panics: counters.foreign_panics.get(),
            refused: counters.refused.get(),
            live: table.live(),
            ready: table.ready(),
            groups: table.groups.len(),
        }
    }

    // --- Foreign code.

    pub(crate) fn hook(&self, call: impl FnOnce(&dyn Hooks)) {
        if let Some(hooks) = &self.hooks {
            self.contain(|| call(&**hooks));
        }
    }

    /// Runs foreign code whose panic is nobody's business but the counter's.
    pub(crate) fn contain(&self, f: impl FnOnce()) {
        if let Err(payload) = catch(f) {
            count(&self.counters.foreign_panics);
            drop_payload(payload);
        }
    }

    /// Drops a future, and returns what it panicked with. Past 64 nested drops it is queued
    /// instead, and the outermost drop runs the queue.
    fn drop_future(&self, future: BoxedTask) -> Option<Box<dyn Any + Send>> {
        let depth = self.nested_drops.get();
        if depth >= limits::NESTED_DROPS {
            self.queued_drops.borrow_mut().push(future);
            return None;
        }
        self.nested_drops.set(depth + 1);
        let panic = catch(|| drop(future)).err();
        if depth == 0 {
            loop {
                let next = self.queued_drops.borrow_mut().pop();
                let Some(future) = next else { break };
                self.contain(|| drop(future));
            }
        }
        self.nested_drops.set(depth);
        panic
    }

    // --- Tasks.

    /// Takes a task in and says so.
    pub(crate) fn insert(self: &Rc<Self>, mut new: NewTask) -> TaskId {
        let defer = new.deferred;
        new.deferred = defer && self.phases.borrow().depth() > 0;
        let deferred = new.deferred;
        let name = self.hooks.as_ref().and_then(|_| new.name.clone());
        let id = self.table.borrow_mut().insert(new);
        if deferred {
            self.phases.borrow_mut().defer(id);
        }
        count(&self.counters.spawned);
        self.hook(|hooks| hooks.on_spawn(id, name.as_deref()));
        if !deferred {
            self.became_ready();
        }
        id
    }

    /// Makes a target ready, on the owner's thread.
    pub(crate) fn wake(&self, target: Target) {
        let woken = match target {
            Target::Task(id) => {
                let source = match self.current() {
                    Some(Target::Task(id)) => WakeSource::Task(id),
                    Some(Target::Main(_)) => WakeSource::MainFuture,
                    None => WakeSource::Owner,
                };
                self.table.borrow_mut().wake(id, source)
            }
            Target::Main(number) => self.wake_main(number, false),
        };
        match woken {
            Woken::Queued => {
                count(&self.counters.woken_local);
                self.became_ready();
            }
            Woken::Noted => count(&self.counters.woken_local),
            Woken::Nothing => {}
        }
    }

    /// Rouses whoever sleeps: a `Park` that runs foreign code on this thread, or the host.
    pub(crate) fn became_ready(&self) {
        if self.parked.get() {
            self.remote.wake_parker();
        }
        if self.armed.replace(false) && self.remote.disarm_host() {
            self.remote.wake_host();
        }
    }

    /// Ends a task from outside: at once, or when its poll ends.
    pub(crate) fn end_task(self: &Rc<Self>, id: TaskId, doom: Doom) {
        let removed = self.table.borrow_mut().remove(id, doom);
        match removed {
            Removed::Task(slot) => self.finish(slot, Some(doom.into())),
            Removed::Doomed | Removed::Gone => {}
        }
    }

    /// Drops what is left of a task that is off the table, then answers whoever awaits it.
    pub(crate) fn finish(&self, slot: Slot, error: Option<JoinError>) {
        let (future, completion, cell) = slot.into_parts();
        if let Some(cell) = cell {
            self.put_back(cell);
        }
        let panic = future.and_then(|future| self.drop_future(future));
        self.answer(completion, panic.map(JoinError::Panicked).or(error));
    }

    fn answer(&self, completion: Rc<dyn Completion>, error: Option<JoinError>) {
        count(&self.counters.completed);
        if let Some(error) = error {
            if matches!(error, JoinError::Panicked(_)) {
                count(&self.counters.panicked);
            }
            self.contain(|| completion.fail(error));
        }
        match completion.take_waiter() {
            Waiter::Nobody => {}
            Waiter::Ours(target) => self.wake(target),
            Waiter::Foreign(waker) => self.contain(|| waker.wake()),
        }
        // If the handle is gone, this drops the output.
        self.contain(|| drop(completion));
    }

    /// Polls a ready task once.
    pub(crate) fn poll_task(self: &Rc<Self>, id: TaskId) {
        let poll = self.counters.polls.get() + 1;
        let begun = self.table.borrow_mut().begin_poll(id, poll);
        let Some((mut future, cell)) = begun else {
            return;
        };
        let completion = match self.table.borrow().get(id) {
            Some(slot) => Rc::clone(&slot.completion),
            None => return,
        };
        let cell = cell.unwrap_or_else(|| self.cell_for(Target::Task(id)));
        self.hook(|hooks| hooks.before_poll(id));
        let mark = self.mark();
        let polled = {
            let waker = futures_task::waker_ref(&cell);
            let _poll = self.begin_poll(Target::Task(id), &waker);
            let mut cx = Context::from_waker(&waker);
            catch(|| future.as_mut().poll_task(&mut cx, &*completion))
        };
        self.look_at_poll(mark, Some(id));
        let (outcome, error) = match polled {
            Ok(Poll::Pending) => {
                drop(completion);
                self.hook(|hooks| hooks.after_poll(id, PollOutcome::Pending));
                return self.suspend(id, future, cell);
            }
            Ok(Poll::Ready(())) => {
                let panic = self.drop_future(future);
                (PollOutcome::Completed, panic.map(JoinError::Panicked))
            }
            Err(payload) => {
                // One panic is enough to report; a second one has the same cause.
                if let Some(second) = self.drop_future(future) {
                    drop_payload(second);
                }
                (PollOutcome::Panicked, Some(JoinError::Panicked(payload)))
            }
        };
        self.put_back(cell);
        self.hook(|hooks| hooks.after_poll(id, outcome));
        let slot = self.table.borrow_mut().take(id);
        // Before the answer: the last reference to the output must be the one dropped there.
        drop(slot);
        let (error, after) = self.judge(&*completion, error);
        self.answer(completion, error);
        match after {
            AfterEnd::Nothing => {}
            AfterEnd::ShutDown => self.shut_down(),
            AfterEnd::Resume(payload) => std::panic::resume_unwind(payload),
        }
    }

    /// Applies the panic policy to the end of a polled task.
    fn judge(
        &self,
        completion: &dyn Completion,
        error: Option<JoinError>,
    ) -> (Option<JoinError>, AfterEnd) {
        match (error, self.on_panic) {
            (Some(JoinError::Panicked(payload)), PanicPolicy::ResumeDetached)
                if completion.is_detached() =>
            {
                count(&self.counters.panicked);
                (Some(JoinError::Aborted), AfterEnd::Resume(payload))
            }
            (Some(error @ JoinError::Panicked(_)), PanicPolicy::ShutDown) => {
                (Some(error), AfterEnd::ShutDown)
            }
            (error, _) => (error, AfterEnd::Nothing),
        }
    }

    /// Puts a pending task back, unless it was doomed meanwhile.
    fn suspend(&self, id: TaskId, future: BoxedTask, cell: Arc<WakeCell>) {
        let doom = match self.table.borrow_mut().meanwhile(id) {
            Some(Meanwhile {
                doom: None, reopen, ..
            }) => {
                if *reopen {
                    cell.reopen();
                }
                None
            }
            Some(Meanwhile { doom, .. }) => *doom,
            None => None,
        };
        let cell = self.put_back(cell);
        match doom {
            None => self.table.borrow_mut().end_poll(id, future, cell),
            Some(doom) => {
                let panic = self.drop_future(future);
                let slot = self.table.borrow_mut().take(id);
                self.finish(slot, Some(panic.map_or(doom.into(), JoinError::Panicked)));
            }
        }
    }

    /// Notes a poll, and undoes that and what the poll left behind.
    pub(crate) fn begin_poll<'a>(
        self: &'a Rc<Self>,
        target: Target,
        waker: &Waker,
    ) -> PollGuard<'a> {
        count(&self.counters.polls);
        self.polls.set(self.polls.get() + 1);
        let outer = self.running.replace(Some(Running {
            target,
            data: waker.data(),
            vtable: waker.vtable(),
        }));
        self.show();
        PollGuard {
            _mark: Mark::new(),
            core: self,
            outer,
            phases: self.phases.borrow().depth(),
        }
    }

    /// The target of the innermost poll.
    pub(crate) fn current(&self) -> Option<Target> {
        self.running.get().map(|running| running.target)
    }

    /// Whose waker this is, if it belongs to the innermost poll.
    pub(crate) fn target_of(&self, waker: &Waker) -> Option<Target> {
        let running = self.running.get()?;
        let same = running.data == waker.data() && std::ptr::eq(running.vtable, waker.vtable());
        same.then_some(running.target)
    }

    // --- Wake cells.

    pub(crate) fn cell_for(&self, target: Target) -> Arc<WakeCell> {
        let spare = self.spare_cells.borrow_mut().pop();
        if let Some(mut cell) = spare
            && let Some(unshared) = Arc::get_mut(&mut cell)
        {
            unshared.retarget(target);
            return cell;
        }
        Arc::new(WakeCell::new(target, Arc::clone(&self.remote)))
    }

    /// Keeps a cell for another target, or returns it if a waker of it is out.
    pub(crate) fn put_back(&self, cell: Arc<WakeCell>) -> Option<Arc<WakeCell>> {
        if has_waker(&cell) {
            return Some(cell);
        }
        let mut spare = self.spare_cells.borrow_mut();
        if spare.len() < limits::SPARE_CELLS && self.is_open() {
            spare.push(cell);
        }
        None
    }

    // --- Main futures.

    pub(crate) fn push_main(&self) -> u64 {
        let number = self.next_main.get();
        self.next_main.set(number + 1);
        self.mains.borrow_mut().push(Main {
            number,
            // The first poll needs no wake.
            woken: true,
            reopen: false,
        });
        number
    }

    pub(crate) fn pop_main(&self) {
        self.mains.borrow_mut().pop();
    }

    fn wake_main(&self, number: u64, reopen: bool) -> Woken {
        let mut mains = self.mains.borrow_mut();
        match mains.iter_mut().find(|main| main.number == number) {
            Some(main) => {
                main.reopen |= reopen;
                if std::mem::replace(&mut main.woken, true) {
                    Woken::Nothing
                } else {
                    Woken::Queued
                }
            }
            None => Woken::Nothing,
        }
    }

    pub(crate) fn is_innermost_main(&self, number: u64) -> bool {
        let mains = self.mains.borrow();
        mains.last().is_some_and(|main| main.number == number)
    }

    pub(crate) fn is_main_woken(&self) -> bool {
        self.mains.borrow().last().is_some_and(|main| main.woken)
    }

    /// Whether the innermost main future is to be polled now; opens its cell if need be.
    pub(crate) fn take_main(&self, cell: &WakeCell) -> bool {
        let mut mains = self.mains.borrow_mut();
        let Some(main) = mains.last_mut() else {
            return false;
        };
        if std::mem::take(&mut main.reopen) {
            cell.reopen();
        }
        std::mem::take(&mut main.woken)
    }

    // --- Other threads.

    /// Takes in what other threads sent.
    pub(crate) fn drain_remote(self: &Rc<Self>) {
        if !self.remote.take_pending() {
            return;
        }
        for _ in 0..limits::DRAIN {
            match self.remote.pop() {
                None => return,
                Some(Message::Wake(target)) => self.wake_remotely(target),
                Some(Message::Abort(id)) => self.end_task(id, Doom::Aborted),
                Some(Message::Spawn(spawn)) => self.contain(|| spawn(Some(self))),
            }
        }
        self.remote.keep_pending();
    }

    fn wake_remotely(&self, target: Target) {
        let woken = match target {
            Target::Main(number) => self.wake_main(number, true),
            Target::Task(id) => {
                let mut table = self.table.borrow_mut();
                // The cell must be open before the poll which answers this message.
                if let Some(meanwhile) = table.meanwhile(id) {
                    meanwhile.reopen = true;
                } else if let Some(cell) = table.get(id).and_then(|slot| slot.cell.as_ref()) {
                    cell.reopen();
                }
                table.wake(id, WakeSource::Thread)
            }
        };
        if woken != Woken::Nothing {
            count(&self.counters.woken_remote);
        }
    }

    // --- The end.

    /// Drops every task, on this thread, but for those on the stack: they are dropped when
    /// their polls end.
    pub(crate) fn shut_down(self: &Rc<Self>) {
        if !self.is_open() {
            return;
        }
        self.life.set(Life::ShuttingDown);
        self.show();
        self.armed.set(false);
        self.remote.close();
        self.end_phases_above(0);
        while let Some(message) = self.remote.pop() {
            if let Message::Spawn(spawn) = message {
                self.contain(|| spawn(None));
            }
        }
        let ids: Vec<TaskId> = self.table.borrow().ids().map(|(id, _)| id).collect();
        for id in ids {
            self.end_task(id, Doom::ExecutorGone);
        }
        self.spare_cells.take();
        wake::move_out(self.remote.id());
        self.life.set(Life::Closed);
        self.show();
        self.remote.wake_visitors();
    }
}

/// Restores what a poll changed; the phases it left in force are discarded.
pub(crate) struct PollGuard<'a> {
    core: &'a Rc<Core>,
    outer: Option<Running>,
    _mark: Mark,
    phases: usize,
}

impl Drop for PollGuard<'_> {
    fn drop(&mut self) {
        self.core.running.set(self.outer);
        self.core.polls.set(self.core.polls.get() - 1);
        self.core.show();
        self.core.end_phases_above(self.phases);
    }
}

/// Whether a clone of the waker is out. If not, everything its holders did has been seen.
pub(crate) fn has_waker(cell: &Arc<WakeCell>) -> bool {
    if Arc::strong_count(cell) > 1 {
        return true;
    }
    // Pairs with the Release decrement of the clone that was dropped last: a waker that
    // found the cell claimed and left may have written what the next poll must see.
    acquire_fence("waker.gone");
    false
}

/// Drops a panic's payload; if that panics in turn, gives up on it.
pub(crate) fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch(|| drop(payload)) {
        std::mem::forget(again);
    }
}
