//! Host functions that are careless or worse: every case ends in a typed outcome, and neither the
//! executor nor another store is harmed.

mod common;

use common::{CALLS_ASYNC_F, CALLS_F, Host, PLAIN, WAITS_IN_EXPORT, call_u32};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn, ready};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use vestibule_component_host::{
    Caller, Component, Config, Engine, Error, ErrorKind, Linker, ResourceType, Result, Store, Val,
};
use vestibule_executor::Budget;

/// The same executor, engine and store go on.
#[track_caller]
fn assert_unharmed<T: Default + 'static>(host: &Host, store: &Store<T>) {
    host.run();
    let instance = Linker::new()
        .instantiate(store, &host.component(PLAIN))
        .unwrap();
    assert_eq!(call_u32(store, &instance, "value"), 7);
    let (other, instance) = host.instantiate(PLAIN).unwrap();
    assert_eq!(call_u32(&other, &instance, "value"), 7);
    assert_eq!(
        host.executor
            .block_on(host.executor.spawn(async { 5 }).unwrap())
            .unwrap(),
        5
    );
}

/// What comes of a start function that calls `f`, a plain host function.
fn start_with(f: impl Fn(Caller<'_, ()>, u32) -> Result<u32> + 'static) -> Result<()> {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func("f", move |caller: Caller<'_, ()>, (x,): (u32,)| {
            f(caller, x).map(|x| (x,))
        })
        .unwrap();
    let result = linker.instantiate(&store, &host.component(CALLS_F));
    assert_unharmed(&host, &store);
    result.map(drop)
}

/// What comes of a call of an async export that awaits `f`, an async host function.
fn call_with<F, Fut>(f: F) -> Result<Option<Val>>
where
    F: Fn(u32) -> Fut + 'static,
    Fut: Future<Output = Result<(u32,)>> + 'static,
{
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", move |_, (x,): (u32,)| f(x))
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(WAITS_IN_EXPORT))
        .unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    let result = store.block_on(run.call(&store, &[]));
    assert_unharmed(&host, &store);
    assert!(store.is_quiet().unwrap());
    result
}

#[track_caller]
fn assert_panic<R>(result: Result<R>, text: &str) {
    let error = result.err().expect("it panicked");
    match error.kind() {
        ErrorKind::HostPanic(panic) => assert_eq!(panic, text, "{error}"),
        _ => panic!("{error}"),
    }
    assert!(
        error.to_string().contains("in host function `f`"),
        "{error}"
    );
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[test]
fn a_panic_in_a_plain_function() {
    assert_panic(start_with(|_, _| panic!("plain")), "plain");
}

#[test]
fn a_panic_with_a_payload_that_is_no_text() {
    assert_panic(
        start_with(|_, _| std::panic::panic_any(5u8)),
        "(a panic without a text)",
    );
}

#[test]
fn a_panic_with_a_payload_that_panics_when_it_is_dropped() {
    assert_panic(
        start_with(|_, _| std::panic::panic_any(PanicsWhenDropped)),
        "(a panic without a text)",
    );
}

#[test]
fn a_panic_while_the_future_is_made() {
    assert_panic(
        call_with(|_| -> std::future::Ready<_> { panic!("made") }),
        "made",
    );
}

#[test]
fn a_panic_in_the_first_poll() {
    assert_panic(call_with(|_| async { panic!("first") }), "first");
}

#[test]
fn a_panic_in_a_later_poll() {
    assert_panic(
        call_with(|_| async {
            vestibule_executor::yield_now().await;
            panic!("later")
        }),
        "later",
    );
}

#[test]
fn a_panic_in_the_drop_of_a_future_that_was_ready_at_once() {
    // It is dropped while it is polled for the last time.
    let guard = || PanicsWhenDropped;
    struct Holds(#[allow(dead_code)] PanicsWhenDropped);
    impl Future for Holds {
        type Output = Result<(u32,)>;
        fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Ready(Ok((9,)))
        }
    }
    assert_panic(call_with(move |_| Holds(guard())), "dropped");
}

#[test]
fn a_panic_in_the_drop_of_a_future_that_is_given_up() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", |_, (_x,): (u32,)| async {
            let _guard = PanicsWhenDropped;
            pending::<Result<(u32,)>>().await
        })
        .unwrap();
    let error = linker
        .instantiate(&store, &host.component(CALLS_ASYNC_F))
        .unwrap_err();
    assert!(error.trap().is_some(), "{error}");
    assert_unharmed(&host, &store);
}

