//! Knows every task and which are ready; runs no foreign code.
//!
//! A task is a slot of the arena (src/task.rs); src/state.rs draws its life, and the edges
//! named here are those of that diagram. What must be dropped is returned to the caller.
//!
//! Rules:
//! 1. A task is in the ready lists exactly while its state has `QUEUED`.
//! 2. A task on the stack (`POLLING`) is in no ready list: it is never polled again and never
//!    a candidate. A wake is noted in its state and queues it when the poll ends.
//! 3. Only `take` takes a task out, and never one that is `POLLING`: whoever wants that dooms
//!    it, and the end of the poll takes it out.
//! 4. The ready list is in the order of the wakes, and so is `since` along it.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::Location;
use std::rc::Rc;

use crate::chain::Chain;
use crate::extra::{Extra, Extras, Waiter};
use crate::ids::GroupId;
use crate::name::TaskName;
use crate::schedule::Shuffler;
use crate::state::{Source, State};
use crate::task::{Arena, Birth, NO_EXTRA, Owned, Slot};

/// Why a task ends without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    Aborted,
    Discarded,
    ExecutorGone,
}

/// What is known of a new task besides its future.
pub(crate) struct NewTask {
    pub(crate) name: Option<TaskName>,
    pub(crate) group: Option<GroupId>,
    pub(crate) deferred: bool,
    pub(crate) spawned_at: &'static Location<'static>,
}

/// Stand-ins of main futures are numbered from here, so that no task has such a number.
const FIRST_MAIN: u64 = 1 << 63;

/// All tasks and groups of one executor.
pub(crate) struct Table {
    pub(crate) arena: Arena,
    list: Chain,
    ready: Cell<usize>,
    live: Cell<usize>,
    next_number: Cell<u64>,
    next_main: Cell<u64>,
    /// The place of a main future, for the next one.
    spare: Cell<Option<Slot>>,
    /// How many polls the executor has begun.
    polls: Cell<u64>,
    pub(crate) extras: RefCell<Extras>,
    shuffler: Option<RefCell<Shuffler>>,
}

impl Table {
    pub(crate) fn new(arena: Arena, shuffler: Option<Shuffler>) -> Self {
        Self {
            arena,
            list: Chain::default(),
            ready: Cell::new(0),
            live: Cell::new(0),
            next_number: Cell::new(1),
            next_main: Cell::new(FIRST_MAIN),
            spare: Cell::new(None),
            polls: Cell::new(0),
            extras: RefCell::default(),
            shuffler: shuffler.map(RefCell::new),
        }
    }

    pub(crate) fn live(&self) -> usize {
        self.live.get()
    }

    pub(crate) fn ready(&self) -> usize {
        self.ready.get()
    }

    /// Polls begun so far, which is the executor's clock: a round polls what became ready
    /// before it (rule 4).
    pub(crate) fn polls(&self) -> u64 {
        self.polls.get()
    }

    /// Tasks spawned so far.
    pub(crate) fn spawned(&self) -> u64 {
        self.next_number.get() - 1
    }

    /// The live tasks, oldest first. Foreign code may end some and make others in their slots:
    /// take keys along.
    pub(crate) fn tasks(&self) -> Vec<Slot> {
        let mut slots = self.arena.slots();
        slots.retain(|slot| {
            let state = slot.state();
            state.has(State::LIVE) && !state.has_any(State::ENDING.with(State::MAIN))
        });
        slots.sort_unstable_by_key(|slot| slot.number());
        slots
    }

    /// What the next task starts with.
    #[inline(always)]
    fn birth(&self, spawned_at: &'static Location<'static>, state: State) -> Birth {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        Birth {
            number,
            spawned_at,
            since: self.polls.get(),
            state,
        }
    }

