//! What a start function may and may not do.

mod common;

use common::{CALLS_ASYNC_F, CALLS_F, Host, PLAIN, Trace, WAITS, WAITS_IN_EXPORT, call_u32};
use std::cell::Cell;
use std::future::{pending, ready};
use std::rc::Rc;
use vestibule_component_host::{Caller, Config, Engine, Error, ErrorKind, Linker, Store, Trap};
use vestibule_executor::{BlockOnError, JoinError, Op, PhaseKind, Reason};

fn assert_cannot_block(error: &Error) {
    assert_eq!(error.trap(), Some(&Trap::CannotBlockSyncTask), "{error}");
    assert!(
        error
            .to_string()
            .contains("cannot block a synchronous task before returning")
    );
}

#[test]
fn a_start_that_blocks_with_nothing_ready_traps_and_everything_else_goes_on() {
    let host = Host::new();
    let (other, instance) = host.instantiate(PLAIN).unwrap();
    let task = host.executor.spawn(async { 5 }).unwrap();
    let error = host.instantiate(WAITS).unwrap_err();
    assert_cannot_block(&error);
    let text = error.to_string();
    assert!(
        text.contains("start function `start` (function 2) of core module `M`"),
        "{text}"
    );
    assert!(text.contains("component `waits`"), "{text}");
    assert_eq!(call_u32(&other, &instance, "value"), 7);
    assert_eq!(host.executor.block_on(task).unwrap(), 5);
    let (store, instance) = host.instantiate(PLAIN).unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 7);
}

#[test]
fn the_same_store_instantiates_another_component_after_a_start_trapped() {
    let host = Host::new();
    let store = host.store(());
    let linker = Linker::new();
    assert_cannot_block(
        &linker
            .instantiate(&store, &host.component(WAITS))
            .unwrap_err(),
    );
    let instance = linker.instantiate(&store, &host.component(PLAIN)).unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 7);
}

#[test]
fn an_async_import_that_is_ready_at_once_gives_start_its_value() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", |_, (x,): (u32,)| async move { Ok((x + 100,)) })
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(CALLS_ASYNC_F))
        .unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 141);
}

#[test]
fn a_plain_host_function_serves_an_import_of_async_type() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func("f", |_: Caller<'_, ()>, (x,): (u32,)| Ok((x + 1,)))
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(CALLS_ASYNC_F))
        .unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 42);
}

struct CountsDrops(Rc<Cell<u32>>);

impl Drop for CountsDrops {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn an_async_import_that_is_pending_traps_start_and_its_future_is_dropped_once() {
    let host = Host::new();
    let store = host.store(());
    let (drops, polls) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let mut linker = Linker::new();
    let (counter, polled) = (Rc::clone(&drops), Rc::clone(&polls));
    linker
        .root()
        .func_async("f", move |_, (_x,): (u32,)| {
            let guard = CountsDrops(Rc::clone(&counter));
            let polled = Rc::clone(&polled);
            async move {
                let _guard = guard;
                polled.set(polled.get() + 1);
                pending::<()>().await;
                Ok((0u32,))
            }
        })
        .unwrap();
    let error = linker
        .instantiate(&store, &host.component(CALLS_ASYNC_F))
        .unwrap_err();
    assert_cannot_block(&error);
    assert_eq!(
        polls.get(),
        1,
        "a host future is polled once when it is called"
    );
    assert_eq!(drops.get(), 1, "dropped when the trap unwound, not later");
    host.run();
    drop(store);
    assert_eq!((polls.get(), drops.get()), (1, 1));
}

#[test]
fn a_host_function_that_blocks_on_the_executor_is_refused_with_everybody_named() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func("f", |caller: Caller<'_, ()>, (x,): (u32,)| {
            match caller.executor().try_block_on(ready(1)) {
                Err(BlockOnError::Refused(refused)) => {
                    assert_eq!(refused.op(), Op::BlockOn);
                    assert_eq!(refused.reason(), Reason::PhaseForbids);
                    assert_eq!(refused.phase_kind(), PhaseKind::Instantiating);
                    let label = refused.phase_label().unwrap();
                    assert!(label.contains("component `calls-f`"), "{label}");
                    assert!(label.contains("core module `M`"), "{label}");
                    assert!(label.contains("start function `start`"), "{label}");
                    assert!(
                        refused
                            .attempted_at()
                            .file()
                            .ends_with("start_functions.rs")
                    );
                    let entered = refused.entered_at().unwrap();
                    assert!(entered.file().ends_with("start_functions.rs"));
                    assert_ne!(entered.line(), refused.attempted_at().line());
                }
                other => panic!("not refused: {other:?}"),
            }
            // What was refused has no effect: the function can go on without it.
            Ok((x + 1,))
        })
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(CALLS_F))
        .unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 42);
}

