//! Who waits for whom: a store's snapshot, and the one kept of a run that was stuck.

mod common;

use common::{Host, PLAIN, WAITS, WAITS_IN_EXPORT};
use std::future::pending;
use vestibule_component_host::{ErrorKind, Linker};

#[test]
fn a_quiet_store_has_nothing_to_show() {
    let host = Host::new();
    let (store, _instance) = host.instantiate(PLAIN).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert!(snapshot.threads.is_empty() && snapshot.cycle.is_none());
    assert!(
        snapshot.to_string().starts_with("0 guest threads after "),
        "{snapshot}"
    );
    assert_eq!(store.last_failure().unwrap(), None);
}

#[test]
fn a_thread_that_waits_for_the_host_names_the_import_and_the_function() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", |_, (x,): (u32,)| async move {
            pending::<()>().await;
            Ok((x,))
        })
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(WAITS_IN_EXPORT))
        .unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    let call = host.executor.spawn(run.call(&store, &[])).unwrap();
    host.run();
    let snapshot = store.snapshot().unwrap();
    let [thread] = &snapshot.threads[..] else {
        panic!("{snapshot}");
    };
    assert_eq!(thread.state, "waits for the call of import `f`");
    assert_eq!(
        (thread.entry.as_str(), thread.caller.as_str()),
        ("run", "the host")
    );
    assert!(!thread.ready && thread.since > 0);
    let text = snapshot.to_string();
    assert!(text.contains("calls in progress:"), "{text}");
    assert!(text.contains("defined at"), "{text}");
    assert!(text.contains("snapshot.rs"), "{text}");
    drop(call);
}

/// A task with a callback holds the instance's turn while it awaits the host.
const TURNS: &str = r#"(component $circle
  (component $A
    (import "ask" (func $ask async))
    (core func $ask' (canon lower (func $ask)))
    (core func $return (canon task.return))
    (core module $M
      (import "" "ask" (func $ask))
      (import "" "return" (func $return))
      (func (export "first") (result i32) (call $ask) (call $return) (i32.const 0))
      (func (export "callback") (param i32 i32 i32) (result i32) unreachable))
    (core instance $m (instantiate $M (with "" (instance
      (export "ask" (func $ask')) (export "return" (func $return))))))
    (func (export "first") async (canon lift (core func $m "first") async
      (callback (core func $m "callback")))))
  (import "ask" (func $ask async))
  (instance $a (instantiate $A (with "ask" (func $ask))))
  (export "a" (instance $a)))"#;

#[test]
fn a_thread_that_waits_for_its_turn_names_who_has_it() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("ask", |_, ()| async {
            pending::<()>().await;
            Ok(())
        })
        .unwrap();
    let instance = linker.instantiate(&store, &host.component(TURNS)).unwrap();
    let first = instance.get_func(&store, "a#first").unwrap();
    let calls: Vec<_> = (0..2)
        .map(|_| host.executor.spawn(first.call(&store, &[])).unwrap())
        .collect();
    host.run();
    let snapshot = store.snapshot().unwrap();
    let [holder, waiter] = &snapshot.threads[..] else {
        panic!("{snapshot}");
    };
    // The second waits for the first to leave the instance, and the first for the host.
    assert_eq!(waiter.waits_for, [holder.number], "{snapshot}");
    assert!(waiter.state.contains("to leave the instance"), "{snapshot}");
    assert!(holder.waits_for.is_empty(), "{snapshot}");
    assert_eq!(snapshot.cycle, None, "it is a chain, not a circle");
    drop(calls);
}

#[test]
fn a_start_function_that_cannot_wait_leaves_a_snapshot_of_that_moment() {
    let host = Host::new();
    let store = host.store(());
    let error = Linker::new()
        .instantiate(&store, &host.component(WAITS))
        .unwrap_err();
    assert!(error.trap().is_some());
    let snapshot = store.last_failure().unwrap().expect("it was stuck");
    assert_eq!(snapshot.threads.len(), 1, "{snapshot}");
    let thread = &snapshot.threads[0];
    assert_eq!(thread.entry, "start");
    assert!(
        thread.state.starts_with("waits on waitable set")
            && thread.state.ends_with("which is empty"),
        "{snapshot}"
    );
    // Now everything of it is gone.
    assert!(store.snapshot().unwrap().threads.is_empty());
}

#[test]
fn a_deadlock_can_be_looked_at_afterwards() {
    let host = Host::new();
    let wat = r#"(component
      (core module $Memory (memory (export "mem") 1))
      (core instance $memory (instantiate $Memory))
      (core func $new (canon waitable-set.new))
      (core func $wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
      (core module $M
        (import "" "new" (func $new (result i32)))
        (import "" "wait" (func $wait (param i32 i32) (result i32)))
        (func (export "run") (drop (call $wait (call $new) (i32.const 0)))))
      (core instance $m (instantiate $M (with "" (instance
        (export "new" (func $new)) (export "wait" (func $wait))))))
      (func (export "run") async (canon lift (core func $m "run") async)))"#;
    let (store, instance) = host.instantiate(wat).unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    let call = host.executor.spawn(run.call(&store, &[])).unwrap();
    host.run();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.threads.len(), 1);
    assert_eq!(snapshot.waitable_sets.len(), 1);
    assert!(
        snapshot.waitable_sets[0].contains("waiting threads"),
        "{snapshot}"
    );
    drop(call);
    let error = store.block_on(run.call(&store, &[])).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Deadlock { .. }),
        "{error}"
    );
}
