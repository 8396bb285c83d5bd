//! Fuel in slices: while a guest runs, the executor runs everything that is not of its store.

mod common;

use common::hostile::{Place, guest};
use common::{CALLS_F, PLAIN, Trace, call_u32};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use vestibule_component_host::{
    Caller, Component, Config, Engine, Error, ErrorKind, Instance, Linker, Result, Store, Val,
};
use vestibule_executor::{Budget, Executor, JoinError, Reason, yield_now};

struct Host {
    executor: Executor,
    engine: Engine,
}

impl Host {
    /// Slices of 5,000 units, and a budget of 400 of them.
    fn new() -> Host {
        Host::with(
            Config::new()
                .fuel(2_000_000)
                .fuel_slice(5_000)
                .unsuspended_fuel(50_000),
        )
    }

    fn with(config: Config) -> Host {
        Host {
            executor: Executor::new(),
            engine: Engine::new(config),
        }
    }

    fn store<T: 'static>(&self, data: T) -> Store<T> {
        Store::new(&self.engine, &self.executor, data)
    }

    fn component(&self, wat: &str) -> Component {
        Component::new(&self.engine, wat.as_bytes()).unwrap()
    }

    /// A store with a component that answers, in which a task calls it over and over; how often
    /// it has answered.
    fn neighbour(&self) -> Rc<Cell<u32>> {
        let store = self.store(());
        let instance = Linker::new()
            .instantiate(&store, &self.component(PLAIN))
            .unwrap();
        let answers = Rc::new(Cell::new(0));
        let counter = Rc::clone(&answers);
        let value = instance.get_func(&store, "value").unwrap();
        let neighbour = async move {
            loop {
                let answer = value.call(&store, &[]).await.unwrap();
                assert_eq!(answer, Some(Val::U32(7)));
                counter.set(counter.get() + 1);
                yield_now().await;
            }
        };
        drop(self.executor.spawn(neighbour).unwrap());
        answers
    }
}

/// Instantiates the component, and calls the export of the place that runs its body.
async fn run(store: &Store<()>, component: &Component, place: Place) -> Result<()> {
    let instance = Linker::new().instantiate_async(store, component).await?;
    if let Some(export) = place.export() {
        let args: &[Val] = match place {
            Place::Realloc => &[Val::String("hello".into())],
            _ => &[],
        };
        instance.get_func(store, export)?.call(store, args).await?;
    }
    Ok(())
}

#[test]
fn a_neighbour_answers_while_a_loop_runs_in_any_place() {
    for place in Place::ALL {
        let host = Host::new();
        let answers = host.neighbour();
        let store = host.store(());
        let component = host.component(&guest(place, "(loop (br 0))"));
        let error = store.block_on(run(&store, &component, place)).unwrap_err();
        let ErrorKind::Limit(limit) = error.kind() else {
            panic!("{place:?}: {error}");
        };
        // `realloc` and `post-return` cannot be suspended; their budget is small instead.
        if matches!(place, Place::Realloc | Place::PostReturn) {
            assert_eq!((limit.limit, limit.value), ("unsuspended_fuel", 50_000));
            continue;
        }
        assert_eq!((limit.limit, limit.value), ("fuel", 2_000_000), "{place:?}");
        let answers = answers.get();
        assert!(
            (390..=410).contains(&answers),
            "{place:?}: {answers} answers in 400 slices"
        );
    }
}

#[test]
fn a_guest_that_lives_on_builtins_is_sliced_as_well() {
    let host = Host::new();
    let answers = host.neighbour();
    let store = host.store(());
    let component = host.component(&guest(Place::Export, "(loop (call $plain) (br 0))"));
    let error = store
        .block_on(run(&store, &component, Place::Export))
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit(_)), "{error}");
    assert!(answers.get() > 100, "{} answers", answers.get());
}

#[test]
fn a_long_start_function_comes_to_its_end() {
    let host = Host::new();
    let answers = host.neighbour();
    let wat = r#"(component
      (core module $M
        (global $n (mut i32) (i32.const 0))
        (func $start
          (loop
            (global.set $n (i32.add (global.get $n) (i32.const 1)))
            (br_if 0 (i32.lt_u (global.get $n) (i32.const 20000)))))
        (start $start)
        (func (export "n") (result i32) (global.get $n)))
      (core instance $m (instantiate $M))
      (func (export "n") (result u32) (canon lift (core func $m "n"))))"#;
    let store = host.store(());
    let component = host.component(wat);
    let linker = Linker::new();
    let instance = store
        .block_on(linker.instantiate_async(&store, &component))
        .unwrap();
    assert!(answers.get() > 10, "{} answers", answers.get());
    assert_eq!(call_u32(&store, &instance, "n"), 20_000);
    // The synchronous form runs the same slices one after the other.
    let before = answers.get();
    let store = host.store(());
    let instance = linker.instantiate(&store, &component).unwrap();
    assert_eq!(answers.get(), before);
    assert_eq!(call_u32(&store, &instance, "n"), 20_000);
}

/// Polls a future `times` times, with the executor's other tasks between.
fn poll_times<F: Future>(host: &Host, future: Pin<&mut F>, times: usize) -> Poll<F::Output> {
    let mut future = future;
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..times {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Poll::Ready(output);
        }
        host.executor.tick().unwrap();
    }
    Poll::Pending
}

