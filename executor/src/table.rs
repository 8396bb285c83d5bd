//! Holds every task and knows which are ready; runs no foreign code.
//!
//! All of it sits behind one `RefCell` of the core, so nothing in this file polls, wakes or
//! drops a future: what must be dropped is returned to the caller.
//!
//! ```text
//!            insert(deferred)
//!        ┌──────────────────► Deferred ──────────┐
//!        │                                       │ 5 release
//!   spawn┤ insert                                ▼
//!        └──────────────────────────────────► Queued ◄──────────┐
//!                                               │               │
//!                                    2 begin_poll               │ 1 wake
//!                                               ▼               │
//!     removed ◄── 4 remove ── any  ◄──────── Polling ─────────► Idle
//!                                               │   3 end_poll
//!                                               └─► Queued, when it was woken meanwhile
//! ```
//!
//! Rules:
//! 1. A task is in the ready lists exactly while its stage is `Queued`.
//! 2. A task on the stack (`Polling`) is in no ready list: it is never polled again and
//!    never a candidate. A wake is noted in its stage and queues it when the poll ends.
//! 3. Only `remove` takes a task out, and never one that is `Polling`: whoever wants that
//!    dooms it, and the end of the poll removes it.

use std::borrow::Cow;
use std::panic::Location;
use std::rc::Rc;

use slab::Slab;

use crate::core::has_waker;
use crate::group::GroupTable;
use crate::ids::{GroupId, TaskId};
use crate::join::{BoxedTask, Completion};
use crate::list::{Chain, Linked, Links, List};
use crate::schedule::Shuffler;
use crate::snapshot::WakeSource;
use crate::sync::Arc;
use crate::wake::WakeCell;

/// Where a task is in its life.
pub(crate) enum Stage {
    /// Waits for a wake.
    Idle(BoxedTask),
    /// Is ready.
    Queued(BoxedTask),
    /// Waits for the end of a phase; a wake changes nothing.
    Deferred(BoxedTask),
    /// Is on the native stack.
    Polling(Meanwhile),
}

/// What happened to a task while it was on the stack.
#[derive(Debug, Default)]
pub(crate) struct Meanwhile {
    /// It was woken.
    pub(crate) woken: bool,
    /// Its wake cell was claimed by another thread and has to be opened again before the
    /// next poll; the poller holds the cell.
    pub(crate) reopen: bool,
    /// It is to be dropped when the poll ends.
    pub(crate) doom: Option<Doom>,
}

/// Why a task ends without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    Aborted,
    Discarded,
    ExecutorGone,
}

/// One task.
pub(crate) struct Slot {
    generation: u64,
    pub(crate) stage: Stage,
    pub(crate) completion: Rc<dyn Completion>,
    /// Kept from poll to poll only while a waker is out there.
    pub(crate) cell: Option<Arc<WakeCell>>,
    pub(crate) name: Option<Cow<'static, str>>,
    group: Option<u32>,
    links: [Links; 3],
    /// When it was queued, counted in wakes.
    stamp: u64,
    /// When it came into its stage, counted in polls of the executor.
    pub(crate) since: u64,
    pub(crate) last_wake: WakeSource,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl Linked for Slot {
    fn links(&mut self, chain: Chain) -> &mut Links {
        &mut self.links[chain as usize]
    }

    fn next(&self, chain: Chain) -> u32 {
        self.links[chain as usize].next()
    }
}

impl Slot {
    pub(crate) fn group_index(&self) -> Option<u32> {
        self.group
    }

    /// What is left to do when a task ends: drop, answer, drop.
    pub(crate) fn into_parts(
        self,
    ) -> (Option<BoxedTask>, Rc<dyn Completion>, Option<Arc<WakeCell>>) {
        let future = match self.stage {
            Stage::Idle(future) | Stage::Queued(future) | Stage::Deferred(future) => Some(future),
            Stage::Polling(_) => None,
        };
        (future, self.completion, self.cell)
    }
}

/// What a new task consists of.
pub(crate) struct NewTask {
    pub(crate) future: BoxedTask,
    pub(crate) completion: Rc<dyn Completion>,
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) group: Option<GroupId>,
    pub(crate) deferred: bool,
    pub(crate) spawned_at: &'static Location<'static>,
}

/// What a wake did.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The task became ready.
    Queued,
    /// The task is on the stack and becomes ready when its poll ends.
    Noted,
    /// The task was ready, deferred or gone.
    Nothing,
}

/// What an abort found.
#[must_use]
pub(crate) enum Removed {
    /// The task; whoever gets it finishes it.
    Task(Slot),
    /// It is on the stack and ends with its poll.
    Doomed,
    /// There is no such task.
    Gone,
}

/// All tasks and groups of one executor.
pub(crate) struct Table {
    slots: Slab<Slot>,
    ready: List,
    pub(crate) groups: GroupTable,
    next_generation: u64,
    next_stamp: u64,
    /// How many polls the executor has made.
    pub(crate) polls: u64,
    shuffler: Option<Shuffler>,
}

