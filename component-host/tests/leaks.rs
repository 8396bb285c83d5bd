//! What a store made is freed with it: counted in bytes that are allocated.

mod common;

use cap::Cap;
use common::{CALLS_ASYNC_F, Host, WAITS, WAITS_IN_EXPORT};
use std::alloc::System;
use std::future::pending;
use vestibule_component_host::{Linker, Store};
use vestibule_executor::{Budget, Executor};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Nested components, instance types, resource types, outer aliases: everything that has a scope.
const NESTED: &str = r#"(component $outer
  (type $t (record (field "a" u32)))
  (component $Inner
    (alias outer $outer $t (type $t'))
    (type $i (instance
      (alias outer $Inner $t' (type $r))
      (export "r" (type (eq $r)))
      (export "s" (type (sub resource)))))
    (component $Leaf
      (type $res (resource (rep i32)))
      (export "res" (type $res)))
    (instance $leaf (instantiate $Leaf))
    (export "leaf" (instance $leaf))
    (export "leaf-component" (component $Leaf)))
  (instance $a (instantiate $Inner))
  (instance $b (instantiate $Inner))
  (alias export $a "leaf-component" (component $taken-out))
  (instance $c (instantiate $taken-out))
  (export "a" (instance $a)))"#;

/// The bytes that are still allocated after `times` runs, beyond what the first runs left.
fn growth(mut run: impl FnMut(), times: usize) -> usize {
    for _ in 0..5 {
        run();
    }
    let before = ALLOCATOR.allocated();
    for _ in 0..times {
        run();
    }
    ALLOCATOR.allocated().saturating_sub(before)
}

/// One test, since the allocator counts for the whole process.
#[test]
fn stores_leave_nothing_behind() {
    let host = Host::new();
    let nested = host.component(NESTED);
    let instantiated = growth(
        || {
            let store = host.store(());
            let _instance = Linker::new().instantiate(&store, &nested).unwrap();
        },
        200,
    );
    let waits = host.component(WAITS);
    let trapped = growth(
        || {
            let store = host.store(());
            let _error = Linker::new().instantiate(&store, &waits).unwrap_err();
        },
        200,
    );
    let exports = host.component(WAITS_IN_EXPORT);
    let calls = host.component(CALLS_ASYNC_F);
    let host_future = growth(
        || {
            let store = host.store(());
            let mut linker = Linker::new();
            linker
                .root()
                .func_async("f", |_, (x,): (u32,)| async move {
                    pending::<()>().await;
                    Ok((x,))
                })
                .unwrap();
            let _error = linker.instantiate(&store, &calls).unwrap_err();
            host.run();
        },
        200,
    );
    let in_flight = growth(
        || {
            // An executor that goes with its tasks, which hold the calls.
            let executor = Executor::new();
            let store = Store::new(&host.engine, &executor, ());
            let mut linker = Linker::new();
            linker
                .root()
                .func_async("f", |_, (x,): (u32,)| async move {
                    pending::<()>().await;
                    Ok((x,))
                })
                .unwrap();
            let instance = linker.instantiate(&store, &exports).unwrap();
            let run = instance.get_func(&store, "run").unwrap();
            for _ in 0..3 {
                drop(executor.spawn(run.call(&store, &[])).unwrap());
            }
            executor.run_until_stalled(Budget::rounds(10)).unwrap();
            // A call, a subtask and a host future each, still in progress.
            assert!(!store.is_quiet().unwrap());
        },
        100,
    );
    assert!(
        in_flight < 1_600,
        "{in_flight} bytes left by 100 stores with calls in flight"
    );
    // A leak of one word a run would be 1,600 bytes.
    assert!(
        instantiated < 1_600,
        "{instantiated} bytes left by 200 instantiations"
    );
    assert!(
        trapped < 1_600,
        "{trapped} bytes left by 200 traps in start"
    );
    assert!(
        host_future < 1_600,
        "{host_future} bytes left by 200 host futures given up"
    );
}
