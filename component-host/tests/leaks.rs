//! What a store made is freed with it: counted in bytes that are allocated.

mod common;

use cap::Cap;
use common::{CALLS_ASYNC_F, Host, WAITS, WAITS_IN_EXPORT};
use std::alloc::System;
use std::future::{Future, pending};
use std::pin::Pin;
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
        (with_streams, "dropped with the executor"),
        (with_streams_first, "dropped before it"),
    ] {
        assert!(
            left < 1_600,
            "{left} bytes left by 100 stores with streams, {when}"
        );
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
