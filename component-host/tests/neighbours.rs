//! With fuel in slices, a healthy store on the same executor keeps answering, whatever a hostile guest
//! does in whatever place, and whatever a careless host function does.

mod common;

use common::hostile::{Place, guest};
use common::{CALLS_ASYNC_F, CALLS_F, PLAIN, WAITS_IN_EXPORT};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn, ready};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use vestibule_component_host::{
    Accessor, Caller, Component, Config, Engine, Error, ErrorKind, Instance, Linker, ResourceAny,
    ResourceType, Result, Store, Val,
};
use vestibule_executor::{Budget, Executor, yield_now};

/// How much fuel a call has, and a slice.
const FUEL: u64 = 300_000;
const SLICE: u64 = 5_000;

struct Street {
    executor: Executor,
    engine: Engine,
    answers: Rc<Cell<u32>>,
    /// The longest time between two answers.
    gap: Rc<Cell<Duration>>,
}

impl Street {
    /// A neighbour lives there, who is called over and over.
    fn new() -> Street {
        let config = Config::new()
            .fuel(FUEL)
            .fuel_slice(SLICE)
            .unsuspended_fuel(50_000)
            .max_memory(8 << 20)
            .max_table_elements(100_000)
            .max_handles(2_000)
            .max_tasks(500)
            .max_threads(1_000)
            .max_waitables(1_000)
            .max_call_bytes(1 << 20)
            .max_stream_bytes(1 << 20);
        let street = Street {
            executor: Executor::new(),
            engine: Engine::new(config),
            answers: Rc::default(),
            gap: Rc::default(),
        };
        let (store, plain) = (street.store(()), street.component(PLAIN));
        let instance = Linker::new().instantiate(&store, &plain).unwrap();
        let value = instance.get_func(&store, "value").unwrap();
        let (answers, gap) = (Rc::clone(&street.answers), Rc::clone(&street.gap));
        let neighbour = async move {
            let mut last = Instant::now();
            loop {
                let answer = value.call(&store, &[]).await.unwrap();
                assert_eq!(answer, Some(Val::U32(7)));
                answers.set(answers.get() + 1);
                gap.set(gap.get().max(last.elapsed()));
                last = Instant::now();
                yield_now().await;
            }
        };
        drop(street.executor.spawn(neighbour).unwrap());
        street
    }

    fn store<T: 'static>(&self, data: T) -> Store<T> {
        Store::new(&self.engine, &self.executor, data)
    }

    fn component(&self, wat: &str) -> Component {
        Component::new(&self.engine, wat.as_bytes()).unwrap()
    }

    /// The neighbour has answered without long pauses, and goes on.
    #[track_caller]
    fn check(&self, what: &str) {
        let before = self.answers.get();
        self.executor
            .run_until_stalled(Budget::rounds(20))
            .unwrap_or_else(|refused| panic!("{what}: {refused}"));
        let after = self.answers.get();
        assert!(
            after >= before + 5,
            "{what}: {} answers afterwards",
            after - before
        );
        // Slices are some milliseconds; a busy machine makes them longer.
        let gap = self.gap.get();
        assert!(gap < Duration::from_secs(5), "{what}: a pause of {gap:?}");
        assert_eq!(self.executor.phase().depth, 0, "{what}: a phase is left");
    }
}

/// Whatever happens ends in one of these.
#[track_caller]
fn assert_allowed(what: &str, error: &Error) {
    assert!(
        matches!(
            error.kind(),
            ErrorKind::Trap(_)
                | ErrorKind::Host(_)
                | ErrorKind::HostPanic(_)
                | ErrorKind::Refused(_)
                | ErrorKind::Limit(_)
                | ErrorKind::Link(_)
                | ErrorKind::Invalid { .. }
                | ErrorKind::Poisoned { .. }
        ),
        "{what}: {error:?}"
    );
}

