//! Spec: ### `canon lower`

use super::canon_lift::{CanonicalOptions, Lifted, canon_lift};
use super::component_instances::{Handle, InstanceId};
use super::direct::{self, call_guest};
use super::finish::{Finish, Then};
use super::flattening::{MAX_FLAT_ASYNC_PARAMS, MAX_FLAT_PARAMS, MAX_FLAT_RESULTS};
use super::host_call::call_host;
use super::subtask_state::{Subtask, SubtaskId, SubtaskState};
use super::tasks::Caller;
use super::threads::{Block, Flow, Until};
use crate::component::definitions::Name;
use crate::engine::{Context, CoreVal, HostOutcome};
use crate::error::{Error, bug, trap_if};
use crate::func::HostFunc;
use crate::store::State;
use crate::trap::Trap;
use crate::types::FuncType;
use std::cell::Cell;
use std::rc::Rc;

/// A component function as a core function: what `canon lower` defines.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) func: FuncInst,
    /// What the calling component calls it.
    pub(crate) import: Name,
    /// Whether it was called.
    pub(crate) called: Cell<bool>,
    /// Whether calls may go the short way (`abi/direct.rs`).
    pub(crate) direct: bool,
    pub(crate) opts: CanonicalOptions,
    /// The instance that calls it.
    pub(crate) inst: InstanceId,
}

/// A component function at run time: of another component, or of the host.
#[derive(Debug, Clone)]
pub(crate) enum FuncInst {
    Lifted(Rc<Lifted>),
    Host(Rc<HostFunc>),
}

impl FuncInst {
    pub(crate) fn ty(&self) -> &std::sync::Arc<FuncType> {
        match self {
            FuncInst::Lifted(lifted) => &lifted.ty,
            FuncInst::Host(host) => &host.ty,
        }
    }

    pub(crate) fn name(&self) -> &Name {
        match self {
            FuncInst::Lifted(lifted) => &lifted.entry.name,
            FuncInst::Host(host) => &host.name,
        }
    }
}

impl Lowered {
    pub(crate) fn ty(&self) -> &FuncType {
        self.func.ty()
    }
}

/// The greatest numbers of flat parameters and flat results of a lowered function.
pub(crate) fn flat_limits(async_: bool) -> (usize, usize) {
    if async_ {
        (MAX_FLAT_ASYNC_PARAMS, 0)
    } else {
        (MAX_FLAT_PARAMS, MAX_FLAT_RESULTS)
    }
}

/// Calls a lowered function.
pub(crate) fn canon_lower(
    cx: &mut Context<'_>,
    lowered: &Rc<Lowered>,
    flat_args: &[CoreVal],
    results: &mut [CoreVal],
) -> Result<HostOutcome, Error> {
    let state = cx.data_mut();
    trap_if!(
        !state.instance(lowered.inst).may_leave,
        Trap::CannotLeaveComponent
    );
    state.check_waitables(1)?;
    // An observer is told of calls on the long way alone.
    if lowered.direct && state.observer.is_none() {
        return match &lowered.func {
            FuncInst::Lifted(callee) => call_guest(cx, lowered, callee, flat_args, results),
            FuncInst::Host(host) if !host.start_safe && state.in_start() => {
                long_way(cx, lowered, flat_args, results)
            }
            FuncInst::Host(host) => direct::call_host(cx, lowered, host, flat_args, results),
        };
    }
    long_way(cx, lowered, flat_args, results)
}

/// Calls a lowered function with values of any type, asynchronously or not.
fn long_way(
    cx: &mut Context<'_>,
    lowered: &Rc<Lowered>,
    flat_args: &[CoreVal],
    results: &mut [CoreVal],
) -> Result<HostOutcome, Error> {
    let state = cx.data_mut();
    let caller = state.current_thread()?;
    let mut args = state.spare_vals();
    args.extend_from_slice(flat_args);
    let mut subtask = Subtask::new(Rc::clone(lowered), caller, args);
    subtask.first_call = state.is_first_call(lowered);
    let id = state.subtasks.insert(subtask);
    let flow = match &lowered.func {
        FuncInst::Host(host) => call_host(cx, &Rc::clone(host), id)?,
        FuncInst::Lifted(callee) => canon_lift(cx, callee, Caller::Subtask(id))?.1,
    };
    if flow == Flow::Paused {
        cx.data_mut().pending = Some(Block::Paused(Then::Lower(id)));
        return Ok(HostOutcome::Suspend);
    }
    finish_and_write(cx, id, results)
}

/// [`finish_lower`], in the host function that the guest called.
pub(crate) fn finish_and_write(
    cx: &mut Context<'_>,
    id: SubtaskId,
    results: &mut [CoreVal],
) -> Result<HostOutcome, Error> {
    match finish_lower(cx, id)? {
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

impl State {
    /// Whether an import is called for the first time in this store; the next time it is not.
    pub(crate) fn is_first_call(&mut self, lowered: &Lowered) -> bool {
        !lowered.called.replace(true) && self.called_imports.insert(lowered.import.clone())
    }
}

/// What `canon lower` does once the callee has returned or blocked.
pub(crate) fn finish_lower(cx: &mut Context<'_>, id: SubtaskId) -> Result<Finish, Error> {
    let state = cx.data_mut();
    let subtask = state.subtask(id)?;
    let (inst, async_, resolved) = (
        subtask.lowered.inst,
        subtask.lowered.opts.async_,
        subtask.resolved(),
    );
    if resolved {
        state.deliver_resolve(id)?;
        let Some(mut subtask) = state.subtasks.remove(id) else {
            return Err(bug!("a subtask vanished while it was resolved"));
        };
        // One at most: `MAX_FLAT_RESULTS`.
        let result = subtask.flat.pop();
        state.keep_vals(subtask.flat);
        return Ok(Finish::Value(match async_ {
            true => Some(CoreVal::I32(SubtaskState::Returned as i32)),
            false => result,
        }));
    }
    if !async_ {
        return Ok(Finish::Block(Block::Wait(
            Until::Resolved(id),
            Then::Lower(id),
        )));
    }
    let packed_state = subtask.state as u32;
    let index = state.add_handle(inst, Handle::Subtask(id))?;
    state.subtask_mut(id)?.index = Some(index);
    let packed = packed_state | (index << 4);
    Ok(Finish::Value(Some(CoreVal::I32(packed as i32))))
}

pub(crate) fn write_results(results: &mut [CoreVal], values: &[CoreVal]) -> Result<(), Error> {
    if results.len() != values.len() {
        return Err(bug!(
            "{} results where {} were due",
            values.len(),
            results.len()
        ));
    }
    results.clone_from_slice(values);
    Ok(())
}