#[test]
fn between_two_slices_of_an_instantiation_nothing_of_its_store_runs() {
    let host = Host::new();
    let store = host.store(());
    let plain = host.component(PLAIN);
    let linker = Linker::new();
    let instance = linker.instantiate(&store, &plain).unwrap();
    let component = host.component(&guest(Place::Start, "(loop (br 0))"));
    let mut instantiation = pin!(linker.instantiate_async(&store, &component));
    assert!(poll_times(&host, instantiation.as_mut(), 3).is_pending());
    // What is synchronous is refused, and what can wait waits.
    let error = linker.instantiate(&store, &plain).unwrap_err();
    assert_eq!(
        error.refused().unwrap().reason(),
        Reason::StoreBusy,
        "{error}"
    );
    let value = instance.get_func(&store, "value").unwrap();
    let call = host.executor.spawn(value.call(&store, &[])).unwrap();
    host.executor.tick().unwrap();
    assert!(!call.is_finished());
    let Poll::Ready(result) = poll_times(&host, instantiation.as_mut(), 1_000) else {
        panic!("the budget is 400 slices");
    };
    assert!(matches!(result.unwrap_err().kind(), ErrorKind::Limit(_)));
    let answer = host.executor.block_on(call).unwrap().unwrap();
    assert_eq!(answer, Some(Val::U32(7)));
}

#[test]
fn an_instantiation_that_is_dropped_between_slices_leaves_a_store_that_works() {
    let host = Host::new();
    let store = host.store(());
    let linker = Linker::new();
    let component = host.component(&guest(Place::Start, "(loop (br 0))"));
    {
        let mut instantiation = pin!(linker.instantiate_async(&store, &component));
        assert!(poll_times(&host, instantiation.as_mut(), 3).is_pending());
    }
    assert!(store.is_quiet().unwrap());
    let instance = linker.instantiate(&store, &host.component(PLAIN)).unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 7);
}

#[test]
fn a_call_that_is_dropped_between_slices_runs_on_until_it_learns_of_it() {
    let host = Host::new();
    let store = host.store(());
    let component = host.component(&guest(Place::Export, "(loop (br 0))"));
    let instance = Linker::new().instantiate(&store, &component).unwrap();
    {
        let run = instance.get_func(&store, "run").unwrap();
        let mut call = pin!(run.call(&store, &[]));
        assert!(poll_times(&host, call.as_mut(), 3).is_pending());
    }
    // Nobody waits for it: it ends at its limit, and what else is in the store goes on.
    host.executor
        .run_until_stalled(Budget::rounds(1_000))
        .unwrap();
    let instance = Linker::new()
        .instantiate(&store, &host.component(PLAIN))
        .unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 7);
    assert!(store.is_quiet().unwrap());
}

#[test]
fn an_executor_that_is_shut_down_between_slices_ends_the_call() {
    let host = Host::new();
    let store = host.store(());
    let component = host.component(&guest(Place::Export, "(loop (br 0))"));
    let instance = Linker::new().instantiate(&store, &component).unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    let mut call = pin!(run.call(&store, &[]));
    assert!(poll_times(&host, call.as_mut(), 3).is_pending());
    host.executor.shutdown();
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(result) = call.as_mut().poll(&mut cx) else {
        panic!("nobody goes on with the call");
    };
    result.unwrap_err();
}

/// `f` defers work in an asynchronous instantiation, and then spins for `spins` rounds.
fn defers(host: &Host, trace: &Trace, fails: bool) -> (Store<Trace>, Linker<Trace>, String) {
    let store = host.store(Trace::clone(trace));
    let mut linker = Linker::new();
    let kept = Rc::new(RefCell::new(Vec::new()));
    linker
        .root()
        .func("f", move |caller: Caller<'_, Trace>, (x,): (u32,)| {
            for name in ["first", "second"] {
                let trace = Trace::clone(caller.data());
                let task = caller.defer(async move { trace.borrow_mut().push(name.to_owned()) })?;
                kept.borrow_mut().push(task);
            }
            Ok((x,))
        })
        .unwrap();
    let spin = if fails {
        "(loop (br 0))"
    } else {
        "(local $i i32) (loop
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if 0 (i32.lt_u (local.get $i) (i32.const 10000))))"
    };
    let wat = CALLS_F.replace(
        "(func $start (global.set $v (call $f (i32.const 41))))",
        &format!("(func $spin {spin}) (func $start (global.set $v (call $f (i32.const 41))) (call $spin))"),
    );
    (store, linker, wat)
}

#[test]
fn deferred_work_waits_for_the_last_slice_and_runs_in_order() {
    let host = Host::new();
    let trace = Trace::default();
    let (store, linker, wat) = defers(&host, &trace, false);
    let component = host.component(&wat);
    let mut instantiation = pin!(linker.instantiate_async(&store, &component));
    assert!(poll_times(&host, instantiation.as_mut(), 3).is_pending());
    assert!(trace.borrow().is_empty(), "{:?}", trace.borrow());
    let Poll::Ready(result) = poll_times(&host, instantiation.as_mut(), 1_000) else {
        panic!("it comes to its end");
    };
    let _instance: Instance = result.unwrap();
    host.executor.run_until_stalled(Budget::rounds(10)).unwrap();
    assert_eq!(*trace.borrow(), ["first", "second"]);
}

#[test]
fn deferred_work_is_dropped_when_a_later_slice_fails() {
    let host = Host::new();
    let trace = Trace::default();
    let (store, linker, wat) = defers(&host, &trace, true);
    let component = host.component(&wat);
    let error: Error = store
        .block_on(linker.instantiate_async(&store, &component))
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit(_)), "{error}");
    host.executor.run_until_stalled(Budget::rounds(10)).unwrap();
    assert!(trace.borrow().is_empty(), "{:?}", trace.borrow());
    // What is deferred outside an instantiation is spawned, as ever.
    let task = host.executor.defer(async { 5 }).unwrap();
    assert!(!matches!(
        host.executor.block_on(task),
        Err(JoinError::Discarded)
    ));
}