/// Bodies that mean harm.
const ATTACKS: &[(&str, &str)] = &[
    ("a loop", "(loop (br 0))"),
    ("a loop over a call", "(loop (call $plain) (br 0))"),
    (
        "a memory bomb",
        "(loop (drop (memory.grow (i32.const 1))) (br 0))",
    ),
    (
        "bulk operations",
        "(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br 0))",
    ),
    (
        "a table bomb",
        "(loop (drop (table.grow $table (ref.null func) (i32.const 1000))) (br 0))",
    ),
    (
        "a handle bomb",
        "(loop (drop (call $context (i32.const 0) (i32.const 0))) (br 0))",
    ),
    ("a subtask bomb", "(loop (drop (call $call-wait)) (br 0))"),
    ("a stream bomb", "(loop (drop (call $stream-new)) (br 0))"),
    ("a future bomb", "(loop (drop (call $future-new)) (br 0))"),
    (
        "a bomb of waitable sets",
        "(loop (drop (call $set-new)) (br 0))",
    ),
    (
        "a thread bomb",
        "(loop (drop (call $thread-new (i32.const 0) (i32.const 0))) (br 0))",
    ),
    (
        "threads that all run",
        "(loop (call $resume-later (call $thread-new (i32.const 0) (i32.const 0)))
           (drop (call $yield)) (br 0))",
    ),
    (
        "backpressure without end",
        "(loop (call $backpressure) (br 0))",
    ),
    ("yields without end", "(loop (drop (call $yield)) (br 0))"),
    ("recursion without end", "(call $bomb)"),
    (
        "a wait for nothing",
        "(drop (call $set-wait (call $set-new) (i32.const 0)))",
    ),
    ("a call that never returns", "(call $block)"),
    ("a suspension for ever", "(drop (call $suspend))"),
    ("a trap", "(unreachable)"),
];

/// Instantiates, and calls what runs the body; slices are between the neighbour's answers.
async fn run<T: 'static>(
    store: &Store<T>,
    linker: &Linker<T>,
    component: &Component,
    export: Option<&str>,
    args: &[Val],
) -> Result<Instance> {
    let instance = linker.instantiate_async(store, component).await?;
    if let Some(export) = export {
        instance.get_func(store, export)?.call(store, args).await?;
    }
    Ok(instance)
}

#[track_caller]
fn attack(place: Place) {
    for (name, body) in ATTACKS {
        let what = format!("{name} in {place:?}");
        let street = Street::new();
        let store = street.store(());
        let component = street.component(&guest(place, body));
        let args: &[Val] = match place {
            Place::Realloc => &[Val::String("hello".into())],
            _ => &[],
        };
        let linker = Linker::new();
        let attacked = run(&store, &linker, &component, place.export(), args);
        // The neighbour is always ready, so nothing is a deadlock: who waits for ever is given up.
        let result = street
            .executor
            .try_block_on(give_up(attacked, 2_000))
            .unwrap();
        let answers = street.answers.get();
        match result {
            None => assert_eq!(place, Place::Callback, "{what}: it waits, and may not"),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                assert_allowed(&what, &error);
                let spent =
                    matches!(error.kind(), ErrorKind::Limit(limit) if limit.limit == "fuel");
                let slices = u32::try_from(FUEL / SLICE).unwrap();
                assert!(
                    !spent || answers * 10 >= slices * 9,
                    "{what}: {answers} answers in {slices} slices"
                );
            }
        }
        street.check(&what);
    }
}

/// Polls a future so many times at most.
async fn give_up<F: Future>(future: F, polls: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

#[test]
fn attacks_in_a_start_function() {
    attack(Place::Start);
}

#[test]
fn attacks_in_an_export() {
    attack(Place::Export);
}

#[test]
fn attacks_in_a_realloc() {
    attack(Place::Realloc);
}

#[test]
fn attacks_in_a_post_return() {
    attack(Place::PostReturn);
}

#[test]
fn attacks_in_a_destructor() {
    attack(Place::Destructor);
}

#[test]
fn attacks_in_a_callback() {
    attack(Place::Callback);
}

/// Components inside one another, each of which calls the next.
#[test]
fn recursion_across_components() {
    let mut wat = r#"(component $C0
        (core module $M (func (export "f")))
        (core instance $m (instantiate $M))
        (func (export "f") (canon lift (core func $m "f"))))"#
        .to_owned();
    for level in 1..70 {
        wat = format!(
            r#"(component $C{level} {wat}
            (instance $inner (instantiate $C{inner}))
            (core func $f (canon lower (func $inner "f")))
            (core module $M (import "" "f" (func $f)) (func (export "f") (call $f)))
            (core instance $m (instantiate $M (with "" (instance (export "f" (func $f))))))
            (func (export "f") (canon lift (core func $m "f"))))"#,
            inner = level - 1
        );
    }
    let street = Street::new();
    let (store, component) = (street.store(()), street.component(&wat));
    let linker = Linker::new();
    let result = store.block_on(run(&store, &linker, &component, Some("f"), &[]));
    let error = result.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Limit(limit) if limit.limit == "max_nesting"),
        "{error}"
    );
    street.check("recursion across components");
}