#[test]
fn a_refusal_passed_on_with_a_question_mark_shows_the_whole_chain_and_loses_nothing() {
    let host = Host::new();
    let store = host.store(());
    let woken = Rc::new(Cell::new(false));
    let flag = Rc::clone(&woken);
    let mut linker = Linker::new();
    linker
        .root()
        .func("f", move |caller: Caller<'_, ()>, (_x,): (u32,)| {
            let flag = Rc::clone(&flag);
            let _task = caller
                .executor()
                .spawn(async move { flag.set(true) })
                .unwrap();
            caller.executor().tick()?;
            Ok((0u32,))
        })
        .unwrap();
    let error = linker
        .instantiate(&store, &host.component(CALLS_F))
        .unwrap_err();
    let refused = error.refused().expect("the refusal is passed on");
    assert_eq!(
        (refused.op(), refused.reason()),
        (Op::Tick, Reason::PhaseForbids)
    );
    let text = error.to_string();
    for part in [
        "cannot tick",
        "the phase in force forbids it",
        "in host function `f`",
        "called through import `f` (func(x: u32) -> u32) of component `calls-f`",
        "from start function `start` (function 1) of core module `M`, instance `m`, in component",
        "while instantiating component `calls-f`",
        "start_functions.rs",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    assert!(!woken.get(), "nothing was polled by the refused tick");
    host.run();
    assert!(woken.get(), "what was spawned meanwhile runs afterwards");
}

#[test]
fn deferred_work_runs_in_order_on_the_first_turn_after_instantiation() {
    let host = Host::new();
    let store = host.store(Trace::default());
    let trace = Trace::default();
    let mut linker = Linker::new();
    let recorded = Rc::clone(&trace);
    linker
        .root()
        .func("f", move |mut caller: Caller<'_, Trace>, (x,): (u32,)| {
            caller
                .data_mut()
                .borrow_mut()
                .push(format!("start called f({x})"));
            for name in ["first", "second"] {
                let trace = Rc::clone(&recorded);
                let _task =
                    caller.defer(async move { trace.borrow_mut().push(name.to_owned()) })?;
            }
            recorded.borrow_mut().push("deferred".to_owned());
            Ok((x,))
        })
        .unwrap();
    let _instance = linker
        .instantiate(&store, &host.component(CALLS_F))
        .unwrap();
    assert_eq!(
        *trace.borrow(),
        ["deferred"],
        "nothing ran during the instantiation"
    );
    host.executor.tick().unwrap();
    assert_eq!(*trace.borrow(), ["deferred", "first", "second"]);
    store
        .with(|data| assert_eq!(*data.borrow(), ["start called f(41)"]))
        .unwrap();
}

