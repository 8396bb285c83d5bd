//! Turns canonical definitions into ours.

use super::decode_types::val_type;
use super::definitions::{BuiltinDef, Canon, CanonOptions, StringEncoding};
use wasmparser::{CanonicalFunction, CanonicalOption, FuncType};

/// A canonical definition. `core_type` is the type of the core function it adds, as the validator
/// gave it, which knows the width of the addresses; a lift has none.
pub(super) fn canon(function: CanonicalFunction, core_type: Option<&FuncType>) -> Canon {
    match function {
        CanonicalFunction::Lift {
            core_func_index,
            type_index,
            options,
        } => Canon::Lift {
            core_func: core_func_index,
            ty: type_index,
            options: canon_options(&options),
        },
        CanonicalFunction::Lower {
            func_index,
            options,
        } => Canon::Lower {
            func: func_index,
            options: canon_options(&options),
        },
        CanonicalFunction::ResourceNew { resource } => Canon::ResourceNew { resource },
        CanonicalFunction::ResourceDrop { resource } => Canon::ResourceDrop { resource },
        CanonicalFunction::ResourceRep { resource } => Canon::ResourceRep { resource },
        CanonicalFunction::ContextGet { ty, slot } => Canon::ContextGet { ty, slot },
        CanonicalFunction::ContextSet { ty, slot } => Canon::ContextSet { ty, slot },
        CanonicalFunction::BackpressureInc => Canon::BackpressureInc,
        CanonicalFunction::BackpressureDec => Canon::BackpressureDec,
        CanonicalFunction::TaskReturn { result, options } => Canon::TaskReturn {
            result: result.map(val_type),
            options: canon_options(&options),
        },
        CanonicalFunction::TaskCancel => Canon::TaskCancel,
        CanonicalFunction::WaitableSetNew => Canon::WaitableSetNew,
        CanonicalFunction::WaitableSetWait { memory } => Canon::WaitableSetWait { memory },
        CanonicalFunction::WaitableSetPoll { memory } => Canon::WaitableSetPoll { memory },
        CanonicalFunction::WaitableSetDrop => Canon::WaitableSetDrop,
        CanonicalFunction::WaitableJoin => Canon::WaitableJoin,
        CanonicalFunction::SubtaskCancel { async_ } => Canon::SubtaskCancel { async_ },
        CanonicalFunction::SubtaskDrop => Canon::SubtaskDrop,
        CanonicalFunction::ThreadYield => Canon::ThreadYield,
        other => Canon::Builtin {
            builtin: builtin(&other),
            params: core_type.map_or_else(Box::default, |ty| ty.params().into()),
            results: core_type.map_or_else(Box::default, |ty| ty.results().into()),
        },
    }
}

fn builtin(function: &CanonicalFunction) -> BuiltinDef {
    use CanonicalFunction as F;
    match function {
        F::ThreadIndex => BuiltinDef::ThreadIndex,
        F::ThreadNewIndirect { table_index, .. } => BuiltinDef::ThreadNewIndirect {
            table: *table_index,
        },
        F::ThreadResumeLater => BuiltinDef::ThreadResumeLater,
        F::ThreadSuspend => BuiltinDef::ThreadSuspend,
        F::ThreadSuspendThenResume => BuiltinDef::ThreadSuspendThenResume,
        F::ThreadYieldThenResume => BuiltinDef::ThreadYieldThenResume,
        F::ThreadSuspendThenPromote => BuiltinDef::ThreadSuspendThenPromote,
        F::ThreadYieldThenPromote => BuiltinDef::ThreadYieldThenPromote,
        F::StreamNew { ty } | F::FutureNew { ty } => BuiltinDef::New { ty: *ty },
        F::StreamRead { ty, options } | F::FutureRead { ty, options } => BuiltinDef::Copy {
            ty: *ty,
            readable: true,
            options: canon_options(options),
        },
        F::StreamWrite { ty, options } | F::FutureWrite { ty, options } => BuiltinDef::Copy {
            ty: *ty,
            readable: false,
            options: canon_options(options),
        },
        F::StreamCancelRead { ty, async_ } | F::FutureCancelRead { ty, async_ } => {
            BuiltinDef::CancelCopy {
                ty: *ty,
                readable: true,
                async_: *async_,
            }
        }
        F::StreamCancelWrite { ty, async_ } | F::FutureCancelWrite { ty, async_ } => {
            BuiltinDef::CancelCopy {
                ty: *ty,
                readable: false,
                async_: *async_,
            }
        }
        F::StreamDropReadable { ty } | F::FutureDropReadable { ty } => BuiltinDef::DropEnd {
            ty: *ty,
            readable: true,
        },
        F::StreamDropWritable { ty } | F::FutureDropWritable { ty } => BuiltinDef::DropEnd {
            ty: *ty,
            readable: false,
        },
        F::StreamForward { ty } | F::FutureForward { ty } => BuiltinDef::Forward { ty: *ty },
        F::ErrorContextNew { options } => BuiltinDef::ErrorContextNew {
            options: canon_options(options),
        },
        F::ErrorContextDebugMessage { options } => BuiltinDef::ErrorContextDebugMessage {
            options: canon_options(options),
        },
        F::ErrorContextDrop => BuiltinDef::ErrorContextDrop,
        F::ThreadSpawnRef { .. } => BuiltinDef::Unsupported {
            name: "thread.spawn-ref",
        },
        F::ThreadSpawnIndirect { .. } => BuiltinDef::Unsupported {
            name: "thread.spawn-indirect",
        },
        // The others have a definition of their own, above.
        _ => BuiltinDef::Unsupported {
            name: "thread.available-parallelism",
        },
    }
}

/// Whether a canonical definition adds a core function; a lift adds a component function.
pub(super) fn adds_core_func(function: &CanonicalFunction) -> bool {
    !matches!(function, CanonicalFunction::Lift { .. })
}

fn canon_options(options: &[CanonicalOption]) -> CanonOptions {
    let mut out = CanonOptions::default();
    for option in options {
        match *option {
            CanonicalOption::UTF8 => out.string_encoding = StringEncoding::Utf8,
            CanonicalOption::UTF16 => out.string_encoding = StringEncoding::Utf16,
            CanonicalOption::CompactUTF16 => out.string_encoding = StringEncoding::Latin1Utf16,
            CanonicalOption::Memory(index) => out.memory = Some(index),
            CanonicalOption::Realloc(index) => out.realloc = Some(index),
            CanonicalOption::PostReturn(index) => out.post_return = Some(index),
            CanonicalOption::Async => out.async_ = true,
            CanonicalOption::Callback(index) => out.callback = Some(index),
            // Both belong to the garbage-collected ABI, which the validator does not let through.
            CanonicalOption::CoreType(_) | CanonicalOption::Gc => {}
        }
    }
    out
}
