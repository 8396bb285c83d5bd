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
use std::future::Future;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::task::Waker;

use crate::blocking::Detector;
use crate::extra::Waiter;
use crate::guard::Mark;
use crate::hooks::{Hooks, PollOutcome};
use crate::ids::TaskId;
use crate::join::JoinHandle;
use crate::limits;
use crate::panics::{AfterEnd, PanicPolicy};
use crate::park::Park;
use crate::phase::Phases;
use crate::remote::{Message, Remote};
use crate::state::{Source, State};
use crate::sync::{Arc, Ordering, catch};
use crate::table::{Doom, NewTask, Table};
use crate::task::{Key, NO_EXTRA, Polled, Slot};
use crate::tick::Metrics;
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

/// Who sleeps, and is to be told when a task becomes ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asleep {
    Nobody,
    /// The owner's thread, in its park.
    Owner,
    /// The host, which has not been woken by this thread.
    Host,
}

/// Plain counters.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) woken_local: Cell<u64>,
    pub(crate) woken_remote: Cell<u64>,
    panicked: Cell<u64>,
    foreign_panics: Cell<u64>,
    pub(crate) refused: Cell<u64>,
}

#[inline(always)]
pub(crate) fn count(counter: &Cell<u64>) {
    if !BARE {
        counter.set(counter.get() + 1);
    }
}

/// Leaves phases, groups, counters, hooks and the checks of refusals out, where they are not
/// used: for the benchmarks alone, which so show what they cost (docs/PERFORMANCE.md).
pub(crate) const BARE: bool = cfg!(vestibule_bare);

/// A poll is not just a poll: there are hooks, a watchdog, a seed, or it is the end.
const SPECIAL: u8 = 1 << 0;
/// A phase was entered, maybe by this poll or one inside it; cleared by the end of an outermost one.
const STIRRED: u8 = 1 << 1;

