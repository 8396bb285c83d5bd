//! A start function waits for something that cannot happen yet: a clean trap, with the chain that
//! led to it, and everything else goes on.
//!
//! Run it with `cargo run -p vestibule-component-host --example initialize_in_start_blocks`.

use vestibule_component_host::{Component, Engine, Linker, Result, Store, Trap};
use vestibule_executor::{Executor, yield_now};

const BLOCKS: &str = include_str!("components/blocks-in-start.wat");

fn main() -> Result<()> {
    let executor = Executor::new();
    let engine = Engine::default();
    let store = Store::new(&engine, &executor, ());
    let component = Component::new(&engine, BLOCKS.as_bytes())?;

    // A host that has to wait for the answer, if only for a turn.
    let mut patient = Linker::new();
    patient.root().func_async("fetch-config", |_, ()| async {
        yield_now().await;
        Ok((42u32,))
    })?;
    let error = match patient.instantiate(&store, &component) {
        Err(error) => error,
        Ok(instance) => panic!("{instance:?} cannot have been made"),
    };
    println!("{error}");
    assert_eq!(error.trap(), Some(&Trap::CannotBlockSyncTask));

    // A host that has the answer at hand: the same component starts, in the same store.
    let mut prompt = Linker::new();
    prompt
        .root()
        .func_async("fetch-config", |_, ()| async { Ok((42u32,)) })?;
    let instance = prompt.instantiate(&store, &component)?;
    let config = instance.get_func(&store, "config")?;
    let value = store.block_on(config.call(&store, &[]))?;
    println!("with the answer at hand: config -> {value:?}");
    assert_eq!(value, Some(vestibule_component_host::Val::U32(42)));
    Ok(())
}
