//! What a store made is freed with it: counted in bytes that are allocated.

mod common;

use cap::Cap;
use common::{CALLS_ASYNC_F, Host, WAITS, WAITS_IN_EXPORT};
use std::alloc::System;
use std::future::{Future, pending};
use std::pin::Pin;
use std::task::{Context, Waker};
use vestibule_component_host::{Component, FutureReader, Linker, Store, StreamReader, Val, stream};
use vestibule_executor::{Budget, Executor, Handle};

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

/// Begins to read and to write streams and futures in all ways that wait; nothing holds the store.
fn begin_streams(store: &Store<()>, executor: &Handle, component: &Component) {
    let instance = Linker::new().instantiate(store, component).unwrap();
    let call = |name: &str, args: &[Val]| {
        let func = instance.get_func(store, name).unwrap();
        store.block_on(func.call(store, args)).unwrap()
    };
    let Some(Val::Stream(bytes)) = call("make", &[]) else {
        panic!("not a stream");
    };
    let Some(Val::Future(number)) = call("make-f", &[]) else {
        panic!("not a future");
    };
    let (texts, mut text_writer) = stream::<Val>(store);
    call("take-s", &[texts.into()]);
    let (unpassed, mut waiting_writer) = stream::<u8>(store);
    let (mut own_reader, own_writer) = stream::<u8>(store);
    let (inner, _inner_writer) = stream::<u8>(store);
    let (nested, mut nested_writer) = stream::<Val>(store);
    call("take-ss", &[nested.into()]);
    let mut reader = StreamReader::<u8>::new(store, bytes);
    let number = FutureReader::<u32>::new(store, number);
    let begin = |wait: Pin<Box<dyn Future<Output = ()>>>| drop(executor.spawn(wait).unwrap());
    begin(Box::pin(async move { drop(reader.read().await) }));
    begin(Box::pin(async move { drop(number.await) }));
    begin(Box::pin(async move {
        drop(
            text_writer
                .write(vec![Val::from("one"), Val::from("two")])
                .await,
        );
    }));
    begin(Box::pin(async move {
        drop(waiting_writer.write(vec![1; 100]).await);
        drop(unpassed);
    }));
    begin(Box::pin(async move {
        drop(own_reader.read().await);
        drop(own_writer);
    }));
    begin(Box::pin(async move {
        drop(nested_writer.write(vec![inner.into()]).await)
    }));
    executor.run_until_stalled(Budget::rounds(10)).unwrap();
}

