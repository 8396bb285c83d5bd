//! The core functions that canonical definitions make: one door for all of them.

use super::canon_error_context::{
    error_context_debug_message, error_context_drop, error_context_new,
};
use super::canon_lift::CanonicalOptions;
use super::canon_lower::{Lowered, canon_lower, write_results};
use super::canon_resource::{resource_drop, resource_new, resource_rep};
use super::canon_stream::{EndType, cancel_copy, copy_end, drop_end, forward_ends, new_ends};
use super::canon_subtask::{subtask_cancel, subtask_drop};
use super::canon_task::{TaskReturn, task_cancel, task_return};
use super::canon_thread::{
    SwitchFrom, SwitchTo, thread_index, thread_new_indirect, thread_resume_later, thread_suspend,
    thread_switch, thread_yield,
};
use super::canon_waitable::{
    waitable_join, waitable_set_drop, waitable_set_new, waitable_set_poll, waitable_set_wait,
};
use super::component_instances::InstanceId;
use super::host_call::panic_text;
use crate::config::FUEL_PER_CROSSING;
use crate::engine::{self, Context, CoreMemory, CoreTable, CoreVal, HostOutcome};
use crate::error::{Error, bug, trap_if};
use crate::limits::MAX_BACKPRESSURE;
use crate::store::State;
use crate::trap::Trap;
use crate::types::ResourceType;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use wasmparser::ValType;

/// A canonical definition, in the instance that made it.
#[derive(Debug)]
pub(crate) struct Builtin {
    pub(crate) inst: InstanceId,
    pub(crate) kind: BuiltinKind,
}

