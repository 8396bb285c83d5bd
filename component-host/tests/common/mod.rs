//! What the tests of start functions share: an executor, an engine, and sample components.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(unreachable_pub, reason = "each test file is a crate of its own")]

pub(crate) mod builtins;
pub(crate) mod guest_world;
pub(crate) mod hostile;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use vestibule_component_host::{Component, Engine, Error, Instance, Linker, Store, Val};
use vestibule_executor::{Budget, Executor};

/// What happened, in order.
pub(crate) type Trace = Rc<RefCell<Vec<String>>>;

/// The folder of real guests, which are not part of the repository.
pub(crate) fn guests_folder() -> Option<PathBuf> {
    let folder = match std::env::var_os("VESTIBULE_GUESTS") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/guests"),
    };
    folder.is_dir().then_some(folder)
}

pub(crate) struct Host {
    pub(crate) executor: Executor,
    pub(crate) engine: Engine,
}

impl Host {
    pub(crate) fn new() -> Host {
        Host {
            executor: Executor::new(),
            engine: Engine::default(),
        }
    }

    pub(crate) fn store<T: 'static>(&self, data: T) -> Store<T> {
        Store::new(&self.engine, &self.executor, data)
    }

    pub(crate) fn component(&self, wat: &str) -> Component {
        Component::new(&self.engine, wat.as_bytes()).expect("the sample component is valid")
    }

    /// Runs everything that is ready.
    pub(crate) fn run(&self) {
        self.executor
            .run_until_stalled(Budget::rounds(1_000))
            .expect("nothing else drives the executor");
    }

    /// Instantiates a component that has no imports.
    pub(crate) fn instantiate(&self, wat: &str) -> Result<(Store<()>, Instance), Error> {
        let store = self.store(());
        let instance = Linker::new().instantiate(&store, &self.component(wat))?;
        Ok((store, instance))
    }
}

/// Calls an exported function without arguments that returns a `u32`.
pub(crate) fn call_u32<T: 'static>(store: &Store<T>, instance: &Instance, name: &str) -> u32 {
    let func = instance
        .get_func(store, name)
        .expect("the component exports it");
    match store
        .block_on(func.call(store, &[]))
        .expect("the call succeeds")
    {
        Some(Val::U32(value)) => value,
        other => panic!("{name} returned {other:?}"),
    }
}

/// A component that exports `value`, which is 7, and has no start function.
pub(crate) const PLAIN: &str = r#"(component
  (core module $M (func (export "value") (result i32) (i32.const 7)))
  (core instance $m (instantiate $M))
  (func (export "value") (result u32) (canon lift (core func $m "value"))))"#;

/// A component whose start function calls the import `f: func(x: u32) -> u32` with 41, and whose
/// `value` returns what it got.
pub(crate) const CALLS_F: &str = r#"(component $calls-f
  (import "f" (func $f (param "x" u32) (result u32)))
  (core func $f' (canon lower (func $f)))
  (core module $M
    (import "" "f" (func $f (param i32) (result i32)))
    (global $v (mut i32) (i32.const 0))
    (func $start (global.set $v (call $f (i32.const 41))))
    (start $start)
    (func (export "value") (result i32) (global.get $v)))
  (core instance $m (instantiate $M (with "" (instance (export "f" (func $f'))))))
  (func (export "value") (result u32) (canon lift (core func $m "value"))))"#;

/// As [`CALLS_F`], with `f` an async function, lowered synchronously.
pub(crate) const CALLS_ASYNC_F: &str = r#"(component $calls-async-f
  (import "f" (func $f async (param "x" u32) (result u32)))
  (core func $f' (canon lower (func $f)))
  (core module $M
    (import "" "f" (func $f (param i32) (result i32)))
    (global $v (mut i32) (i32.const 0))
    (func $start (global.set $v (call $f (i32.const 41))))
    (start $start)
    (func (export "value") (result i32) (global.get $v)))
  (core instance $m (instantiate $M (with "" (instance (export "f" (func $f'))))))
  (func (export "value") (result u32) (canon lift (core func $m "value"))))"#;

/// A component whose start function waits on an empty waitable set.
pub(crate) const WAITS: &str = r#"(component $waits
  (core module $Memory (memory (export "mem") 1))
  (core instance $memory (instantiate $Memory))
  (core func $new (canon waitable-set.new))
  (core func $wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
  (core module $M
    (import "" "new" (func $new (result i32)))
    (import "" "wait" (func $wait (param i32 i32) (result i32)))
    (func $start (drop (call $wait (call $new) (i32.const 0))))
    (start $start))
  (core instance $m (instantiate $M
    (with "" (instance (export "new" (func $new)) (export "wait" (func $wait)))))))"#;

/// Exports `run: async func() -> u32`, which calls the async import `f` synchronously.
pub(crate) const WAITS_IN_EXPORT: &str = r#"(component
  (import "f" (func $f async (param "x" u32) (result u32)))
  (core func $f' (canon lower (func $f)))
  (core func $return (canon task.return (result u32)))
  (core module $M
    (import "" "f" (func $f (param i32) (result i32)))
    (import "" "return" (func $return (param i32)))
    (func (export "run") (call $return (call $f (i32.const 41)))))
  (core instance $m (instantiate $M
    (with "" (instance (export "f" (func $f')) (export "return" (func $return))))))
  (func (export "run") async (result u32) (canon lift (core func $m "run") async)))"#;
