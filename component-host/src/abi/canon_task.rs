//! Spec: ### `canon task.return`, ### `canon task.cancel`

use super::canon_lift::{self, CanonicalOptions, as_vals, peer};
use super::component_instances::InstanceId;
use super::context::{LiftLowerContext, Scope};
use super::flat_lifting::CoreValueIter;
use super::flattening::MAX_FLAT_PARAMS;
use super::resolve::on_cancelled;
use super::values::lift_flat_values;
use crate::engine::{Context, CoreVal};
use crate::error::{Error, trap_if};
use crate::trap::Trap;
use crate::types::Type;
use std::rc::Rc;

/// What `canon task.return` was defined with.
#[derive(Debug)]
pub(crate) struct TaskReturn {
    pub(crate) result: Option<Type>,
    pub(crate) opts: Rc<CanonicalOptions>,
}

pub(crate) fn task_return(
    cx: &mut Context<'_>,
    inst: InstanceId,
    builtin: &TaskReturn,
    flat_args: &[CoreVal],
) -> Result<(), Error> {
    let state = cx.data();
    state.check_leave(inst)?;
    let id = state.current_task()?;
    let task = state.task(id)?;
    let callee = Rc::clone(&task.callee);
    trap_if!(!callee.opts.async_, Trap::NotAnAsyncTask);
    trap_if!(
        builtin.result.as_ref() != callee.ty.result(),
        Trap::TaskReturnInvalid
    );
    trap_if!(
        !same_lift_options(cx, &builtin.opts, &callee.opts),
        Trap::TaskReturnInvalid
    );
    let peer = peer(&task.caller);
    let mut values = CoreValueIter::new(flat_args);
    let as_vals = as_vals(&task.caller);
    let mut lift = LiftLowerContext::new(cx, &callee.opts, callee.inst, Scope::Task(id), peer)
        .for_vals(as_vals);
    let results = lift_flat_values(
        &mut lift,
        MAX_FLAT_PARAMS,
        &mut values,
        callee.ty.result_type(),
    )?;
    canon_lift::task_return(cx, id, results)
}

/// `LiftOptions.equal`; a result that needs no memory may be returned without one, as the official
/// suite does (`async/cross-abi-calls.wast`).
fn same_lift_options(
    cx: &Context<'_>,
    returns: &CanonicalOptions,
    lift: &CanonicalOptions,
) -> bool {
    let same_memory = match (&returns.memory, &lift.memory) {
        (Some(a), Some(b)) => crate::engine::same_memory(cx, *a, *b),
        (Some(_), None) => false,
        (None, _) => true,
    };
    returns.string_encoding == lift.string_encoding && same_memory
}

pub(crate) fn task_cancel(cx: &mut Context<'_>, inst: InstanceId) -> Result<(), Error> {
    let state = cx.data();
    state.check_leave(inst)?;
    let id = state.current_task()?;
    trap_if!(!state.task(id)?.callee.opts.async_, Trap::NotAnAsyncTask);
    state.check_cancel(id)?;
    on_cancelled(cx, id)
}
