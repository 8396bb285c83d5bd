//! Runs a module on our engine, in one of several ways, through what the rest of the crate uses of
//! it.

use super::generated::{FUEL, FUEL_EXPORT};
use super::{Bits, Ended, Event, ROUNDS, argument, digest, exports, imported};
use crate::component::decode::{DecodeLimits, decode};
use crate::component::definitions::CoreExternType;
use crate::config::Config;
use crate::engine::rewrite::rewrite_within;
use crate::engine::{
    AsContextMut, Context, CoreFunc, CoreInstance, CoreModule, CoreStore, CoreVal, Engine, Extern,
    HostOutcome, Run, Suspended, call, host_func, resume,
};
use crate::error::{Error, ErrorKind};
use crate::store::State;
use crate::trap::Trap;
use std::cell::RefCell;
use std::rc::Weak;
use std::sync::Arc;
use vestibule_executor::Executor;
use wasmi::{Ref, Val, ValType};
use wasmparser::ExternalKind;

/// How a module is run.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) name: &'static str,
    engine: Engine,
    suspends: bool,
    /// How many instances there are, whose runs alternate when they are suspended.
    instances: usize,
    /// How many constants a function may have.
    max_constants: Option<usize>,
    /// What is added to what an import returns, to see whether that is noticed.
    planted: u64,
}

/// What came of a run.
pub(super) struct Ran {
    /// What happened in each instance.
    pub(super) events: Vec<Vec<Event>>,
    pub(super) suspensions: u64,
    pub(super) slices: u64,
    /// The globals that the rewriter added.
    pub(super) globals_made: u64,
}

/// What imports do, and what they were called with. The engine's host functions get an index and
/// nothing else of the test's.
#[derive(Default)]
struct Log {
    suspends: bool,
    planted: u64,
    instances: Vec<InstanceLog>,
}

#[derive(Default)]
struct InstanceLog {
    events: Vec<Event>,
    calls: u64,
    /// What the import that suspended its caller returns.
    due: Option<CoreVal>,
}

thread_local! {
    static LOG: RefCell<Log> = RefCell::default();
}

/// More than a module has imports.
const INSTANCE: usize = 100;

fn import(
    _: &mut Context<'_>,
    index: usize,
    params: &[CoreVal],
    results: &mut [CoreVal],
) -> Result<HostOutcome, Error> {
    LOG.with_borrow_mut(|log| {
        let (suspends, planted) = (log.suspends, log.planted);
        let log = &mut log.instances[index / INSTANCE];
        let params = params.iter().map(bits).collect();
        log.events.push(Event::Import(index % INSTANCE, params));
        log.calls += 1;
        let result = results.first().map(Val::ty);
        let due = result.map(|ty| value(ty, imported(log.calls) + planted));
        if suspends {
            log.due = due;
            return Ok(HostOutcome::Suspend);
        }
        if let (Some(slot), Some(due)) = (results.first_mut(), due) {
            *slot = due;
        }
        Ok(HostOutcome::Return)
    })
}

impl Way {
    pub(super) fn all() -> [Way; 5] {
        let plain = || Config::new().fuel(1 << 40);
        let way = |name, config: Config, suspends| Way {
            name,
            engine: Engine::new(config),
            suspends,
            instances: 1,
            max_constants: None,
            planted: 0,
        };
        let sliced = plain().fuel_slice(200).unsuspended_fuel(1 << 40);
        [
            way("called directly", plain(), false),
            way("suspended at each import", plain(), true),
            Way {
                instances: 2,
                ..way("suspended, two instances in turns", plain(), true)
            },
            Way {
                instances: 2,
                ..way("suspended, in slices of fuel", sliced, true)
            },
            Way {
                max_constants: Some(3),
                ..way("without constants", plain(), false)
            },
        ]
    }

    pub(super) fn planted(&self) -> Way {
        Way {
            planted: 1,
            ..self.clone()
        }
    }

    pub(super) fn run(&self, wasm: &[u8]) -> Ran {
        LOG.set(Log {
            suspends: self.suspends,
            planted: self.planted,
            instances: (0..self.instances)
                .map(|_| InstanceLog::default())
                .collect(),
        });
        let rewritten = self
            .max_constants
            .map(|max| rewrite_within(wasm, max).expect("the rewriter takes what is valid"));
        let module = compile(
            &self.engine,
            rewritten
                .as_ref()
                .map_or(wasm, |rewritten| &rewritten.bytes),
        );
        let start = rewritten
            .as_ref()
            .and_then(|rewritten| rewritten.start.as_ref());
        let executor = Executor::new();
        let handle = executor.handle();
        let state = State::new(
            &self.engine,
            handle.clone(),
            handle.group("store"),
            Weak::new(),
        );
        let mut machine = Machine {
            core: self.engine.core_store(state),
            suspensions: 0,
            slices: 0,
        };
        if let Some(instances) = machine.instantiate(self, &module, start.map(|s| &*s.export)) {
            let exports = exports(wasm);
            machine.call_exports(&instances, &exports);
            machine.read_exports(&instances, exports);
        }
        let made = rewritten.map_or(0, |rewritten| {
            globals(&rewritten.bytes).saturating_sub(globals(wasm))
        });
        Ran {
            events: LOG
                .take()
                .instances
                .into_iter()
                .map(|log| log.events)
                .collect(),
            suspensions: machine.suspensions,
            slices: machine.slices,
            globals_made: u64::from(made),
        }
    }
}