#[test]
fn a_panic_in_the_destructor_of_a_host_resource() {
    let host = Host::new();
    let store = host.store(());
    let (mut linker, ty) = (Linker::new(), ResourceType::host_dynamic());
    linker
        .root()
        .resource("r", ty, |_: Caller<'_, ()>, _rep| panic!("destructor"))
        .unwrap();
    linker
        .root()
        .func("make", move |_: Caller<'_, ()>, ()| {
            Ok((vestibule_component_host::ResourceAny::own(ty, 1),))
        })
        .unwrap();
    let wat = r#"(component
      (import "r" (type $r (sub resource)))
      (import "make" (func $make (result (own $r))))
      (core func $make (canon lower (func $make)))
      (core func $drop (canon resource.drop $r))
      (core module $M
        (import "" "make" (func $make (result i32)))
        (import "" "drop" (func $drop (param i32)))
        (func $start (call $drop (call $make)))
        (start $start))
      (core instance (instantiate $M (with ""
        (instance (export "make" (func $make)) (export "drop" (func $drop)))))))"#;
    let error = linker
        .instantiate(&store, &host.component(wat))
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::HostPanic(text) if text == "destructor"),
        "{error}"
    );
    assert_unharmed(&host, &store);
}

#[test]
fn a_nested_block_on_is_refused() {
    let error = start_with(|caller, _| {
        caller
            .executor()
            .try_block_on(ready(1))
            .map_err(Error::host)
    })
    .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Host(_)), "{error}");
    assert!(error.to_string().contains("cannot"), "{error}");
}

#[test]
fn a_nested_block_on_that_panics_is_a_host_panic() {
    let error = start_with(|caller, _| Ok(caller.executor().block_on(ready(1)))).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::HostPanic(_)), "{error}");
    assert!(
        error.to_string().contains("start function `start`"),
        "{error}"
    );
}

/// Another crate's executor, which knows nothing of ours: it may block the thread, and does.
#[test]
fn a_foreign_block_on_in_a_host_function_works_as_long_as_it_ends() {
    let result = start_with(|_, x| {
        let mut future = pin!(async { x + 1 });
        let mut cx = Context::from_waker(Waker::noop());
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(x) => Ok(x),
            Poll::Pending => Err(Error::host("pending")),
        }
    });
    result.unwrap();
}

#[test]
fn a_result_of_another_type_is_a_host_error() {
    let host = Host::new();
    let store = host.store(());
    for wrong in [
        None,
        Some(Val::String("no".into())),
        Some(Val::Bool(true)),
        Some(Val::S32(1)),
        Some(Val::List(Vec::new())),
    ] {
        let mut linker = Linker::new();
        linker
            .root()
            .func("f", move |_: Caller<'_, ()>, _args: Vec<Val>| {
                Ok(wrong.clone())
            })
            .unwrap();
        let error = linker
            .instantiate(&store, &host.component(CALLS_F))
            .unwrap_err();
        let ErrorKind::Host(source) = error.kind() else {
            panic!("{error:?}");
        };
        let source: &Error = source.downcast_ref().expect("it says what was wrong");
        assert!(matches!(source.kind(), ErrorKind::Type(_)), "{source}");
        assert!(
            error.to_string().contains("in host function `f`"),
            "{error}"
        );
        assert_unharmed(&host, &store);
    }
}

#[test]
fn a_store_inside_a_store_inside_a_store_has_an_end() {
    let engine = Engine::default();
    let executor = vestibule_executor::Executor::new();
    let component = Component::new(&engine, CALLS_F.as_bytes()).unwrap();
    type Level = Rc<dyn Fn(&vestibule_executor::Handle, u32) -> Result<u32>>;
    let deepest = Rc::new(Cell::new(0));
    let level: Rc<RefCell<Option<Level>>> = Rc::default();
    let (next, reached) = (Rc::clone(&level), Rc::clone(&deepest));
    let descend: Level = Rc::new(move |executor, depth| {
        reached.set(reached.get().max(depth));
        let store = Store::with_handle(&engine, executor, ());
        let mut linker = Linker::new();
        let next = Rc::clone(&next);
        linker
            .root()
            .func("f", move |caller: Caller<'_, ()>, (_x,): (u32,)| {
                let level = next.borrow().clone().expect("it is set");
                level(caller.executor(), depth + 1).map(|x| (x,))
            })?;
        linker.instantiate(&store, &component).map(|_| depth)
    });
    level.replace(Some(Rc::clone(&descend)));
    let error = descend(&executor.handle(), 0).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Limit(limit) if limit.limit == "nested stores"),
        "{error}"
    );
    assert!((8..64).contains(&deepest.get()), "{}", deepest.get());
    level.replace(None);
}

#[test]
fn wakers_that_wake_after_everything_is_gone_do_nothing() {
    let kept: Arc<Mutex<Vec<Waker>>> = Arc::default();
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    let keep = Arc::clone(&kept);
    linker
        .root()
        .func_async("f", move |_, (_x,): (u32,)| {
            let keep = Arc::clone(&keep);
            poll_fn(move |cx| {
                keep.lock().unwrap().push(cx.waker().clone());
                Poll::<Result<(u32,)>>::Pending
            })
        })
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(WAITS_IN_EXPORT))
        .unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    for _ in 0..10 {
        let mut call = pin!(run.call(&store, &[]));
        assert!(
            call.as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        host.run();
    }
    let wake = |times: usize| {
        let wakers: Vec<Waker> = kept.lock().unwrap().clone();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let wakers = wakers.clone();
                std::thread::spawn(move || {
                    for _ in 0..times {
                        wakers.iter().for_each(Waker::wake_by_ref);
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    };
    wake(100);
    host.run();
    assert_unharmed(&host, &store);
    drop((instance, run, linker, store));
    wake(100);
    host.run();
    drop(host);
    wake(100);
}

#[test]
fn leaked_wakers_leak_no_tasks() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", |_, (x,): (u32,)| {
            let mut polled = false;
            poll_fn(move |cx| {
                std::mem::forget(cx.waker().clone());
                cx.waker().wake_by_ref();
                match std::mem::replace(&mut polled, true) {
                    true => Poll::Ready(Ok((x,))),
                    false => Poll::Pending,
                }
            })
        })
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(WAITS_IN_EXPORT))
        .unwrap();
    for _ in 0..100 {
        assert_eq!(call_u32(&store, &instance, "run"), 41);
    }
    assert!(store.is_quiet().unwrap());
    assert_eq!(host.executor.metrics().live, 0);
}

