//! A store under load: many calls one after another, synchronous ones and others, and as much at a
//! time as the limits allow. With `heavy-tests` it is more than a million calls.

mod common;

use cap::Cap;
use common::{Host, PLAIN, call_u32};
use std::alloc::System;
use vestibule_component_host::{ErrorKind, Linker, StreamReader, Val, stream};
use vestibule_executor::yield_now;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// `run: async func()` calls the async import `f` and waits for it; `many` does not wait, and calls it
/// for ever; `sets` and `streams` make those for ever.
const CALLS: &str = r#"(component
  (import "f" (func $f async))
  (type $s (stream u8))
  (core func $f' (canon lower (func $f)))
  (core func $start (canon lower (func $f) async))
  (core func $new (canon waitable-set.new))
  (core func $stream (canon stream.new $s))
  (core func $return (canon task.return))
  (core module $M
    (import "" "f" (func $f))
    (import "" "start" (func $start (result i32)))
    (import "" "new" (func $new (result i32)))
    (import "" "stream" (func $stream (result i64)))
    (import "" "return" (func $return))
    (func (export "run") (call $f) (call $return))
    (func (export "many") (loop $l (drop (call $start)) (br $l)))
    (func (export "sets") (loop $l (drop (call $new)) (br $l)))
    (func (export "streams") (loop $l (drop (call $stream)) (br $l))))
  (core instance $m (instantiate $M (with "" (instance
    (export "f" (func $f')) (export "start" (func $start)) (export "new" (func $new))
    (export "stream" (func $stream)) (export "return" (func $return))))))
  (func (export "run") async (canon lift (core func $m "run") async))
  (func (export "many") (canon lift (core func $m "many")))
  (func (export "sets") (canon lift (core func $m "sets")))
  (func (export "streams") (canon lift (core func $m "streams"))))"#;

fn linker() -> Linker<()> {
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", |_, ()| async {
            yield_now().await;
            Ok(())
        })
        .unwrap();
    linker
}

/// One test, since the allocator counts for the whole process.
#[test]
fn a_store_under_load_stays_flat_and_within_its_limits() {
    calls_one_after_another_leave_nothing();
    what_a_guest_makes_without_end_is_limited();
}

fn calls_one_after_another_leave_nothing() {
    let host = Host::new();
    let store = host.store(());
    let instance = linker()
        .instantiate(&store, &host.component(CALLS))
        .unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    let streams = include_str!("streams.wat");
    let streams = Linker::new()
        .instantiate(&store, &host.component(streams))
        .unwrap();
    let func = |name| streams.get_func(&store, name).unwrap();
    let (make, drop_writable) = (func("make"), func("drop-writable"));
    let (take, read_now) = (func("take"), func("read-now"));
    let drop_readable = func("drop-readable");
    let call = |func: &vestibule_component_host::Func, args: &[Val]| {
        store.block_on(func.call(&store, args)).unwrap()
    };
    let rounds = |rounds: u32| {
        for _ in 0..rounds {
            call(&run, &[]);
            // A stream each way.
            let Some(Val::Stream(made)) = call(&make, &[]) else {
                panic!("not a stream");
            };
            drop(StreamReader::<u8>::new(&store, made));
            call(&drop_writable, &[]);
            let (reader, mut writer) = stream::<u8>(&store);
            call(&take, &[reader.into()]);
            call(&read_now, &[Val::U32(8)]);
            store.block_on(writer.write(vec![1; 8])).unwrap();
            drop(writer);
            // The guest learns of both, the bytes and the end, when it asks again.
            let cancel = func("cancel-read");
            call(&cancel, &[]);
            call(&drop_readable, &[]);
        }
    };
    rounds(300);
    let before = ALLOCATOR.allocated();
    let (live, entries) = (store.counters().unwrap().live(), host.executor.metrics());
    let times = if cfg!(feature = "heavy-tests") {
        150_000
    } else {
        3_000
    };
    rounds(times);
    let grown = ALLOCATOR.allocated().saturating_sub(before);
    assert!(
        grown < 4_096,
        "{grown} bytes left by {times} rounds of calls"
    );
    assert!(store.is_quiet().unwrap());
    assert_eq!(store.counters().unwrap().live(), live);
    let metrics = host.executor.metrics();
    assert_eq!(metrics.live, entries.live, "tasks of the executor");
    assert_eq!(metrics.groups, entries.groups);
}

fn what_a_guest_makes_without_end_is_limited() {
    let host = Host::new();
    let component = host.component(CALLS);
    for (name, expected) in [
        ("many", "max_waitables"),
        ("sets", "max_handles"),
        ("streams", "max_handles"),
    ] {
        let store = host.store(());
        let instance = linker().instantiate(&store, &component).unwrap();
        let func = instance.get_func(&store, name).unwrap();
        let error = store.block_on(func.call(&store, &[])).unwrap_err();
        match error.kind() {
            ErrorKind::Limit(limit) => assert_eq!(limit.limit, expected, "{name}: {error}"),
            other => panic!("{name}: {other:?}"),
        }
        // A hundred thousand host functions were in progress; none is left.
        host.run();
        assert!(store.is_quiet().unwrap(), "{name}");
        assert!(store.take_background_errors().is_empty(), "{name}");
        let (store, instance) = host.instantiate(PLAIN).unwrap();
        assert_eq!(call_u32(&store, &instance, "value"), 7, "{name}");
    }
}
