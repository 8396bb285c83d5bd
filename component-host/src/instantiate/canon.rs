//! Canonical definitions, bound to the instance that makes them.

use super::Scope;
use crate::abi::builtins::BuiltinKind;
use crate::abi::canon_lift::{CanonicalOptions, Lifted, OptionOrigins, Realloc};
use crate::abi::canon_lower::{FuncInst, Lowered};
use crate::abi::canon_stream::EndType;
use crate::abi::canon_task::TaskReturn;
use crate::abi::canon_thread::{SwitchFrom, SwitchTo};
use crate::abi::direct::{is_direct, is_direct_lift};
use crate::abi::flattening::{FlattenContext, MAX_FLAT_PARAMS, flat_or_pointer, flatten_functype};
use crate::abi::options::{FlattenOptions, PtrType};
use crate::abi::resource_state::ResourceImpl;
use crate::abi::threads::{Entry, Role};
use crate::component::decode::name_of;
use crate::component::definitions::{BuiltinDef, Canon, CanonOptions};
use crate::engine::{Context, CoreMemory, CoreType};
use crate::error::{Result, bug};
use crate::origin::CoreOrigin;
use crate::runtime::{RtType, at};
use crate::store::define_builtin;
use crate::types::{FuncType, ResourceType, Type, ValueTypes};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use wasmparser::ValType;

/// Evaluates a canonical definition: adds a component function, or a core function.
pub(super) fn define(cx: &mut Context<'_>, scope: &mut Scope, canon: &Canon) -> Result<()> {
    match canon {
        Canon::Lift {
            core_func,
            ty,
            options,
        } => lift(cx, scope, *core_func, *ty, options),
        Canon::Lower { func, options } => lower(cx, scope, *func, options),
        Canon::TaskReturn { result, options } => {
            let result = scope.env.eval_opt(result)?;
            let opts = Rc::new(scope.options(cx, options)?);
            // It takes the result as a lifted function takes its parameters.
            let types = ValueTypes::new(result.clone().into_iter().collect::<Vec<_>>());
            let params = core_types(&flat_or_pointer(&types, MAX_FLAT_PARAMS, opts.ptr_type));
            let kind = BuiltinKind::TaskReturn(TaskReturn { result, opts });
            builtin(cx, scope, kind, &params, &[])
        }
        other => {
            let (kind, params, results) = simple(cx, scope, other)?;
            builtin(cx, scope, kind, &params, &results)
        }
    }
}

fn builtin(
    cx: &mut Context<'_>,
    scope: &mut Scope,
    kind: BuiltinKind,
    params: &[ValType],
    results: &[ValType],
) -> Result<()> {
    let func = define_builtin(cx, scope.inst, kind, params, results)?;
    let index = cx.data().builtins.len().saturating_sub(1);
    scope.core_funcs.push(func);
    scope.core_func_origins.push(CoreOrigin::Builtin(index));
    Ok(())
}

fn lift(
    cx: &mut Context<'_>,
    scope: &mut Scope,
    core_func: u32,
    ty: u32,
    options: &CanonOptions,
) -> Result<()> {
    let index = scope.funcs.len() as u32;
    let name = scope
        .export_names
        .get(&index)
        .cloned()
        .or_else(|| name_of(&scope.def.func_names, index))
        .unwrap_or_else(|| format!("func {index}").into());
    let (ty, opts) = (scope.env.func_type(ty)?, scope.options(cx, options)?);
    let lifted = Lifted {
        core: at(&scope.core_funcs, core_func, "core function")?,
        direct: is_direct_lift(&ty, &opts),
        ty,
        opts: Rc::new(opts),
        inst: scope.inst,
        entry: Rc::new(Entry {
            role: Role::Export,
            name,
            core: scope.func_origin(core_func),
        }),
    };
    scope.funcs.push(FuncInst::Lifted(Rc::new(lifted)));
    Ok(())
}

fn lower(cx: &mut Context<'_>, scope: &mut Scope, func: u32, options: &CanonOptions) -> Result<()> {
    let index = func;
    let func = at(&scope.funcs, index, "function")?;
    let import = match scope.func_imports.get(index as usize) {
        Some(Some(import)) => import.clone(),
        _ => func.name().clone(),
    };
    let opts = scope.options(cx, options)?;
    let flatten = FlattenOptions {
        async_: opts.async_,
        callback: opts.callback.is_some(),
        ptr_type: opts.ptr_type,
    };
    let core = flatten_functype(flatten, func.ty(), FlattenContext::Lower);
    let lowered = Lowered {
        direct: is_direct(&func, opts.async_),
        func,
        import,
        called: Cell::new(false),
        opts,
        inst: scope.inst,
    };
    let kind = BuiltinKind::Lower(Rc::new(lowered));
    builtin(
        cx,
        scope,
        kind,
        &core_types(&core.params),
        &core_types(&core.results),
    )
}