#[derive(Debug)]
pub(crate) enum BuiltinKind {
    Lower(Rc<Lowered>),
    ResourceNew(ResourceType),
    ResourceDrop(ResourceType),
    ResourceRep(ResourceType),
    ContextGet {
        slot: usize,
        wide: bool,
    },
    ContextSet {
        slot: usize,
        wide: bool,
    },
    BackpressureInc,
    BackpressureDec,
    TaskReturn(TaskReturn),
    TaskCancel,
    WaitableSetNew,
    WaitableSetWait(CoreMemory),
    WaitableSetPoll(CoreMemory),
    WaitableSetDrop,
    WaitableJoin,
    SubtaskCancel {
        async_: bool,
    },
    SubtaskDrop,
    ThreadIndex,
    ThreadNewIndirect {
        table: CoreTable,
        param: ValType,
    },
    ThreadResumeLater,
    ThreadSuspend,
    ThreadYield,
    ThreadSwitch {
        from: SwitchFrom,
        to: SwitchTo,
    },
    New(EndType),
    Copy {
        ty: EndType,
        readable: bool,
        opts: Rc<CanonicalOptions>,
    },
    CancelCopy {
        ty: EndType,
        readable: bool,
        async_: bool,
    },
    DropEnd {
        ty: EndType,
        readable: bool,
    },
    Forward(EndType),
    ErrorContextNew(CanonicalOptions),
    ErrorContextDebugMessage(CanonicalOptions),
    ErrorContextDrop,
    NotYet(&'static str),
}

/// Runs the built-in of the given index; the engine's host functions all come here.
pub(crate) fn call_builtin(
    cx: &mut Context<'_>,
    index: usize,
    args: &[CoreVal],
    results: &mut [CoreVal],
) -> Result<HostOutcome, Error> {
    let Some(builtin) = cx.data().builtins.get(index).cloned() else {
        return Err(bug!("there is no built-in {index}"));
    };
    cx.data_mut().totals.crossings += 1;
    engine::charge(cx, FUEL_PER_CROSSING)?;
    match catch_unwind(AssertUnwindSafe(|| dispatch(cx, &builtin, args, results))) {
        Ok(outcome) => outcome,
        Err(payload) => Err(bug!("a built-in panicked: {}", panic_text(payload))),
    }
}

fn dispatch(
    cx: &mut Context<'_>,
    builtin: &Builtin,
    args: &[CoreVal],
    results: &mut [CoreVal],
) -> Result<HostOutcome, Error> {
    match suspending(cx, builtin, args, results) {
        Some(outcome) => outcome,
        None => {
            let value = immediate(cx, builtin, args)?;
            write_results(results, value.as_slice())?;
            Ok(HostOutcome::Return)
        }
    }
}

/// The built-ins that may suspend their guest.
fn suspending(
    cx: &mut Context<'_>,
    builtin: &Builtin,
    args: &[CoreVal],
    results: &mut [CoreVal],
) -> Option<Result<HostOutcome, Error>> {
    let inst = builtin.inst;
    let arg = |i: usize| args.get(i).map_or(0, u32_of);
    let wide = |i: usize| args.get(i).map_or(0, u64_of);
    Some(match &builtin.kind {
        BuiltinKind::Lower(lowered) => canon_lower(cx, lowered, args, results),
        BuiltinKind::ResourceDrop(rt) => resource_drop(cx, inst, *rt, arg(0)),
        BuiltinKind::WaitableSetWait(memory) => {
            waitable_set_wait(cx, inst, *memory, arg(0), wide(1), results)
        }
        BuiltinKind::SubtaskCancel { async_ } => subtask_cancel(cx, inst, *async_, arg(0), results),
        BuiltinKind::ThreadSuspend => thread_suspend(cx.data_mut(), inst),
        BuiltinKind::ThreadYield => thread_yield(cx.data_mut(), inst),
        BuiltinKind::ThreadSwitch { from, to } => {
            thread_switch(cx.data_mut(), inst, *from, *to, arg(0))
        }
        BuiltinKind::Copy { ty, readable, opts } => {
            let length = if ty.future { 1 } else { wide(2) };
            let what = (ty, *readable, opts);
            copy_end(cx, inst, what, (arg(0), wide(1), length), results)
        }
        BuiltinKind::CancelCopy {
            ty,
            readable,
            async_,
        } => cancel_copy(cx, inst, (ty, *readable, *async_), arg(0), results),
        _ => return None,
    })
}

/// The built-ins that always return at once.
fn immediate(
    cx: &mut Context<'_>,
    builtin: &Builtin,
    args: &[CoreVal],
) -> Result<Option<CoreVal>, Error> {
    let inst = builtin.inst;
    let arg = |i: usize| args.get(i).map_or(0, u32_of);
    let wide = |i: usize| args.get(i).map_or(0, u64_of);
    match &builtin.kind {
        BuiltinKind::ResourceNew(rt) => some(resource_new(cx.data_mut(), inst, *rt, arg(0))),
        BuiltinKind::ResourceRep(rt) => some(resource_rep(cx.data_mut(), inst, *rt, arg(0))),
        BuiltinKind::ContextGet { slot, wide } => context_get(cx.data(), *slot, *wide).map(Some),
        BuiltinKind::ContextSet {
            slot,
            wide: is_wide,
        } => none(context_set(cx.data_mut(), *slot, *is_wide, wide(0))),
        BuiltinKind::BackpressureInc => none(backpressure_inc(cx.data_mut(), inst)),
        BuiltinKind::BackpressureDec => none(backpressure_dec(cx.data_mut(), inst)),
        BuiltinKind::TaskReturn(builtin) => none(task_return(cx, inst, builtin, args)),
        BuiltinKind::TaskCancel => none(task_cancel(cx, inst)),
        BuiltinKind::WaitableSetNew => some(waitable_set_new(cx.data_mut(), inst)),
        BuiltinKind::WaitableSetPoll(memory) => {
            some(waitable_set_poll(cx, inst, *memory, arg(0), wide(1)))
        }
        BuiltinKind::WaitableSetDrop => none(waitable_set_drop(cx.data_mut(), inst, arg(0))),
        BuiltinKind::WaitableJoin => none(waitable_join(cx.data_mut(), inst, arg(0), arg(1))),
        BuiltinKind::SubtaskDrop => none(subtask_drop(cx.data_mut(), inst, arg(0))),
        BuiltinKind::ThreadIndex => some(thread_index(cx.data(), inst)),
        BuiltinKind::ThreadNewIndirect { table, param } => {
            let context = args.get(1).cloned().unwrap_or(CoreVal::I32(0));
            some(thread_new_indirect(
                cx,
                inst,
                *table,
                *param,
                wide(0),
                context,
            ))
        }
        BuiltinKind::ThreadResumeLater => none(thread_resume_later(cx.data_mut(), inst, arg(0))),
        BuiltinKind::New(ty) => {
            let ends = new_ends(cx.data_mut(), inst, ty)?;
            Ok(Some(CoreVal::I64(ends as i64)))
        }
        BuiltinKind::DropEnd { ty, readable } => {
            none(drop_end(cx.data_mut(), inst, ty, *readable, arg(0)))
        }
        BuiltinKind::Forward(ty) => none(forward_ends(cx, inst, ty, arg(0), arg(1))),
        BuiltinKind::ErrorContextNew(opts) => {
            some(error_context_new(cx, inst, opts, wide(0), wide(1)))
        }
        BuiltinKind::ErrorContextDebugMessage(opts) => {
            none(error_context_debug_message(cx, inst, opts, arg(0), wide(1)))
        }
        BuiltinKind::ErrorContextDrop => none(error_context_drop(cx.data_mut(), inst, arg(0))),
        BuiltinKind::NotYet(name) => Err(Trap::NotYetSupported(name).into()),
        other => Err(bug!("{other:?} returns at once")),
    }
}

fn some(result: Result<u32, Error>) -> Result<Option<CoreVal>, Error> {
    result.map(|value| Some(CoreVal::I32(value as i32)))
}

fn none(result: Result<(), Error>) -> Result<Option<CoreVal>, Error> {
    result.map(|()| None)
}

fn u32_of(value: &CoreVal) -> u32 {
    match *value {
        CoreVal::I32(value) => value as u32,
        CoreVal::I64(value) => value as u32,
        _ => 0,
    }
}

fn u64_of(value: &CoreVal) -> u64 {
    match *value {
        CoreVal::I32(value) => u64::from(value as u32),
        CoreVal::I64(value) => value as u64,
        _ => 0,
    }
}

/// Spec: ### `canon context.get`
fn context_get(state: &State, slot: usize, wide: bool) -> Result<CoreVal, Error> {
    let value = state
        .thread(state.current_thread()?)?
        .storage
        .get(slot)
        .copied()
        .unwrap_or(0);
    Ok(if wide {
        CoreVal::I64(value as i64)
    } else {
        CoreVal::I32(value as u32 as i32)
    })
}

/// Spec: ### `canon context.set`
fn context_set(state: &mut State, slot: usize, wide: bool, value: u64) -> Result<(), Error> {
    let thread = state.current_thread()?;
    if let Some(stored) = state.thread_mut(thread)?.storage.get_mut(slot) {
        *stored = if wide { value } else { u64::from(value as u32) };
    }
    Ok(())
}

/// Spec: ### `canon backpressure.{inc,dec}`
fn backpressure_inc(state: &mut State, inst: InstanceId) -> Result<(), Error> {
    let instance = state.instance_mut(inst);
    instance.backpressure += 1;
    trap_if!(
        instance.backpressure == MAX_BACKPRESSURE,
        Trap::BackpressureOverflow
    );
    Ok(())
}

fn backpressure_dec(state: &mut State, inst: InstanceId) -> Result<(), Error> {
    let instance = state.instance_mut(inst);
    trap_if!(instance.backpressure == 0, Trap::BackpressureOverflow);
    instance.backpressure -= 1;
    if instance.backpressure == 0 {
        state.offer_turn(inst);
    }
    Ok(())
}