/// A host function makes another store, whose guest calls a host function, which does the same.
#[test]
fn recursion_through_host_functions() {
    fn descend(engine: Engine, executor: &vestibule_executor::Handle) -> Result<u32> {
        let store = Store::with_handle(&engine, executor, ());
        let component = Component::new(&engine, CALLS_F.as_bytes())?;
        let mut linker = Linker::new();
        linker
            .root()
            .func("f", move |caller: Caller<'_, ()>, (_x,): (u32,)| {
                descend(engine.clone(), caller.executor()).map(|x| (x,))
            })?;
        linker.instantiate(&store, &component).map(|_| 0)
    }
    let street = Street::new();
    let error = descend(street.engine.clone(), &street.executor.handle()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit(_)), "{error}");
    street.check("recursion through host functions");
}

// Careless host functions.

/// What comes of a start function that calls `f`.
fn start_with(
    street: &Street,
    f: impl Fn(Caller<'_, ()>, u32) -> Result<u32> + 'static,
) -> Result<()> {
    let store = street.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func("f", move |caller: Caller<'_, ()>, (x,): (u32,)| {
            f(caller, x).map(|x| (x,))
        })
        .unwrap();
    let component = street.component(CALLS_F);
    store
        .block_on(run(&store, &linker, &component, None, &[]))
        .map(drop)
}

/// What comes of a call that awaits `f`.
fn call_with<F, Fut>(street: &Street, f: F) -> Result<()>
where
    F: Fn(Accessor<()>) -> Fut + 'static,
    Fut: Future<Output = Result<(u32,)>> + 'static,
{
    let store = street.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", move |accessor, (_x,): (u32,)| f(accessor))
        .unwrap();
    let component = street.component(WAITS_IN_EXPORT);
    store
        .block_on(run(&store, &linker, &component, Some("run"), &[]))
        .map(drop)
}

/// The case ends with an error of the kind, which `is` tells, and the neighbour goes on.
#[track_caller]
fn fails(street: &Street, result: Result<()>, is: impl Fn(&ErrorKind) -> bool) {
    let error = result.unwrap_err();
    assert_allowed("", &error);
    assert!(is(error.kind()), "{error}");
    street.check(&error.to_string());
}

fn is_panic(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::HostPanic(_))
}

fn is_host(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::Host(_))
}

fn is_refused(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::Refused(_))
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[test]
fn a_panic_in_a_function() {
    let street = Street::new();
    fails(
        &street,
        start_with(&street, |_, _| panic!("plain")),
        is_panic,
    );
}

#[test]
fn a_panic_in_a_poll() {
    let street = Street::new();
    fails(
        &street,
        call_with(&street, |_| async { panic!("first") }),
        is_panic,
    );
    let later = call_with(&street, |_| async {
        yield_now().await;
        panic!("later")
    });
    fails(&street, later, is_panic);
}

#[test]
fn a_panic_in_the_drop_of_a_future() {
    let street = Street::new();
    let done = call_with(&street, |_| async {
        let _guard = PanicsWhenDropped;
        yield_now().await;
        Ok((1,))
    });
    fails(&street, done, is_panic);
    // A future that is given up because its guest traps: the trap is what is told.
    let store = street.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", |_, (x,): (u32,)| async move {
            let _guard = PanicsWhenDropped;
            pending::<()>().await;
            Ok((x,))
        })
        .unwrap();
    let component = street.component(CALLS_ASYNC_F);
    let result = store.block_on(run(&store, &linker, &component, None, &[]));
    let is_trap = |kind: &ErrorKind| matches!(kind, ErrorKind::Trap(_));
    fails(&street, result.map(drop), is_trap);
}

#[test]
fn a_panic_in_a_destructor() {
    let street = Street::new();
    let (store, mut linker, ty) = (
        street.store(()),
        Linker::new(),
        ResourceType::host_dynamic(),
    );
    linker
        .root()
        .resource("r", ty, |_: Caller<'_, ()>, _rep| panic!("destructor"))
        .unwrap();
    linker
        .root()
        .func("make", move |_: Caller<'_, ()>, ()| {
            Ok((ResourceAny::own(ty, 1),))
        })
        .unwrap();
    let component = street.component(
        r#"(component
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
        (instance (export "make" (func $make)) (export "drop" (func $drop)))))))"#,
    );
    let result = store.block_on(run(&store, &linker, &component, None, &[]));
    fails(&street, result.map(drop), is_panic);
}

#[test]
fn a_function_that_blocks_the_thread() {
    let street = Street::new();
    street.check("before");
    start_with(&street, |_, x| {
        std::thread::sleep(Duration::from_millis(20));
        Ok(x)
    })
    .unwrap();
    street.check("a sleep");
    // As long as it sleeps nobody answers, which is what the detector is for.
    assert!(street.gap.get() >= Duration::from_millis(20));
}

