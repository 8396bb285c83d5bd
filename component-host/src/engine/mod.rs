//! The core engine: the only folder that names `wasmi`.
//!
//! What the rest of the crate needs of an engine is small: compile a module, make an instance,
//! call a function so that it can be [suspended](Run::Suspended) at any host function and resumed
//! later, and read and write memories. A suspended call is an owned value; it may be dropped at
//! any time, also after its store.

#[cfg(all(test, feature = "differential"))]
mod differential;
#[cfg(test)]
mod generated;
mod module;
mod rewrite;
mod run;

pub(crate) use module::{CoreInstance, CoreModule, Extern};
pub(crate) use run::{HostOutcome, Run, Suspended, call, charge, host_func, resume};

pub(crate) use wasmi::AsContextMut;
pub(crate) use wasmi::Func as CoreFunc;
pub(crate) use wasmi::Global as CoreGlobal;
pub(crate) use wasmi::Memory as CoreMemory;
pub(crate) use wasmi::Table as CoreTable;
pub(crate) use wasmi::Val as CoreVal;

use crate::config::Config;
use crate::error::{Error, trap_if};
use crate::store::State;
use crate::trap::Trap;
use std::sync::Arc;
use vestibule_executor::{Executor, Schedule};

/// The engine's own store, holding all state of a [`crate::Store`].
pub(crate) type CoreStore = wasmi::Store<State>;

/// Exclusive access to the engine's store during one run of guest code.
pub(crate) type Context<'a> = wasmi::StoreContextMut<'a, State>;

/// Compiles components and holds what all stores share. Cheap to clone, `Send` and `Sync`.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: wasmi::Engine,
    config: Arc<Config>,
}

impl Engine {
    /// Makes an engine with the given configuration.
    pub fn new(config: Config) -> Engine {
        let mut core = wasmi::Config::default();
        core.consume_fuel(true)
            .compilation_mode(compilation_mode(&config))
            // 4 values of 16 bytes instead of 1,000: a stack grows to what its guest needs, and is
            // kept as it is for as long as the guest is suspended.
            .set_min_stack_height(4)
            .wasm_multi_memory(true)
            .wasm_memory64(true)
            .wasm_tail_call(true)
            .wasm_extended_const(true)
            .wasm_custom_page_sizes(true)
            .wasm_wide_arithmetic(true)
            .wasm_simd(true)
            .wasm_relaxed_simd(true);
        Engine {
            inner: wasmi::Engine::new(&core),
            config: Arc::new(config),
        }
    }

    /// The configuration this engine was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// An executor that schedules as the configuration says: first come, first served, or in an
    /// order that is a function of [the seed](Config::seed). A store may run on any other executor
    /// too; one with [`Schedule::Choices`] records what it chose.
    pub fn executor(&self) -> Executor {
        let schedule = match self.config.seed {
            Some(seed) => Schedule::Shuffle { seed },
            None => Schedule::Fifo,
        };
        Executor::builder().schedule(schedule).build()
    }

    pub(crate) fn core_store(&self, state: State) -> CoreStore {
        let mut store = wasmi::Store::new(&self.inner, state);
        store.limiter(|state| &mut state.limiter);
        store
    }
}

impl Default for Engine {
    fn default() -> Engine {
        Engine::new(Config::default())
    }
}

/// Lazy translation starts fastest, but a call that runs out of fuel while a function is being
/// translated cannot be resumed. So fuel in slices, which relies on resuming, translates eagerly.
fn compilation_mode(config: &Config) -> wasmi::CompilationMode {
    match config.fuel_slice {
        // The component's validation has validated every core module already.
        None => wasmi::CompilationMode::Lazy,
        Some(_) => wasmi::CompilationMode::Eager,
    }
}

/// Counts what the engine allocates on a store's behalf and refuses what exceeds its limits.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_bytes: usize,
    memory_limit: usize,
    table_elements: usize,
    table_limit: usize,
    instances: usize,
    /// Set when an allocation was refused: the error that names the limit.
    pub(crate) refused: Option<&'static str>,
}

