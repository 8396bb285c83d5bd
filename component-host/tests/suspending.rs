//! Async host functions for imports of synchronous type: the guest is suspended, and the whole
//! store waits.

mod common;

use common::{CALLS_F, Host, PLAIN, call_u32};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use vestibule_component_host::{
    Component, Config, Engine, Error, ErrorKind, Instance, Linker, Result, Store, Trap, Val,
};
use vestibule_executor::{Executor, Reason, yield_now};

/// Exports `run: func() -> u32`, which calls the synchronous import `f` with 41.
const RUNS_F: &str = r#"(component $runs-f
  (import "f" (func $f (param "x" u32) (result u32)))
  (core func $f' (canon lower (func $f)))
  (core module $M
    (import "" "f" (func $f (param i32) (result i32)))
    (func (export "run") (result i32) (call $f (i32.const 41))))
  (core instance $m (instantiate $M (with "" (instance (export "f" (func $f'))))))
  (func (export "run") (result u32) (canon lift (core func $m "run"))))"#;

/// `f` is ready after so many polls, and returns one more than it was called with; how often it
/// was called, and whether it may suspend.
fn slow(polls: u32) -> (Linker<()>, Rc<Cell<u32>>) {
    let (mut linker, calls) = (Linker::new(), Rc::new(Cell::new(0)));
    let counter = Rc::clone(&calls);
    linker
        .root()
        .func_async("f", move |_, (x,): (u32,)| {
            counter.set(counter.get() + 1);
            async move {
                for _ in 0..polls {
                    yield_now().await;
                }
                Ok((x + 1,))
            }
        })
        .unwrap();
    linker.allow_suspending("f");
    (linker, calls)
}

fn run(host: &Host, linker: &Linker<()>) -> (Store<()>, Instance) {
    let store = host.store(());
    let instance = linker.instantiate(&store, &host.component(RUNS_F)).unwrap();
    (store, instance)
}

fn link_text(error: &Error) -> &str {
    match error.kind() {
        ErrorKind::Link(text) => text,
        other => panic!("{other:?}"),
    }
}

/// The store still runs other instances.
fn assert_unharmed(host: &Host, store: &Store<()>) {
    let plain = Linker::new()
        .instantiate(store, &host.component(PLAIN))
        .unwrap();
    assert_eq!(call_u32(store, &plain, "value"), 7);
}

#[test]
fn the_guest_waits_and_goes_on_with_the_result() {
    for polls in [0, 1, 5] {
        let host = Host::new();
        let (linker, calls) = slow(polls);
        let (store, instance) = run(&host, &linker);
        assert_eq!(call_u32(&store, &instance, "run"), 42, "{polls}");
        assert_eq!(call_u32(&store, &instance, "run"), 42, "{polls}");
        assert_eq!(calls.get(), 2);
    }
}

#[test]
fn without_leave_it_is_a_link_error_with_a_hint() {
    let host = Host::new();
    let (mut linker, store) = (Linker::new(), host.store(()));
    linker
        .root()
        .func_async("f", async |_, (x,): (u32,)| Ok((x,)))
        .unwrap();
    linker.allow_suspending("g");
    let error = linker
        .instantiate(&store, &host.component(RUNS_F))
        .unwrap_err();
    let text = link_text(&error);
    assert!(text.contains("import `f`"), "{text}");
    assert!(
        text.contains(r#"`Linker::allow_suspending("f")`"#),
        "{text}"
    );
}

#[test]
fn nothing_of_the_store_runs_meanwhile_and_everything_else_does() {
    let host = Host::new();
    let trace = Rc::new(RefCell::new(Vec::new()));
    let mut linker = Linker::new();
    let log = Rc::clone(&trace);
    linker
        .root()
        .func_async("f", move |_, (x,): (u32,)| {
            let log = Rc::clone(&log);
            async move {
                log.borrow_mut().push("waits");
                for _ in 0..10 {
                    yield_now().await;
                }
                log.borrow_mut().push("ready");
                Ok((x + 1,))
            }
        })
        .unwrap();
    linker.allow_suspending("f");
    let (store, instance) = run(&host, &linker);
    let plain = Linker::new()
        .instantiate(&store, &host.component(PLAIN))
        .unwrap();
    let (other, neighbour) = host.instantiate(PLAIN).unwrap();

    let call = |store: &Store<()>, instance: &Instance, name, said| {
        let func = instance.get_func(store, name).unwrap();
        let (store, log) = (store.clone(), Rc::clone(&trace));
        host.executor
            .spawn(async move {
                func.call(&store, &[]).await.unwrap();
                log.borrow_mut().push(said);
            })
            .unwrap()
    };
    for handle in [
        call(&store, &instance, "run", "run returned"),
        call(&store, &plain, "value", "the same store answered"),
        call(&other, &neighbour, "value", "another store answered"),
    ] {
        host.executor.block_on(handle).unwrap();
    }
    let trace = trace.borrow();
    assert_eq!(trace[..3], ["waits", "another store answered", "ready"]);
    let mut rest = trace[3..].to_vec();
    rest.sort_unstable();
    assert_eq!(rest, ["run returned", "the same store answered"]);
}

#[test]
fn a_start_function_is_refused_by_name_in_a_synchronous_instantiation() {
    for polls in [0, 3] {
        let host = Host::new();
        let (linker, calls) = slow(polls);
        let store = host.store(());
        let error = linker
            .instantiate(&store, &host.component(CALLS_F))
            .unwrap_err();
        let ErrorKind::Refused(refused) = error.kind() else {
            panic!("{error}");
        };
        assert_eq!(refused.reason(), Reason::PhaseForbids);
        let text = error.to_string();
        for part in ["`f`", "instantiate_async", "was not run", "start function"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(calls.get(), 0, "nothing has run");
        assert_unharmed(&host, &store);
    }
}

#[test]
fn a_start_function_waits_in_an_asynchronous_instantiation() {
    for engine in [
        Engine::default(),
        Engine::new(Config::new().fuel_slice(1_000)),
    ] {
        let executor = Executor::new();
        let (linker, calls) = slow(3);
        let store = Store::new(&engine, &executor, ());
        let component = Component::new(&engine, CALLS_F.as_bytes()).unwrap();
        let instance = store
            .block_on(linker.instantiate_async(&store, &component))
            .unwrap();
        assert_eq!(call_u32(&store, &instance, "value"), 42);
        assert_eq!(calls.get(), 1);
    }
}

#[test]
fn an_error_and_a_panic_fail_the_call_and_lock_the_instance_down() {
    for panics in [false, true] {
        let host = Host::new();
        let mut linker = Linker::new();
        linker
            .root()
            .func_async("f", move |_, (_,): (u32,)| async move {
                yield_now().await;
                assert!(!panics, "no luck");
                Err::<(u32,), _>(Error::host("no luck"))
            })
            .unwrap();
        linker.allow_suspending("f");
        let (store, instance) = run(&host, &linker);
        let func = instance.get_func(&store, "run").unwrap();
        let error = store.block_on(func.call(&store, &[])).unwrap_err();
        let text = error.to_string();
        for part in [
            "no luck",
            "import `f`",
            "host function",
            "the host called `run`",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(matches!(error.kind(), ErrorKind::HostPanic(_)), panics);
        let error = store.block_on(func.call(&store, &[])).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("cannot enter component instance")
        );
        assert_unharmed(&host, &store);
    }
}

/// Sets a flag when it is dropped.
struct Flag(Rc<Cell<bool>>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// `f` is ready when the gate is open; whether its future was dropped.
fn gated() -> (Linker<()>, Rc<Cell<bool>>, Rc<Cell<bool>>) {
    let (open, dropped) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let (gate, flag) = (Rc::clone(&open), Rc::clone(&dropped));
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", move |_, (x,): (u32,)| {
            let (gate, flag) = (Rc::clone(&gate), Flag(Rc::clone(&flag)));
            async move {
                let _flag = flag;
                while !gate.get() {
                    yield_now().await;
                }
                Ok((x + 1,))
            }
        })
        .unwrap();
    linker.allow_suspending("f");
    (linker, open, dropped)
}

#[test]
fn a_call_that_is_given_up_is_awaited_and_the_store_goes_on() {
    let host = Host::new();
    let (linker, open, dropped) = gated();
    let (store, instance) = run(&host, &linker);
    let func = instance.get_func(&store, "run").unwrap();
    {
        let mut call = pin!(func.call(&store, &[]));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut cx).is_pending());
    }
    host.run();
    assert!(!dropped.get(), "a synchronous function cannot be cancelled");
    open.set(true);
    host.run();
    assert!(dropped.get());
    assert_eq!(call_u32(&store, &instance, "run"), 42);
    assert_unharmed(&host, &store);
}

#[test]
fn an_instantiation_that_is_given_up_drops_the_future() {
    let host = Host::new();
    let (linker, _, dropped) = gated();
    let store = host.store(());
    let component = host.component(CALLS_F);
    {
        let mut instance = pin!(linker.instantiate_async(&store, &component));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..5 {
            assert!(matches!(instance.as_mut().poll(&mut cx), Poll::Pending));
        }
        assert!(!dropped.get());
    }
    assert!(dropped.get());
    assert_unharmed(&host, &store);
}

#[test]
fn an_executor_that_is_shut_down_drops_the_future() {
    let host = Host::new();
    let (linker, _, dropped) = gated();
    let (store, instance) = run(&host, &linker);
    let func = instance.get_func(&store, "run").unwrap();
    let mut call = Box::pin(func.call(&store, &[]));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut cx).is_pending());
    host.run();
    host.executor.shutdown();
    assert!(dropped.get());
    let Poll::Ready(Err(_)) = call.as_mut().poll(&mut cx) else {
        panic!("the call has ended");
    };
}

#[test]
fn a_future_that_calls_into_the_waiting_store_is_refused() {
    let host = Host::new();
    let store = host.store(());
    let plain = Linker::new()
        .instantiate(&store, &host.component(PLAIN))
        .unwrap();
    let mut linker = Linker::new();
    let (inner, value) = (store.clone(), plain.get_func(&store, "value").unwrap());
    linker
        .root()
        .func_async("f", move |_, (_,): (u32,)| {
            let (store, value) = (inner.clone(), value.clone());
            async move {
                yield_now().await;
                let refused = value.call(&store, &[]).await.unwrap_err();
                let ErrorKind::Refused(refused) = refused.kind() else {
                    panic!("{refused}");
                };
                assert_eq!(refused.reason(), Reason::StoreBusy);
                Ok((1u32,))
            }
        })
        .unwrap();
    linker.allow_suspending("f");
    let instance = linker.instantiate(&store, &host.component(RUNS_F)).unwrap();
    assert_eq!(call_u32(&store, &instance, "run"), 1);
    assert_eq!(call_u32(&store, &plain, "value"), 7);
}

#[test]
fn a_future_that_is_never_ready_is_a_deadlock() {
    let host = Host::new();
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", async |_, (_,): (u32,)| {
            pending::<Result<(u32,)>>().await
        })
        .unwrap();
    linker.allow_suspending("f");
    let (store, instance) = run(&host, &linker);
    let func = instance.get_func(&store, "run").unwrap();
    let error = store.block_on(func.call(&store, &[])).unwrap_err();
    assert!(
        matches!(error.trap(), Some(Trap::Deadlock { .. })),
        "{error}"
    );
}

#[test]
fn the_data_is_reached_between_awaits() {
    let host = Host::new();
    let store = Store::new(&host.engine, &host.executor, 40u32);
    let mut linker = <Linker<u32>>::new();
    linker
        .root()
        .func_async("f", async |accessor, (_,): (u32,)| {
            for _ in 0..2 {
                yield_now().await;
                accessor.with(|data| *data += 1)?;
            }
            Ok((accessor.with(|data| *data)?,))
        })
        .unwrap();
    linker.allow_suspending("f");
    let instance = linker.instantiate(&store, &host.component(RUNS_F)).unwrap();
    assert_eq!(call_u32(&store, &instance, "run"), 42);
}

/// A guest calls another, which calls the import; the string that it returns is lowered when the
/// wait is over, which takes a `realloc`.
const NESTED: &str = r#"(component
  (import "a:b/c@1.2.0" (instance $c (export "name" (func (param "n" u32) (result string)))))
  (component $Inner
    (import "name" (func $name (param "n" u32) (result string)))
    (core module $Libc
      (memory (export "memory") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64)))
    (core instance $libc (instantiate $Libc))
    (core func $name' (canon lower (func $name)
      (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
    (core module $M
      (import "" "name" (func $name (param i32 i32)))
      (import "" "memory" (memory 1))
      (func (export "length") (param i32) (result i32)
        (call $name (local.get 0) (i32.const 8))
        (i32.load (i32.const 12))))
    (core instance $m (instantiate $M (with "" (instance
      (export "name" (func $name')) (export "memory" (memory $libc "memory"))))))
    (func (export "length") (param "n" u32) (result u32) (canon lift (core func $m "length"))))
  (instance $inner (instantiate $Inner (with "name" (func $c "name"))))
  (core func $length (canon lower (func $inner "length")))
  (core module $M
    (import "" "length" (func $length (param i32) (result i32)))
    (func (export "run") (result i32)
      (i32.add (i32.mul (i32.const 100) (call $length (i32.const 3))) (call $length (i32.const 5)))))
  (core instance $m (instantiate $M (with "" (instance (export "length" (func $length))))))
  (func (export "run") (result u32) (canon lift (core func $m "run"))))"#;

#[test]
fn a_guest_behind_another_waits_in_slices_too() {
    for config in [Config::new(), Config::new().fuel_slice(50)] {
        let (engine, executor) = (Engine::new(config), Executor::new());
        let store = Store::new(&engine, &executor, ());
        let mut linker = Linker::new();
        // Served by a compatible version, of which a function may suspend.
        linker
            .instance("a:b/c@1.3.0")
            .unwrap()
            .func_async("name", async |_, (n,): (u32,)| {
                for _ in 0..n {
                    yield_now().await;
                }
                Ok(("x".repeat(n as usize),))
            })
            .unwrap();
        linker.allow_suspending("a:b/c@1.3.0#name");
        let component = Component::new(&engine, NESTED.as_bytes()).unwrap();
        let instance = linker.instantiate(&store, &component).unwrap();
        assert_eq!(call_u32(&store, &instance, "run"), 305);
    }
}

#[test]
fn a_destructor_that_the_host_runs_is_refused_by_name() {
    const DROPS: &str = r#"(component
      (import "f" (func $f (param "x" u32) (result u32)))
      (core func $f' (canon lower (func $f)))
      (core module $D
        (import "" "f" (func $f (param i32) (result i32)))
        (func (export "dtor") (param i32) (drop (call $f (local.get 0)))))
      (core instance $d (instantiate $D (with "" (instance (export "f" (func $f'))))))
      (type $r' (resource (rep i32) (dtor (core func $d "dtor"))))
      (export $r "r" (type $r'))
      (core func $new (canon resource.new $r'))
      (core module $M
        (import "" "new" (func $new (param i32) (result i32)))
        (func (export "make") (result i32) (call $new (i32.const 9))))
      (core instance $m (instantiate $M (with "" (instance (export "new" (func $new))))))
      (func (export "make") (result (own $r)) (canon lift (core func $m "make"))))"#;
    let host = Host::new();
    let (linker, calls) = slow(1);
    let store = host.store(());
    let instance = linker.instantiate(&store, &host.component(DROPS)).unwrap();
    let make = instance.get_func(&store, "make").unwrap();
    let Some(Val::Resource(resource)) = store.block_on(make.call(&store, &[])).unwrap() else {
        panic!("a resource");
    };
    let error = resource.resource_drop(&store).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Refused(_)), "{error}");
    assert!(error.to_string().contains("`f`"), "{error}");
    assert_eq!(calls.get(), 0);
    assert_unharmed(&host, &store);
}