#[test]
fn deferred_work_is_dropped_and_reported_when_instantiation_fails() {
    let host = Host::new();
    let store = host.store(());
    let handle = Rc::new(Cell::new(None));
    let drops = Rc::new(Cell::new(0));
    let (joined, dropped) = (Rc::clone(&handle), Rc::clone(&drops));
    let mut linker = Linker::new();
    linker
        .root()
        .func(
            "f",
            move |caller: Caller<'_, ()>, (_x,): (u32,)| -> Result<(u32,), Error> {
                let guard = CountsDrops(Rc::clone(&dropped));
                joined.set(Some(caller.defer(async move { drop(guard) })?));
                Err(Error::host("no such thing"))
            },
        )
        .unwrap();
    let error = linker
        .instantiate(&store, &host.component(CALLS_F))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("host function failed: no such thing"),
        "{error}"
    );
    assert_eq!(drops.get(), 1, "the deferred future is dropped");
    let joined = host.executor.block_on(handle.take().unwrap());
    assert!(matches!(joined, Err(JoinError::Discarded)), "{joined:?}");
}

#[test]
fn a_panic_in_a_host_function_called_by_start_is_a_host_error() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func(
            "f",
            |_: Caller<'_, ()>, (x,): (u32,)| -> Result<(u32,), Error> {
                panic!("the host broke at {x}")
            },
        )
        .unwrap();
    let error = linker
        .instantiate(&store, &host.component(CALLS_F))
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::HostPanic(text) if text == "the host broke at 41"));
    assert!(
        error.to_string().contains("start function `start`"),
        "{error}"
    );
    let instance = linker.instantiate(&store, &host.component(PLAIN)).unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 7);
}

/// A guard in a host future that panics while the trap that doomed the future unwinds.
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("a destructor of the host broke");
    }
}

#[test]
fn a_panic_in_the_destructor_of_a_host_future_never_hides_the_trap() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", |_, (_x,): (u32,)| async move {
            let _guard = PanicsWhenDropped;
            pending::<()>().await;
            Ok((0u32,))
        })
        .unwrap();
    let error = linker
        .instantiate(&store, &host.component(CALLS_ASYNC_F))
        .unwrap_err();
    assert_cannot_block(&error);
    let (other, instance) = host.instantiate(PLAIN).unwrap();
    assert_eq!(call_u32(&other, &instance, "value"), 7);
}

#[test]
fn the_same_blocking_call_works_in_an_async_export_after_instantiation() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", |_, (x,): (u32,)| async move {
            vestibule_executor::yield_now().await;
            vestibule_executor::yield_now().await;
            Ok((x + 100,))
        })
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(WAITS_IN_EXPORT))
        .unwrap();
    assert_eq!(call_u32(&store, &instance, "run"), 141);
}

#[test]
fn many_calls_of_one_store_wait_at_the_same_time() {
    let host = Host::new();
    let store = host.store(());
    let (asked, calls) = (Rc::new(Cell::new(0u32)), 50u32);
    let counter = Rc::clone(&asked);
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", move |_, (_x,): (u32,)| {
            let asked = Rc::clone(&counter);
            asked.set(asked.get() + 1);
            let mine = asked.get();
            async move {
                while asked.get() < calls {
                    vestibule_executor::yield_now().await;
                }
                Ok((mine,))
            }
        })
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(WAITS_IN_EXPORT))
        .unwrap();
    let func = instance.get_func(&store, "run").unwrap();
    let tasks: Vec<_> = (0..calls)
        .map(|_| host.executor.spawn(func.call(&store, &[])).unwrap())
        .collect();
    for (i, task) in tasks.into_iter().enumerate() {
        let result = host.executor.block_on(task).unwrap().unwrap();
        assert_eq!(
            result,
            Some(vestibule_component_host::Val::U32(i as u32 + 1))
        );
    }
}

/// Start runs `(body)`, in which `$yield` is `thread.yield`.
fn yields(body: &str) -> String {
    format!(
        r#"(component $yields
  (core func $yield (canon thread.yield))
  (core module $M
    (import "" "yield" (func $yield (result i32)))
    (global $v (mut i32) (i32.const 0))
    (func $start {body})
    (start $start)
    (func (export "value") (result i32) (global.get $v)))
  (core instance $m (instantiate $M (with "" (instance (export "yield" (func $yield))))))
  (func (export "value") (result u32) (canon lift (core func $m "value"))))"#
    )
}