fn core_types(types: &[CoreType]) -> Vec<ValType> {
    types
        .iter()
        .map(|ty| match ty {
            CoreType::I32 => ValType::I32,
            CoreType::I64 => ValType::I64,
            CoreType::F32 => ValType::F32,
            CoreType::F64 => ValType::F64,
        })
        .collect()
}

type Signature = (BuiltinKind, Vec<ValType>, Vec<ValType>);

/// The built-ins whose signature does not depend on a component function type.
fn simple(cx: &Context<'_>, scope: &Scope, canon: &Canon) -> Result<Signature> {
    const I32: ValType = ValType::I32;
    let none = Vec::new;
    Ok(match canon {
        Canon::ResourceNew { resource } => (
            BuiltinKind::ResourceNew(scope.env.resource(*resource)?),
            vec![I32],
            vec![I32],
        ),
        Canon::ResourceDrop { resource } => (
            BuiltinKind::ResourceDrop(scope.env.resource(*resource)?),
            vec![I32],
            none(),
        ),
        Canon::ResourceRep { resource } => (
            BuiltinKind::ResourceRep(scope.env.resource(*resource)?),
            vec![I32],
            vec![I32],
        ),
        Canon::ContextGet { ty, slot } => {
            let kind = BuiltinKind::ContextGet {
                slot: *slot as usize,
                wide: *ty == ValType::I64,
            };
            (kind, none(), vec![*ty])
        }
        Canon::ContextSet { ty, slot } => {
            let kind = BuiltinKind::ContextSet {
                slot: *slot as usize,
                wide: *ty == ValType::I64,
            };
            (kind, vec![*ty], none())
        }
        Canon::BackpressureInc => (BuiltinKind::BackpressureInc, none(), none()),
        Canon::BackpressureDec => (BuiltinKind::BackpressureDec, none(), none()),
        Canon::TaskCancel => (BuiltinKind::TaskCancel, none(), none()),
        Canon::WaitableSetNew => (BuiltinKind::WaitableSetNew, none(), vec![I32]),
        Canon::WaitableSetWait { memory } => {
            let (memory, ptr) = scope.memory(cx, *memory)?;
            (
                BuiltinKind::WaitableSetWait(memory),
                vec![I32, ptr],
                vec![I32],
            )
        }
        Canon::WaitableSetPoll { memory } => {
            let (memory, ptr) = scope.memory(cx, *memory)?;
            (
                BuiltinKind::WaitableSetPoll(memory),
                vec![I32, ptr],
                vec![I32],
            )
        }
        Canon::WaitableSetDrop => (BuiltinKind::WaitableSetDrop, vec![I32], none()),
        Canon::WaitableJoin => (BuiltinKind::WaitableJoin, vec![I32, I32], none()),
        Canon::SubtaskDrop => (BuiltinKind::SubtaskDrop, vec![I32], none()),
        Canon::ThreadYield => (BuiltinKind::ThreadYield, none(), vec![I32]),
        Canon::SubtaskCancel { async_ } => (
            BuiltinKind::SubtaskCancel { async_: *async_ },
            vec![I32],
            vec![I32],
        ),
        Canon::Builtin {
            builtin,
            params,
            results,
        } => {
            let kind = scope.builtin(cx, builtin, params)?;
            (kind, params.to_vec(), results.to_vec())
        }
        Canon::Lift { .. } | Canon::Lower { .. } | Canon::TaskReturn { .. } => {
            return Err(bug!("{canon:?} is not a simple built-in"));
        }
    })
}

/// Defines a resource type: a new one for each instance of the component.
pub(super) fn define_resource(
    cx: &mut Context<'_>,
    scope: &mut Scope,
    dtor: Option<u32>,
) -> Result<()> {
    let rt = ResourceType::fresh();
    let dtor = match dtor {
        None => None,
        Some(index) => {
            let ty = FuncType::new(false, vec![("rep".into(), Type::U32)], None);
            Some(Rc::new(Lifted {
                core: at(&scope.core_funcs, index, "core function")?,
                ty: Arc::new(ty),
                opts: Rc::new(CanonicalOptions::default()),
                inst: scope.inst,
                direct: false,
                entry: Rc::new(Entry {
                    role: Role::Destructor,
                    name: "destructor".into(),
                    core: scope.func_origin(index),
                }),
            }))
        }
    };
    cx.data_mut().resources.insert(
        rt,
        ResourceImpl::Guest {
            inst: scope.inst,
            dtor,
        },
    );
    scope.env.add_type(RtType::Resource(rt));
    Ok(())
}