#[test]
fn a_nested_block_on() {
    let street = Street::new();
    let refused = start_with(&street, |caller, _| {
        caller
            .executor()
            .try_block_on(ready(1))
            .map_err(Error::host)
    });
    fails(&street, refused, is_host);
    let panics = start_with(&street, |caller, _| {
        Ok(caller.executor().block_on(ready(1)))
    });
    fails(&street, panics, is_panic);
}

#[test]
fn a_call_into_the_store_that_is_running() {
    let street = Street::new();
    let store = street.store(());
    let (outer, plain) = (store.clone(), street.component(PLAIN));
    let mut linker = Linker::new();
    linker
        .root()
        .func("f", move |_: Caller<'_, ()>, (x,): (u32,)| {
            Linker::new().instantiate(&outer, &plain)?;
            Ok((x,))
        })
        .unwrap();
    let component = street.component(CALLS_F);
    let result = store.block_on(run(&store, &linker, &component, None, &[]));
    fails(&street, result.map(drop), is_refused);
}

#[test]
fn a_tick_of_the_executor_that_is_running() {
    let street = Street::new();
    let result = start_with(&street, |caller, x| {
        caller.executor().tick()?;
        Ok(x)
    });
    fails(&street, result, is_refused);
}

#[test]
fn a_future_that_is_dropped_midway() {
    for polls in 0..6 {
        let street = Street::new();
        let store = street.store(());
        let mut linker = Linker::new();
        linker
            .root()
            .func_async("f", |_, (x,): (u32,)| async move {
                for _ in 0..3 {
                    yield_now().await;
                }
                Ok((x,))
            })
            .unwrap();
        let component = street.component(WAITS_IN_EXPORT);
        let begun = run(&store, &linker, &component, Some("run"), &[]);
        let _dropped = street.executor.try_block_on(give_up(begun, polls)).unwrap();
        street.check(&format!("dropped after {polls} polls"));
        assert!(store.is_quiet().unwrap());
    }
}

#[test]
fn wakes_after_the_end_from_other_threads() {
    let street = Street::new();
    let kept: Rc<RefCell<Vec<Waker>>> = Rc::default();
    let keep = Rc::clone(&kept);
    call_with(&street, move |_| {
        let keep = Rc::clone(&keep);
        let mut polls = 0;
        poll_fn(move |cx| {
            keep.borrow_mut().push(cx.waker().clone());
            polls += 1;
            cx.waker().wake_by_ref();
            match polls {
                3 => Poll::Ready(Ok((1,))),
                _ => Poll::Pending,
            }
        })
    })
    .unwrap();
    let wakers = kept.borrow().clone();
    assert!(!wakers.is_empty());
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let wakers = wakers.clone();
            std::thread::spawn(move || {
                for _ in 0..200 {
                    wakers.iter().for_each(Waker::wake_by_ref);
                }
            })
        })
        .collect();
    street.check("wakes after the end");
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    street.check("wakes after the end");
}

#[test]
fn a_result_of_another_type() {
    let street = Street::new();
    let store = street.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func("f", |_: Caller<'_, ()>, _args: Vec<Val>| {
            Ok(Some(Val::String("no".into())))
        })
        .unwrap();
    let component = street.component(CALLS_F);
    let result = store.block_on(run(&store, &linker, &component, None, &[]));
    fails(&street, result.map(drop), is_host);
}

#[test]
fn wakers_that_are_leaked() {
    let street = Street::new();
    for _ in 0..20 {
        call_with(&street, |_| {
            let mut polled = false;
            poll_fn(move |cx| {
                std::mem::forget(cx.waker().clone());
                cx.waker().wake_by_ref();
                match std::mem::replace(&mut polled, true) {
                    true => Poll::Ready(Ok((1,))),
                    false => Poll::Pending,
                }
            })
        })
        .unwrap();
    }
    street.check("leaked wakers");
    // The neighbour is all that lives.
    assert_eq!(street.executor.metrics().live, 1);
}

#[test]
fn a_future_that_wakes_itself_for_ever() {
    let street = Street::new();
    let store = street.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", |_, (_x,): (u32,)| {
            poll_fn(|cx: &mut Context<'_>| {
                cx.waker().wake_by_ref();
                Poll::<Result<(u32,)>>::Pending
            })
        })
        .unwrap();
    let component = street.component(WAITS_IN_EXPORT);
    let begun = run(&store, &linker, &component, Some("run"), &[]);
    let before = street.answers.get();
    let given_up = street.executor.try_block_on(give_up(begun, 200)).unwrap();
    assert!(given_up.is_none());
    assert!(
        street.answers.get() > before + 100,
        "{}",
        street.answers.get()
    );
    street.check("a future that wakes itself");
}