/// One executor.
pub(crate) struct Core {
    /// Ourselves.
    pub(crate) this: Weak<Core>,
    pub(crate) remote: Arc<Remote>,
    pub(crate) table: Table,
    pub(crate) phases: RefCell<Phases>,
    /// How many phases are in force.
    pub(crate) phase_depth: Cell<usize>,
    /// The number of the next phase that is entered.
    pub(crate) next_phase: Cell<u64>,
    pub(crate) park: Box<dyn Park>,
    pub(crate) counters: Counters,
    hooks: Option<Box<dyn Hooks>>,
    /// What a poll has to look after, besides itself: [`SPECIAL`], [`STIRRED`].
    attention: Cell<u8>,
    /// The stand-in of the innermost main future.
    pub(crate) main: Cell<Option<Slot>>,
    /// What is being polled, innermost.
    pub(crate) running: Cell<Option<Slot>>,
    pub(crate) polls: Cell<u32>,
    pub(crate) max_poll_depth: u32,
    on_panic: PanicPolicy,
    /// Drives on the stack, and where the innermost was started.
    pub(crate) driven: Cell<(u32, Option<&'static Location<'static>>)>,
    pub(crate) asleep: Cell<Asleep>,
    life: Cell<Life>,
    nested_drops: Cell<u32>,
    queued_drops: RefCell<Vec<Slot>>,
    /// Empty, but while a list of wakes is answered; kept so that this allocates nothing once warm.
    answered: Cell<Vec<Slot>>,
    pub(crate) watched: OnceCell<std::sync::Arc<Watched>>,
    pub(crate) stamps: bool,
    pub(crate) detector: Detector,
    /// There is a host waker.
    pub(crate) hosted: bool,
    /// The `run_until`s of other executors.
    pub(crate) visitors: Cell<usize>,
    pub(crate) next_visit: Cell<u64>,
    /// A task whose waker was out when we last looked.
    pub(crate) witness: Cell<Option<Key>>,
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
        let hosted = parts.remote.has_host();
        let asleep = match hosted && parts.remote.arm_host() {
            true => Asleep::Host,
            false => Asleep::Nobody,
        };
        let core = Rc::new_cyclic(|this| Self {
            this: this.clone(),
            remote: parts.remote,
            phases: RefCell::default(),
            phase_depth: Cell::new(0),
            next_phase: Cell::new(1),
            park: parts.park,
            counters: Counters::default(),
            attention: Cell::new(match parts.hooks.is_some() || parts.table.is_shuffled() {
                true => SPECIAL,
                false => 0,
            }),
            hooks: parts.hooks,
            table: parts.table,
            main: Cell::new(None),
            running: Cell::new(None),
            polls: Cell::new(0),
            max_poll_depth: parts.max_poll_depth,
            on_panic: parts.on_panic,
            driven: Cell::new((0, None)),
            asleep: Cell::new(asleep),
            life: Cell::new(Life::Open),
            nested_drops: Cell::new(0),
            queued_drops: RefCell::default(),
            answered: Cell::default(),
            watched: OnceCell::new(),
            stamps: parts.stamps,
            detector: parts.detector,
            hosted,
            visitors: Cell::new(0),
            next_visit: Cell::new(0),
            witness: Cell::new(None),
        });
        core.table.arena.open(&core);
        core
    }

    #[inline(always)]
    pub(crate) fn is_special(&self) -> bool {
        !BARE && self.attention.get() & SPECIAL != 0
    }

    /// From now on a poll is not just a poll.
    pub(crate) fn be_special(&self) {
        self.attention.set(self.attention.get() | SPECIAL);
    }

    /// The number of a phase that is entered.
    pub(crate) fn number_phase(&self) -> u64 {
        let number = self.next_phase.get();
        self.next_phase.set(number + 1);
        self.attention.set(self.attention.get() | STIRRED);
        number
    }

    /// Whether the end of a poll has to see to anything but the task.
    #[inline(always)]
    fn asks_for_more(&self) -> bool {
        !BARE && self.attention.get() != 0
    }

    /// Changes whenever a phase is entered.
    fn phases_entered(&self) -> u64 {
        if BARE { 0 } else { self.next_phase.get() }
    }

    #[inline(always)]
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
            Life::Open if self.is_parked() => Activity::Parked,
            Life::Open if self.polls.get() > 0 => Activity::Polling {
                depth: self.polls.get(),
            },
            Life::Open if self.drives() > 0 => Activity::Driving,
            Life::Open => Activity::Idle,
        }
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let counters = &self.counters;
        let table = &self.table;
        Metrics {
            spawned: table.spawned(),
            completed: table.spawned() - table.live() as u64,
            polls: table.polls(),
            woken_local: counters.woken_local.get(),
            woken_remote: counters.woken_remote.get(),
            panicked: counters.panicked.get(),
            foreign_panics: counters.foreign_panics.get(),
            refused: counters.refused.get(),
            live: table.live(),
            ready: table.ready(),
            groups: table.extras.borrow().groups.len(),
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

    /// Drops the future of a task that was taken out, then answers whoever awaits it. Past 64
    /// nested drops that is queued instead, and the outermost drop does it.
    fn drop_and_answer(&self, slot: Slot) {
        let depth = self.nested_drops.get();
        if depth >= limits::NESTED_DROPS {
            self.queued_drops.borrow_mut().push(slot);
            return;
        }
        self.nested_drops.set(depth + 1);
        let panic = catch(|| slot.drop_future()).err();
        self.nested_drops.set(depth);
        if let Some(payload) = panic {
            slot.put_panic(payload);
        }
        self.answer(slot);
        while depth == 0
            && let Some(slot) = self.next_queued_drop()
        {
            self.drop_and_answer(slot);
        }
    }

    fn next_queued_drop(&self) -> Option<Slot> {
        self.queued_drops.borrow_mut().pop()
    }

    // --- Tasks.

    /// Takes in a task that is ready and has neither name nor group.
    #[inline(always)]
    pub(crate) fn insert_plain<F: Future + 'static>(
        &self,
        future: F,
        spawned_at: &'static Location<'static>,
    ) -> JoinHandle<F::Output> {
        JoinHandle::new(self.table.insert_ready(future, spawned_at))
    }

    /// Whether the insertion of a ready task has to be [told](Self::tell_of) to anybody.
    #[inline(always)]
    pub(crate) fn is_curious(&self) -> bool {
        self.is_special() || self.is_asleep()
    }

    /// Takes a task in and says so.
    pub(crate) fn insert<F: Future + 'static>(
        self: &Rc<Self>,
        future: F,
        mut new: NewTask,
    ) -> JoinHandle<F::Output> {
        new.deferred = new.deferred && self.phase_depth.get() > 0;
        let deferred = new.deferred;
        let task = JoinHandle::new(self.table.insert(future, new));
        if deferred {
            self.phases.borrow_mut().defer(task.key());
        }
        self.tell_of(task.key(), !deferred);
        task
    }

    /// Says that a task was spawned.
    pub(crate) fn tell_of(self: &Rc<Self>, key: Key, ready: bool) {
        if self.hooks.is_some()
            && let Some(slot) = self.table.arena.resolve(key)
        {
            let name = self.table.name(slot);
            self.hook(|hooks| hooks.on_spawn(TaskId::of(slot), name.as_deref()));
        }
        if ready {
            self.became_ready();
        }
    }

    /// Makes a task or a main future ready, on the owner's thread; runs no foreign code.
    ///
    /// True if that is not all: then [`Slot::complete_wake`] must follow at once.
    #[inline(always)]
    #[must_use]
    pub(crate) fn wake(&self, slot: Slot) -> bool {
        let state = slot.state();
        if Table::is_deaf(state) {
            return false;
        }
        let (source, by) = match self.running.get() {
            Some(running) => (running.state().as_source(), running.number()),
            None => (Source::Owner, 0),
        };
        count(&self.counters.woken_local);
        self.table.wake(slot, state, source, by) && (state.is_grouped() || self.is_asleep())
    }

    /// What is left to do after a [wake](Self::wake). True if somebody sleeps, and is to be
    /// [roused](Self::rouse).
    pub(crate) fn complete_wake(&self, slot: Slot) -> bool {
        self.table.queue_in_group(slot);
        self.is_asleep()
    }

    #[inline(always)]
    fn is_asleep(&self) -> bool {
        self.asleep.get() != Asleep::Nobody
    }

    pub(crate) fn is_parked(&self) -> bool {
        self.asleep.get() == Asleep::Owner
    }

    /// Notes that the host is awake; true if it slept.
    pub(crate) fn take_host(&self) -> bool {
        let slept = self.asleep.get() == Asleep::Host;
        if slept {
            self.asleep.set(Asleep::Nobody);
        }
        slept
    }

    /// Tells whoever sleeps that a task is ready.
    pub(crate) fn became_ready(self: &Rc<Self>) {
        if self.is_asleep() {
            self.rouse();
        }
    }

    /// Rouses whoever sleeps: a `Park` that runs foreign code on this thread, or the host.
    #[cold]
    pub(crate) fn rouse(self: &Rc<Self>) {
        if self.is_parked() {
            self.remote.wake_parker();
        }
        if self.take_host() && self.remote.disarm_host() {
            self.remote.wake_host();
        }
    }

    /// Ends a task from outside: at once, or when its poll ends.
    pub(crate) fn end_task(&self, key: Key, doom: Doom) {
        if let Some(slot) = self.table.arena.resolve(key)
            && self.take_or_doom(slot, doom)
        {
            self.finish(slot, doom);
        }
    }

    /// Takes a task out, or dooms it if it is on the stack; true if the caller is to finish it.
    #[must_use]
    pub(crate) fn take_or_doom(&self, slot: Slot, doom: Doom) -> bool {
        let state = slot.state();
        if !state.has(State::LIVE) || state.has_any(State::ENDING.with(State::MAIN)) {
            return false;
        }
        if state.has(State::POLLING) {
            slot.update(|state| state.doomed(doom));
            return false;
        }
        self.table.take(slot);
        true
    }

    /// Drops what is left of a task that was taken out, then answers whoever awaits it.
    pub(crate) fn finish(&self, slot: Slot, doom: Doom) {
        slot.update(|state| state.doomed(doom));
        self.drop_and_answer(slot);
    }

    /// The outcome of a task that was taken out is in its slot, or its doom: tells whoever
    /// awaits it.
    #[inline(always)]
    fn answer(&self, slot: Slot) {
        if slot.is_unawaited() && !slot.state().has(State::PANIC) {
            // From here on the slot is its handle's.
            slot.update(|state| state.without(State::LIVE));
        } else {
            self.answer_awaited(slot);
        }
    }

    #[inline(never)]
    fn answer_awaited(&self, slot: Slot) {
        if slot.state().has(State::PANIC) {
            count(&self.counters.panicked);
        }
        if !slot.state().has(State::HANDLE) {
            // Nobody sees the outcome, so nobody awaits it.
            self.contain(|| slot.drop_outcome());
            drop(self.table.take_extra(slot));
            slot.update(|state| state.without(State::LIVE));
            slot.retire();
            return;
        }
        let waiter = self.table.take_extra(slot);
        // From here on the slot is its handle's.
        slot.update(|state| state.without(State::LIVE));
        let waiter = match waiter {
            Waiter::Set(ends) => ends.note(slot),
            other => other,
        };
        match waiter {
            // Nobody awaits a set by way of another one.
            Waiter::Nobody | Waiter::Set(_) => {}
            Waiter::Ours(key) => {
                if let Some(waiter) = self.table.arena.resolve(key)
                    && self.wake(waiter)
                {
                    waiter.complete_wake();
                }
            }
            Waiter::Foreign(waker) => self.contain(|| waker.wake()),
            Waiter::End(end) => self.contain(|| end.end()),
        }
    }

    /// Polls tasks that were ready when the executor had begun `round` polls, each once and at
    /// most `limit`, which is not 0; returns how many.
    pub(crate) fn poll_round(self: &Rc<Self>, round: u64, limit: u64) -> u64 {
        let mut polled = 0;
        let one_more = || {
            polled += 1;
            polled < limit
        };
        self.poll_rounds(round, one_more, |_| None);
        polled
    }

    /// Polls tasks that were ready when the executor had begun `round` polls, each once, for as
    /// many rounds as `next` grants; `one_more` says after every poll whether another may follow.
    #[inline]
    pub(crate) fn poll_rounds(
        self: &Rc<Self>,
        mut round: u64,
        mut one_more: impl FnMut() -> bool,
        next: impl Fn(&Self) -> Option<u64>,
    ) {
        while !self.is_special() && !cfg!(feature = "blocking-detector") {
            let Some(slot) = self.table.first_ready(round) else {
                return;
            };
            if !self.poll_run(slot, &mut round, &mut one_more, &next) {
                return;
            }
        }
        while self.is_open()
            && let Some(slot) = self.table.next_ready(round)
        {
            self.poll_task(slot);
            if !one_more() {
                return;
            }
        }
    }

    /// Polls `slot`, and what follows it, for as long as nothing foreign runs between two polls:
    /// then the end of one is the beginning of the next. False if no other poll may follow.
    #[inline(always)]
    fn poll_run(
        self: &Rc<Self>,
        mut slot: Slot,
        round: &mut u64,
        mut one_more: impl FnMut() -> bool,
        next: impl Fn(&Self) -> Option<u64>,
    ) -> bool {
        let mut entered = self.enter_poll(slot);
        loop {
            self.table.begin_first(slot);
            let outcome = slot.poll(&mut entered);
            let ended = match outcome {
                _ if self.asks_for_more() => false,
                Polled::Pending => self.table.end_poll(slot),
                Polled::Ready => self.table.end_unawaited(slot) || self.table.end_in_set(slot),
                Polled::Panicked => false,
            };
            if !ended {
                entered.leave(slot);
                self.end_poll(slot, outcome);
                return one_more();
            }
            if !one_more() {
                entered.leave(slot);
                return false;
            }
            let after = match self.table.first_ready(*round) {
                Some(after) => after,
                None => {
                    let Some(later) = next(self) else { break };
                    *round = later;
                    match self.table.first_ready(later) {
                        Some(after) => after,
                        None => break,
                    }
                }
            };
            if self.running.replace(Some(after)) != Some(slot) {
                entered.enter_again();
            }
            slot = after;
        }
        entered.leave(slot);
        true
    }

    /// Polls a ready task once.
    pub(crate) fn poll_task(self: &Rc<Self>, slot: Slot) {
        self.table.begin_poll(slot);
        if self.is_special() {
            self.observe_begin(slot);
        }
        let mark = self.mark();
        let mut entered = self.enter_poll(slot);
        let outcome = slot.poll(&mut entered);
        entered.leave(slot);
        self.look_at_poll(mark, Some(slot));
        self.end_poll(slot, outcome);
    }

    /// Does what the outcome of a poll, which is off the stack, asks for.
    #[inline(never)]
    fn end_poll(self: &Rc<Self>, slot: Slot, outcome: Polled) {
        if self.is_special() {
            self.observe_end(slot, outcome);
        }
        match outcome {
            Polled::Pending if self.table.end_poll(slot) => {}
            Polled::Pending => self.end_doomed(slot),
            Polled::Ready if self.table.end_unawaited(slot) => {}
            Polled::Ready => {
                self.table.take_ready(slot);
                self.answer(slot);
            }
            Polled::Panicked => self.end_panicked(slot),
        }
    }

    #[cold]
    #[inline(never)]
    fn observe_begin(&self, slot: Slot) {
        self.hook(|hooks| hooks.before_poll(TaskId::of(slot)));
    }

    #[cold]
    #[inline(never)]
    fn observe_end(&self, slot: Slot, polled: Polled) {
        let outcome = match polled {
            Polled::Pending => PollOutcome::Pending,
            Polled::Ready => PollOutcome::Completed,
            Polled::Panicked => PollOutcome::Panicked,
        };
        self.hook(|hooks| hooks.after_poll(TaskId::of(slot), outcome));
    }

    #[cold]
    #[inline(never)]
    fn end_panicked(self: &Rc<Self>, slot: Slot) {
        self.table.take(slot);
        let after = self.judge(slot);
        self.answer(slot);
        match after {
            AfterEnd::Nothing => {}
            AfterEnd::ShutDown => self.shut_down(),
            AfterEnd::Resume(payload) => std::panic::resume_unwind(payload),
        }
    }

    /// Applies the panic policy to the end of a polled task.
    fn judge(&self, slot: Slot) -> AfterEnd {
        match self.on_panic {
            PanicPolicy::ResumeDetached if self.is_detached(slot) => {
                count(&self.counters.panicked);
                slot.update(|state| state.doomed(Doom::Aborted));
                slot.take_panic()
                    .map_or(AfterEnd::Nothing, AfterEnd::Resume)
            }
            PanicPolicy::ShutDown => AfterEnd::ShutDown,
            PanicPolicy::ResumeDetached | PanicPolicy::Join => AfterEnd::Nothing,
        }
    }

    /// Whether nobody will ever see the outcome.
    fn is_detached(&self, slot: Slot) -> bool {
        if !slot.state().has(State::HANDLE) {
            return true;
        }
        let extras = self.table.extras.borrow();
        match slot.extra() {
            NO_EXTRA => false,
            extra => match &extras.get(extra).waiter {
                Waiter::End(end) => end.is_detached(),
                _ => false,
            },
        }
    }

    #[cold]
    #[inline(never)]
    fn end_doomed(&self, slot: Slot) {
        self.table.take(slot);
        self.drop_and_answer(slot);
    }

    /// Notes a poll; [`Entered::leave`] must follow, whatever the poll does.
    #[inline(always)]
    pub(crate) fn enter_poll(self: &Rc<Self>, slot: Slot) -> Entered<'_> {
        self.polls.set(self.polls.get() + 1);
        let entered = Entered {
            core: self,
            outer: self.running.replace(Some(slot)),
            phases: self.phases_entered(),
            mark: Mark::new(),
        };
        if self.is_special() {
            self.show();
        }
        entered
    }

    /// The task of the innermost poll, unless that is a main future's.
    pub(crate) fn current(&self) -> Option<Slot> {
        self.running
            .get()
            .filter(|slot| !slot.state().has(State::MAIN))
    }

    /// The target of the innermost poll, if this is its waker.
    pub(crate) fn running_under(&self, waker: &Waker) -> Option<Slot> {
        self.running.get().filter(|slot| slot.is_woken_by(waker))
    }

    // --- Other threads.

    /// Takes in what other threads sent.
    #[inline]
    pub(crate) fn drain_remote(self: &Rc<Self>) {
        if self.remote.is_pending() {
            self.drain_pending();
        }
    }

    #[inline(never)]
    fn drain_pending(self: &Rc<Self>) {
        let pending = self.remote.take_pending();
        self.answer_wakes(pending.wakes);
        if pending.mail {
            self.drain_mail();
        }
    }

    fn drain_mail(self: &Rc<Self>) {
        for _ in 0..limits::DRAIN {
            match self.remote.pop() {
                None => return,
                Some(Message::Wake(key)) => {
                    if let Some(slot) = self.table.arena.resolve(key) {
                        slot.reopen();
                        self.wake_remotely(slot);
                    }
                }
                // These run foreign code, which may drive or sleep in turn: it must see that
                // there may be more.
                Some(Message::Abort(key)) => {
                    self.remote.keep_mail();
                    self.end_task(key, Doom::Aborted);
                }
                Some(Message::Spawn(spawn)) => {
                    self.remote.keep_mail();
                    self.contain(|| spawn(Some(self)));
                }
            }
        }
        self.remote.keep_mail();
    }

    /// Wakes the tasks on a list whose last one is given, in the order in which they were woken.
    fn answer_wakes(&self, mut last: u32) {
        let mut slots = self.answered.take();
        while last != 0 {
            let slot = self.table.arena.slot(last);
            // Once it is open, other threads write it.
            last = slot.earlier().load(Ordering::Relaxed);
            slot.reopen();
            slots.push(slot);
        }
        while let Some(slot) = slots.pop() {
            self.wake_remotely(slot);
        }
        self.answered.set(slots);
    }

    /// Wakes a task that is open to the next wake from another thread, before the poll which
    /// answers this one; or is done with a slot whose task has ended.
    fn wake_remotely(&self, slot: Slot) {
        let state = slot.state();
        if state.has(State::LISTED) {
            slot.take_off_list();
        } else if !Table::is_deaf(state) {
            count(&self.counters.woken_remote);
            if self.table.wake(slot, state, Source::Thread, 0) {
                self.table.queue_in_group(slot);
            }
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
        self.be_special();
        self.show();
        self.take_host();
        self.remote.close();
        self.end_phases_above(0);
        while let Some(message) = self.remote.pop() {
            if let Message::Spawn(spawn) = message {
                self.contain(|| spawn(None));
            }
        }
        let keys: Vec<Key> = self.table.tasks().into_iter().map(Key::of).collect();
        for key in keys {
            self.end_task(key, Doom::ExecutorGone);
        }
        self.life.set(Life::Closed);
        self.show();
        self.remote.wake_visitors();
    }
}

