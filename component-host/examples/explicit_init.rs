//! A component that has to wait before it is ready does so in an exported `init`, which the host
//! awaits as part of making the instance.
//!
//! Run it with `cargo run -p vestibule-component-host --example explicit_init`.

use vestibule_component_host::{Component, Engine, ErrorKind, Linker, Result, Store, Val};
use vestibule_executor::{Executor, yield_now};

const EXPLICIT: &str = include_str!("components/explicit-init.wat");

/// A host whose configuration takes its time.
fn host(config: u32) -> Result<Linker<()>> {
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("fetch-config", move |_, ()| async move {
            yield_now().await;
            Ok((config,))
        })?;
    Ok(linker)
}

fn main() -> Result<()> {
    let executor = Executor::new();
    let engine = Engine::default();
    let store = Store::new(&engine, &executor, ());
    let component = Component::new(&engine, EXPLICIT.as_bytes())?;

    let linker = host(42)?;
    let instance = store.block_on(linker.instantiate_then(&store, &component, "init"))?;
    let config = instance.get_func(&store, "config")?;
    let value = store.block_on(config.call(&store, &[]))?;
    println!("ready: config -> {value:?}");
    assert_eq!(value, Some(Val::U32(42)));

    // An `init` that returns an error is no instance.
    let linker = host(0)?;
    match store.block_on(linker.instantiate_then(&store, &component, "init")) {
        Err(error) => {
            println!("not ready: {error}");
            assert!(matches!(error.kind(), ErrorKind::Host(_)));
        }
        Ok(instance) => panic!("{instance:?} is not initialised"),
    }
    Ok(())
}
