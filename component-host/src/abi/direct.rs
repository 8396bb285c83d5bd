//! Calls whose arguments and result are numbers, between two synchronous sides: the short way.
//!
//! It does what [`canon_lower`](super::canon_lower), [`canon_lift`](super::canon_lift) and what is
//! between them do, in the same order, and leaves out what nobody could tell: values that wait to be
//! lifted or lowered, and looking up again what is in hand. While the callee runs, its task, its
//! thread and the caller's subtask are in the state as ever, so a callee that waits goes on, and one
//! that fails is reported, as if it had been called the long way (`tests/direct_calls.rs`).

use super::canon_lift::{
    CanonicalOptions, CoreFrame, Lifted, after_run, begin_task, nested, post_return,
};
use super::canon_lower::{FuncInst, Lowered, finish_and_write};
use super::context::BYTES_PER_FUEL;
use super::finish::Then;
use super::flattening::scalar_core_type;
use super::host_call::{catch, host_failure};
use super::loading::lift_number;
use super::storing::lower_number;
use super::subtask_state::{Callee, Subtask, SubtaskId, SubtaskState};
use super::tasks::{Caller, TaskId, TaskState};
use super::threads::{Block, Flow, ThreadId, switch};
use super::watched::watched;
use crate::engine::{
    self, Context, CoreVal, HostOutcome, Run, core_val_from_bits, core_val_to_bits,
};
use crate::error::{Error, bug};
use crate::func::{HostCall, HostFunc, HostKind};
use crate::store::State;
use crate::transit::Transit;
use crate::types::{FuncType, Type, ValueTypes};
use std::rc::Rc;

/// Whether calls of a function through one that is lowered may go the short way.
pub(crate) fn is_direct(func: &FuncInst, lowered_async: bool) -> bool {
    let callee = match func {
        FuncInst::Lifted(callee) => callee.direct,
        FuncInst::Host(host) => {
            let plain = matches!(host.kind, HostKind::Plain(_)) && !host.as_vals;
            plain && has_only_numbers(&host.ty)
        }
    };
    callee && !lowered_async
}

/// Whether calls of a function lifted like this may go the short way.
pub(crate) fn is_direct_lift(ty: &FuncType, opts: &CanonicalOptions) -> bool {
    !opts.async_ && has_only_numbers(ty)
}

fn has_only_numbers(ty: &FuncType) -> bool {
    !ty.is_async() && ty.param_types().are_flat_numbers() && ty.result_type().are_flat_numbers()
}

/// Calls the function of another instance. The caller may leave, and there is room for a subtask.
pub(crate) fn call_guest(
    cx: &mut Context<'_>,
    lowered: &Rc<Lowered>,
    callee: &Rc<Lifted>,
    flat_args: &[CoreVal],
    results: &mut [CoreVal],
) -> Result<HostOutcome, Error> {
    let state = cx.data_mut();
    let caller = state.current_thread()?;
    let mut subtask = Subtask::new(Rc::clone(lowered), caller, Vec::new());
    subtask.first_call = state.is_first_call(lowered);
    subtask.state = SubtaskState::Started;
    let id = state.subtasks.insert(subtask);
    let (task, thread) = begin_task(state, callee, Caller::Subtask(id))?;
    let flow = nested(cx, |cx| {
        run(cx, callee, (id, task, thread), flat_args, results)
    })?;
    let state = cx.data_mut();
    match flow {
        None => {
            state.sync_calls.pop();
            state.subtasks.remove(id);
            Ok(HostOutcome::Return)
        }
        Some(Flow::Returned) if state.task_resolved(task) => {
            state.sync_calls.pop();
            finish_and_write(cx, id, results)
        }
        Some(Flow::Returned | Flow::Paused) => {
            state.pending = Some(Block::Paused(Then::Lower(id)));
            Ok(HostOutcome::Suspend)
        }
    }
}

/// Runs the callee; none when it has returned, and its result is written.
fn run(
    cx: &mut Context<'_>,
    callee: &Rc<Lifted>,
    (id, task, thread): (SubtaskId, TaskId, ThreadId),
    flat_args: &[CoreVal],
    results: &mut [CoreVal],
) -> Result<Option<Flow>, Error> {
    start(cx.data_mut(), task, thread)?;
    charge(cx, callee.ty.param_types())?;
    let mut args = flat_args.iter();
    let called = call_core(cx, callee, thread, |t| match args.next() {
        Some(value) => pass(t, value),
        None => Err(bug!("a flat argument is missing")),
    })?;
    let result = match called {
        Called::Returned(result) => result,
        Called::Waits(flow) => return Ok(Some(flow)),
    };
    let passed = match (callee.ty.result(), &result) {
        (Some(t), Some(value)) => Some(pass(t, value)?),
        _ => None,
    };
    cx.data().check_return(task)?;
    write(results, passed)?;
    let subtask = cx.data_mut().subtask_mut(id)?;
    (subtask.state, subtask.callee) = (SubtaskState::Returned, Callee::None);
    leave(cx, callee, (task, thread), result.as_slice())?;
    Ok(None)
}