/// A poll on the stack, and what its end restores.
pub(crate) struct Entered<'a> {
    core: &'a Core,
    outer: Option<Slot>,
    /// The number of the first phase that it enters, if it does.
    phases: u64,
    mark: Mark,
}

impl Entered<'_> {
    /// Begins another poll when this one has ended.
    #[inline(always)]
    fn enter_again(&mut self) {
        self.core.polls.set(self.core.polls.get() + 1);
        // What was entered since belongs to no poll.
        self.phases = self.core.phases_entered();
        self.mark = Mark::new();
    }

    /// Ends the poll of this task, if it has not ended; the phases that it left in force are
    /// discarded.
    #[inline(always)]
    pub(crate) fn leave(&mut self, slot: Slot) {
        let core = self.core;
        if core.running.get() != Some(slot) {
            return;
        }
        core.running.set(self.outer);
        core.polls.set(core.polls.get() - 1);
        self.mark.remove();
        if core.asks_for_more() {
            self.leave_special();
        }
    }

    #[cold]
    #[inline(never)]
    fn leave_special(&self) {
        let core = self.core;
        if core.is_special() {
            core.show();
        }
        if self.outer.is_none() {
            core.attention.set(core.attention.get() & !STIRRED);
        }
        if core.phases_entered() != self.phases {
            self.end_phases();
        }
    }

    fn end_phases(&self) {
        // Whoever drives has a reference, too.
        if let Some(core) = self.core.this.upgrade() {
            core.end_phases_since(self.phases);
        }
    }
}

impl Drop for Core {
    /// No task is left, and no waker finds its way here any more.
    fn drop(&mut self) {
        self.table.arena.close();
    }
}

/// Drops a panic's payload; if that panics in turn, gives up on it.
pub(crate) fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch(|| drop(payload)) {
        std::mem::forget(again);
    }
}
