//! Runs core functions so that they can be suspended, and makes host functions that can suspend.

use super::{Context, CoreFunc, CoreVal};
use crate::abi::finish::Then;
use crate::abi::threads::Block;
use crate::error::{Error, bug};
use crate::store::State;
use crate::trap::Trap;
use std::fmt;

/// How a run of a core function ended.
#[derive(Debug)]
pub(crate) enum Run {
    /// It returned; core functions that we call have at most one result.
    Done(Option<CoreVal>),
    /// A host function suspended it, or its slice of fuel is over: [`resume`] goes on, with that
    /// function's results.
    Suspended(Suspended),
}

/// A suspended run: the whole core stack, as a value.
#[derive(Debug)]
pub(crate) struct Suspended {
    /// `Finished` when nothing is left of the stack: the host function was the outermost frame,
    /// called directly or by a tail call, and its results are the call's results.
    ///
    /// Boxed, since a value of this size is not to be moved often; the box is used again when the
    /// run is suspended again.
    stack: Box<wasmi::ResumableCall>,
    /// How many results the run will have.
    results: u8,
}

/// What a host function did.
#[derive(Debug)]
pub(crate) enum HostOutcome {
    /// It returned, having written its results.
    Return,
    /// The guest is to be suspended; its state already says until when.
    Suspend,
}

/// Passes through the engine as a host error, and has it leave the guest: with the error that
/// waits in the store's state, since it need not be `Send`, or suspended when there is none. It has
/// no size, so the engine allocates nothing for it.
#[derive(Debug, Clone, Copy)]
struct Leave;

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the guest is left")
    }
}

impl wasmi::errors::HostError for Leave {}