/// Calls a function for the embedder, with arguments of its types, and resolves the call when it
/// returns.
pub(crate) fn call_from_host(
    cx: &mut Context<'_>,
    callee: &Rc<Lifted>,
    call: &Rc<HostCall>,
    args: Transit,
) -> Result<(TaskId, Flow), Error> {
    let (task, thread) = begin_task(cx.data_mut(), callee, Caller::Host(Rc::clone(call)))?;
    let flow = nested(cx, |cx| {
        start(cx.data_mut(), task, thread)?;
        let mut args = args.read();
        let result = match call_core(cx, callee, thread, |t| core_val(t, args.word()?))? {
            Called::Returned(result) => result,
            Called::Waits(flow) => return Ok(flow),
        };
        let mut results = Transit::new();
        if let (Some(t), Some(value)) = (callee.ty.result(), &result) {
            results.word(lift_number(bits(value)?, t)?);
        }
        let state = cx.data_mut();
        state.check_return(task)?;
        call.resolve(&mut state.aftermath, Ok(results));
        leave(cx, callee, (task, thread), result.as_slice())?;
        Ok(Flow::Returned)
    })?;
    let state = cx.data_mut();
    if flow == Flow::Returned && state.task_resolved(task) {
        state.sync_calls.pop();
        return Ok((task, Flow::Returned));
    }
    Ok((task, Flow::Paused))
}

/// How the run of a callee ended.
enum Called {
    /// It returned; the thread is still there.
    Returned(Option<CoreVal>),
    /// It waits, or something that it called does.
    Waits(Flow),
}

/// The thread of a new task begins to run.
fn start(state: &mut State, task: TaskId, thread: ThreadId) -> Result<(), Error> {
    state.native.push(thread);
    state.register_thread(task, thread)?;
    state.task_mut(task)?.state = TaskState::Started;
    Ok(())
}

/// Calls the core function, with the flat arguments that `arg` gives for one type after the other.
fn call_core(
    cx: &mut Context<'_>,
    callee: &Lifted,
    thread: ThreadId,
    mut arg: impl FnMut(&Type) -> Result<CoreVal, Error>,
) -> Result<Called, Error> {
    let mut args = cx.data_mut().spare_vals();
    for t in callee.ty.param_types().types() {
        args.push(arg(t)?);
    }
    let count = callee.ty.result_type().types().len();
    let run = engine::call(cx, callee.core, &args, count);
    cx.data_mut().keep_vals(args);
    match run? {
        Run::Done(result) => {
            charge(cx, callee.ty.result_type())?;
            Ok(Called::Returned(result))
        }
        suspended @ Run::Suspended(_) => {
            let flow = after_run(cx, thread, CoreFrame::Callee, suspended)?;
            switch(cx, flow).map(Called::Waits)
        }
    }
}

/// The task has returned, and so does its thread.
fn leave(
    cx: &mut Context<'_>,
    callee: &Lifted,
    (task, thread): (TaskId, ThreadId),
    flat_results: &[CoreVal],
) -> Result<(), Error> {
    cx.data_mut().task_mut(task)?.state = TaskState::Resolved;
    post_return(cx, thread, callee, flat_results)?;
    let state = cx.data_mut();
    state.exit_thread(thread)?;
    state.pop_native(thread)
}

/// Calls a function of the embedder's. The caller may leave, and there is room for a subtask,
/// which nobody can ask for: the function returns before anything else of the store runs.
pub(crate) fn call_host(
    cx: &mut Context<'_>,
    lowered: &Rc<Lowered>,
    host: &Rc<HostFunc>,
    flat_args: &[CoreVal],
    results: &mut [CoreVal],
) -> Result<HostOutcome, Error> {
    let HostKind::Plain(function) = &host.kind else {
        return Err(bug!("an async function is called the short way"));
    };
    let state = cx.data_mut();
    state.current_thread()?;
    let first_call = state.is_first_call(lowered);
    state.totals.host_calls += 1;
    charge(cx, host.ty.param_types())?;
    let mut args = Transit::new();
    for (t, value) in host.ty.param_types().types().iter().zip(flat_args) {
        args.word(lift_number(bits(value)?, t)?);
    }
    let result = watched(cx.data(), host, || catch(|| function(args)));
    let result =
        result.map_err(|error| host_failure(cx.data(), host, lowered, first_call, error))?;
    let mut result = result.read();
    let lowered = match host.ty.result() {
        Some(t) => Some(core_val(t, result.word()?)?),
        None => None,
    };
    write(results, lowered)?;
    Ok(HostOutcome::Return)
}

/// As lifting charges for values, before it looks at them.
fn charge(cx: &mut Context<'_>, types: &ValueTypes) -> Result<(), Error> {
    let bytes = types.contents().weight;
    if bytes >= BYTES_PER_FUEL {
        engine::charge(cx, bytes / BYTES_PER_FUEL)?;
    }
    let state = cx.data();
    match bytes > state.config.max_call_bytes {
        true => Err(state.limit_refused("max_call_bytes")),
        false => Ok(()),
    }
}

fn write(results: &mut [CoreVal], value: Option<CoreVal>) -> Result<(), Error> {
    match (results, value) {
        ([], None) => Ok(()),
        ([result], Some(value)) => {
            *result = value;
            Ok(())
        }
        (results, value) => Err(bug!("{} results for {value:?}", results.len())),
    }
}

/// Lifts a number on one side and lowers it on the other.
fn pass(t: &Type, value: &CoreVal) -> Result<CoreVal, Error> {
    match (t, value) {
        // Every core value is a value of these types, and the other way round.
        (Type::U32 | Type::S32, CoreVal::I32(value)) => Ok(CoreVal::I32(*value)),
        (Type::U64 | Type::S64, CoreVal::I64(value)) => Ok(CoreVal::I64(*value)),
        _ => core_val(t, lift_number(bits(value)?, t)?),
    }
}

fn bits(value: &CoreVal) -> Result<u64, Error> {
    match core_val_to_bits(value) {
        Some((_, bits)) => Ok(bits),
        None => Err(bug!("a core value is not a number: {value:?}")),
    }
}

/// The core value of a word.
fn core_val(t: &Type, word: u64) -> Result<CoreVal, Error> {
    match scalar_core_type(t) {
        Some(core) => Ok(core_val_from_bits(core, lower_number(t, word))),
        None => Err(bug!("{t} is not one core value")),
    }
}
