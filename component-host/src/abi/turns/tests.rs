//! What ten thousand waiting calls cost those who go on: wakes of guest threads are counted.

use crate::{Component, Engine, Instance, Linker, Store, Val};
use vestibule_executor::{Budget, Executor};

/// `queue: async func()` yields until `open` was called and needs the exclusive thread to go on;
/// `shut` and `open` change the backpressure.
const GATE: &str = r#"(component
  (core func $inc (canon backpressure.inc))
  (core func $dec (canon backpressure.dec))
  (core func $return (canon task.return))
  (core module $M
    (import "" "inc" (func $inc))
    (import "" "dec" (func $dec))
    (import "" "return" (func $return))
    (global $entered (mut i32) (i32.const 0))
    (func (export "shut") (call $inc))
    (func (export "open") (call $dec))
    (func (export "entered") (result i32) (global.get $entered))
    (func (export "queue") (result i32)
      (global.set $entered (i32.add (global.get $entered) (i32.const 1)))
      (i32.const 1))
    (func (export "free") 
      (global.set $entered (i32.add (global.get $entered) (i32.const 1)))
      (call $return))
    (func (export "cb") (param i32 i32 i32) (result i32) (call $return) (i32.const 0)))
  (core instance $m (instantiate $M (with "" (instance
    (export "inc" (func $inc)) (export "dec" (func $dec)) (export "return" (func $return))))))
  (func (export "queue") async
    (canon lift (core func $m "queue") async (callback (core func $m "cb"))))
  (func (export "free") async (canon lift (core func $m "free") async))
  (func (export "shut") (canon lift (core func $m "shut")))
  (func (export "open") (canon lift (core func $m "open")))
  (func (export "entered") (result u32) (canon lift (core func $m "entered"))))"#;

fn call(store: &Store<()>, instance: &Instance, name: &str) -> Option<Val> {
    let func = instance.get_func(store, name).unwrap();
    store.block_on(func.call(store, &[])).unwrap()
}

fn wakes(store: &Store<()>) -> u64 {
    let mut taken = store.inner.take().unwrap();
    taken.context().data().wakes
}

/// The wakes it takes until `calls` calls of `name`, which wait at the gate, have returned.
fn wakes_at_the_gate(name: &str, calls: u32) -> u64 {
    let (executor, engine) = (Executor::new(), Engine::default());
    let store = Store::new(&engine, &executor, ());
    let component = Component::new(&engine, GATE.as_bytes()).unwrap();
    let instance = Linker::new().instantiate(&store, &component).unwrap();
    call(&store, &instance, "shut");
    let func = instance.get_func(&store, name).unwrap();
    let spawn = |_| executor.spawn(func.call(&store, &[])).unwrap();
    let tasks: Vec<_> = (0..calls).map(spawn).collect();
    executor.run_until_stalled(Budget::rounds(3)).unwrap();
    let entered = |calls| Some(Val::U32(calls));
    assert_eq!(call(&store, &instance, "entered"), entered(0));
    let before = wakes(&store);
    call(&store, &instance, "open");
    executor
        .run_until_stalled(Budget::rounds(u64::MAX))
        .unwrap();
    assert!(tasks.iter().all(|task| task.is_finished()));
    assert_eq!(call(&store, &instance, "entered"), entered(calls));
    assert!(store.is_quiet().unwrap());
    wakes(&store) - before
}

#[test]
fn who_waits_at_the_gate_is_not_woken_for_those_before_it() {
    for name in ["queue", "free"] {
        let (few, many) = (wakes_at_the_gate(name, 100), wakes_at_the_gate(name, 3_000));
        assert!(
            many <= 30 * (few + 10),
            "{name}: {few} wakes for a hundred calls, {many} for three thousand"
        );
    }
}
