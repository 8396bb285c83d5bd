//! Many calls, many stores, guests that give nobody a turn, and calls that are given up.

mod common;

use common::{Host, PLAIN, call_u32};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use vestibule_component_host::{Component, ErrorKind, Linker, Trap, Val};
use vestibule_executor::Budget;

/// Exports `run: async func() -> u32`, which calls the async import `f` and waits for it.
const WAITS_FOR_F: &str = r#"(component
  (import "f" (func $f async (result u32)))
  (core func $f' (canon lower (func $f)))
  (core func $return (canon task.return (result u32)))
  (core module $M
    (import "" "f" (func $f (result i32)))
    (import "" "return" (func $return (param i32)))
    (func (export "run") (call $return (call $f))))
  (core instance $m (instantiate $M
    (with "" (instance (export "f" (func $f')) (export "return" (func $return))))))
  (func (export "run") async (result u32) (canon lift (core func $m "run") async)))"#;

/// `spin: async func()` yields for ever; `cancellable: async func() -> u32` waits until it is
/// cancelled, and `cancelled` says how often it was.
const SPINS: &str = r#"(component
  (core func $new (canon waitable-set.new))
  (core func $drop (canon waitable-set.drop))
  (core func $cancel (canon task.cancel))
  (core module $M
    (import "" "new" (func $new (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (import "" "cancel" (func $cancel))
    (global $set (mut i32) (i32.const 0))
    (global $cancelled (mut i32) (i32.const 0))
    (func (export "spin") (result i32) (i32.const 1))
    (func (export "spin-cb") (param i32 i32 i32) (result i32) (i32.const 1))
    (func (export "wait") (result i32)
      (global.set $set (call $new))
      (i32.or (i32.const 2) (i32.shl (global.get $set) (i32.const 4))))
    (func (export "wait-cb") (param $event i32) (param i32 i32) (result i32)
      (if (i32.ne (local.get $event) (i32.const 6)) (then unreachable))
      (global.set $cancelled (i32.add (global.get $cancelled) (i32.const 1)))
      (call $drop (global.get $set))
      (call $cancel)
      (i32.const 0))
    (func (export "cancelled") (result i32) (global.get $cancelled)))
  (core instance $m (instantiate $M (with "" (instance
    (export "new" (func $new)) (export "drop" (func $drop)) (export "cancel" (func $cancel))))))
  (func (export "spin") async
    (canon lift (core func $m "spin") async (callback (core func $m "spin-cb"))))
  (func (export "cancellable") async (result u32)
    (canon lift (core func $m "wait") async (callback (core func $m "wait-cb"))))
  (func (export "cancelled") (result u32) (canon lift (core func $m "cancelled"))))"#;

/// A host whose `f` waits until `release` is set, and then returns how many it was.
fn gated(release: &Rc<Cell<bool>>, waiting: &Rc<RefCell<Vec<Waker>>>) -> Linker<()> {
    let (release, waiting) = (Rc::clone(release), Rc::clone(waiting));
    let count = Rc::new(Cell::new(0u32));
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", move |_, ()| {
            let (release, waiting) = (Rc::clone(&release), Rc::clone(&waiting));
            count.set(count.get() + 1);
            let mine = count.get();
            async move {
                poll_fn(|cx| {
                    if release.get() {
                        return Poll::Ready(());
                    }
                    waiting.borrow_mut().push(cx.waker().clone());
                    Poll::Pending
                })
                .await;
                Ok((mine,))
            }
        })
        .unwrap();
    linker
}

#[test]
fn ten_thousand_calls_of_one_store_are_suspended_at_a_time() {
    const CALLS: u32 = 10_000;
    let host = Host::new();
    let store = host.store(());
    let (release, waiting) = (Rc::default(), Rc::default());
    let linker = gated(&release, &waiting);
    let instance = linker
        .instantiate(&store, &host.component(WAITS_FOR_F))
        .unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    let tasks: Vec<_> = (0..CALLS)
        .map(|_| host.executor.spawn(run.call(&store, &[])).unwrap())
        .collect();
    host.run();
    assert!(!store.is_quiet().unwrap());
    release.set(true);
    for waker in waiting.take() {
        waker.wake();
    }
    let mut sum = 0u64;
    for task in tasks {
        match host.executor.block_on(task).unwrap().unwrap() {
            Some(Val::U32(value)) => sum += u64::from(value),
            other => panic!("a call returned {other:?}"),
        }
    }
    assert_eq!(sum, u64::from(CALLS) * (u64::from(CALLS) + 1) / 2);
    assert!(
        store.is_quiet().unwrap(),
        "nothing is left of ten thousand calls"
    );
}

#[test]
fn a_thousand_stores_share_one_executor() {
    let host = Host::new();
    let component = host.component(WAITS_FOR_F);
    let (release, waiting) = (Rc::default(), Rc::default());
    let linker = gated(&release, &waiting);
    let calls: Vec<_> = (0..1_000)
        .map(|_| {
            let store = host.store(());
            let instance = linker.instantiate(&store, &component).unwrap();
            let run = instance.get_func(&store, "run").unwrap();
            let task = host.executor.spawn(run.call(&store, &[])).unwrap();
            (store, task)
        })
        .collect();
    host.run();
    release.set(true);
    for waker in waiting.take() {
        waker.wake();
    }
    for (store, task) in calls {
        assert!(host.executor.block_on(task).unwrap().unwrap().is_some());
        assert!(store.is_quiet().unwrap());
    }
}

#[test]
fn a_guest_that_yields_for_ever_starves_nobody() {
    let host = Host::new();
    let (spinning, spins) = host.instantiate(SPINS).unwrap();
    let spin = spins.get_func(&spinning, "spin").unwrap();
    let _spinning_call = host.executor.spawn(spin.call(&spinning, &[])).unwrap();
    host.executor.run_until_stalled(Budget::rounds(10)).unwrap();

    let turns = Rc::new(Cell::new(0));
    let counted = Rc::clone(&turns);
    let _task = host
        .executor
        .spawn(async move {
            loop {
                counted.set(counted.get() + 1);
                vestibule_executor::yield_now().await;
            }
        })
        .unwrap();
    let (store, instance) = host.instantiate(PLAIN).unwrap();
    host.executor
        .run_until_stalled(Budget::rounds(100))
        .unwrap();
    assert!(
        turns.get() >= 50,
        "a task of the host had {} turns of 100",
        turns.get()
    );
    assert_eq!(call_u32(&store, &instance, "value"), 7);
    // The same store goes on, too.
    assert_eq!(call_u32(&spinning, &spins, "cancelled"), 0);
}

/// Polls a future once.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_call_whose_future_is_dropped_is_cancelled_at_the_next_turn() {
    let host = Host::new();
    let (store, instance) = host.instantiate(SPINS).unwrap();
    let cancellable = instance.get_func(&store, "cancellable").unwrap();
    {
        let mut call = pin!(cancellable.call(&store, &[]));
        assert!(poll_once(call.as_mut()).is_pending());
        assert!(!store.is_quiet().unwrap());
    }
    assert_eq!(
        call_u32(&store, &instance, "cancelled"),
        0,
        "not before the next turn"
    );
    host.run();
    assert_eq!(call_u32(&store, &instance, "cancelled"), 1);
    assert!(store.is_quiet().unwrap());
    assert!(store.take_background_errors().is_empty());
}

#[test]
fn a_call_that_was_never_polled_never_began() {
    let host = Host::new();
    let (store, instance) = host.instantiate(SPINS).unwrap();
    drop(
        instance
            .get_func(&store, "cancellable")
            .unwrap()
            .call(&store, &[]),
    );
    host.run();
    assert_eq!(call_u32(&store, &instance, "cancelled"), 0);
    assert!(store.is_quiet().unwrap());
}

#[test]
fn a_call_that_nothing_can_wake_is_a_deadlock_and_not_a_hang() {
    let host = Host::new();
    let (store, instance) = host.instantiate(SPINS).unwrap();
    let cancellable = instance.get_func(&store, "cancellable").unwrap();
    let error = store.block_on(cancellable.call(&store, &[])).unwrap_err();
    assert!(
        matches!(error.trap(), Some(Trap::Deadlock { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("deadlock detected"), "{error}");
}

/// `a.run` waits for `b.wait`; `b.trap` traps.
const WAITS_FOR_ANOTHER: &str = r#"(component
  (component $B
    (core func $new (canon waitable-set.new))
    (core module $M
      (import "" "new" (func $new (result i32)))
      (func (export "wait") (result i32)
        (i32.or (i32.const 2) (i32.shl (call $new) (i32.const 4))))
      (func (export "cb") (param i32 i32 i32) (result i32) unreachable)
      (func (export "trap") unreachable))
    (core instance $m (instantiate $M (with "" (instance (export "new" (func $new))))))
    (func (export "wait") async
      (canon lift (core func $m "wait") async (callback (core func $m "cb"))))
    (func (export "trap") (canon lift (core func $m "trap"))))
  (component $A
    (import "wait" (func $wait async))
    (core func $wait' (canon lower (func $wait)))
    (core func $return (canon task.return))
    (core module $M
      (import "" "wait" (func $wait))
      (import "" "return" (func $return))
      (func (export "run") (call $wait) (call $return))
      (func (export "seven") (result i32) (i32.const 7)))
    (core instance $m (instantiate $M (with "" (instance
      (export "wait" (func $wait')) (export "return" (func $return))))))
    (func (export "run") async (canon lift (core func $m "run") async))
    (func (export "seven") (result u32) (canon lift (core func $m "seven"))))
  (instance $b (instantiate $B))
  (instance $a (instantiate $A (with "wait" (func $b "wait"))))
  (component $C
    (core module $M (func (export "eight") (result i32) (i32.const 8)))
    (core instance $m (instantiate $M))
    (func (export "eight") (result u32) (canon lift (core func $m "eight"))))
  (instance $c (instantiate $C))
  (export "run" (func $a "run"))
  (export "seven" (func $a "seven"))
  (export "eight" (func $c "eight"))
  (export "trap" (func $b "trap")))"#;

#[test]
fn who_waits_for_an_instance_that_traps_is_told_and_others_go_on() {
    let host = Host::new();
    let (store, instance) = host.instantiate(WAITS_FOR_ANOTHER).unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    let waiting = host.executor.spawn(run.call(&store, &[])).unwrap();
    host.run();
    let trap = instance.get_func(&store, "trap").unwrap();
    let error = store.block_on(trap.call(&store, &[])).unwrap_err();
    assert!(error.to_string().contains("unreachable"), "{error}");
    let error = host.executor.block_on(waiting).unwrap().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Poisoned { by } if by.ends_with("→ `b`")),
        "{error}"
    );
    // The call that it waited for will never return, so neither will what it holds be let go.
    for name in ["seven", "trap"] {
        let func = instance.get_func(&store, name).unwrap();
        let error = store.block_on(func.call(&store, &[])).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("cannot enter component instance"),
            "{name}: {error}"
        );
    }
    // An instance that had nothing to do with either goes on.
    assert_eq!(call_u32(&store, &instance, "eight"), 8);
    assert!(store.is_quiet().unwrap());
}

/// `make: func() -> stream<u8>` keeps the writable end; `write: func() -> s32` writes to it without
/// waiting; `take: func(s: stream<u8>) -> u32` returns the handle it was given.
const STREAMS: &str = r#"(component
  (type $s (stream u8))
  (core module $Memory (memory (export "mem") 1))
  (core instance $memory (instantiate $Memory))
  (core func $new (canon stream.new $s))
  (core func $write (canon stream.write $s async (memory (core memory $memory "mem"))))
  (core module $M
    (import "" "new" (func $new (result i64)))
    (import "" "write" (func $write (param i32 i32 i32) (result i32)))
    (global $writer (mut i32) (i32.const 0))
    (func (export "make") (result i32)
      (local $ends i64)
      (local.set $ends (call $new))
      (global.set $writer (i32.wrap_i64 (i64.shr_u (local.get $ends) (i64.const 32))))
      (i32.wrap_i64 (local.get $ends)))
    (func (export "write") (result i32)
      (call $write (global.get $writer) (i32.const 0) (i32.const 4)))
    (func (export "take") (param i32) (result i32) (local.get 0)))
  (core instance $m (instantiate $M
    (with "" (instance (export "new" (func $new)) (export "write" (func $write))))))
  (func (export "make") (result $s) (canon lift (core func $m "make")))
  (func (export "write") (result s32) (canon lift (core func $m "write")))
  (func (export "take") (param "s" $s) (result u32) (canon lift (core func $m "take"))))"#;

#[test]
fn a_stream_that_the_host_has_is_passed_on_or_closed_once() {
    let host = Host::new();
    let (store, instance) = host.instantiate(STREAMS).unwrap();
    let func = |name| instance.get_func(&store, name).unwrap();
    let make = || {
        store
            .block_on(func("make").call(&store, &[]))
            .unwrap()
            .unwrap()
    };
    let take = |val| store.block_on(func("take").call(&store, &[val]));

    let stream = make();
    assert!(matches!(take(stream.clone()), Ok(Some(Val::U32(_)))));
    let error = take(stream.clone()).unwrap_err();
    assert!(
        error.to_string().contains("passed on or closed already"),
        "{error}"
    );

    let (other_store, other) = host.instantiate(STREAMS).unwrap();
    let Val::Stream(foreign) = store_call(&other_store, &other, "make") else {
        panic!("not a stream");
    };
    assert!(foreign.close(&store).is_err(), "a stream is of one store");
    foreign.close(&other_store).unwrap();
    assert!(foreign.close(&other_store).is_err(), "once");
    // 1: dropped, nothing written.
    assert_eq!(store_call(&other_store, &other, "write"), Val::S32(1));
}

fn store_call(
    store: &vestibule_component_host::Store<()>,
    instance: &vestibule_component_host::Instance,
    name: &str,
) -> Val {
    let func = instance.get_func(store, name).unwrap();
    store.block_on(func.call(store, &[])).unwrap().unwrap()
}

#[test]
fn engines_and_components_are_send_and_sync() {
    fn assert_send_sync<T: Send + Sync>() {}
    assert_send_sync::<vestibule_component_host::Engine>();
    assert_send_sync::<Component>();
}