/// What a host function made by [`host_func`] calls: with its index, its arguments, and where its
/// results go.
pub(crate) type HostFn =
    fn(&mut Context<'_>, usize, &[CoreVal], &mut [CoreVal]) -> Result<HostOutcome, Error>;

/// Calls a core function that has `results` (0 or 1) results.
pub(crate) fn call(
    cx: &mut Context<'_>,
    func: CoreFunc,
    args: &[CoreVal],
    results: usize,
) -> Result<Run, Error> {
    debug_assert!(results <= 1);
    let mut out = [CoreVal::I32(0)];
    let out = &mut out[..results];
    let mut run = func.call_resumable(&mut *cx, args, out);
    match settle(cx, &mut run, out)? {
        Some(result) => Ok(Run::Done(result)),
        None => Ok(Run::Suspended(Suspended {
            stack: Box::new(run.unwrap_or(wasmi::ResumableCall::Finished)),
            results: results as u8,
        })),
    }
}

/// Resumes a suspended run with the results of the host function that suspended it.
pub(crate) fn resume(
    cx: &mut Context<'_>,
    suspended: Suspended,
    values: &[CoreVal],
) -> Result<Run, Error> {
    use wasmi::ResumableCall;
    let Suspended { mut stack, results } = suspended;
    let mut out = [CoreVal::I32(0)];
    let out = &mut out[..usize::from(results)];
    let mut run = match *stack {
        ResumableCall::Finished => return Ok(Run::Done(values.first().cloned())),
        ResumableCall::HostTrap(frames) => frames.resume(&mut *cx, values, out),
        ResumableCall::OutOfFuel(rest) => {
            refuel(cx, rest.required_fuel())?;
            rest.resume(&mut *cx, out)
        }
    };
    match settle(cx, &mut run, out)? {
        Some(result) => Ok(Run::Done(result)),
        None => {
            *stack = run.unwrap_or(ResumableCall::Finished);
            Ok(Run::Suspended(Suspended { stack, results }))
        }
    }
}

/// Follows a run through the ends of its fuel slices to its end, its suspension, or its error. It
/// is left where it is when it is suspended, and then nothing is returned.
fn settle(
    cx: &mut Context<'_>,
    run: &mut Result<wasmi::ResumableCall, wasmi::Error>,
    out: &mut [CoreVal],
) -> Result<Option<Option<CoreVal>>, Error> {
    use wasmi::ResumableCall;
    loop {
        let rest = match run {
            Ok(ResumableCall::Finished) => return Ok(Some(out.first().cloned())),
            Ok(ResumableCall::HostTrap(frames)) => {
                let state = cx.data_mut();
                return match state.abort.take() {
                    Some(error) => Err(error),
                    None if state.pending.is_some() || is_leave(frames.host_error()) => Ok(None),
                    None => Err(bug!("unknown host error: {}", frames.host_error())),
                };
            }
            Ok(ResumableCall::OutOfFuel(_)) if cx.data().fuel.suspends() => {
                let state = cx.data_mut();
                state.fuel.slice_over = true;
                state.pending = Some(Block::Paused(Then::NextSlice));
                return Ok(None);
            }
            Ok(rest @ ResumableCall::OutOfFuel(_)) => {
                std::mem::replace(rest, ResumableCall::Finished)
            }
            Err(error) if is_leave(error) => {
                return match cx.data_mut().abort.take() {
                    Some(error) => Err(error),
                    None => {
                        *run = Ok(ResumableCall::Finished);
                        Ok(None)
                    }
                };
            }
            Err(error) => return Err(core_error(cx.data_mut(), error)),
        };
        if let ResumableCall::OutOfFuel(rest) = rest {
            refuel(cx, rest.required_fuel())?;
            *run = rest.resume(&mut *cx, out);
        }
    }
}

fn is_leave(error: &wasmi::Error) -> bool {
    error.downcast_ref::<Leave>().is_some()
}

/// Grants the next slice of fuel, if there is one and the deadline has not passed.
fn refuel(cx: &mut Context<'_>, required: u64) -> Result<(), Error> {
    let slice = cx.data_mut().fuel.next_slice(required)?;
    grant(cx, slice)
}

fn grant(cx: &mut Context<'_>, slice: u64) -> Result<(), Error> {
    let left = cx.get_fuel().unwrap_or(0);
    cx.set_fuel(left.saturating_add(slice))
        .map_err(|error| bug!("the engine meters no fuel: {error}"))
}

/// Takes fuel for work that the host does on the guest's behalf.
pub(crate) fn charge(cx: &mut Context<'_>, units: u64) -> Result<(), Error> {
    let mut left = cx.get_fuel().unwrap_or(0);
    if left < units {
        let more = cx.data_mut().fuel.grant_work(units - left)?;
        grant(cx, more)?;
        left = cx.get_fuel().unwrap_or(0);
    }
    cx.set_fuel(left.saturating_sub(units))
        .map_err(|error| bug!("the engine meters no fuel: {error}"))
}

/// Makes a core function that runs `call` with the index it is given: closures in the engine
/// must be `Send`, ours need not be, so they stay in the store's state.
pub(crate) fn host_func(
    cx: &mut Context<'_>,
    params: &[wasmparser::ValType],
    results: &[wasmparser::ValType],
    index: usize,
    call: HostFn,
) -> Result<CoreFunc, Error> {
    let ty = wasmi::FuncType::new(
        params
            .iter()
            .map(core_type)
            .collect::<Result<Vec<_>, _>>()?,
        results
            .iter()
            .map(core_type)
            .collect::<Result<Vec<_>, _>>()?,
    );
    let all_i32 = |types: &[wasmi::ValType]| types.iter().all(|ty| *ty == wasmi::ValType::I32);
    if all_i32(ty.params())
        && all_i32(ty.results())
        && let Some(func) = trampoline(cx, (ty.params().len(), ty.results().len()), index, call)
    {
        return Ok(func);
    }
    Ok(CoreFunc::new(
        &mut *cx,
        ty,
        move |caller, params, results| enter(caller, index, call, params, results),
    ))
}

/// Runs `call` for the engine.
fn enter(
    mut caller: wasmi::Caller<'_, State>,
    index: usize,
    call: HostFn,
    params: &[CoreVal],
    results: &mut [CoreVal],
) -> Result<(), wasmi::Error> {
    use wasmi::AsContextMut as _;
    let mut cx: Context<'_> = caller.as_context_mut();
    match call(&mut cx, index, params, results) {
        Ok(HostOutcome::Return) => Ok(()),
        Ok(HostOutcome::Suspend) => Err(wasmi::Error::host(Leave)),
        Err(error) => {
            cx.data_mut().abort = Some(error);
            Err(wasmi::Error::host(Leave))
        }
    }
}

/// A host function of so many parameters and results, all of them `i32`: most are. The engine
/// allocates memory in each call of one whose types are not known to the compiler.
fn trampoline(
    cx: &mut Context<'_>,
    arity: (usize, usize),
    index: usize,
    call: HostFn,
) -> Option<CoreFunc> {
    macro_rules! wrap {
        ($($param:ident)*) => {
            match arity.1 {
                0 => CoreFunc::wrap(
                    &mut *cx,
                    move |caller: wasmi::Caller<'_, State>, $($param: i32),*| {
                        enter(caller, index, call, &[$(CoreVal::I32($param)),*], &mut [])
                    },
                ),
                1 => CoreFunc::wrap(
                    &mut *cx,
                    move |caller: wasmi::Caller<'_, State>, $($param: i32),*| {
                        let mut result = [CoreVal::I32(0)];
                        enter(caller, index, call, &[$(CoreVal::I32($param)),*], &mut result)?;
                        match result {
                            [CoreVal::I32(result)] => Ok(result),
                            // What the dynamic kind would have panicked at.
                            _ => Err(wasmi::Error::new("a result is of another type than i32")),
                        }
                    },
                ),
                _ => return None,
            }
        };
    }
    Some(match arity.0 {
        0 => wrap!(),
        1 => wrap!(a),
        2 => wrap!(a b),
        3 => wrap!(a b c),
        4 => wrap!(a b c d),
        5 => wrap!(a b c d e),
        6 => wrap!(a b c d e f),
        _ => return None,
    })
}

