//! Runs a module on wasmtime.

use super::generated::{FUEL, FUEL_EXPORT};
use super::{Bits, Ended, Event, ROUNDS, argument, digest, exports, imported};
use wasmparser::ExternalKind;
use wasmtime::{Config, Engine, Extern, Func, Instance, Module, Ref, Store, Trap, Val, ValType};

pub(super) struct Oracle {
    engine: Engine,
}

#[derive(Default)]
struct Log {
    events: Vec<Event>,
    calls: u64,
}

impl Oracle {
    pub(super) fn new() -> Oracle {
        let mut config = Config::new();
        config
            .wasm_tail_call(true)
            .wasm_memory64(true)
            .wasm_multi_memory(true)
            .wasm_wide_arithmetic(true)
            // Compiling takes most of the time.
            .cranelift_opt_level(wasmtime::OptLevel::None)
            .max_wasm_stack(1 << 20);
        Oracle {
            engine: Engine::new(&config).expect("the configuration is sound"),
        }
    }

    /// What happens.
    ///
    /// # Errors
    ///
    /// Why wasmtime does not compile it.
    pub(super) fn run(&self, wasm: &[u8]) -> Result<Vec<Event>, wasmtime::Error> {
        let module = Module::new(&self.engine, wasm)?;
        let mut store = Store::new(&self.engine, Log::default());
        let imports: Vec<Extern> = module
            .imports()
            .map(|import| {
                let index = import.name().parse().expect("imports have numbers");
                let ty = import.ty().func().expect("imports are functions").clone();
                import_func(&mut store, index, ty).into()
            })
            .collect();
        let instance = Instance::new(&mut store, &module, &imports);
        let outcome = instance.as_ref().map(drop).map_err(ended);
        store.data_mut().events.push(Event::Instantiated(outcome));
        if let Ok(instance) = instance {
            let exports = exports(wasm);
            call_exports(&mut store, instance, &exports);
            read_exports(&mut store, instance, exports);
        }
        Ok(std::mem::take(&mut store.data_mut().events))
    }
}

fn import_func(store: &mut Store<Log>, index: usize, ty: wasmtime::FuncType) -> Func {
    let result = ty.results().next();
    Func::new(store, ty, move |mut caller, params, results| {
        let params = params.iter().map(bits).collect();
        let log = caller.data_mut();
        log.events.push(Event::Import(index, params));
        log.calls += 1;
        if let Some(ty) = &result {
            results[0] = value(ty, imported(log.calls));
        }
        Ok(())
    })
}

fn call_exports(store: &mut Store<Log>, instance: Instance, exports: &[(String, ExternalKind)]) {
    let fuel = instance.get_global(&mut *store, FUEL_EXPORT);
    for round in 0..ROUNDS {
        for (name, _) in exports
            .iter()
            .filter(|(_, kind)| *kind == ExternalKind::Func)
        {
            let func = instance
                .get_func(&mut *store, name)
                .expect("it is exported");
            let ty = func.ty(&*store);
            if ty.results().len() > 1 {
                continue;
            }
            if let Some(fuel) = &fuel {
                fuel.set(&mut *store, Val::I32(FUEL)).expect("it is an i32");
            }
            let params = ty.params().enumerate();
            let params: Vec<Val> = params
                .map(|(i, ty)| value(&ty, argument(round, i)))
                .collect();
            let mut results = vec![Val::I32(0); ty.results().len()];
            let outcome = match func.call(&mut *store, &params, &mut results) {
                Ok(()) => Ok(results.iter().map(bits).collect()),
                Err(error) => Err(ended(&error)),
            };
            let event = Event::Export(name.clone(), outcome);
            store.data_mut().events.push(event);
        }
    }
}

fn read_exports(store: &mut Store<Log>, instance: Instance, exports: Vec<(String, ExternalKind)>) {
    for (name, kind) in exports {
        let export = instance
            .get_export(&mut *store, &name)
            .expect("it is exported");
        let event = match (kind, export) {
            (ExternalKind::Global, Extern::Global(global)) => {
                Event::Global(name, bits(&global.get(&mut *store)))
            }
            (ExternalKind::Memory, Extern::Memory(memory)) => {
                let bytes = memory.data(&*store);
                Event::Memory(name, digest(bytes), bytes.len())
            }
            (ExternalKind::Table, Extern::Table(table)) => {
                let size = table.size(&*store);
                let is_null = |i| {
                    table
                        .get(&mut *store, i)
                        .is_none_or(|value| value.is_null())
                };
                Event::Table(name, (0..size).map(is_null).collect())
            }
            _ => continue,
        };
        store.data_mut().events.push(event);
    }
}

/// Imports and arguments bring no NaN, whose bits the module would not canonicalise.
fn value(ty: &ValType, bits: u64) -> Val {
    match ty {
        ValType::I32 => Val::I32(bits as i32),
        ValType::I64 => Val::I64(bits as i64),
        ValType::F32 => Val::F32(bits as u32 & 0x7f7f_ffff),
        ValType::F64 => Val::F64(bits & 0x7fdf_ffff_ffff_ffff),
        ValType::V128 => Val::V128(u128::from(bits).into()),
        ValType::Ref(ty) => match ty.heap_type() {
            wasmtime::HeapType::Func => Val::FuncRef(None),
            _ => Val::ExternRef(None),
        },
    }
}

/// A reference is null or not; which it is cannot be compared.
fn bits(val: &Val) -> Bits {
    match val {
        Val::I32(v) => Bits::from(*v as u32),
        Val::I64(v) => Bits::from(*v as u64),
        Val::F32(v) => Bits::from(*v),
        Val::F64(v) => Bits::from(*v),
        Val::V128(v) => v.as_u128(),
        other => match other.ref_() {
            Some(Ref::Func(None) | Ref::Extern(None)) => 0,
            _ => 1,
        },
    }
}

fn ended(error: &wasmtime::Error) -> Ended {
    match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => Ended::Unreachable,
        Some(Trap::MemoryOutOfBounds) => Ended::MemoryOutOfBounds,
        Some(Trap::TableOutOfBounds) => Ended::TableOutOfBounds,
        Some(Trap::IndirectCallToNull) => Ended::IndirectCallToNull,
        Some(Trap::IntegerDivisionByZero) => Ended::IntegerDivisionByZero,
        Some(Trap::IntegerOverflow) => Ended::IntegerOverflow,
        Some(Trap::BadConversionToInteger) => Ended::BadConversionToInteger,
        Some(Trap::BadSignature) => Ended::BadSignature,
        Some(Trap::StackOverflow) => Ended::StackOverflow,
        _ => Ended::Other,
    }
}
