//! What nobody observes costs nothing: neither a path nor a name is put together for it.
//!
//! How much is allocated in all is counted, which says exactly what was computed, on any machine. The
//! instructions are counted by `.ci/observer-cost`, where valgrind is.

mod common;

use cap::Cap;
use common::{CALLS_F, Host};
use std::alloc::System;
use vestibule_component_host::{Caller, Event, Linker, Observer, Store};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const TIMES: usize = 1_000;

/// Is told, and does nothing.
struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event<'_>) {}
}

/// The bytes that are allocated, and may be freed again, in each of many runs.
fn allocated(mut run: impl FnMut()) -> usize {
    (0..10).for_each(|_| run());
    let before = ALLOCATOR.total_allocated();
    (0..TIMES).for_each(|_| run());
    (ALLOCATOR.total_allocated() - before) / TIMES
}

/// A store whose component calls the host from its start function, and `value` of it.
fn store(host: &Host, observed: bool) -> (Store<()>, Linker<()>) {
    let store = host.store(());
    if observed {
        store.observe(Silent).unwrap();
    }
    let mut linker = Linker::new();
    linker
        .root()
        .func("f", |_: Caller<'_, ()>, (x,): (u32,)| match x {
            41 => Ok((x,)),
            _ => Err(vestibule_component_host::Error::host("no")),
        })
        .unwrap();
    (store, linker)
}

const CALLS_AND_FAILS: &str = r#"(component $a-name-of-some-length
  (import "f" (func $f (param "x" u32) (result u32)))
  (core func $f' (canon lower (func $f)))
  (core module $M
    (import "" "f" (func $f (param i32) (result i32)))
    (func (export "nothing"))
    (func (export "call") (drop (call $f (i32.const 41)))))
  (core instance $m (instantiate $M (with "" (instance (export "f" (func $f'))))))
  (func (export "nothing") (canon lift (core func $m "nothing")))
  (func (export "call") (canon lift (core func $m "call"))))"#;

/// What a call of an export costs.
fn call(host: &Host, observed: bool, export: &str) -> usize {
    let (store, linker) = store(host, observed);
    let component = host.component(CALLS_AND_FAILS);
    let instance = linker.instantiate(&store, &component).unwrap();
    let func = instance.get_typed_func::<(), ()>(&store, export).unwrap();
    allocated(|| store.block_on(func.call(&store, ())).unwrap())
}

/// What an instantiation costs that calls the host from its start function.
fn instantiation(host: &Host, observed: bool) -> usize {
    let component = host.component(CALLS_F);
    allocated(|| {
        let (store, linker) = store(host, observed);
        linker.instantiate(&store, &component).unwrap();
    })
}

/// One test, since the allocator counts for the whole process.
#[test]
fn without_an_observer_nothing_is_put_together_for_one() {
    let host = Host::new();
    for export in ["nothing", "call"] {
        let (without, with) = (call(&host, false, export), call(&host, true, export));
        // The path of the instance that is entered has its name.
        assert!(
            without + "a-name-of-some-length".len() <= with,
            "`{export}`: {without} bytes without an observer, {with} with one"
        );
        // Another store, another time: exactly the same.
        assert_eq!(call(&host, false, export), without);
    }
    let (without, with) = (instantiation(&host, false), instantiation(&host, true));
    assert!(
        without + "calls-f".len() <= with,
        "an instantiation: {without} bytes without an observer, {with} with one"
    );
    eprintln!(
        "bytes allocated for an instantiation: {without} without an observer, {with} with one"
    );
}
