//! Spec: ### Waitable State

use super::component_instances::{Handle, InstanceId};
use super::stream_state::EndId;
use super::subtask_state::SubtaskId;
use super::threads::ThreadId;
use super::turns::Queue;
use crate::arena::Id;
use crate::engine::{Context, CoreMemory};
use crate::error::{Error, bug, trap_if};
use crate::store::State;
use crate::trap::Trap;
use std::collections::BTreeMap;

pub(crate) type SetId = Id<WaitableSet>;

/// The codes of the events that a waitable can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventCode {
    None = 0,
    Subtask = 1,
    StreamRead = 2,
    StreamWrite = 3,
    FutureRead = 4,
    FutureWrite = 5,
    TaskCancelled = 6,
}

/// An event: its code and two payloads.
pub(crate) type EventTuple = (EventCode, u32, u32);

/// Anything that can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitableId {
    Subtask(SubtaskId),
    End(EndId),
}

/// The part of a subtask, or of a stream or future end, that can be waited for.
#[derive(Debug, Default)]
pub(crate) struct Waitable {
    /// Whether an event is pending; it is computed when it is delivered.
    pub(crate) pending_event: bool,
    /// When it got its event, among those of its set.
    ready_at: u64,
    pub(crate) wset: Option<SetId>,
    /// The thread that waits for this waitable alone.
    pub(crate) sync_waiter: Option<ThreadId>,
}

/// A set of waitables that threads of one instance wait for.
#[derive(Debug, Default)]
pub(crate) struct WaitableSet {
    /// How many waitables are in it.
    pub(crate) elems: usize,
    /// Those that have a pending event, in the order in which they got it.
    ready: BTreeMap<u64, WaitableId>,
    /// Threads that wait for an event.
    pub(super) waiters: Queue,
    /// Threads that wait for an event and for their turn in the instance.
    pub(super) turn_waiters: Queue,
}

impl WaitableSet {
    pub(crate) fn has_pending_event(&self) -> bool {
        !self.ready.is_empty()
    }
}

impl State {
    fn waitable_mut(&mut self, id: WaitableId) -> Option<&mut Waitable> {
        match id {
            WaitableId::Subtask(id) => self
                .subtasks
                .get_mut(id)
                .map(|subtask| &mut subtask.waitable),
            WaitableId::End(id) => self.ends.get_mut(id).map(|end| &mut end.waitable),
        }
    }

    pub(crate) fn has_pending_event(&self, id: WaitableId) -> bool {
        match id {
            WaitableId::Subtask(id) => self
                .subtasks
                .get(id)
                .is_some_and(|subtask| subtask.waitable.pending_event),
            WaitableId::End(id) => self
                .ends
                .get(id)
                .is_some_and(|end| end.waitable.pending_event),
        }
    }

    pub(crate) fn has_sync_waiter(&mut self, id: WaitableId) -> bool {
        self.waitable_mut(id)
            .is_some_and(|waitable| waitable.sync_waiter.is_some())
    }

    /// Looks up a waitable in an instance's table.
    pub(crate) fn waitable(&mut self, inst: InstanceId, wi: u32) -> Result<WaitableId, Error> {
        match self.instance(inst).handles.get(wi)? {
            Handle::Subtask(id) => Ok(WaitableId::Subtask(*id)),
            Handle::End(id) => Ok(WaitableId::End(*id)),
            _ => Err(Trap::HandleWrongType {
                index: wi,
                detail: "",
            }
            .into()),
        }
    }

    /// Looks up a waitable set in an instance's table.
    pub(crate) fn waitable_set(&self, inst: InstanceId, si: u32) -> Result<SetId, Error> {
        match self.instance(inst).handles.get(si)? {
            Handle::WaitableSet(set) => Ok(*set),
            _ => Err(Trap::HandleWrongType {
                index: si,
                detail: "",
            }
            .into()),
        }
    }

    pub(crate) fn set_has_pending_event(&self, set: SetId) -> bool {
        self.sets
            .get(set)
            .is_some_and(WaitableSet::has_pending_event)
    }

    /// Gives a waitable its pending event and wakes who waits for it.
    pub(crate) fn set_pending_event(&mut self, id: WaitableId) {
        if let WaitableId::End(end) = id
            && let Some(host) = self.ends.get(end).and_then(|end| end.host.clone())
        {
            self.aftermath.tell(host);
        }
        let Some(waitable) = self.waitable_mut(id) else {
            return;
        };
        let pending = std::mem::replace(&mut waitable.pending_event, true);
        let (wset, waiter) = (waitable.wset, waitable.sync_waiter);
        // Also when an event was pending: who waits alone waits for a state, not for the event.
        if let Some(thread) = waiter {
            self.wake_thread(thread);
        }
        if !pending {
            self.make_ready(wset, id);
        }
    }