impl Limiter {
    pub(crate) fn new(config: &Config) -> Limiter {
        Limiter {
            memory_bytes: 0,
            memory_limit: config.max_memory,
            table_elements: 0,
            table_limit: config.max_table_elements,
            instances: config.max_instances,
            refused: None,
        }
    }

    /// The bytes of memory and the elements of tables.
    pub(crate) fn allocated(&self) -> (usize, usize) {
        (self.memory_bytes, self.table_elements)
    }

    fn grow(
        used: &mut usize,
        limit: usize,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> bool {
        // A growth beyond the declared maximum fails in the engine: it must not be counted here.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return true;
        }
        match used.checked_add(desired.saturating_sub(current)) {
            Some(total) if total <= limit => {
                *used = total;
                true
            }
            _ => false,
        }
    }
}

impl wasmi::ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, wasmi_core::LimiterError> {
        let limit = self.memory_limit;
        let granted = Limiter::grow(&mut self.memory_bytes, limit, current, desired, maximum);
        if !granted {
            self.refused = Some("max_memory");
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, wasmi_core::LimiterError> {
        let limit = self.table_limit;
        let granted = Limiter::grow(&mut self.table_elements, limit, current, desired, maximum);
        if !granted {
            self.refused = Some("max_table_elements");
        }
        Ok(granted)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.instances
    }
}

/// Whether a memory is addressed by 64-bit integers.
pub(crate) fn is_memory64(cx: &Context<'_>, memory: CoreMemory) -> bool {
    memory.ty(cx).is_64()
}

/// Whether two handles name the same memory. The engine's handles cannot be compared; two empty
/// memories may be taken for one, and nothing can be read from either.
pub(crate) fn same_memory(cx: &Context<'_>, a: CoreMemory, b: CoreMemory) -> bool {
    std::ptr::eq(a.data(cx), b.data(cx))
}

/// The function at an index of a table, which must take the one parameter and return nothing.
pub(crate) fn table_func(
    cx: &Context<'_>,
    table: CoreTable,
    index: u64,
    param: wasmparser::ValType,
) -> Result<CoreFunc, Error> {
    let func = match table.get(cx, index) {
        Some(CoreVal::FuncRef(wasmi::Ref::Val(func))) => func,
        Some(_) => return Err(Trap::IndirectCallToNull.into()),
        None => return Err(Trap::TableOutOfBounds.into()),
    };
    let ty = func.ty(cx);
    let fits = ty.params() == [run::core_type(&param)?] && ty.results().is_empty();
    trap_if!(!fits, Trap::BadSignature);
    Ok(func)
}

/// The core value types that the Canonical ABI uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum CoreType {
    I32,
    I64,
    F32,
    F64,
}

/// A core value of the given type from its bits; the bits beyond its width are dropped.
pub(crate) fn core_val_from_bits(ty: CoreType, bits: u64) -> CoreVal {
    match ty {
        CoreType::I32 => CoreVal::I32(bits as i32),
        CoreType::I64 => CoreVal::I64(bits as i64),
        CoreType::F32 => CoreVal::F32(wasmi::F32::from_bits(bits as u32)),
        CoreType::F64 => CoreVal::F64(wasmi::F64::from_bits(bits)),
    }
}

/// The type and the bits of a core value, zero-extended; none for a vector or a reference.
pub(crate) fn core_val_to_bits(value: &CoreVal) -> Option<(CoreType, u64)> {
    match value {
        CoreVal::I32(value) => Some((CoreType::I32, u64::from(*value as u32))),
        CoreVal::I64(value) => Some((CoreType::I64, *value as u64)),
        CoreVal::F32(value) => Some((CoreType::F32, u64::from(value.to_bits()))),
        CoreVal::F64(value) => Some((CoreType::F64, value.to_bits())),
        _ => None,
    }
}
