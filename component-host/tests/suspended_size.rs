//! What a suspended call takes: in bytes, counted by the allocator.

mod common;

use cap::Cap;
use common::{Host, WAITS_IN_EXPORT};
use std::alloc::System;
use std::future::pending;
use vestibule_component_host::{Linker, Val};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// A call into a component that waits for the host takes, beside its guest's memory: a task and
/// its thread, the core stack, the subtask, the host's future, and three tasks of the executor: the
/// embedder's own, the guest's thread, and the host function.
#[test]
fn a_suspended_call_takes_little() {
    // One test, since the allocator counts for the whole process.
    a_suspended_call_between_guests();
    const CALLS: usize = (1 << 14) - 8;
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
    let component = host.component(WAITS_IN_EXPORT);
    let instance = linker.instantiate(&store, &component).unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    let begin = |calls: usize| -> Vec<_> {
        let spawn = |_| {
            host.executor
                .spawn(run.call(&store, &[] as &[Val]))
                .unwrap()
        };
        let tasks = (0..calls).map(spawn).collect();
        host.run();
        tasks
    };
    // One call, so that what is made once is not counted; and then as many as fill what grows by
    // doubling.
    let first = begin(1);
    let before = ALLOCATOR.allocated();
    let calls = begin(CALLS - 1);
    let each = (ALLOCATOR.allocated() - before) / CALLS;
    assert!(!first.iter().chain(&calls).any(|task| task.is_finished()));
    println!("{each} bytes for each suspended call");
    assert!(each <= LIMIT, "{each} bytes for each suspended call");
}

/// In bytes, for either kind of call.
const LIMIT: usize = 1_536;

/// `start: async func(n: u32)` makes so many calls of another component, each of which waits on a set
/// of its own with its core stack suspended.
const CALLS_ANOTHER: &str = r#"(component
  (component $B
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $new (canon waitable-set.new))
    (core func $wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
    (core module $M
      (import "" "new" (func $new (result i32)))
      (import "" "wait" (func $wait (param i32 i32) (result i32)))
      (global $set (mut i32) (i32.const 0))
      (func $start (global.set $set (call $new)))
      (start $start)
      (func (export "wait") (drop (call $wait (global.get $set) (i32.const 0)))))
    (core instance $m (instantiate $M (with "" (instance
      (export "new" (func $new)) (export "wait" (func $wait))))))
    (func (export "wait") async (canon lift (core func $m "wait") async)))
  (component $A
    (import "wait" (func $wait async))
    (core func $wait' (canon lower (func $wait) async))
    (core func $return (canon task.return))
    (core module $M
      (import "" "wait" (func $wait (result i32)))
      (import "" "return" (func $return))
      (func (export "start") (param $n i32)
        (loop $more
          (drop (call $wait))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (br_if $more (local.get $n)))
        (call $return)))
    (core instance $m (instantiate $M (with "" (instance
      (export "wait" (func $wait')) (export "return" (func $return))))))
    (func (export "start") async (param "n" u32) (canon lift (core func $m "start") async)))
  (instance $b (instantiate $B))
  (instance $a (instantiate $A (with "wait" (func $b "wait"))))
  (export "start" (func $a "start")))"#;

/// A call between two guests takes a task, its thread and the core stack, a subtask, and one task of
/// the executor.
fn a_suspended_call_between_guests() {
    const CALLS: usize = (1 << 14) - 8;
    let host = Host::new();
    let (store, instance) = host.instantiate(CALLS_ANOTHER).unwrap();
    let start = instance.get_func(&store, "start").unwrap();
    let begin = |calls: usize| {
        let calls = Val::U32(calls as u32);
        store.block_on(start.call(&store, &[calls])).unwrap();
    };
    begin(1);
    let before = ALLOCATOR.allocated();
    begin(CALLS - 1);
    let each = (ALLOCATOR.allocated() - before) / CALLS;
    println!("{each} bytes for each suspended call between guests");
    assert!(each <= LIMIT, "{each} bytes for each call between guests");
}
