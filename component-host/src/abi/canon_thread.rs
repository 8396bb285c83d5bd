//! Spec: ### `canon thread.*`

use super::component_instances::InstanceId;
use super::finish::Then;
use super::threads::{Block, Continuation, Entry, Role, ThreadId, ThreadState, Until};
use crate::engine::{self, Context, CoreTable, CoreVal, HostOutcome};
use crate::error::{Error, trap_if};
use crate::origin::CoreOrigin;
use crate::store::State;
use crate::trap::Trap;
use std::rc::Rc;

/// What a thread does with itself when it switches to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SwitchFrom {
    Suspend,
    Yield,
}

/// Which threads a switch may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SwitchTo {
    /// `-then-resume`: one that is suspended.
    Suspended,
    /// `-then-promote`: one that is ready; if it is not, nobody is switched to.
    Ready,
}

pub(crate) fn thread_index(state: &State, inst: InstanceId) -> Result<u32, Error> {
    state.check_leave(inst)?;
    Ok(state.thread(state.current_thread()?)?.index.unwrap_or(0))
}

pub(crate) fn thread_new_indirect(
    cx: &mut Context<'_>,
    inst: InstanceId,
    table: CoreTable,
    param: wasmparser::ValType,
    fi: u64,
    c: CoreVal,
) -> Result<u32, Error> {
    cx.data().check_leave(inst)?;
    let func = engine::table_func(cx, table, fi, param)?;
    let state = cx.data_mut();
    let task = state.current_task()?;
    state.check_threads()?;
    let entry = Entry {
        role: Role::Thread,
        name: state.unnamed.clone(),
        core: CoreOrigin::Element(fi),
    };
    let thread = state.new_thread(inst, Some(task), Rc::new(entry));
    state.thread_mut(thread)?.state = ThreadState::Suspended(Continuation::Start { func, arg: c });
    state.register_thread(task, thread)?;
    Ok(state.thread(thread)?.index.unwrap_or(0))
}

impl State {
    fn suspended_thread(&self, inst: InstanceId, i: u32) -> Result<ThreadId, Error> {
        let id = *self.instance(inst).threads.get(i)?;
        match self.thread(id)?.state {
            ThreadState::Suspended(_) => Ok(id),
            _ => Err(Trap::ThreadNotSuspended.into()),
        }
    }
}

pub(crate) fn thread_resume_later(
    state: &mut State,
    inst: InstanceId,
    i: u32,
) -> Result<(), Error> {
    state.check_leave(inst)?;
    let id = state.suspended_thread(inst, i)?;
    state.resume_later(id)
}

pub(crate) fn thread_suspend(state: &mut State, inst: InstanceId) -> Result<HostOutcome, Error> {
    state.check_leave(inst)?;
    state.pending = Some(Block::Suspend(Then::Yield));
    Ok(HostOutcome::Suspend)
}

pub(crate) fn thread_yield(state: &mut State, inst: InstanceId) -> Result<HostOutcome, Error> {
    state.check_leave(inst)?;
    state.pending = Some(Block::Wait(Until::Always, Then::Yield));
    Ok(HostOutcome::Suspend)
}

/// `thread.{suspend,yield}-then-{resume,promote}`
pub(crate) fn thread_switch(
    state: &mut State,
    inst: InstanceId,
    from: SwitchFrom,
    to: SwitchTo,
    i: u32,
) -> Result<HostOutcome, Error> {
    state.check_leave(inst)?;
    let other = match to {
        SwitchTo::Suspended => Some(state.suspended_thread(inst, i)?),
        SwitchTo::Ready => {
            let current = state.thread(state.current_thread()?)?.index;
            trap_if!(current == Some(i), Trap::ThreadNotSuspended);
            let other = *state.instance(inst).threads.get(i)?;
            state.is_ready(other).then_some(other)
        }
    };
    state.switch_to = other;
    match from {
        SwitchFrom::Suspend => thread_suspend(state, inst),
        SwitchFrom::Yield => thread_yield(state, inst),
    }
}
