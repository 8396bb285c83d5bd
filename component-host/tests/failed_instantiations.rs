//! A failed instantiation leaves nothing behind: no task, handle, timer, waker or memory.

mod common;

use cap::Cap;
use common::hostile::{Place, guest};
use common::{CALLS_ASYNC_F, CALLS_F, Host, WAITS};
use std::alloc::System;
use std::future::pending;
use std::rc::Rc;
use vestibule_component_host::{
    Caller, Component, Config, Engine, Error, ErrorKind, Linker, Result, Store, Trap,
};
use vestibule_executor::Executor;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// How one kind of instantiation fails.
struct Kind {
    name: &'static str,
    engine: Engine,
    component: Component,
    linker: Linker<()>,
    fails: fn(&Error) -> bool,
    times: u32,
}

/// How many failures of one kind there are in one store.
const IN_ONE_STORE: u32 = 100;

/// What the host keeps while something of an instantiation is alive.
type Witness = Rc<()>;

fn kind(name: &'static str, wat: &str, fails: fn(&Error) -> bool) -> Kind {
    let engine = Engine::default();
    Kind {
        name,
        component: Component::new(&engine, wat.as_bytes()).unwrap(),
        engine,
        linker: Linker::new(),
        fails,
        times: 10_000,
    }
}

/// `f` defers work, and then does what the kind is about.
fn with_f(mut kind: Kind, witness: &Witness, f: fn(&Caller<'_, ()>) -> Result<()>) -> Kind {
    let witness = Rc::clone(witness);
    kind.linker
        .root()
        .func("f", move |caller: Caller<'_, ()>, (x,): (u32,)| {
            let kept = Rc::clone(&witness);
            let _task = caller.defer(async move {
                let _kept = kept;
                pending::<()>().await;
            })?;
            f(&caller).map(|()| (x,))
        })
        .unwrap();
    kind
}

const NESTED_START: &str = r#"(component
  (component $Inner
    (core module $M (func $start unreachable) (start $start))
    (core instance (instantiate $M)))
  (component $Outer
    (component $Middle
      (core module $M (memory 1) (func $start) (start $start))
      (core instance (instantiate $M)))
    (instance (instantiate $Middle)))
  (instance (instantiate $Outer))
  (instance (instantiate $Inner)))"#;

fn kinds(witness: &Witness) -> Vec<Kind> {
    let trap = |error: &Error| error.trap() == Some(&Trap::Unreachable);
    let blocked = |error: &Error| error.trap() == Some(&Trap::CannotBlockSyncTask);
    let limit = |error: &Error| matches!(error.kind(), ErrorKind::Limit(_));
    let mut pending_import = kind("an import that is pending", CALLS_ASYNC_F, blocked);
    let kept = Rc::clone(witness);
    pending_import
        .linker
        .root()
        .func_async("f", move |_, (x,): (u32,)| {
            let kept = Rc::clone(&kept);
            async move {
                let _kept = kept;
                pending::<()>().await;
                Ok((x,))
            }
        })
        .unwrap();
    let live = guest(
        Place::Start,
        "(drop (call $call-wait)) (drop (call $stream-new)) (drop (call $set-new))
         (drop (call $thread-new (i32.const 0) (i32.const 0)))
         (drop (call $context (i32.const 0) (i32.const 0))) (unreachable)",
    );
    let limited = |config: Config, wat: &str, times| {
        let engine = Engine::new(config);
        Kind {
            name: "a limit",
            component: Component::new(&engine, wat.as_bytes()).unwrap(),
            engine,
            linker: Linker::new(),
            fails: limit,
            times,
        }
    };
    vec![
        kind(
            "a trap in start",
            "(component (core module $M (func $s unreachable) (start $s)) (core instance (instantiate $M)))",
            trap,
        ),
        kind("a trap in a nested start", NESTED_START, trap),
        kind("a wait in start", WAITS, blocked),
        pending_import,
        kind("a trap with everything alive", &live, trap),
        kind("a link error", CALLS_F, |error| {
            matches!(error.kind(), ErrorKind::Link(_))
        }),
        with_f(
            kind("a host error", CALLS_F, |error| {
                matches!(error.kind(), ErrorKind::Host(_))
            }),
            witness,
            |_| Err(Error::host("no")),
        ),
        with_f(
            kind("a refusal", CALLS_F, |error| error.refused().is_some()),
            witness,
            |caller| Ok(caller.executor().tick().map(drop)?),
        ),
        with_f(
            kind("a host panic", CALLS_F, |error| {
                matches!(error.kind(), ErrorKind::HostPanic(_))
            }),
            witness,
            |_| panic!("broken"),
        ),
        limited(
            Config::new().fuel(2_000),
            "(component (core module $M (func $s (loop (br 0))) (start $s)) (core instance (instantiate $M)))",
            10_000,
        ),
        // Those that allocate to a memory limit.
        limited(
            Config::new().max_memory(20 << 20),
            "(component (core module $M (memory 200)) (core instance (instantiate $M)) (core instance (instantiate $M)))",
            100,
        ),
        limited(
            Config::new().max_table_elements(1_000_000),
            "(component (core module $M (table 700000 funcref)) (core instance (instantiate $M)) (core instance (instantiate $M)))",
            100,
        ),
    ]
}

fn fail(kind: &Kind, executor: &Executor, times: u32) {
    let mut left = times;
    while left > 0 {
        let store = Store::new(&kind.engine, executor, ());
        let before = store.counters().unwrap().live();
        // What stays until the store goes is limited: a store that allocates is used once.
        let here = if kind.times == 100 {
            1
        } else {
            left.min(IN_ONE_STORE)
        };
        for _ in 0..here {
            let error = kind
                .linker
                .instantiate(&store, &kind.component)
                .unwrap_err();
            assert!((kind.fails)(&error), "{}: {error}", kind.name);
        }
        let counters = store.counters().unwrap();
        assert_eq!(counters.live(), before, "{}", kind.name);
        assert!(store.is_quiet().unwrap(), "{}", kind.name);
        assert_eq!(executor.metrics().live, 0, "{}: tasks", kind.name);
        assert_eq!(executor.phase().depth, 0, "{}: a phase is left", kind.name);
        left -= here;
    }
}

/// One test, since the allocator counts for the whole process.
#[test]
fn counters_return_to_their_baseline_after_ten_thousand_failures_of_each_kind() {
    // Backtraces of panics are of no interest, and slow.
    std::panic::set_hook(Box::new(|_| {}));
    let witness = Witness::default();
    let executor = Host::new().executor;
    for kind in kinds(&witness) {
        let kept = Rc::strong_count(&witness);
        fail(&kind, &executor, kind.times / 10);
        let before = ALLOCATOR.allocated();
        fail(&kind, &executor, kind.times);
        let growth = ALLOCATOR.allocated().saturating_sub(before);
        // A leak of a byte each would be more than this, but for those that fail less often.
        assert!(growth < 2_000, "{}: {growth} bytes are left", kind.name);
        assert_eq!(
            Rc::strong_count(&witness),
            kept,
            "{}: a future is left",
            kind.name
        );
    }
    let _ = std::panic::take_hook();
}
