//! `on_start` and `on_resolve`: how a call takes its arguments from its caller and gives its
//! results back (CanonicalABI.md, the closures of `canon lower`).

use super::canon_lower::flat_limits;
use super::context::{LiftLowerContext, Scope};
use super::flat_lifting::CoreValueIter;
use super::host_buffer::Unwanted;
use super::options::Peer;
use super::subtask_state::{SubtaskId, SubtaskState};
use super::tasks::{Caller, TaskId, TaskState};
use super::values::{lift_flat_values, lower_flat_values};
use crate::engine::Context;
use crate::error::{Error, bug};
use crate::transit::Transit;
use std::rc::Rc;

/// `on_start`: the callee starts, so the arguments are lifted.
pub(crate) fn on_start(cx: &mut Context<'_>, caller: &Caller) -> Result<Transit, Error> {
    match caller {
        Caller::Host(call) => call
            .take_args()
            .ok_or_else(|| bug!("a call from the host started twice")),
        Caller::Subtask(subtask) => start_subtask(cx, *subtask, Peer::Guest, false),
        Caller::Internal(_) => Err(bug!("an internal call has no arguments to lift")),
    }
}

/// `on_start` of a call through a lowered function; `as_vals` when the arguments will be `Val`s.
pub(crate) fn start_subtask(
    cx: &mut Context<'_>,
    id: SubtaskId,
    peer: Peer,
    as_vals: bool,
) -> Result<Transit, Error> {
    let subtask = cx.data_mut().subtask_mut(id)?;
    debug_assert!(subtask.state == SubtaskState::Starting);
    subtask.state = SubtaskState::Started;
    let lowered = Rc::clone(&subtask.lowered);
    let flat_args = std::mem::take(&mut subtask.flat);
    let (max_params, max_results) = flat_limits(lowered.opts.async_);
    let mut values = CoreValueIter::new(&flat_args);
    let mut lift = LiftLowerContext::new(cx, &lowered.opts, lowered.inst, Scope::Subtask(id), peer)
        .for_vals(as_vals);
    let args = lift_flat_values(
        &mut lift,
        max_params,
        &mut values,
        lowered.ty().param_types(),
    )?;
    let out_param = values.next_out_param(
        max_results,
        lowered.ty().result_type(),
        lowered.opts.ptr_type,
    )?;
    let state = cx.data_mut();
    state.keep_vals(flat_args);
    state.subtask_mut(id)?.out_param = out_param;
    state.subtask_progress(id);
    Ok(args)
}

/// `on_resolve` of a task that returns.
pub(crate) fn on_resolve(
    cx: &mut Context<'_>,
    task: TaskId,
    results: Transit,
) -> Result<(), Error> {
    match cx.data().task(task)?.caller.clone() {
        Caller::Host(call) => {
            call.resolve(&mut cx.data_mut().aftermath, Ok(results));
            Ok(())
        }
        Caller::Subtask(subtask) => resolve_subtask(cx, subtask, results, Peer::Guest),
        Caller::Internal(_) => Ok(()),
    }
}

/// `on_resolve` of a call through a lowered function that returned.
pub(crate) fn resolve_subtask(
    cx: &mut Context<'_>,
    id: SubtaskId,
    mut results: Transit,
    peer: Peer,
) -> Result<(), Error> {
    // Nobody waits for the results when the caller was locked down meanwhile.
    let Some(subtask) = cx.data().subtasks.get(id) else {
        let results = results.into_handles();
        let unwanted = match peer {
            Peer::Host => Unwanted::Held(results),
            Peer::Guest => Unwanted::Passing(results),
        };
        cx.data_mut().aftermath.unwanted.push(unwanted);
        return Ok(());
    };
    let (lowered, out_param) = (Rc::clone(&subtask.lowered), subtask.out_param);
    if peer == Peer::Host {
        let state = cx.data_mut();
        state.end_borrows(id)?;
        let given = state.give(&mut results, None);
        if let Err(error) = given {
            state
                .aftermath
                .unwanted
                .push(Unwanted::Held(results.into_handles()));
            return Err(error);
        }
    }
    let mut flat_results = cx.data_mut().spare_vals();
    if lowered.ty().result().is_some() {
        let (_, max_results) = flat_limits(lowered.opts.async_);
        let mut lower = LiftLowerContext::new(cx, &lowered.opts, lowered.inst, Scope::None, peer);
        lower_flat_values(
            &mut lower,
            max_results,
            results,
            lowered.ty().result_type(),
            out_param,
            &mut flat_results,
        )?;
    }
    cx.data_mut()
        .resolve_subtask(id, SubtaskState::Returned, flat_results)
}

/// `on_resolve(None)`: a task that was cancelled.
pub(crate) fn on_cancelled(cx: &mut Context<'_>, task: TaskId) -> Result<(), Error> {
    let state = cx.data_mut();
    match state.task(task)?.caller.clone() {
        Caller::Host(call) => call.cancelled(&mut state.aftermath),
        Caller::Subtask(id) => {
            let resolved = match state.subtasks.get(id).map(|subtask| subtask.state) {
                Some(SubtaskState::Starting) => Some(SubtaskState::CancelledBeforeStarted),
                Some(_) => Some(SubtaskState::CancelledBeforeReturned),
                None => None,
            };
            if let Some(resolved) = resolved {
                state.resolve_subtask(id, resolved, Vec::new())?;
            }
        }
        Caller::Internal(_) => {}
    }
    state.task_mut(task)?.state = TaskState::Resolved;
    Ok(())
}