#[test]
fn a_start_that_yields_goes_on() {
    let host = Host::new();
    let body = "(drop (call $yield)) (drop (call $yield)) (global.set $v (i32.const 5))";
    let (store, instance) = host.instantiate(&yields(body)).unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 5);
}

#[test]
fn a_start_that_yields_by_a_tail_call_goes_on() {
    let host = Host::new();
    let wat = r#"(component
      (core func $yield (canon thread.yield))
      (core module $M
        (import "" "yield" (func $yield (result i32)))
        (func $tail (result i32) (return_call $yield))
        (func $start (drop (call $tail)))
        (start $start)
        (func (export "value") (result i32) (i32.const 7)))
      (core instance $m (instantiate $M (with "" (instance (export "yield" (func $yield))))))
      (func (export "value") (result u32) (canon lift (core func $m "value"))))"#;
    let (store, instance) = host.instantiate(wat).unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 7);
}

#[test]
fn a_start_that_yields_for_ever_ends_at_the_default_limit_and_the_error_names_it() {
    let host = Host::new();
    let error = host
        .instantiate(&yields("(loop (drop (call $yield)) (br 0))"))
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Limit(limit) if limit.limit == "fuel"),
        "{error}"
    );
    assert!(error.to_string().contains("Config::fuel"), "{error}");
    assert!(
        error.to_string().contains("start function `start`"),
        "{error}"
    );
}

#[test]
fn a_start_that_loops_for_ever_ends_at_its_limit() {
    let executor = vestibule_executor::Executor::new();
    for config in [
        Config::new().fuel(1_000_000),
        Config::new().fuel(1_000_000).fuel_slice(10_000),
        Config::new().timeout(std::time::Duration::from_millis(20)),
    ] {
        let engine = Engine::new(config);
        let store = Store::new(&engine, &executor, ());
        let component =
            vestibule_component_host::Component::new(&engine, yields("(loop (br 0))").as_bytes());
        let error = Linker::new()
            .instantiate(&store, &component.unwrap())
            .unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Limit(_)), "{error}");
    }
}

/// `$d`'s start calls `$c`'s `f`, of the given type, which runs `$yield` and then blocks for ever.
/// A thread of `$d`, if it ran meanwhile, would call the import `ran`.
fn blocks_in_another(async_: &str) -> String {
    let lift = if async_.is_empty() {
        ""
    } else {
        "async (callback (core func $m \"cb\"))"
    };
    format!(
        r#"(component $both
  (component $C
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $new (canon waitable-set.new))
    (core func $wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
    (core module $M
      (import "" "new" (func $new (result i32)))
      (import "" "wait" (func $wait (param i32 i32) (result i32)))
      (func (export "f") {result}
        (drop (call $wait (call $new) (i32.const 0))) unreachable)
      (func (export "cb") (param i32 i32 i32) (result i32) unreachable))
    (core instance $m (instantiate $M
      (with "" (instance (export "new" (func $new)) (export "wait" (func $wait))))))
    (func (export "f") {async_} (canon lift (core func $m "f") {lift})))
  (component $D
    (import "f" (func $f {async_}))
    (import "ran" (func $ran))
    (core func $f' (canon lower (func $f)))
    (core func $ran' (canon lower (func $ran)))
    (core func $yield (canon thread.yield))
    (core module $M
      (import "" "f" (func $f))
      (import "" "ran" (func $ran))
      (import "" "yield" (func $yield (result i32)))
      (func $start (drop (call $yield)) (call $f) (call $ran))
      (start $start))
    (core instance $m (instantiate $M (with "" (instance
      (export "f" (func $f')) (export "ran" (func $ran')) (export "yield" (func $yield)))))))
  (import "ran" (func $ran))
  (instance $c (instantiate $C))
  (instance $d (instantiate $D (with "f" (func $c "f")) (with "ran" (func $ran)))))"#,
        result = if async_.is_empty() {
            ""
        } else {
            "(result i32)"
        },
    )
}

#[test]
fn a_start_whose_synchronous_call_into_another_component_blocks_traps() {
    for async_ in ["", "async"] {
        let host = Host::new();
        let store = host.store(());
        let ran = Rc::new(Cell::new(false));
        let flag = Rc::clone(&ran);
        let mut linker = Linker::new();
        linker
            .root()
            .func("ran", move |_: Caller<'_, ()>, ()| {
                flag.set(true);
                Ok(())
            })
            .unwrap();
        let component = host.component(&blocks_in_another(async_));
        let error = linker.instantiate(&store, &component).unwrap_err();
        assert_cannot_block(&error);
        host.run();
        assert!(!ran.get(), "the caller's thread never ran on");
        let text = error.to_string();
        assert!(text.contains("start function `start`"), "{text}");
    }
}

