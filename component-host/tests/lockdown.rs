//! Which instances a failure locks down: those that are behind it, those that wait for them, and
//! no others.

mod common;

use common::{Host, call_u32};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use vestibule_component_host::{Error, ErrorKind, Linker};

/// `run: async func()` calls the async import `f`, does not wait for it, and ends.
const LEAVES_F: &str = r#"(component
  (import "f" (func $f async))
  (core func $f' (canon lower (func $f) async))
  (core func $return (canon task.return))
  (core module $M
    (import "" "f" (func $f (result i32)))
    (import "" "return" (func $return))
    (func (export "run") (drop (call $f)) (call $return))
    (func (export "seven") (result i32) (i32.const 7)))
  (core instance $m (instantiate $M
    (with "" (instance (export "f" (func $f')) (export "return" (func $return))))))
  (func (export "run") async (canon lift (core func $m "run") async))
  (func (export "seven") (result u32) (canon lift (core func $m "seven"))))"#;

#[test]
fn a_host_future_that_fails_after_its_caller_has_ended_locks_the_instance_down() {
    let host = Host::new();
    let (fail, waker) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(None)));
    let mut linker = Linker::new();
    let (fails, waits) = (
        Rc::clone(&fail),
        Rc::<RefCell<Option<Waker>>>::clone(&waker),
    );
    linker
        .root()
        .func_async("f", move |_, ()| {
            let (fails, waits) = (Rc::clone(&fails), Rc::clone(&waits));
            async move {
                poll_fn(|cx| {
                    *waits.borrow_mut() = Some(cx.waker().clone());
                    match fails.get() {
                        true => Poll::Ready(()),
                        false => Poll::Pending,
                    }
                })
                .await;
                Err::<(), _>(Error::host("the disk is full"))
            }
        })
        .unwrap();
    let store = host.store(());
    let instance = linker
        .instantiate(&store, &host.component(LEAVES_F))
        .unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    store.block_on(run.call(&store, &[])).unwrap();
    host.run();
    assert_eq!(call_u32(&store, &instance, "seven"), 7);

    fail.set(true);
    waker.take().expect("it was polled").wake();
    host.run();
    let errors = store.take_background_errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].to_string().contains("the disk is full"));
    let seven = instance.get_func(&store, "seven").unwrap();
    let error = store.block_on(seven.call(&store, &[])).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot enter component instance"),
        "{error}"
    );
    assert!(store.is_quiet().unwrap(), "nothing is left of the call");
}

/// `b.wait` yields until `b.stop` was called, and then traps in a turn of its own. `a.run` calls it
/// and blocks, with the exclusive thread of its instance; `a.enter` needs that thread, too.
const TRAPS_IN_ITS_OWN_TURN: &str = r#"(component
  (component $B
    (core module $M
      (global $stop (mut i32) (i32.const 0))
      (func (export "wait") (result i32) (i32.const 1))
      (func (export "cb") (param i32 i32 i32) (result i32)
        (if (global.get $stop) (then unreachable))
        (i32.const 1))
      (func (export "stop") (global.set $stop (i32.const 1))))
    (core instance $m (instantiate $M))
    (func (export "wait") async
      (canon lift (core func $m "wait") async (callback (core func $m "cb"))))
    (func (export "stop") (canon lift (core func $m "stop"))))
  (component $A
    (import "wait" (func $wait async))
    (core func $wait' (canon lower (func $wait)))
    (core func $return (canon task.return))
    (core module $M
      (import "" "wait" (func $wait))
      (import "" "return" (func $return))
      (func (export "run") (result i32) (call $wait) (call $return) (i32.const 0))
      (func (export "enter") (result i32) (call $return) (i32.const 0))
      (func (export "cb") (param i32 i32 i32) (result i32) unreachable))
    (core instance $m (instantiate $M (with "" (instance
      (export "wait" (func $wait')) (export "return" (func $return))))))
    (func (export "run") async
      (canon lift (core func $m "run") async (callback (core func $m "cb"))))
    (func (export "enter") async
      (canon lift (core func $m "enter") async (callback (core func $m "cb")))))
  (instance $b (instantiate $B))
  (instance $a (instantiate $A (with "wait" (func $b "wait"))))
  (export "run" (func $a "run"))
  (export "enter" (func $a "enter"))
  (export "stop" (func $b "stop")))"#;

#[test]
fn a_trap_in_a_callees_own_turn_leaves_nobody_at_the_callers_gate() {
    let host = Host::new();
    let (store, instance) = host.instantiate(TRAPS_IN_ITS_OWN_TURN).unwrap();
    let func = |name| instance.get_func(&store, name).unwrap();
    let spawn = |name| host.executor.spawn(func(name).call(&store, &[])).unwrap();
    let turns = || {
        let rounds = vestibule_executor::Budget::rounds(20);
        host.executor.run_until_stalled(rounds).unwrap();
    };
    let running = spawn("run");
    let at_the_gate = spawn("enter");
    turns();
    assert!(!running.is_finished() && !at_the_gate.is_finished());
    store.block_on(func("stop").call(&store, &[])).unwrap();
    turns();
    // The trap is that of the call which led to it; the other one waited for the same instance.
    let error = host.executor.block_on(running).unwrap().unwrap_err();
    assert!(error.to_string().contains("unreachable"), "{error}");
    let error = host.executor.block_on(at_the_gate).unwrap().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Poisoned { .. }),
        "{error}"
    );
    // What comes later is told at once, instead of waiting at the gate for ever.
    let error = store.block_on(func("enter").call(&store, &[])).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot enter component instance"),
        "{error}"
    );
    assert!(store.is_quiet().unwrap());
    assert!(store.take_background_errors().is_empty());
}