/// Compiles a core module as that of a component, which has nothing else.
fn compile(engine: &Engine, wasm: &[u8]) -> Arc<CoreModule> {
    let mut component = wasm_encoder::Component::new();
    component.section(&wasm_encoder::RawSection {
        id: wasm_encoder::ComponentSectionId::CoreModule.into(),
        data: wasm,
    });
    let mut compiled = None;
    decode(&component.finish(), &DecodeLimits::default(), &mut |raw| {
        let module = CoreModule::new(engine, raw.bytes, raw.info).map(Arc::new)?;
        compiled = Some(Arc::clone(&module));
        Ok(module)
    })
    .expect("what is valid is compiled");
    compiled.expect("the component has a module")
}

fn globals(wasm: &[u8]) -> u32 {
    let payloads = wasmparser::Parser::new(0).parse_all(wasm);
    payloads
        .filter_map(|payload| match payload {
            Ok(wasmparser::Payload::GlobalSection(section)) => Some(section.count()),
            _ => None,
        })
        .sum()
}

/// A call to make: the function, its arguments, and how many results it has.
type Call = (CoreFunc, Vec<CoreVal>, usize);

/// A store, and what happened in it.
struct Machine {
    core: CoreStore,
    suspensions: u64,
    slices: u64,
}

impl Machine {
    /// Makes the instances, and runs their start functions. None when that failed.
    fn instantiate(
        &mut self,
        way: &Way,
        module: &CoreModule,
        start: Option<&str>,
    ) -> Option<Vec<CoreInstance>> {
        let mut instances = Vec::new();
        for place in 0..way.instances {
            let imports = self.imports(module, place);
            let cx = &mut self.core.as_context_mut();
            match module.instantiate(cx, &imports) {
                Ok(instance) => instances.push(instance),
                Err(error) => log(place, Event::Instantiated(Err(ended(&error)))),
            }
        }
        if instances.len() < way.instances {
            return None;
        }
        let cx = &self.core.as_context_mut();
        let starts: Vec<Call> = instances
            .iter()
            .filter_map(|instance| {
                let func = match start {
                    Some(start) => instance.get_func(cx, start),
                    None => module.start_func(cx, *instance).expect("it was compiled"),
                };
                func.map(|func| (func, Vec::new(), 0))
            })
            .collect();
        let outcomes = match starts.is_empty() {
            true => instances.iter().map(|_| Ok(None)).collect(),
            false => self.call(starts),
        };
        let started = outcomes.iter().all(Result::is_ok);
        for (place, outcome) in outcomes.into_iter().enumerate() {
            log(place, Event::Instantiated(outcome.map(drop)));
        }
        started.then_some(instances)
    }

    fn imports(&mut self, module: &CoreModule, place: usize) -> Vec<Extern> {
        let imports = module.info().ty.imports.iter();
        imports
            .map(|(_, field, ty)| {
                let CoreExternType::Func(ty) = ty else {
                    panic!("imports are functions");
                };
                let index: usize = field.parse().expect("imports have numbers");
                let index = place * INSTANCE + index;
                let cx = &mut self.core.as_context_mut();
                let func = host_func(cx, &ty.params, &ty.results, index, import);
                Extern::Func(func.expect("the engine has the types"))
            })
            .collect()
    }

    /// Calls a function of each instance. Those that are suspended go on in turns.
    fn call(&mut self, calls: Vec<Call>) -> Vec<Result<Option<CoreVal>, Ended>> {
        let first = self
            .core
            .data_mut()
            .fuel
            .begin(None, true)
            .expect("there is fuel");
        self.core.set_fuel(first).expect("the engine meters fuel");
        let mut outcomes = Vec::new();
        let mut suspended = Vec::new();
        for (place, (func, args, results)) in calls.into_iter().enumerate() {
            let cx = &mut self.core.as_context_mut();
            let run = call(cx, func, &args, results);
            outcomes.push(Ok(None));
            self.settle(place, run, &mut outcomes, &mut suspended);
        }
        while !suspended.is_empty() {
            for (place, stack, values) in std::mem::take(&mut suspended) {
                let cx = &mut self.core.as_context_mut();
                let run = resume(cx, stack, &values);
                self.settle(place, run, &mut outcomes, &mut suspended);
            }
        }
        outcomes
    }