#[test]
fn instantiation_inside_a_running_task_works() {
    let host = Host::new();
    let store = host.store(());
    let component = host.component(&yields(
        "(drop (call $yield)) (global.set $v (i32.const 5))",
    ));
    let waits = host.component(WAITS);
    let task = host
        .executor
        .spawn(async move {
            let linker = Linker::new();
            let instance = linker.instantiate(&store, &component)?;
            assert_cannot_block(&linker.instantiate(&store, &waits).unwrap_err());
            let value = instance.get_func(&store, "value")?;
            value.call(&store, &[]).await
        })
        .unwrap();
    let value = host.executor.block_on(task).unwrap().unwrap();
    assert_eq!(value, Some(vestibule_component_host::Val::U32(5)));
}

#[test]
fn instantiation_of_a_second_store_from_a_host_function_works() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    let engine = host.engine.clone();
    let inner = host.component(&yields(
        "(drop (call $yield)) (global.set $v (i32.const 5))",
    ));
    linker
        .root()
        .func("f", move |caller: Caller<'_, ()>, (_x,): (u32,)| {
            assert_eq!(caller.executor().phase().depth, 2);
            let store = Store::with_handle(&engine, caller.executor(), ());
            let instance = Linker::new().instantiate(&store, &inner)?;
            assert_eq!(caller.executor().phase().depth, 2);
            let value = instance.get_func(&store, "value")?;
            // The phase forbids to block, even on what is ready.
            let refused = store.block_on(value.call(&store, &[])).unwrap_err();
            assert_eq!(refused.refused().unwrap().reason(), Reason::PhaseForbids);
            Ok((6u32,))
        })
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(CALLS_F))
        .unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 6);
}

#[test]
fn the_store_that_is_running_is_refused_by_name() {
    let host = Host::new();
    let store = host.store(());
    let plain = host.component(PLAIN);
    let outer = store.clone();
    let mut linker = Linker::new();
    linker
        .root()
        .func("f", move |_: Caller<'_, ()>, (_x,): (u32,)| {
            let error = Linker::new().instantiate(&outer, &plain).unwrap_err();
            let refused = error.refused().expect("the store is busy");
            assert_eq!(refused.reason(), Reason::StoreBusy);
            assert!(
                refused.to_string().contains("start function `start`"),
                "{refused}"
            );
            let error = outer.with(|()| ()).unwrap_err();
            assert_eq!(error.refused().unwrap().reason(), Reason::StoreBusy);
            Ok((1u32,))
        })
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(CALLS_F))
        .unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 1);
}

#[test]
fn another_store_that_blocks_inside_a_start_function_does_not_disturb_the_outer_one() {
    let host = Host::new();
    let store = host.store(());
    let engine = host.engine.clone();
    let waits = host.component(WAITS);
    let mut linker = Linker::new();
    linker
        .root()
        .func("f", move |caller: Caller<'_, ()>, (x,): (u32,)| {
            let store = Store::with_handle(&engine, caller.executor(), ());
            assert_cannot_block(&Linker::new().instantiate(&store, &waits).unwrap_err());
            Ok((x + 1,))
        })
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(CALLS_F))
        .unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 42);
}
