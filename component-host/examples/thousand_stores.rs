//! One component in a thousand stores: compiled once, and nothing that one instance does is seen
//! by another, a trap included.

use vestibule_component_host::{Component, Engine, Instance, Linker, Result, Store};
use vestibule_executor::Executor;

const COUNTER: &str = r#"(component
  (core module $M
    (global $count (mut i32) (i32.const 0))
    (func (export "count") (result i32)
      (global.set $count (i32.add (global.get $count) (i32.const 1)))
      (global.get $count))
    (func (export "fail") unreachable))
  (core instance $m (instantiate $M))
  (func (export "count") (result u32) (canon lift (core func $m "count")))
  (func (export "fail") (canon lift (core func $m "fail"))))"#;

fn main() -> Result<()> {
    const STORES: usize = 1_000;
    let (executor, engine) = (Executor::new(), Engine::default());
    let prepared = Linker::new().instantiate_pre(&Component::new(&engine, COUNTER.as_bytes())?)?;

    let stores: Vec<(Store<usize>, Instance)> = (0..STORES)
        .map(|i| {
            let store = Store::new(&engine, &executor, i);
            let instance = prepared.instantiate(&store)?;
            Ok((store, instance))
        })
        .collect::<Result<_>>()?;
    let (store, instance) = &stores[0];
    let fail = instance.get_typed_func::<(), ()>(store, "fail")?;
    let trapped = store.block_on(fail.call(store, ()));
    assert!(trapped.is_err(), "the first one traps");

    let mut counted = 0;
    for (store, instance) in &stores[1..] {
        let count = instance.get_typed_func::<(), (u32,)>(store, "count")?;
        let calls = store.with(|i| 1 + *i % 3)?;
        for expected in 1..=calls as u32 {
            assert_eq!(store.block_on(count.call(store, ()))?, (expected,));
            counted += 1;
        }
    }
    println!(
        "{counted} calls in {} stores, after one of them had trapped",
        stores.len() - 1
    );
    Ok(())
}