pub(super) fn core_type(ty: &wasmparser::ValType) -> Result<wasmi::ValType, Error> {
    use wasmparser::ValType;
    Ok(match *ty {
        ValType::I32 => wasmi::ValType::I32,
        ValType::I64 => wasmi::ValType::I64,
        ValType::F32 => wasmi::ValType::F32,
        ValType::F64 => wasmi::ValType::F64,
        ValType::V128 => wasmi::ValType::V128,
        ValType::Ref(r) if r.is_func_ref() => wasmi::ValType::FuncRef,
        ValType::Ref(r) if r.is_extern_ref() => wasmi::ValType::ExternRef,
        ValType::Ref(r) => {
            return Err(Error::invalid(
                format!("the core engine does not support the type {r}"),
                None,
            ));
        }
    })
}

/// Says in our terms what ended a run.
pub(super) fn core_error(state: &mut State, error: &wasmi::Error) -> Error {
    use wasmi::TrapCode;
    use wasmi::errors::{ErrorKind, InstantiationError, TableError};
    if error.as_trap_code() == Some(TrapCode::OutOfFuel) {
        return state.fuel.exhausted();
    }
    if let Some(limit) = state.limiter.refused.take()
        && error.as_trap_code().is_none()
    {
        return state.limit_refused(limit);
    }
    match error.kind() {
        ErrorKind::Instantiation(
            InstantiationError::TooManyInstances
            | InstantiationError::TooManyTables
            | InstantiationError::TooManyMemories,
        ) => return state.limit_refused("max_instances"),
        // Traps for which the engine has no code.
        ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit { .. })
        | ErrorKind::Table(TableError::CopyOutOfBounds) => {
            return Error::from(Trap::TableOutOfBounds);
        }
        _ => {}
    }
    let trap = match error.as_trap_code() {
        Some(TrapCode::UnreachableCodeReached) => Trap::Unreachable,
        Some(TrapCode::MemoryOutOfBounds) => Trap::MemoryOutOfBounds,
        Some(TrapCode::TableOutOfBounds) => Trap::TableOutOfBounds,
        Some(TrapCode::IndirectCallToNull) => Trap::IndirectCallToNull,
        Some(TrapCode::IntegerDivisionByZero) => Trap::IntegerDivisionByZero,
        Some(TrapCode::IntegerOverflow) => Trap::IntegerOverflow,
        Some(TrapCode::BadConversionToInteger) => Trap::BadConversionToInteger,
        Some(TrapCode::StackOverflow) => Trap::StackOverflow,
        Some(TrapCode::BadSignature) => Trap::BadSignature,
        _ => Trap::Core(error.to_string()),
    };
    Error::from(trap)
}
