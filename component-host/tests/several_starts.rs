//! Several start functions: their order, failure midway, nested components, live siblings.

mod common;

use common::{Host, Trace, call_u32};
use std::cell::Cell;
use std::rc::Rc;
use vestibule_component_host::{Caller, Error, Linker, Result, Store, Trap};
use vestibule_executor::{PhaseKind, Reason};

/// Three modules with start functions, two of them in a nested component, each calling `log` with
/// its number; the second one in the middle fails when `log` does.
const THREE: &str = r#"(component $three
  (import "log" (func $log (param "x" u32)))
  (core func $log' (canon lower (func $log)))
  (core module $A (import "" "log" (func $log (param i32)))
    (func $a (call $log (i32.const 1))) (start $a))
  (core instance $a (instantiate $A (with "" (instance (export "log" (func $log'))))))
  (component $Nested
    (import "log" (func $log (param "x" u32)))
    (core func $log' (canon lower (func $log)))
    (core module $B (import "" "log" (func $log (param i32)))
      (func $b (call $log (i32.const 2))) (start $b))
    (core instance $b1 (instantiate $B (with "" (instance (export "log" (func $log'))))))
    (core instance $b2 (instantiate $B (with "" (instance (export "log" (func $log')))))))
  (instance $nested (instantiate $Nested (with "log" (func $log))))
  (core module $C (import "" "log" (func $log (param i32)))
    (func $c (call $log (i32.const 3))) (start $c)
    (func (export "value") (result i32) (i32.const 7)))
  (core instance $c (instantiate $C (with "" (instance (export "log" (func $log'))))))
  (func (export "value") (result u32) (canon lift (core func $c "value"))))"#;

/// `log` writes down the number and the phase; it fails at the call of the given number.
fn linker(fail_at: usize) -> Linker<Trace> {
    let mut linker = Linker::new();
    let calls = Cell::new(0);
    linker
        .root()
        .func("log", move |caller: Caller<'_, Trace>, (x,): (u32,)| {
            let phase = caller.executor().phase();
            assert_eq!(phase.kind, PhaseKind::Instantiating);
            // The phase of the instantiation, and that of the start function.
            assert_eq!(phase.depth, 2);
            let label = phase.label.as_deref().unwrap_or_default().to_owned();
            let start = label.rsplit(' ').next().unwrap_or_default().to_owned();
            caller.data().borrow_mut().push(format!("{x} {start}"));
            calls.set(calls.get() + 1);
            match calls.get() == fail_at {
                true => Err(Error::host("the log is full")),
                false => Ok(()),
            }
        })
        .unwrap();
    linker
}

#[test]
fn start_functions_run_in_the_order_of_the_binary_nested_ones_included() {
    let host = Host::new();
    let trace = Trace::default();
    let store = host.store(Trace::clone(&trace));
    let instance = linker(0)
        .instantiate(&store, &host.component(THREE))
        .unwrap();
    assert_eq!(*trace.borrow(), ["1 `a`", "2 `b`", "2 `b`", "3 `c`"]);
    assert_eq!(call_u32(&store, &instance, "value"), 7);
}

#[test]
fn a_failure_midway_stops_there_and_the_store_goes_on() {
    for fail_at in 1..=4 {
        let host = Host::new();
        let trace = Trace::default();
        let store = host.store(Trace::clone(&trace));
        let component = host.component(THREE);
        let error = linker(fail_at).instantiate(&store, &component).unwrap_err();
        assert_eq!(
            trace.borrow().len(),
            fail_at,
            "nothing ran after the failure"
        );
        let text = error.to_string();
        let expected = match fail_at {
            1 => {
                "start function `a` (function 1) of core module `A`, instance `a`, in component `three`"
            }
            2 => "core module `B`, instance `b1`, in component `three` → `nested`",
            3 => "core module `B`, instance `b2`, in component `three` → `nested`",
            _ => "core module `C`, instance `c`, in component `three`",
        };
        assert!(text.contains(expected), "{fail_at}: {text}");
        assert_eq!(host.executor.phase().depth, 0);
        let instance = linker(0).instantiate(&store, &component).unwrap();
        assert_eq!(call_u32(&store, &instance, "value"), 7);
    }
}

/// `$user`'s start calls `$live`, which counts; then it traps, or not.
fn sibling(end: &str) -> String {
    format!(
        r#"(component
      (component $Live
        (core module $M
          (global $n (mut i32) (i32.const 0))
          (func (export "bump") (result i32)
            (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))
        (core instance $m (instantiate $M))
        (func (export "bump") (result u32) (canon lift (core func $m "bump"))))
      (component $User
        (import "bump" (func $bump (result u32)))
        (core func $bump' (canon lower (func $bump)))
        (core module $M
          (import "" "bump" (func $bump (result i32)))
          (func $start (drop (call $bump)) (drop (call $bump)) {end})
          (start $start))
        (core instance (instantiate $M (with "" (instance (export "bump" (func $bump')))))))
      (instance $live (instantiate $Live))
      (instance $user (instantiate $User (with "bump" (func $live "bump"))))
      (export "bump" (func $live "bump")))"#
    )
}

#[test]
fn a_start_calls_into_a_live_sibling() {
    let host = Host::new();
    let (store, instance) = host.instantiate(&sibling("")).unwrap();
    assert_eq!(call_u32(&store, &instance, "bump"), 3);
}

#[test]
fn a_start_that_traps_after_it_called_a_sibling_fails_the_whole() {
    let host = Host::new();
    let error = host.instantiate(&sibling("unreachable")).unwrap_err();
    assert_eq!(error.trap(), Some(&Trap::Unreachable));
}

/// Of another instantiation in the same store, it is the sibling that lives on.
#[test]
fn a_start_that_traps_leaves_the_sibling_of_another_instantiation_alone() {
    let host = Host::new();
    let (store, live) = host.instantiate(&sibling("")).unwrap();
    let user = r#"(component
      (import "bump" (func $bump (result u32)))
      (core func $bump' (canon lower (func $bump)))
      (core module $M
        (import "" "bump" (func $bump (result i32)))
        (func $start (drop (call $bump)) unreachable)
        (start $start))
      (core instance (instantiate $M (with "" (instance (export "bump" (func $bump')))))))"#;
    let mut linker = Linker::new();
    linker.root().export("bump", &live, "bump").unwrap();
    let error = linker
        .instantiate(&store, &host.component(user))
        .unwrap_err();
    assert_eq!(error.trap(), Some(&Trap::Unreachable));
    // Two by the first user, one by the second, and one now.
    assert_eq!(call_u32(&store, &live, "bump"), 4);
}

#[test]
fn a_start_cannot_enter_the_store_through_its_outer_handle() {
    let host = Host::new();
    let (store, live) = host.instantiate(&sibling("")).unwrap();
    let bump = live.get_func(&store, "bump").unwrap();
    let outer: Store<()> = store.clone();
    let refused = Rc::new(Cell::new(false));
    let flag = Rc::clone(&refused);
    let mut linker = Linker::new();
    linker
        .root()
        .func(
            "f",
            move |_: Caller<'_, ()>, (x,): (u32,)| -> Result<(u32,)> {
                let mut call = std::pin::pin!(bump.call(&outer, &[]));
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                match std::future::Future::poll(call.as_mut(), &mut cx) {
                    std::task::Poll::Ready(Err(error)) => {
                        assert_eq!(error.refused().unwrap().reason(), Reason::StoreBusy);
                        flag.set(true);
                        Ok((x,))
                    }
                    other => panic!("{other:?}"),
                }
            },
        )
        .unwrap();
    linker
        .instantiate(&store, &host.component(common::CALLS_F))
        .unwrap();
    assert!(refused.get());
    assert_eq!(call_u32(&store, &live, "bump"), 3);
}