/// Threads that wait in every way there is, and a resource type with a destructor.
const EVERYTHING: &str = r#"(component
  (import "f" (func $f async))
  (component $B
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $new (canon waitable-set.new))
    (core func $wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
    (core module $M
      (import "" "new" (func $new (result i32)))
      (import "" "wait" (func $wait (param i32 i32) (result i32)))
      (func (export "wait") (drop (call $wait (call $new) (i32.const 0)))))
    (core instance $m (instantiate $M (with "" (instance
      (export "new" (func $new)) (export "wait" (func $wait))))))
    (func (export "wait") async (canon lift (core func $m "wait") async)))
  (instance $b (instantiate $B))
  (core module $D (func (export "dtor") (param i32)))
  (core instance $d (instantiate $D))
  (type $r' (resource (rep i32) (dtor (core func $d "dtor"))))
  (core module $Table (table (export "table") 1 funcref))
  (core instance $table (instantiate $Table))
  (core type $thread (func (param i32)))
  (alias core export $table "table" (core table $t))
  (core func $f' (canon lower (func $f)))
  (core func $begin (canon lower (func $b "wait") async))
  (core func $wait (canon lower (func $b "wait")))
  (core func $set (canon waitable-set.new))
  (core func $join (canon waitable.join))
  (core func $inc (canon backpressure.inc))
  (core func $resource (canon resource.new $r'))
  (core func $thread (canon thread.new-indirect $thread (core table $t)))
  (core func $later (canon thread.resume-later))
  (core func $suspend (canon thread.suspend))
  (core func $yield (canon thread.yield))
  (core func $return (canon task.return))
  (export $r "r" (type $r'))
  (core func $return-r (canon task.return (result (own $r))))
  (core module $M
    (import "" "table" (table 1 funcref))
    (import "" "f" (func $f))
    (import "" "begin" (func $begin (result i32)))
    (import "" "wait" (func $wait))
    (import "" "set" (func $set (result i32)))
    (import "" "join" (func $join (param i32 i32)))
    (import "" "inc" (func $inc))
    (import "" "resource" (func $resource (param i32) (result i32)))
    (import "" "thread" (func $thread (param i32 i32) (result i32)))
    (import "" "later" (func $later (param i32)))
    (import "" "suspend" (func $suspend (result i32)))
    (import "" "yield" (func $yield (result i32)))
    (import "" "return-r" (func $return-r (param i32)))
    (func $spin (param i32) (loop $l (drop (call $yield)) (br $l)))
    (elem (i32.const 0) $spin)
    (func (export "host") (call $f))
    (func (export "guest") (call $wait))
    (func (export "suspend") (drop (call $suspend)))
    (func (export "threads")
      (call $later (call $thread (i32.const 0) (i32.const 0)))
      (drop (call $thread (i32.const 0) (i32.const 0)))
      (drop (call $suspend)))
    (func (export "set") (result i32) (local $set i32)
      (local.set $set (call $set))
      (call $join (i32.shr_u (call $begin) (i32.const 4)) (local.get $set))
      (i32.or (i32.const 2) (i32.shl (local.get $set) (i32.const 4))))
    (func (export "cb") (param i32 i32 i32) (result i32) unreachable)
    (func (export "shut") (call $inc))
    (func (export "make") (call $return-r (call $resource (i32.const 7)))))
  (core instance $m (instantiate $M (with "" (instance
    (export "table" (table $t)) (export "f" (func $f')) (export "begin" (func $begin))
    (export "wait" (func $wait)) (export "set" (func $set)) (export "join" (func $join))
    (export "inc" (func $inc)) (export "resource" (func $resource))
    (export "thread" (func $thread)) (export "later" (func $later))
    (export "suspend" (func $suspend)) (export "yield" (func $yield))
    (export "return-r" (func $return-r))))))
  (func (export "host") async (canon lift (core func $m "host") async))
  (func (export "guest") async (canon lift (core func $m "guest") async))
  (func (export "suspend") async (canon lift (core func $m "suspend") async))
  (func (export "threads") async (canon lift (core func $m "threads") async))
  (func (export "set") async (canon lift (core func $m "set") async (callback (core func $m "cb"))))
  (func (export "shut") (canon lift (core func $m "shut")))
  (func (export "make") async (result (own $r)) (canon lift (core func $m "make") async)))"#;

/// Has everything in progress at a time that can be.
fn begin_everything(store: &Store<()>, executor: &Handle, component: &Component) {
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", |_, ()| async move {
            pending::<()>().await;
            Ok(())
        })
        .unwrap();
    let instance = linker.instantiate(store, component).unwrap();
    let func = |name: &str| instance.get_func(store, name).unwrap();
    let run = || executor.run_until_stalled(Budget::rounds(10)).unwrap();
    let mut given_up = Vec::new();
    for name in ["host", "guest", "suspend", "threads", "set"] {
        drop(executor.spawn(func(name).call(store, &[])).unwrap());
        run();
        let mut call = Box::pin(func(name).call(store, &[]));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut cx).is_pending(), "{name}");
        given_up.push(call);
    }
    let make = func("make");
    for _ in 0..2 {
        // Resources in the embedder's hands.
        assert!(store.block_on(make.call(store, &[])).unwrap().is_some());
    }
    store.block_on(func("shut").call(store, &[])).unwrap();
    // At the gate.
    drop(executor.spawn(func("host").call(store, &[])).unwrap());
    run();
    let live = store.counters().unwrap().live();
    assert!(live.tasks >= 13 && live.threads >= 17, "{live:?}");
    assert!(live.subtasks >= 6 && live.waitable_sets >= 6, "{live:?}");
    // Cancellations that no turn has delivered yet.
    drop(given_up);
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
    let everything = host.component(EVERYTHING);
    let with_everything = growth(
        || {
            let executor = Executor::new();
            let store = Store::new(&host.engine, &executor, ());
            begin_everything(&store, &executor, &everything);
        },
        100,
    );
    let with_everything_first = growth(
        || {
            let executor = Executor::new();
            let store = Store::new(&host.engine, &executor, ());
            begin_everything(&store, &executor, &everything);
            drop(store);
            executor.run_until_stalled(Budget::rounds(10)).unwrap();
        },
        100,
    );
    let streams = host.component(include_str!("streams.wat"));
    let with_streams = growth(
        || {
            let executor = Executor::new();
            let store = Store::new(&host.engine, &executor, ());
            begin_streams(&store, &executor, &streams);
        },
        100,
    );
    // The store goes first: whoever waits for one of its ends is told.
    let with_streams_first = growth(
        || {
            let store = host.store(());
            begin_streams(&store, &host.executor, &streams);
            drop(store);
            host.run();
            assert_eq!(host.executor.metrics().live, 0);
        },
        100,
    );
    for (left, when) in [
        (
            with_everything,
            "with everything in progress, dropped with the executor",
        ),
        (
            with_everything_first,
            "with everything in progress, dropped before it",
        ),
        (with_streams, "with streams, dropped with the executor"),
        (with_streams_first, "with streams, dropped before it"),
    ] {
        assert!(left < 1_600, "{left} bytes left by 100 stores, {when}");
    }
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
