//! Spec: ### Subtask State

use super::canon_lower::Lowered;
use super::component_instances::{Handle, InstanceId};
use super::tasks::TaskId;
use super::threads::ThreadId;
use super::waitable_state::{EventCode, EventTuple, Waitable, WaitableId};
use crate::arena::Id;
use crate::engine::CoreVal;
use crate::error::{Error, bug, trap_if};
use crate::store::State;
use crate::trap::Trap;
use std::rc::Rc;
use vestibule_executor::JoinHandle;

pub(crate) type SubtaskId = Id<Subtask>;

/// A call that an instance made through a lowered function, seen from the caller.
#[derive(Debug)]
pub(crate) struct Subtask {
    pub(crate) waitable: Waitable,
    pub(crate) state: SubtaskState,
    /// The lowered function: its options say how arguments are lifted and results lowered.
    pub(crate) lowered: Rc<Lowered>,
    /// The thread that made the call.
    pub(crate) caller: ThreadId,
    /// Whether this is the first call of that import in this store.
    pub(crate) first_call: bool,
    /// The flat arguments, lifted when the callee starts; then, once it has resolved, the flat
    /// results.
    pub(crate) flat: Vec<CoreVal>,
    /// Where the results go, when they go by memory: after the parameters, so it is known once
    /// those are lifted.
    pub(crate) out_param: Option<u64>,
    /// Handles lent for the call; given back when the resolution is delivered.
    pub(crate) lenders: Vec<u32>,
    pub(crate) resolve_delivered: bool,
    pub(crate) cancellation_requested: bool,
    /// Its index in the caller's table, once it has one.
    pub(crate) index: Option<u32>,
    pub(crate) callee: Callee,
}

/// Who carries out a subtask.
#[derive(Debug)]
pub(crate) enum Callee {
    /// Nobody yet, or nobody any more.
    None,
    /// A task of another component instance.
    Task(TaskId),
    /// A host future. Cancelling the call is dropping the future.
    Host(JoinHandle<()>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubtaskState {
    Starting = 0,
    Started = 1,
    Returned = 2,
    CancelledBeforeStarted = 3,
    CancelledBeforeReturned = 4,
}

impl Subtask {
    pub(crate) fn new(lowered: Rc<Lowered>, caller: ThreadId, flat_args: Vec<CoreVal>) -> Subtask {
        Subtask {
            waitable: Waitable::default(),
            state: SubtaskState::Starting,
            lowered,
            caller,
            first_call: false,
            flat: flat_args,
            out_param: None,
            lenders: Vec::new(),
            resolve_delivered: false,
            cancellation_requested: false,
            index: None,
            callee: Callee::None,
        }
    }

    pub(crate) fn resolved(&self) -> bool {
        !matches!(self.state, SubtaskState::Starting | SubtaskState::Started)
    }
}

impl State {
    pub(crate) fn subtask(&self, id: SubtaskId) -> Result<&Subtask, Error> {
        self.subtasks
            .get(id)
            .ok_or_else(|| bug!("subtask {id:?} is gone"))
    }

    pub(crate) fn subtask_mut(&mut self, id: SubtaskId) -> Result<&mut Subtask, Error> {
        self.subtasks
            .get_mut(id)
            .ok_or_else(|| bug!("subtask {id:?} is gone"))
    }

    /// Looks up a subtask in an instance's table.
    pub(crate) fn subtask_handle(&self, inst: InstanceId, i: u32) -> Result<SubtaskId, Error> {
        match self.instance(inst).handles.get(i)? {
            Handle::Subtask(subtask) => Ok(*subtask),
            _ => Err(Trap::HandleWrongType {
                index: i,
                detail: "",
            }
            .into()),
        }
    }

    /// `Subtask.add_lender`
    pub(crate) fn add_lender(&mut self, id: SubtaskId, index: u32) -> Result<(), Error> {
        let subtask = self.subtask_mut(id)?;
        subtask.lenders.push(index);
        let inst = subtask.lowered.inst;
        if let Handle::Resource(handle) = self.instance_mut(inst).handles.get_mut(index)? {
            handle.num_lends += 1;
        }
        Ok(())
    }

    /// The subtask's state changed: tells the caller, once it holds a handle, and whoever waits.
    pub(crate) fn subtask_progress(&mut self, id: SubtaskId) {
        let Some(subtask) = self.subtasks.get(id) else {
            return;
        };
        let caller = subtask.caller;
        if subtask.index.is_some() {
            self.set_pending_event(WaitableId::Subtask(id));
        }
        self.wake_thread(caller);
    }

    /// `Subtask.resolve`
    pub(crate) fn resolve_subtask(
        &mut self,
        id: SubtaskId,
        state: SubtaskState,
        flat_results: Vec<CoreVal>,
    ) -> Result<(), Error> {
        let subtask = self.subtask_mut(id)?;
        debug_assert!(!subtask.resolved());
        subtask.state = state;
        subtask.flat = flat_results;
        let callee = std::mem::replace(&mut subtask.callee, Callee::None);
        if let Callee::Host(_) = callee {
            self.host_futures -= 1;
        }
        self.subtask_progress(id);
        Ok(())
    }

    /// `Subtask.deliver_resolve`
    pub(crate) fn deliver_resolve(&mut self, id: SubtaskId) -> Result<(), Error> {
        let subtask = self.subtask_mut(id)?;
        debug_assert!(subtask.resolved() && !subtask.resolve_delivered);
        subtask.resolve_delivered = true;
        let lenders = std::mem::take(&mut subtask.lenders);
        let inst = subtask.lowered.inst;
        for index in lenders {
            if let Handle::Resource(handle) = self.instance_mut(inst).handles.get_mut(index)? {
                handle.num_lends -= 1;
            }
        }
        Ok(())
    }

    /// `subtask_event`: the state, now that somebody asks.
    pub(super) fn subtask_event(&mut self, id: SubtaskId) -> Result<EventTuple, Error> {
        let subtask = self.subtask(id)?;
        let (resolved, state, index) = (subtask.resolved(), subtask.state, subtask.index);
        if resolved {
            self.deliver_resolve(id)?;
        }
        Ok((EventCode::Subtask, index.unwrap_or(0), state as u32))
    }

    /// `Subtask.drop`
    pub(crate) fn drop_subtask(&mut self, id: SubtaskId) -> Result<(), Error> {
        let subtask = self.subtask(id)?;
        trap_if!(!subtask.resolve_delivered, Trap::SubtaskNotResolved);
        self.join_set(WaitableId::Subtask(id), None);
        self.subtasks.remove(id);
        Ok(())
    }
}