    /// The set has an event more.
    fn make_ready(&mut self, set: Option<SetId>, id: WaitableId) {
        let ready_at = self.ticket();
        if let Some(set) = set
            && let Some(wset) = self.sets.get_mut(set)
        {
            wset.ready.insert(ready_at, id);
            if let Some(waitable) = self.waitable_mut(id) {
                waitable.ready_at = ready_at;
            }
            self.offer_event(set);
        }
    }

    /// `Waitable.join`
    pub(crate) fn join_set(&mut self, id: WaitableId, new: Option<SetId>) {
        let Some(waitable) = self.waitable_mut(id) else {
            return;
        };
        let (pending, ready_at) = (waitable.pending_event, waitable.ready_at);
        let old = std::mem::replace(&mut waitable.wset, new);
        if let Some(set) = old.and_then(|old| self.sets.get_mut(old)) {
            set.elems -= 1;
            set.ready.remove(&ready_at);
        }
        if let Some(set) = new.and_then(|new| self.sets.get_mut(new)) {
            set.elems += 1;
        }
        if pending {
            self.make_ready(new, id);
        }
    }

    /// `Waitable.get_pending_event`
    pub(crate) fn get_pending_event(&mut self, id: WaitableId) -> Result<EventTuple, Error> {
        let Some(waitable) = self.waitable_mut(id) else {
            return Err(bug!("waitable {id:?} is gone"));
        };
        waitable.pending_event = false;
        let ready_at = waitable.ready_at;
        if let Some(set) = waitable.wset
            && let Some(wset) = self.sets.get_mut(set)
        {
            wset.ready.remove(&ready_at);
            self.offer_event(set);
        }
        match id {
            WaitableId::Subtask(id) => self.subtask_event(id),
            WaitableId::End(id) => self.end_event(id),
        }
    }

    /// Sets who waits for a waitable alone: `has_sync_waiter`.
    pub(crate) fn set_sync_waiter(&mut self, id: WaitableId, thread: Option<ThreadId>) {
        if let Some(waitable) = self.waitable_mut(id) {
            waitable.sync_waiter = thread;
        }
    }

    /// `WaitableSet.get_pending_event`, in the order in which the events came.
    pub(crate) fn set_get_pending_event(&mut self, set: SetId) -> Result<EventTuple, Error> {
        match self
            .sets
            .get(set)
            .and_then(|set| set.ready.first_key_value())
            .map(|(_, waitable)| *waitable)
        {
            Some(waitable) => self.get_pending_event(waitable),
            None => Err(bug!(
                "a waitable set was asked for an event it does not have"
            )),
        }
    }

    /// `WaitableSet.poll`
    pub(crate) fn set_poll(&mut self, set: SetId) -> Result<EventTuple, Error> {
        if self.set_has_pending_event(set) {
            self.set_get_pending_event(set)
        } else {
            Ok((EventCode::None, 0, 0))
        }
    }

    /// `WaitableSet.drop`
    pub(crate) fn drop_set(&mut self, set: SetId) -> Result<(), Error> {
        let Some(wset) = self.sets.get(set) else {
            return Ok(());
        };
        trap_if!(wset.elems > 0, Trap::WaitableSetNotEmpty);
        let waiting = !wset.waiters.is_empty() || !wset.turn_waiters.is_empty();
        trap_if!(waiting, Trap::WaitableSetHasWaiters);
        self.sets.remove(set);
        Ok(())
    }
}

/// `unpack_event`: writes the payloads of an event to guest memory and returns its code.
pub(crate) fn unpack_event(
    cx: &mut Context<'_>,
    memory: CoreMemory,
    ptr: u64,
    (code, p1, p2): EventTuple,
) -> Result<u32, Error> {
    trap_if!(!ptr.is_multiple_of(4), Trap::UnalignedPointer);
    let ptr = usize::try_from(ptr).unwrap_or(usize::MAX);
    let bytes = memory.data_mut(&mut *cx);
    match bytes.get_mut(ptr..).and_then(|bytes| bytes.get_mut(..8)) {
        Some(target) => {
            target[..4].copy_from_slice(&p1.to_le_bytes());
            target[4..].copy_from_slice(&p2.to_le_bytes());
        }
        None => return Err(Trap::PointerOutOfBounds.into()),
    }
    Ok(code as u32)
}