impl Table {
    pub(crate) fn new(shuffler: Option<Shuffler>) -> Self {
        Self {
            slots: Slab::new(),
            ready: List::new(Chain::Ready),
            groups: GroupTable::new(),
            next_generation: 1,
            next_stamp: 0,
            polls: 0,
            shuffler,
        }
    }

    pub(crate) fn live(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The stamp that the next queued task gets: a round polls what is stamped below it.
    pub(crate) fn now(&self) -> u64 {
        self.next_stamp
    }

    pub(crate) fn get(&self, id: TaskId) -> Option<&Slot> {
        let slot = self.slots.get(id.index as usize)?;
        (slot.generation == id.generation).then_some(slot)
    }

    pub(crate) fn get_mut(&mut self, id: TaskId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(id.index as usize)?;
        (slot.generation == id.generation).then_some(slot)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = (TaskId, &Slot)> {
        self.slots
            .iter()
            .map(|(index, slot)| (id_of(index, slot), slot))
    }

    /// Takes a task in, ready unless it is deferred.
    pub(crate) fn insert(&mut self, new: NewTask) -> TaskId {
        let generation = self.next_generation;
        self.next_generation += 1;
        let group = new.group.map(|group| group.index);
        let index = self.slots.insert(Slot {
            generation,
            stage: Stage::Deferred(new.future),
            completion: new.completion,
            cell: None,
            name: new.name,
            group,
            links: [Links::UNLINKED; 3],
            stamp: 0,
            since: self.polls,
            last_wake: WakeSource::Spawn,
            spawned_at: new.spawned_at,
        });
        let index = u32::try_from(index).expect("fewer than 2^32 tasks fit into memory");
        if let Some(group) = group {
            self.groups
                .entry(group)
                .members
                .push_back(&mut self.slots, index);
        }
        let id = TaskId { index, generation };
        if !new.deferred {
            self.release(id);
        }
        id
    }

    /// Makes a deferred task ready (edge 5).
    pub(crate) fn release(&mut self, id: TaskId) {
        if matches!(
            self.get(id),
            Some(Slot {
                stage: Stage::Deferred(_),
                ..
            })
        ) {
            self.queue(id.index);
        }
    }

    /// Makes a task ready, or notes that it is to be (edge 1).
    pub(crate) fn wake(&mut self, id: TaskId, source: WakeSource) -> Woken {
        let Some(slot) = self.get_mut(id) else {
            return Woken::Nothing;
        };
        match &mut slot.stage {
            Stage::Idle(_) => {
                slot.last_wake = source;
                self.queue(id.index);
                Woken::Queued
            }
            Stage::Polling(meanwhile) if !meanwhile.woken => {
                meanwhile.woken = true;
                slot.last_wake = source;
                Woken::Noted
            }
            Stage::Polling(_) | Stage::Queued(_) | Stage::Deferred(_) => Woken::Nothing,
        }
    }

    /// The task to poll next of those stamped below `end`.
    pub(crate) fn next_ready(&mut self, end: u64) -> Option<TaskId> {
        let mut index = self.ready.head()?;
        if self.slots[index as usize].stamp >= end {
            return None;
        }
        if let Some(shuffler) = &mut self.shuffler {
            // Stamps grow along the list: the candidates are its beginning.
            let candidates = walk(&self.ready, &self.slots)
                .take_while(|&index| self.slots[index as usize].stamp < end);
            let chosen = shuffler.below(candidates.count());
            index = walk(&self.ready, &self.slots).nth(chosen)?;
        }
        Some(id_of(index as usize, &self.slots[index as usize]))
    }

    /// The task of this group to poll next.
    pub(crate) fn next_ready_in(&mut self, group: GroupId) -> Option<TaskId> {
        let ready = &self.groups.get(group)?.ready;
        let mut index = ready.head()?;
        if let Some(shuffler) = &mut self.shuffler {
            let chosen = shuffler.below(ready.len());
            index = walk(ready, &self.slots).nth(chosen)?;
        }
        Some(id_of(index as usize, &self.slots[index as usize]))
    }

    /// Takes a ready task's future out for the executor's poll of this number (edge 2).
    pub(crate) fn begin_poll(
        &mut self,
        id: TaskId,
        poll: u64,
    ) -> Option<(BoxedTask, Option<Arc<WakeCell>>)> {
        if !matches!(self.get(id)?.stage, Stage::Queued(_)) {
            return None;
        }
        self.polls = poll;
        self.unqueue(id.index);
        let slot = &mut self.slots[id.index as usize];
        slot.since = poll;
        let stage = std::mem::replace(&mut slot.stage, Stage::Polling(Meanwhile::default()));
        match stage {
            Stage::Queued(future) => Some((future, slot.cell.take())),
            _ => None,
        }
    }

    /// What happened to a task on the stack since its poll began.
    pub(crate) fn meanwhile(&mut self, id: TaskId) -> Option<&mut Meanwhile> {
        match &mut self.get_mut(id)?.stage {
            Stage::Polling(meanwhile) => Some(meanwhile),
            _ => None,
        }
    }

    /// Takes the cell of a task that has a waker out, the one of `hint` if it has: usually the
    /// task that had one last time still does, and the search ends there.
    pub(crate) fn take_witness(&mut self, hint: Option<TaskId>) -> Option<(TaskId, Arc<WakeCell>)> {
        let speaks = |slot: &Slot| slot.cell.as_ref().is_some_and(has_waker);
        let id = match hint.and_then(|id| self.get(id)) {
            Some(slot) if speaks(slot) => hint?,
            _ => self.ids().find(|(_, slot)| speaks(slot))?.0,
        };
        let cell = self.get_mut(id)?.cell.take()?;
        Some((id, cell))
    }

    /// Puts a cell back, or returns it if its task is gone.
    pub(crate) fn give_cell(&mut self, id: TaskId, cell: Arc<WakeCell>) -> Option<Arc<WakeCell>> {
        match self.get_mut(id) {
            Some(slot) => slot.cell.replace(cell),
            None => Some(cell),
        }
    }

    /// Puts a pending future back (edge 3).
    pub(crate) fn end_poll(&mut self, id: TaskId, future: BoxedTask, cell: Option<Arc<WakeCell>>) {
        let polls = self.polls;
        let Some(slot) = self.get_mut(id) else {
            unreachable!("rule 3: nobody removes a task that is on the stack");
        };
        slot.cell = cell;
        slot.since = polls;
        match std::mem::replace(&mut slot.stage, Stage::Idle(future)) {
            Stage::Polling(Meanwhile { woken: true, .. }) => self.queue(id.index),
            Stage::Polling(_) => {}
            _ => unreachable!("rule 3: only the poller ends `Polling`"),
        }
    }

    /// Takes a task out, or dooms it when it is on the stack (edge 4).
    pub(crate) fn remove(&mut self, id: TaskId, doom: Doom) -> Removed {
        match self.get_mut(id).map(|slot| &mut slot.stage) {
            None => Removed::Gone,
            Some(Stage::Polling(meanwhile)) => {
                meanwhile.doom.get_or_insert(doom);
                Removed::Doomed
            }
            Some(_) => Removed::Task(self.take(id)),
        }
    }

    /// Takes a task out; its future, if it was being polled, is with the caller.
    pub(crate) fn take(&mut self, id: TaskId) -> Slot {
        if matches!(self.slots[id.index as usize].stage, Stage::Queued(_)) {
            self.unqueue(id.index);
        }
        if let Some(group) = self.slots[id.index as usize].group {
            self.groups
                .entry(group)
                .members
                .unlink(&mut self.slots, id.index);
            self.groups.free_unused(group);
        }
        self.slots.remove(id.index as usize)
    }

    /// The live tasks of a group, oldest first.
    pub(crate) fn members(&self, group: GroupId) -> Vec<TaskId> {
        let Some(entry) = self.groups.get(group) else {
            return Vec::new();
        };
        walk(&entry.members, &self.slots)
            .map(|index| id_of(index as usize, &self.slots[index as usize]))
            .collect()
    }

    /// Moves any stage that holds a future to `Queued` and links it (rule 1).
    fn queue(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        // The placeholder lives for two lines; it spares an unsafe or an `Option`.
        let stage = std::mem::replace(&mut slot.stage, Stage::Polling(Meanwhile::default()));
        slot.stage = match stage {
            Stage::Idle(future) | Stage::Deferred(future) => Stage::Queued(future),
            Stage::Queued(_) | Stage::Polling(_) => {
                unreachable!("rule 1: only an idle or deferred task is queued")
            }
        };
        slot.stamp = self.next_stamp;
        slot.since = self.polls;
        self.next_stamp += 1;
        let group = slot.group;
        self.ready.push_back(&mut self.slots, index);
        if let Some(group) = group {
            self.groups
                .entry(group)
                .ready
                .push_back(&mut self.slots, index);
        }
    }

    fn unqueue(&mut self, index: u32) {
        self.ready.unlink(&mut self.slots, index);
        if let Some(group) = self.slots[index as usize].group {
            self.groups
                .entry(group)
                .ready
                .unlink(&mut self.slots, index);
        }
    }
}

fn id_of(index: usize, slot: &Slot) -> TaskId {
    TaskId {
        index: index as u32,
        generation: slot.generation,
    }
}

fn walk<'a>(list: &'a List, slots: &'a Slab<Slot>) -> impl Iterator<Item = u32> + 'a {
    std::iter::successors(list.head(), |&index| list.after(slots, index))
}