    fn settle(
        &mut self,
        place: usize,
        run: Result<Run, Error>,
        outcomes: &mut [Result<Option<CoreVal>, Ended>],
        suspended: &mut Vec<(usize, Suspended, Vec<CoreVal>)>,
    ) {
        match run {
            Ok(Run::Done(value)) => outcomes[place] = Ok(value),
            Err(error) => outcomes[place] = Err(ended(&error)),
            Ok(Run::Suspended(stack)) => {
                let state = self.core.data_mut();
                let values = if std::mem::take(&mut state.fuel.slice_over) {
                    state.pending = None;
                    self.slices += 1;
                    Vec::new()
                } else {
                    self.suspensions += 1;
                    let due = LOG.with_borrow_mut(|log| log.instances[place].due.take());
                    due.into_iter().collect()
                };
                suspended.push((place, stack, values));
            }
        }
    }

    fn call_exports(&mut self, instances: &[CoreInstance], exports: &[(String, ExternalKind)]) {
        for round in 0..ROUNDS {
            for (name, _) in exports
                .iter()
                .filter(|(_, kind)| *kind == ExternalKind::Func)
            {
                let cx = &mut self.core.as_context_mut();
                let mut calls = Vec::new();
                for instance in instances {
                    let func = instance.get_func(&*cx, name).expect("it is exported");
                    let ty = func.ty(&*cx);
                    if ty.results().len() > 1 {
                        continue;
                    }
                    if let Some(fuel) = instance.get_global(&*cx, FUEL_EXPORT) {
                        fuel.set(&mut *cx, Val::I32(FUEL)).expect("it is an i32");
                    }
                    let params = ty.params().iter().enumerate();
                    let params = params.map(|(i, ty)| value(*ty, argument(round, i)));
                    calls.push((func, params.collect(), ty.results().len()));
                }
                for (place, outcome) in self.call(calls).into_iter().enumerate() {
                    let outcome = outcome.map(|result| result.iter().map(bits).collect());
                    log(place, Event::Export(name.clone(), outcome));
                }
            }
        }
    }

    fn read_exports(&mut self, instances: &[CoreInstance], exports: Vec<(String, ExternalKind)>) {
        let cx = &self.core;
        for (name, kind) in exports {
            for (place, instance) in instances.iter().enumerate() {
                let name = name.clone();
                let export = instance.get_export(cx, &name).expect("it is exported");
                let event = match (kind, export) {
                    (ExternalKind::Global, Extern::Global(global)) => {
                        Event::Global(name, bits(&global.get(cx)))
                    }
                    (ExternalKind::Memory, Extern::Memory(memory)) => {
                        let bytes = memory.data(cx);
                        Event::Memory(name, digest(bytes), bytes.len())
                    }
                    (ExternalKind::Table, Extern::Table(table)) => {
                        let elements = (0..table.size(cx)).map(|i| table.get(cx, i));
                        let is_null = |element: Option<Val>| element.is_none_or(|v| bits(&v) == 0);
                        Event::Table(name, elements.map(is_null).collect())
                    }
                    _ => continue,
                };
                log(place, event);
            }
        }
    }
}

fn log(place: usize, event: Event) {
    LOG.with_borrow_mut(|log| log.instances[place].events.push(event));
}

/// As the oracle's.
fn value(ty: ValType, bits: u64) -> Val {
    match ty {
        ValType::I32 => Val::I32(bits as i32),
        ValType::I64 => Val::I64(bits as i64),
        ValType::F32 => Val::F32(wasmi::F32::from_bits(bits as u32 & 0x7f7f_ffff)),
        ValType::F64 => Val::F64(wasmi::F64::from_bits(bits & 0x7fdf_ffff_ffff_ffff)),
        ValType::V128 => Val::V128(u128::from(bits).into()),
        ValType::FuncRef => Val::FuncRef(Ref::Null),
        ValType::ExternRef => Val::ExternRef(Ref::Null),
    }
}

/// A reference is null or not; which it is cannot be compared.
fn bits(val: &Val) -> Bits {
    match val {
        Val::I32(v) => Bits::from(*v as u32),
        Val::I64(v) => Bits::from(*v as u64),
        Val::F32(v) => Bits::from(v.to_bits()),
        Val::F64(v) => Bits::from(v.to_bits()),
        Val::V128(v) => v.as_u128(),
        Val::FuncRef(v) => Bits::from(!v.is_null()),
        Val::ExternRef(v) => Bits::from(!v.is_null()),
    }
}

fn ended(error: &Error) -> Ended {
    let ErrorKind::Trap(trap) = error.kind() else {
        return Ended::Other;
    };
    match trap {
        Trap::Unreachable => Ended::Unreachable,
        Trap::MemoryOutOfBounds => Ended::MemoryOutOfBounds,
        Trap::TableOutOfBounds => Ended::TableOutOfBounds,
        Trap::IndirectCallToNull => Ended::IndirectCallToNull,
        Trap::IntegerDivisionByZero => Ended::IntegerDivisionByZero,
        Trap::IntegerOverflow => Ended::IntegerOverflow,
        Trap::BadConversionToInteger => Ended::BadConversionToInteger,
        Trap::BadSignature => Ended::BadSignature,
        Trap::StackOverflow => Ended::StackOverflow,
        _ => Ended::Other,
    }
}
