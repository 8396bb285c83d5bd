//! Spec: ### `canon subtask.cancel`, ### `canon subtask.drop`

use super::canon_lift::nested;
use super::canon_lower::write_results;
use super::canon_stream::BLOCKED;
use super::component_instances::InstanceId;
use super::finish::{Finish, Then};
use super::subtask_state::{Callee, SubtaskId, SubtaskState};
use super::tasks::{TaskId, TaskState};
use super::threads::{Block, Flow, Until, resume};
use super::waitable_state::WaitableId;
use crate::engine::{Context, CoreVal, HostOutcome};
use crate::error::{Error, trap_if};
use crate::store::State;
use crate::store::drive::SyncCall;
use crate::trap::Trap;

pub(crate) fn subtask_cancel(
    cx: &mut Context<'_>,
    inst: InstanceId,
    async_: bool,
    i: u32,
    results: &mut [CoreVal],
) -> Result<HostOutcome, Error> {
    let state = cx.data_mut();
    state.check_leave(inst)?;
    let id = state.subtask_handle(inst, i)?;
    let thread = state.current_thread()?;
    let subtask = state.subtask_mut(id)?;
    trap_if!(
        subtask.resolve_delivered || subtask.cancellation_requested,
        Trap::SubtaskAlreadyCancelled
    );
    trap_if!(subtask.waitable.wset.is_some(), Trap::WaitableSyncInSet);
    if !subtask.resolved() {
        subtask.cancellation_requested = true;
        subtask.waitable.sync_waiter = Some(thread);
        if request_cancellation(cx, id)? {
            cx.data_mut().pending = Some(Block::Paused(Then::SubtaskCancel { id, async_ }));
            return Ok(HostOutcome::Suspend);
        }
    }
    match finish_cancel(cx.data_mut(), id, async_)? {
        Finish::Value(value) => {
            write_results(results, value.as_slice())?;
            Ok(HostOutcome::Return)
        }
        Finish::Block(block) => {
            cx.data_mut().pending = Some(block);
            Ok(HostOutcome::Suspend)
        }
    }
}

/// `subtask.on_cancel()`; whether the driver is to run threads of the callee's instance first.
fn request_cancellation(cx: &mut Context<'_>, id: SubtaskId) -> Result<bool, Error> {
    let state = cx.data_mut();
    let subtask = state.subtask_mut(id)?;
    match std::mem::replace(&mut subtask.callee, Callee::None) {
        Callee::None => Ok(false),
        // Cancelling a call of the host is dropping its future.
        Callee::Host(task) => {
            let resolved = match subtask.state {
                SubtaskState::Starting => SubtaskState::CancelledBeforeStarted,
                _ => SubtaskState::CancelledBeforeReturned,
            };
            state.forget_borrows(id);
            state.aftermath.abort(task);
            state.host_futures -= 1;
            state.resolve_subtask(id, resolved, Vec::new())?;
            Ok(false)
        }
        Callee::Task(task) => {
            subtask.callee = Callee::Task(task);
            cancel_task(cx, task)
        }
    }
}

/// `Task.request_cancellation`
pub(crate) fn cancel_task(cx: &mut Context<'_>, id: TaskId) -> Result<bool, Error> {
    let state = cx.data_mut();
    let Some(task) = state.tasks.get_mut(id) else {
        return Ok(false);
    };
    let (before, thread, inst) = (task.state, task.implicit_thread, task.callee.inst);
    if !matches!(before, TaskState::Initial | TaskState::Started) {
        return Ok(false);
    }
    task.state = TaskState::PendingCancel;
    if before == TaskState::Initial {
        // It waits at the gate, and finds out that it was cancelled.
        let _flow = nested(cx, |cx| resume(cx, thread))?;
        return Ok(false);
    }
    // Of the candidates that the specification leaves to choose from, the cancelled thread itself
    // comes first: it needs no driver.
    if state.is_ready(thread) {
        let flow = nested(cx, |cx| resume(cx, thread))?;
        if flow == Flow::Paused || cx.data().task_resolved(id) {
            return Ok(flow == Flow::Paused);
        }
    }
    let state = cx.data_mut();
    state.ask_for_turn(thread);
    state.wake_thread(thread);
    let call = SyncCall {
        task: id,
        thread,
        inst,
        depth: state.native.len(),
        // One turn for every thread that is ready; the specification leaves the number open.
        cancel: Some(state.instance(inst).group.ready()),
    };
    state.sync_calls.push(call);
    Ok(true)
}

/// What `subtask.cancel` does once the callee had its chance.
pub(super) fn finish_cancel(
    state: &mut State,
    id: SubtaskId,
    async_: bool,
) -> Result<Finish, Error> {
    let resolved = state.subtask(id)?.resolved();
    if !resolved && !async_ {
        let then = Then::SubtaskCancel { id, async_ };
        return Ok(Finish::Block(Block::Wait(Until::Resolved(id), then)));
    }
    let waitable = WaitableId::Subtask(id);
    state.set_sync_waiter(waitable, None);
    let value = match resolved {
        true => state.get_pending_event(waitable)?.2,
        false => BLOCKED,
    };
    Ok(Finish::Value(Some(CoreVal::I32(value as i32))))
}

pub(crate) fn subtask_drop(state: &mut State, inst: InstanceId, i: u32) -> Result<(), Error> {
    state.check_leave(inst)?;
    let subtask = state.subtask_handle(inst, i)?;
    state.drop_subtask(subtask)?;
    state.remove_handle(inst, i)?;
    Ok(())
}
