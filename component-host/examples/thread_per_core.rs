//! One executor per thread: the engine and the compiled component are shared, everything else
//! belongs to its thread.
//!
//! Run it with `cargo run -p vestibule-component-host --example thread_per_core`.

use std::thread;
use vestibule_component_host::{Component, Engine, Error, Linker, Result, Store, Val};
use vestibule_executor::Executor;

const ADDER: &str = r#"(component
  (core module $M
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
  (core instance $m (instantiate $M))
  (func (export "add") (param "a" u32) (param "b" u32) (result u32)
    (canon lift (core func $m "add"))))"#;

/// The work of one thread: its own executor, store and instance.
fn work(engine: &Engine, component: &Component, thread: u32) -> Result<u32> {
    let executor = Executor::new();
    let store = Store::new(engine, &executor, ());
    let instance = Linker::new().instantiate(&store, component)?;
    let add = instance.get_func(&store, "add")?;
    let mut sum = 0;
    for i in 0..1_000 {
        match store.block_on(add.call(&store, &[Val::U32(sum), Val::U32(thread + i % 2)]))? {
            Some(Val::U32(value)) => sum = value,
            other => return Err(Error::host(format!("add returned {other:?}"))),
        }
    }
    Ok(sum)
}

fn main() -> Result<()> {
    let engine = Engine::default();
    let component = Component::new(&engine, ADDER.as_bytes())?;
    let sums: Vec<u32> = thread::scope(|scope| {
        let (engine, component) = (&engine, &component);
        let threads: Vec<_> = (0..4)
            // An error of ours need not be `Send`: its text goes to the other thread.
            .map(|n| {
                scope.spawn(move || work(engine, component, n).map_err(|error| error.to_string()))
            })
            .collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(Ok(sum)) => sum,
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => panic!("a thread panicked"),
        });
        joined.collect()
    });
    println!("{sums:?}");
    assert_eq!(sums, [500, 1_500, 2_500, 3_500]);
    Ok(())
}