    /// Takes in a ready task that has neither name nor group.
    #[inline(always)]
    pub(crate) fn insert_ready<F: Future + 'static>(
        &self,
        future: F,
        spawned_at: &'static Location<'static>,
    ) -> Owned<F::Output> {
        const STATE: State = State::LIVE
            .with(State::HANDLE)
            .with(State::FUTURE)
            .with(State::QUEUED);
        let task = self.arena.spawn(future, || self.birth(spawned_at, STATE));
        self.live.set(self.live.get() + 1);
        self.link(task.slot());
        task
    }

    /// Takes a task in, ready unless it is deferred.
    pub(crate) fn insert<F: Future + 'static>(&self, future: F, new: NewTask) -> Owned<F::Output> {
        const STATE: State = State::LIVE
            .with(State::HANDLE)
            .with(State::FUTURE)
            .with(State::DEFERRED);
        let task = self
            .arena
            .spawn(future, || self.birth(new.spawned_at, STATE));
        self.live.set(self.live.get() + 1);
        let slot = task.slot();
        if new.name.is_some() || new.group.is_some() {
            let group = new.group.map(|group| group.index);
            let extra = Extra::new(slot, new.name, group);
            slot.set_extra(self.extras.borrow_mut().add(extra));
            if group.is_some() {
                slot.update(|state| state.with(State::GROUPED));
            }
        }
        if !new.deferred {
            self.release(slot);
        }
        task
    }

    /// Makes a deferred task ready (edge 5).
    #[inline]
    pub(crate) fn release(&self, slot: Slot) {
        if slot.state().has(State::DEFERRED) {
            self.queue(slot, slot.state().without(State::DEFERRED));
        }
    }

    /// Whether a wake would do nothing: the task is ready, deferred or gone.
    #[inline(always)]
    pub(crate) fn is_deaf(state: State) -> bool {
        const DEAF: State = State::QUEUED
            .with(State::DEFERRED)
            .with(State::ENDING)
            .with(State::WOKEN);
        state.has_any(DEAF) || !state.has(State::LIVE)
    }

    /// Makes a task in this state ready, or notes that it is to be (edge 1); for who is not deaf. True if it
    /// became ready, and then [`queue_in_group`](Self::queue_in_group) must follow.
    #[inline(always)]
    #[must_use]
    pub(crate) fn wake(&self, slot: Slot, state: State, source: Source, by: u64) -> bool {
        // As far as it fits; `Snapshot` makes up for the rest.
        slot.set_woken_by(by as u32);
        let state = state.woken_from(source);
        if state.has_any(State::POLLING.with(State::MAIN)) {
            slot.update(|_| state.with(State::WOKEN));
            return state.has(State::MAIN);
        }
        self.queue_alone(slot, state);
        true
    }

    /// The first task in the list, if it was ready when the executor had begun `round` polls.
    #[inline(always)]
    pub(crate) fn first_ready(&self, round: u64) -> Option<Slot> {
        self.list.first().filter(|head| head.since() <= round)
    }

    /// The task to poll next of those that were ready when the executor had begun `round`
    /// polls: the first, or one that a seed chooses.
    pub(crate) fn next_ready(&self, round: u64) -> Option<Slot> {
        let head = self.first_ready(round)?;
        match &self.shuffler {
            None => Some(head),
            Some(shuffler) => self.draw(round, shuffler),
        }
    }

    pub(crate) fn is_shuffled(&self) -> bool {
        self.shuffler.is_some()
    }

    #[inline(never)]
    fn draw(&self, round: u64, shuffler: &RefCell<Shuffler>) -> Option<Slot> {
        // Rule 4: the candidates are the list's beginning.
        let candidates = || self.list.iter().take_while(|slot| slot.since() <= round);
        let chosen = shuffler.borrow_mut().below(candidates().count());
        candidates().nth(chosen)
    }

    /// The task of this group to poll next.
    pub(crate) fn next_ready_in(&self, group: GroupId) -> Option<Slot> {
        let mut shuffler = self.shuffler.as_ref().map(RefCell::borrow_mut);
        self.extras
            .borrow()
            .next_ready_in(group, shuffler.as_deref_mut())
    }

    /// Counts a poll of a main future.
    pub(crate) fn count_poll(&self) {
        self.polls.set(self.polls.get() + 1);
    }

    /// Takes a ready task off the list for a poll (edge 2).
    pub(crate) fn begin_poll(&self, slot: Slot) {
        self.list.unlink(slot);
        self.begin_unlinked(slot);
    }

    /// As [`begin_poll`](Self::begin_poll), for the first in the list.
    #[inline(always)]
    pub(crate) fn begin_first(&self, slot: Slot) {
        self.list.unlink_first(slot);
        self.begin_unlinked(slot);
    }

    #[inline(always)]
    fn begin_unlinked(&self, slot: Slot) {
        let state = slot.state();
        debug_assert!(state.has(State::QUEUED), "rule 1");
        self.ready.set(self.ready.get() - 1);
        let poll = self.polls.get() + 1;
        self.polls.set(poll);
        if state.is_grouped() {
            self.unqueue_grouped(slot);
        }
        slot.enter(state.polled(), poll);
    }

    /// Puts a pending task back (edge 3); false if it is doomed.
    #[inline(always)]
    #[must_use]
    pub(crate) fn end_poll(&self, slot: Slot) -> bool {
        let state = slot.state();
        if state.is_merely_woken() {
            slot.enter(state.queued_again(), self.polls.get());
            self.link(slot);
            return true;
        }
        let rest = state.without(State::POLLING.with(State::WOKEN));
        if state.is_doomed() {
            return false;
        } else if state.has(State::WOKEN) {
            self.queue(slot, rest);
        } else {
            slot.enter(rest, self.polls.get());
        }
        true
    }

    /// Ends a task whose poll left an output, if somebody has its handle and nobody awaits it:
    /// then that is all (edges 4 and 6).
    #[inline(always)]
    #[must_use]
    pub(crate) fn end_unawaited(&self, slot: Slot) -> bool {
        if !slot.is_unawaited() {
            return false;
        }
        slot.update(|state| state.ready().without(State::LIVE));
        self.live.set(self.live.get() - 1);
        true
    }

    /// Ends a task whose poll left an output, if it is a plain member of a set that nobody waits
    /// for, or not for this one: then that is all (edges 4 and 6).
    #[inline(always)]
    #[must_use]
    pub(crate) fn end_in_set(&self, slot: Slot) -> bool {
        if !slot.state().has(State::SHARED) {
            return false;
        }
        let extras = self.extras.borrow();
        let Waiter::Set(ends) = &extras.get(slot.extra()).waiter else {
            return false;
        };
        if ends.is_awaited(slot) {
            return false;
        }
        slot.set_extra(NO_EXTRA);
        slot.update(|state| state.ready().without(State::LIVE.with(State::SHARED)));
        self.live.set(self.live.get() - 1);
        ends.list.push(slot);
        true
    }

    /// Takes out a task whose poll left an output (edge 4).
    pub(crate) fn take_ready(&self, slot: Slot) {
        slot.update(State::ready);
        self.live.set(self.live.get() - 1);
        self.leave(slot);
    }

    /// Takes a task out (edge 4); whoever does it brings it to its end.
    pub(crate) fn take(&self, slot: Slot) {
        let state = slot.state();
        debug_assert!(!state.has(State::ENDING), "rule 3");
        if state.has(State::QUEUED) {
            self.unqueue(slot);
        }
        let gone = State::QUEUED
            .with(State::POLLING)
            .with(State::DEFERRED)
            .with(State::WOKEN);
        slot.update(|_| state.without(gone).with(State::ENDING));
        self.live.set(self.live.get() - 1);
        self.leave(slot);
    }

    fn leave(&self, slot: Slot) {
        if slot.state().is_grouped() {
            slot.update(|state| state.without(State::GROUPED));
            self.extras.borrow_mut().leave(slot.extra());
        }
    }

    /// The place of a main future, which is to be polled at once.
    #[inline]
    pub(crate) fn stand_in(&self, spawned_at: &'static Location<'static>) -> Slot {
        let number = self.next_main.get();
        self.next_main.set(number + 1);
        let birth = Birth {
            number,
            spawned_at,
            since: self.polls.get(),
            state: State::LIVE.with(State::MAIN).with(State::WOKEN),
        };
        match self.spare.take() {
            Some(slot) => {
                slot.be_born_again(birth);
                slot
            }
            None => self.arena.stand_in(birth),
        }
    }

    /// Gives the place up; the next main future takes it, if nobody has a waker of this one.
    #[inline]
    pub(crate) fn end_stand_in(&self, slot: Slot) {
        slot.update(|_| State::FREE);
        if self.spare.get().is_none() && slot.is_unshared() {
            slot.clear_number();
            self.spare.set(Some(slot));
        } else {
            slot.retire();
        }
    }

    // --- Extras.

    pub(crate) fn name(&self, slot: Slot) -> Option<Cow<'static, str>> {
        if slot.extra() == NO_EXTRA {
            return None;
        }
        let extras = self.extras.borrow();
        Some(extras.get(slot.extra()).name.as_ref()?.to_cow())
    }

    /// Sets who is woken when the task ends; returns who was, to be dropped with nothing
    /// borrowed.
    pub(crate) fn set_waiter(&self, slot: Slot, waiter: Waiter) -> Waiter {
        let mut extras = self.extras.borrow_mut();
        if slot.extra() == NO_EXTRA {
            if let Waiter::Nobody = waiter {
                return waiter;
            }
            slot.set_extra(extras.add(Extra::new(slot, None, None)));
        }
        std::mem::replace(&mut extras.get_mut(slot.extra()).waiter, waiter)
    }

    /// Takes out what a task that has left its group still had besides its slot; says whom its
    /// end is to be told.
    pub(crate) fn take_extra(&self, slot: Slot) -> Waiter {
        let index = slot.extra();
        if index == NO_EXTRA {
            return Waiter::Nobody;
        }
        slot.set_extra(NO_EXTRA);
        if !slot.state().has(State::SHARED) {
            return self.extras.borrow_mut().remove(index).waiter;
        }
        slot.update(|state| state.without(State::SHARED));
        match &self.extras.borrow().get(index).waiter {
            Waiter::Set(ends) => Waiter::Set(Rc::clone(ends)),
            _ => Waiter::Nobody,
        }
    }

    // --- The ready list.

    #[inline(never)]
    fn queue(&self, slot: Slot, state: State) {
        self.queue_alone(slot, state);
        self.queue_in_group(slot);
    }

    /// Queues a task that is ready in its group, if it is in one.
    #[inline(always)]
    pub(crate) fn queue_in_group(&self, slot: Slot) {
        if slot.state().is_grouped() {
            self.extras.borrow_mut().queue(slot.extra());
        }
    }

    /// Queues a task but for its group.
    #[inline(always)]
    fn queue_alone(&self, slot: Slot, state: State) {
        slot.enter(state.with(State::QUEUED), self.polls.get());
        self.link(slot);
    }

    /// Puts a slot at the end of the list.
    #[inline(always)]
    fn link(&self, slot: Slot) {
        self.list.push(slot);
        self.ready.set(self.ready.get() + 1);
    }

    fn unqueue(&self, slot: Slot) {
        self.list.unlink(slot);
        self.ready.set(self.ready.get() - 1);
        if slot.state().is_grouped() {
            self.unqueue_grouped(slot);
        }
    }

    #[inline(never)]
    fn unqueue_grouped(&self, slot: Slot) {
        self.extras.borrow_mut().unqueue(slot.extra());
    }
}
