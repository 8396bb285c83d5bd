//! Who waits for whom: a store's snapshot, and the one kept of a run that was stuck.

mod common;

use common::{Host, PLAIN, WAITS, WAITS_IN_EXPORT};
use std::future::pending;
use std::time::Duration;
use vestibule_component_host::{
    Component, Config, Engine, ErrorKind, Linker, Store, StoreSnapshot, Trap,
};
use vestibule_executor::Executor;

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
        matches!(error.trap(), Some(Trap::Deadlock { .. })),
        "{error}"
    );
}

/// `$reader` gives away a stream, and writes it when it has the answer; `$asker` writes the answer
/// when it has read the stream. In place of `;; start` a test puts the latter's start function.
const CIRCLE: &str = include_str!("circle.wat");

/// Checks that the cycle is the given components with what their threads do, in this order from
/// wherever it begins, and is printed so.
#[track_caller]
fn assert_cycle(snapshot: &StoreSnapshot, expected: &[(&str, &str)]) {
    let Some(cycle) = &snapshot.cycle else {
        panic!("no cycle in\n{snapshot}");
    };
    let threads = cycle.iter().map(|number| {
        let mut threads = snapshot.threads.iter();
        let thread = threads.find(|thread| thread.number == *number);
        thread.expect("the cycle is made of threads")
    });
    let mut found: Vec<_> = threads
        .map(|thread| (thread.component.as_str(), thread.state.as_str()))
        .collect();
    let mut text = "each of these threads waits for the next, the last for the first:\n".to_owned();
    for (number, (component, state)) in cycle.iter().zip(&found) {
        text += &format!("  thread {number} of {component}: {state}\n");
    }
    assert!(snapshot.to_string().ends_with(&text), "{snapshot}");
    let first = found.iter().position(|thread| *thread == expected[0]);
    found.rotate_left(first.unwrap_or(0));
    assert_eq!(found, expected, "{snapshot}");
}

const READS_THE_STREAM: (&str, &str) = (
    "component `circle` → `asker`",
    "waits for a stream to be written by component `circle` → `reader`",
);
const READS_THE_ANSWER: (&str, &str) = (
    "component `circle` → `reader`",
    "waits for a future to be written by component `circle` → `asker`",
);

#[test]
fn a_circle_through_a_stream_and_a_future_is_found_and_printed() {
    let host = Host::new();
    let (store, instance) = host.instantiate(CIRCLE).unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    let error = store.block_on(run.call(&store, &[])).unwrap_err();
    assert!(
        matches!(error.trap(), Some(Trap::Deadlock { .. })),
        "{error}"
    );
    // Whoever gave the call up may look at it as long as it is there.
    let call = host.executor.spawn(run.call(&store, &[])).unwrap();
    host.run();
    assert_cycle(
        &store.snapshot().unwrap(),
        &[READS_THE_STREAM, READS_THE_ANSWER],
    );
    drop(call);
}

#[test]
fn a_circle_that_a_start_function_is_in_is_kept() {
    let host = Host::new();
    let store = host.store(());
    for (start, expected) in [
        ("(func $begin (call $run)) (start $begin)", READS_THE_STREAM),
        (
            // A synchronous call: the start function itself waits for nothing but its return.
            "(start $questions)",
            (
                "component `circle` → `asker`",
                "in a call that has not returned",
            ),
        ),
    ] {
        let component = host.component(&CIRCLE.replace(";; start", start));
        let error = Linker::new().instantiate(&store, &component).unwrap_err();
        assert_eq!(error.trap(), Some(&Trap::CannotBlockSyncTask), "{error}");
        let snapshot = store.last_failure().unwrap().expect("it was stuck");
        assert_cycle(&snapshot, &[expected, READS_THE_ANSWER]);
    }
}

#[test]
fn a_circle_beside_a_loop_is_kept_when_the_time_is_over() {
    let engine = Engine::new(Config::new().timeout(Duration::from_millis(30)));
    let executor = Executor::new();
    let store = Store::new(&engine, &executor, ());
    let component = Component::new(&engine, CIRCLE.as_bytes()).unwrap();
    let instance = Linker::new().instantiate(&store, &component).unwrap();
    let spin = instance.get_func(&store, "spin").unwrap();
    let error = store.block_on(spin.call(&store, &[])).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit(_)), "{error}");
    let snapshot = store.last_failure().unwrap().expect("it was out of time");
    assert_cycle(&snapshot, &[READS_THE_STREAM, READS_THE_ANSWER]);
}