impl Scope {
    fn builtin(
        &self,
        cx: &Context<'_>,
        builtin: &BuiltinDef,
        params: &[ValType],
    ) -> Result<BuiltinKind> {
        let switch = |from, to| BuiltinKind::ThreadSwitch { from, to };
        Ok(match builtin {
            BuiltinDef::ThreadIndex => BuiltinKind::ThreadIndex,
            BuiltinDef::ThreadNewIndirect { table } => BuiltinKind::ThreadNewIndirect {
                table: at(&self.core_tables, *table, "core table")?,
                param: params.get(1).copied().unwrap_or(ValType::I32),
            },
            BuiltinDef::ThreadResumeLater => BuiltinKind::ThreadResumeLater,
            BuiltinDef::ThreadSuspend => BuiltinKind::ThreadSuspend,
            BuiltinDef::ThreadSuspendThenResume => switch(SwitchFrom::Suspend, SwitchTo::Suspended),
            BuiltinDef::ThreadYieldThenResume => switch(SwitchFrom::Yield, SwitchTo::Suspended),
            BuiltinDef::ThreadSuspendThenPromote => switch(SwitchFrom::Suspend, SwitchTo::Ready),
            BuiltinDef::ThreadYieldThenPromote => switch(SwitchFrom::Yield, SwitchTo::Ready),
            BuiltinDef::New { ty } => BuiltinKind::New(self.end_type(*ty)?),
            BuiltinDef::Copy {
                ty,
                readable,
                options,
            } => BuiltinKind::Copy {
                ty: self.end_type(*ty)?,
                readable: *readable,
                opts: Rc::new(self.options(cx, options)?),
            },
            BuiltinDef::CancelCopy {
                ty,
                readable,
                async_,
            } => BuiltinKind::CancelCopy {
                ty: self.end_type(*ty)?,
                readable: *readable,
                async_: *async_,
            },
            BuiltinDef::DropEnd { ty, readable } => BuiltinKind::DropEnd {
                ty: self.end_type(*ty)?,
                readable: *readable,
            },
            BuiltinDef::Forward { ty } => BuiltinKind::Forward(self.end_type(*ty)?),
            BuiltinDef::ErrorContextNew { options } => {
                BuiltinKind::ErrorContextNew(self.options(cx, options)?)
            }
            BuiltinDef::ErrorContextDebugMessage { options } => {
                BuiltinKind::ErrorContextDebugMessage(self.options(cx, options)?)
            }
            BuiltinDef::ErrorContextDrop => BuiltinKind::ErrorContextDrop,
            BuiltinDef::Unsupported { name } => BuiltinKind::NotYet(name),
        })
    }

    fn end_type(&self, index: u32) -> Result<EndType> {
        match self.env.ty(index)? {
            RtType::Value(Type::Stream(t)) => Ok(EndType {
                future: false,
                t: t.as_deref().cloned(),
            }),
            RtType::Value(Type::Future(t)) => Ok(EndType {
                future: true,
                t: t.as_deref().cloned(),
            }),
            other => Err(bug!("type {index} is {other:?}, not a stream or a future")),
        }
    }

    fn memory(&self, cx: &Context<'_>, index: u32) -> Result<(CoreMemory, ValType)> {
        let memory = at(&self.core_memories, index, "core memory")?;
        let ty = if crate::engine::is_memory64(cx, memory) {
            ValType::I64
        } else {
            ValType::I32
        };
        Ok((memory, ty))
    }

    fn options(&self, cx: &Context<'_>, options: &CanonOptions) -> Result<CanonicalOptions> {
        let func = |index: Option<u32>| {
            index
                .map(|index| at(&self.core_funcs, index, "core function"))
                .transpose()
        };
        let origin =
            |index: Option<u32>| index.map_or(CoreOrigin::Unknown, |i| self.func_origin(i));
        let memory = options
            .memory
            .map(|index| self.memory(cx, index))
            .transpose()?;
        let ptr_type = match &memory {
            Some((_, ValType::I64)) => PtrType::I64,
            _ => PtrType::I32,
        };
        Ok(CanonicalOptions {
            string_encoding: options.string_encoding,
            ptr_type,
            memory: memory.map(|(memory, _)| memory),
            realloc: func(options.realloc)?.map(|func| Realloc {
                func,
                entry: Rc::new(Entry {
                    role: Role::Realloc,
                    name: cx.data().unnamed.clone(),
                    core: origin(options.realloc),
                }),
            }),
            post_return: func(options.post_return)?,
            async_: options.async_,
            callback: func(options.callback)?,
            origins: OptionOrigins {
                post_return: origin(options.post_return),
                callback: origin(options.callback),
            },
        })
    }
}