#[test]
fn a_call_may_be_dropped_after_any_number_of_polls() {
    for polls in 0..8 {
        let host = Host::new();
        let store = host.store(());
        let mut linker = Linker::new();
        linker
            .root()
            .func_async("f", |_, (x,): (u32,)| async move {
                for _ in 0..3 {
                    vestibule_executor::yield_now().await;
                }
                Ok((x,))
            })
            .unwrap();
        let instance = linker
            .instantiate(&store, &host.component(WAITS_IN_EXPORT))
            .unwrap();
        let run = instance.get_func(&store, "run").unwrap();
        {
            let mut call = pin!(run.call(&store, &[]));
            for _ in 0..polls {
                if call
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_ready()
                {
                    break;
                }
                host.executor.tick().unwrap();
            }
        }
        assert_unharmed(&host, &store);
        assert!(store.is_quiet().unwrap(), "dropped after {polls} polls");
        assert_eq!(call_u32(&store, &instance, "run"), 41);
    }
}

#[test]
fn a_host_function_that_drops_the_last_handle_of_its_store() {
    let host = Host::new();
    let store = Rc::new(RefCell::new(Some(host.store(()))));
    let mut linker = Linker::new();
    let doomed = Rc::clone(&store);
    linker
        .root()
        .func("f", move |_: Caller<'_, ()>, (x,): (u32,)| {
            drop(doomed.borrow_mut().take());
            Ok((x,))
        })
        .unwrap();
    let held = store.borrow().clone().expect("it is there");
    // The operation itself holds the store until it is over.
    let instance = linker.instantiate(&held, &host.component(CALLS_F)).unwrap();
    assert_eq!(call_u32(&held, &instance, "value"), 41);
}

#[test]
fn a_host_function_that_shuts_the_executor_down() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async(
            "f",
            |accessor: vestibule_component_host::Accessor<()>, (x,): (u32,)| async move {
                vestibule_executor::yield_now().await;
                accessor.executor().shutdown();
                Ok((x,))
            },
        )
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(WAITS_IN_EXPORT))
        .unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    store.block_on(run.call(&store, &[])).unwrap_err();
}

#[test]
fn deferred_work_that_panics_harms_nobody() {
    let result = start_with(|caller, x| {
        let _task = caller.defer(async { panic!("deferred") })?;
        Ok(x)
    });
    result.unwrap();
}

#[test]
fn a_definition_that_nobody_imports_is_no_error() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    for name in ["f", "g"] {
        linker
            .root()
            .func(name, |_: Caller<'_, ()>, (x,): (u32,)| Ok((x,)))
            .unwrap();
    }
    let instance = linker
        .instantiate(&store, &host.component(CALLS_F))
        .unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 41);
}

#[test]
fn a_component_of_another_engine_is_a_link_error() {
    let host = Host::new();
    let store = host.store(());
    let other = Engine::new(Config::new().fuel_slice(5_000));
    let component = Component::new(&other, PLAIN.as_bytes()).unwrap();
    let error = Linker::new().instantiate(&store, &component).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Link(_)), "{error}");
    assert_unharmed(&host, &store);
}

#[test]
fn a_component_may_be_instantiated_after_its_original_is_dropped_and_after_failures() {
    let host = Host::new();
    let store = host.store(());
    let original = host.component(PLAIN);
    let clone = original.clone();
    drop(original);
    let linker = Linker::new();
    for _ in 0..3 {
        let _error = linker
            .instantiate(&store, &host.component(CALLS_F))
            .unwrap_err();
        let instance = linker.instantiate(&store, &clone).unwrap();
        assert_eq!(call_u32(&store, &instance, "value"), 7);
    }
}

#[test]
fn a_busy_executor_keeps_polling_others_while_host_futures_spin() {
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", |_, (_x,): (u32,)| {
            poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::<Result<(u32,)>>::Pending
            })
        })
        .unwrap();
    let instance = linker
        .instantiate(&store, &host.component(WAITS_IN_EXPORT))
        .unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    let mut call = pin!(run.call(&store, &[]));
    assert!(
        call.as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    let task = host.executor.spawn(async { 5 }).unwrap();
    host.executor.run_until_stalled(Budget::rounds(50)).unwrap();
    assert!(task.is_finished());
}
