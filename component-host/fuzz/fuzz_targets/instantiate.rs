//! Any bytes: decoded, validated, compiled, instantiated with stubs under small limits, and every
//! exported function called. Nothing may panic, hang or allocate without bound.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule_component_host::fuzzing::Arguments;
use vestibule_component_host::{Component, Config, Engine, Linker, Store};
use vestibule_executor::{Budget, Executor};

fn config() -> Config {
    Config::new()
        .fuel(200_000)
        .max_memory(4 << 20)
        .max_table_elements(10_000)
        .max_instances(100)
        .max_handles(1_000)
        .max_tasks(1_000)
        .max_call_bytes(1 << 20)
        .max_component_size(1 << 16)
}

fuzz_target!(|bytes: &[u8]| {
    // The engine keeps what it compiled, so each input has its own.
    let engine = Engine::new(config());
    let Ok(component) = Component::new(&engine, bytes) else {
        return;
    };
    let executor = Executor::new();
    let store = Store::new(&engine, &executor, ());
    let mut linker = Linker::new();
    linker.define_unknown_imports_as_traps();
    let Ok(instance) = linker.instantiate(&store, &component) else {
        return;
    };
    let mut arguments = Arguments::of(bytes);
    let mut names = instance.func_names();
    names.truncate(16);
    // Twice: what a call returned may be given to the one before it.
    for name in names.iter().chain(&names) {
        let Ok(func) = instance.get_func(&store, name) else {
            continue;
        };
        if let Some(args) = arguments.next(func.ty())
            && let Ok(result) = store.block_on(func.call(&store, &args))
        {
            arguments.keep(result);
        }
    }
    let _ = executor.run_until_stalled(Budget::rounds(100));
});
