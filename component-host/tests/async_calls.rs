//! Calls that are given up at every moment, stores that become quiet, and what goes on meanwhile.

mod common;

use common::{Host, PLAIN, call_u32};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use vestibule_component_host::{
    Accessor, Caller, Config, Engine, Error, ErrorKind, Func, Instance, Linker, ResourceAny,
    ResourceType, Store, StreamReader, Trap, Val, stream,
};
use vestibule_executor::{Budget, Executor, yield_now};

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn rounds(host: &Host, rounds: u64) {
    let budget = Budget::rounds(rounds);
    host.executor.run_until_stalled(budget).unwrap();
}

/// Counts what is alive.
#[derive(Clone, Default)]
struct Alive(Rc<Cell<i32>>);

impl Alive {
    fn one(&self) -> Alive {
        self.0.set(self.0.get() + 1);
        self.clone()
    }
}

struct Guard(Alive);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}

/// `run: async func(r: borrow<r>) -> u32` calls the async import `f` and waits for it; when it is
/// cancelled, it cancels that call, drops everything, and says so. `state` says how it ended: 1,
/// returned; 2, cancelled.
const CANCELLABLE: &str = r#"(component
  (import "f" (func $f async (param "x" u32) (result u32)))
  (import "r" (type $r (sub resource)))
  (core module $Memory (memory (export "mem") 1))
  (core instance $memory (instantiate $Memory))
  (alias core export $memory "mem" (core memory $mem))
  (core func $f' (canon lower (func $f) async (memory $mem)))
  (core func $new (canon waitable-set.new))
  (core func $drop-set (canon waitable-set.drop))
  (core func $join (canon waitable.join))
  (core func $drop (canon subtask.drop))
  (core func $cancel-subtask (canon subtask.cancel))
  (core func $cancel (canon task.cancel))
  (core func $return (canon task.return (result u32)))
  (core func $drop-r (canon resource.drop $r))
  (core module $M
    (import "" "mem" (memory 1))
    (import "" "f" (func $f (param i32 i32) (result i32)))
    (import "" "new" (func $new (result i32)))
    (import "" "drop-set" (func $drop-set (param i32)))
    (import "" "join" (func $join (param i32 i32)))
    (import "" "drop" (func $drop (param i32)))
    (import "" "cancel-subtask" (func $cancel-subtask (param i32) (result i32)))
    (import "" "cancel" (func $cancel))
    (import "" "return" (func $return (param i32)))
    (import "" "drop-r" (func $drop-r (param i32)))
    (global $set (mut i32) (i32.const 0))
    (global $sub (mut i32) (i32.const 0))
    (global $r (mut i32) (i32.const 0))
    (global $state (mut i32) (i32.const 0))
    (func (export "run") (param $r i32) (result i32) (local $called i32)
      (global.set $r (local.get $r))
      (local.set $called (call $f (i32.const 41) (i32.const 16)))
      (if (i32.eq (local.get $called) (i32.const 2)) (then
        (call $finish)
        (return (i32.const 0))))
      (global.set $sub (i32.shr_u (local.get $called) (i32.const 4)))
      (global.set $set (call $new))
      (call $join (global.get $sub) (global.get $set))
      (i32.or (i32.const 2) (i32.shl (global.get $set) (i32.const 4))))
    (func $finish
      (global.set $state (i32.const 1))
      (call $drop-r (global.get $r))
      (call $return (i32.load (i32.const 16))))
    (func $free
      (call $join (global.get $sub) (i32.const 0)))
    (func (export "cb") (param $event i32) (param i32 i32) (result i32)
      (call $join (global.get $sub) (i32.const 0))
      (if (i32.eq (local.get $event) (i32.const 6)) (then
        (global.set $state (i32.const 2))
        (drop (call $cancel-subtask (global.get $sub)))
        (call $drop (global.get $sub))
        (call $drop-set (global.get $set))
        (call $drop-r (global.get $r))
        (call $cancel)
        (return (i32.const 0))))
      (call $drop (global.get $sub))
      (call $drop-set (global.get $set))
      (call $finish)
      (i32.const 0))
    (func (export "state") (result i32) (global.get $state)))
  (core instance $m (instantiate $M (with "" (instance
    (export "mem" (memory $mem)) (export "f" (func $f')) (export "new" (func $new))
    (export "drop-set" (func $drop-set)) (export "join" (func $join)) (export "drop" (func $drop))
    (export "cancel-subtask" (func $cancel-subtask)) (export "cancel" (func $cancel))
    (export "return" (func $return)) (export "drop-r" (func $drop-r))))))
  (func (export "run") async (param "r" (borrow $r)) (result u32)
    (canon lift (core func $m "run") async (callback (core func $m "cb"))))
  (func (export "state") (result u32) (canon lift (core func $m "state"))))"#;

/// How many awaits the host function has.
const AWAITS: usize = 4;

#[test]
fn a_call_is_cancelled_at_every_await_of_the_host_function_it_waits_for() {
    let mut states = Vec::new();
    // With the last of them the call returns before it is given up.
    for polls in 1..=AWAITS + 3 {
        let host = Host::new();
        let store = host.store(());
        let (alive, dropped) = (Alive::default(), Rc::new(Cell::new(0)));
        let ty = ResourceType::host_dynamic();
        let mut linker = Linker::new();
        let counts = alive.clone();
        linker
            .root()
            .func_async("f", move |_: Accessor<()>, (x,): (u32,)| {
                let guard = Guard(counts.one());
                async move {
                    for _ in 0..AWAITS {
                        yield_now().await;
                    }
                    drop(guard);
                    Ok((x + 1,))
                }
            })
            .unwrap();
        let drops = Rc::clone(&dropped);
        linker
            .root()
            .resource("r", ty, move |_: Caller<'_, ()>, _| {
                drops.set(drops.get() + 1);
                Ok(())
            })
            .unwrap();
        let instance = linker
            .instantiate(&store, &host.component(CANCELLABLE))
            .unwrap();
        let run = instance.get_func(&store, "run").unwrap();
        let mut call = Box::pin(run.call(&store, &[Val::Resource(ResourceAny::borrow(ty, 5))]));
        let mut returned = false;
        for _ in 0..polls {
            if let Poll::Ready(result) = poll(call.as_mut()) {
                assert_eq!(result.unwrap(), Some(Val::U32(42)));
                returned = true;
                break;
            }
            rounds(&host, 1);
        }
        drop(call);
        host.run();
        let state = call_u32(&store, &instance, "state");
        assert!(state == 1 || !returned, "after {polls} polls");
        states.push(state);
        assert_eq!(
            alive.0.get(),
            0,
            "the host future is gone after {polls} polls"
        );
        assert!(store.is_quiet().unwrap(), "after {polls} polls");
        assert!(store.take_background_errors().is_empty());
        assert_eq!(dropped.get(), 0, "a borrow is no own");
        // The instance goes on.
        let mut call = Box::pin(run.call(&store, &[Val::Resource(ResourceAny::borrow(ty, 6))]));
        while poll(call.as_mut()).is_pending() {
            rounds(&host, 1);
        }
    }
    // Cancelled while the host function is in progress; and from then on, completed.
    assert!(states.is_sorted_by(|a, b| a >= b), "{states:?}");
    assert!(
        states.starts_with(&[2, 2, 2]) && states.ends_with(&[1, 1]),
        "{states:?}"
    );
}

/// `lend: async func(r: borrow<r>)` waits for `f` and does not listen to cancellation; `make` makes
/// an `r`, which the component implements.
const LENT: &str = r#"(component
  (import "f" (func $f async))
  (type $r (resource (rep i32)))
  (core func $f' (canon lower (func $f)))
  (core func $new (canon resource.new $r))
  (core func $return (canon task.return))
  (core module $M
    (import "" "f" (func $f))
    (import "" "new" (func $new (param i32) (result i32)))
    (import "" "return" (func $return))
    (func (export "lend") (param i32) (call $f) (call $return))
    (func (export "make") (result i32) (call $new (i32.const 7))))
  (core instance $m (instantiate $M (with "" (instance
    (export "f" (func $f')) (export "new" (func $new)) (export "return" (func $return))))))
  (export $r' "r" (type $r))
  (func (export "make") (result (own $r')) (canon lift (core func $m "make")))
  (func (export "lend") async (param "r" (borrow $r'))
    (canon lift (core func $m "lend") async)))"#;

/// A linker whose `f` waits until the cell is set.
fn gated(open: &Rc<Cell<bool>>) -> Linker<()> {
    let open = Rc::clone(open);
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", move |_: Accessor<()>, ()| {
            let open = Rc::clone(&open);
            async move {
                while !open.get() {
                    yield_now().await;
                }
                Ok(())
            }
        })
        .unwrap();
    linker
}

#[test]
fn what_was_lent_to_a_call_stays_lent_until_its_task_resolves() {
    let host = Host::new();
    let (store, open) = (host.store(()), Rc::default());
    let instance = gated(&open)
        .instantiate(&store, &host.component(LENT))
        .unwrap();
    let func = |name| instance.get_func(&store, name).unwrap();
    let Some(Val::Resource(resource)) = store.block_on(func("make").call(&store, &[])).unwrap()
    else {
        panic!("not a resource");
    };
    let lend = func("lend");
    let mut call = Box::pin(lend.call(&store, &[Val::Resource(resource)]));
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    rounds(&host, 10);
    let error = resource.resource_drop(&store).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Resource(_)), "{error}");
    assert!(!store.is_quiet().unwrap(), "the guest does not listen");
    open.set(true);
    host.run();
    assert!(store.is_quiet().unwrap());
    resource.resource_drop(&store).unwrap();
}

/// `give: async func() -> stream<u8>` waits for `f` and returns a stream; `write` writes to it.
/// `take: async func(s: stream<u8>)` waits at the gate while `shut` is in force.
const GIVES: &str = r#"(component
  (import "f" (func $f async))
  (type $s (stream u8))
  (core module $Memory (memory (export "mem") 1))
  (core instance $memory (instantiate $Memory))
  (core func $f' (canon lower (func $f)))
  (core func $new (canon stream.new $s))
  (core func $write (canon stream.write $s async (memory (core memory $memory "mem"))))
  (core func $inc (canon backpressure.inc))
  (core func $return (canon task.return (result $s)))
  (core module $M
    (import "" "f" (func $f))
    (import "" "new" (func $new (result i64)))
    (import "" "write" (func $write (param i32 i32 i32) (result i32)))
    (import "" "inc" (func $inc))
    (import "" "return" (func $return (param i32)))
    (global $w (mut i32) (i32.const 0))
    (func (export "give") (local $ends i64)
      (call $f)
      (local.set $ends (call $new))
      (global.set $w (i32.wrap_i64 (i64.shr_u (local.get $ends) (i64.const 32))))
      (call $return (i32.wrap_i64 (local.get $ends))))
    (func (export "write") (result i32) (call $write (global.get $w) (i32.const 0) (i32.const 4)))
    (func (export "shut") (call $inc))
    (func (export "take") (param i32) unreachable))
  (core instance $m (instantiate $M (with "" (instance
    (export "f" (func $f')) (export "new" (func $new)) (export "write" (func $write))
    (export "inc" (func $inc)) (export "return" (func $return))))))
  (func (export "give") async (result $s) (canon lift (core func $m "give") async))
  (func (export "take") async (param "s" $s) (canon lift (core func $m "take") async))
  (func (export "shut") (canon lift (core func $m "shut")))
  (func (export "write") (result u32) (canon lift (core func $m "write"))))"#;

#[test]
fn an_end_in_a_result_or_an_argument_that_nobody_wants_is_dropped() {
    // (dropped before the guest returns, or after)
    for late in [false, true] {
        let host = Host::new();
        let (store, open) = (host.store(()), Rc::new(Cell::new(false)));
        let instance = gated(&open)
            .instantiate(&store, &host.component(GIVES))
            .unwrap();
        let give = instance.get_func(&store, "give").unwrap();
        let mut call = Box::pin(give.call(&store, &[]));
        assert!(poll(call.as_mut()).is_pending());
        if !late {
            drop(call);
            open.set(true);
            host.run();
        } else {
            open.set(true);
            host.run();
            drop(call);
        }
        assert_eq!(call_u32(&store, &instance, "write"), 1, "dropped");
        assert!(store.is_quiet().unwrap());
    }
    // An argument of a call that never started.
    let host = Host::new();
    let (store, open) = (host.store(()), Rc::default());
    let instance = gated(&open)
        .instantiate(&store, &host.component(GIVES))
        .unwrap();
    let func = |name| instance.get_func(&store, name).unwrap();
    store.block_on(func("shut").call(&store, &[])).unwrap();
    let (reader, mut writer) = stream::<u8>(&store);
    let take = func("take");
    let mut call = Box::pin(take.call(&store, &[reader.into()]));
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    host.run();
    let error = store.block_on(writer.write(vec![1])).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
    assert!(store.is_quiet().unwrap());
}

/// `stubborn: async func()` spins when it is told that it is cancelled.
const STUBBORN: &str = r#"(component
  (core func $new (canon waitable-set.new))
  (core module $M
    (import "" "new" (func $new (result i32)))
    (func (export "wait") (result i32)
      (i32.or (i32.const 2) (i32.shl (call $new) (i32.const 4))))
    (func (export "cb") (param i32 i32 i32) (result i32) (loop $l (br $l)) (i32.const 0)))
  (core instance $m (instantiate $M (with "" (instance (export "new" (func $new))))))
  (func (export "stubborn") async
    (canon lift (core func $m "wait") async (callback (core func $m "cb")))))"#;

#[test]
fn limits_apply_to_a_call_that_was_given_up() {
    let executor = Executor::new();
    let engine = Engine::new(Config::new().fuel(100_000));
    let host = Host { executor, engine };
    let (store, instance) = host.instantiate(STUBBORN).unwrap();
    let stubborn = instance.get_func(&store, "stubborn").unwrap();
    let mut call = Box::pin(stubborn.call(&store, &[]));
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    host.run();
    let errors = store.take_background_errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].to_string().contains("fuel"), "{}", errors[0]);
    assert!(store.is_quiet().unwrap());
}

#[test]
fn who_waits_until_a_store_is_quiet_waits_for_all_that_is_in_progress() {
    let host = Host::new();
    let (store, open) = (host.store(()), Rc::new(Cell::new(false)));
    store.block_on(store.wait_until_quiet()).unwrap();
    let instance = gated(&open)
        .instantiate(&store, &host.component(GIVES))
        .unwrap();
    let give = instance.get_func(&store, "give").unwrap();
    let calls: Vec<_> = (0..3)
        .map(|_| host.executor.spawn(give.call(&store, &[])).unwrap())
        .collect();
    rounds(&host, 3);
    let quiet = {
        let store = store.clone();
        let wait = async move { store.wait_until_quiet().await };
        host.executor.spawn(wait).unwrap()
    };
    rounds(&host, 3);
    assert!(!quiet.is_finished());
    open.set(true);
    host.run();
    assert!(quiet.is_finished());
    host.executor.block_on(quiet).unwrap().unwrap();
    for call in calls {
        host.executor.block_on(call).unwrap().unwrap();
    }

    // What can never end is a deadlock.
    let (store, instance) = host.instantiate(STUBBORN).unwrap();
    let stubborn = instance.get_func(&store, "stubborn").unwrap();
    let _call = host.executor.spawn(stubborn.call(&store, &[])).unwrap();
    rounds(&host, 3);
    let error = store.block_on(store.wait_until_quiet()).unwrap_err();
    assert!(
        matches!(error.trap(), Some(Trap::Deadlock { .. })),
        "{error}"
    );
}

#[test]
fn a_store_with_calls_in_progress_instantiates_another_component_from_a_task() {
    let host = Host::new();
    let (store, open) = (host.store(()), Rc::new(Cell::new(false)));
    let linker = Rc::new(gated(&open));
    let component = host.component(GIVES);
    let instance = linker.instantiate(&store, &component).unwrap();
    let give = instance.get_func(&store, "give").unwrap();
    let calls: Vec<_> = (0..10)
        .map(|_| host.executor.spawn(give.call(&store, &[])).unwrap())
        .collect();
    rounds(&host, 3);
    let inner = {
        let (store, plain) = (store.clone(), host.component(PLAIN));
        let linker = Rc::clone(&linker);
        let work = async move {
            let mut values = 0;
            for _ in 0..5 {
                let plain = linker.instantiate(&store, &plain)?;
                let value = plain.get_func(&store, "value")?;
                match value.call(&store, &[]).await? {
                    Some(Val::U32(value)) => values += value,
                    other => panic!("value returned {other:?}"),
                }
                yield_now().await;
            }
            Ok::<u32, Error>(values)
        };
        host.executor.spawn(work).unwrap()
    };
    rounds(&host, 30);
    assert!(inner.is_finished());
    assert_eq!(host.executor.block_on(inner).unwrap().unwrap(), 35);
    assert!(calls.iter().all(|call| !call.is_finished()));
    open.set(true);
    host.run();
    for call in calls {
        let Some(Val::Stream(stream)) = host.executor.block_on(call).unwrap().unwrap() else {
            panic!("not a stream");
        };
        drop(StreamReader::<u8>::new(&store, stream));
    }
    assert!(store.is_quiet().unwrap());
}

/// `spin` yields for ever; `count: async func() -> u32` has ten turns.
const SPIN_AND_COUNT: &str = r#"(component
  (core func $return (canon task.return (result u32)))
  (core func $get (canon context.get i32 0))
  (core func $set (canon context.set i32 0))
  (core module $M
    (import "" "return" (func $return (param i32)))
    (import "" "get" (func $get (result i32)))
    (import "" "set" (func $set (param i32)))
    (func (export "spin") (result i32) (i32.const 1))
    (func (export "spin-cb") (param i32 i32 i32) (result i32) (i32.const 1))
    (func (export "count") (result i32) (i32.const 1))
    (func (export "count-cb") (param i32 i32 i32) (result i32)
      (call $set (i32.add (call $get) (i32.const 1)))
      (if (i32.lt_u (call $get) (i32.const 10)) (then (return (i32.const 1))))
      (call $return (call $get))
      (i32.const 0)))
  (core instance $m (instantiate $M (with "" (instance
    (export "return" (func $return)) (export "get" (func $get)) (export "set" (func $set))))))
  (func (export "spin") async
    (canon lift (core func $m "spin") async (callback (core func $m "spin-cb"))))
  (func (export "count") async (result u32)
    (canon lift (core func $m "count") async (callback (core func $m "count-cb")))))"#;

#[test]
fn a_guest_that_yields_for_ever_shares_the_turns_of_its_own_instance() {
    let host = Host::new();
    let (store, instance) = host.instantiate(SPIN_AND_COUNT).unwrap();
    let spin = instance.get_func(&store, "spin").unwrap();
    let _spinning: Vec<_> = (0..5)
        .map(|_| host.executor.spawn(spin.call(&store, &[])).unwrap())
        .collect();
    rounds(&host, 3);
    let count = instance.get_func(&store, "count").unwrap();
    let counting = host.executor.spawn(count.call(&store, &[])).unwrap();
    // Six that take turns, ten turns each, and a few to begin and to end.
    rounds(&host, 6 * 10 + 20);
    assert!(counting.is_finished(), "it was starved");
    let result = host.executor.block_on(counting).unwrap().unwrap();
    assert_eq!(result, Some(Val::U32(10)));
}

/// The start function calls the async import `f`, which is pending, and then yields.
const STARTS_F_AND_YIELDS: &str = r#"(component
  (import "f" (func $f async))
  (core func $f' (canon lower (func $f) async))
  (core func $yield (canon thread.yield))
  (core module $M
    (import "" "f" (func $f (result i32)))
    (import "" "yield" (func $yield (result i32)))
    (global $called (mut i32) (i32.const 0))
    (func $start
      (global.set $called (i32.and (call $f) (i32.const 15)))
      (drop (call $yield)))
    (start $start)
    (func (export "called") (result i32) (global.get $called)))
  (core instance $m (instantiate $M (with "" (instance
    (export "f" (func $f')) (export "yield" (func $yield))))))
  (func (export "called") (result u32) (canon lift (core func $m "called"))))"#;

#[test]
fn a_start_function_calls_a_pending_import_and_yields() {
    let host = Host::new();
    let (store, open) = (host.store(()), Rc::new(Cell::new(false)));
    let component = host.component(STARTS_F_AND_YIELDS);
    let instance = gated(&open).instantiate(&store, &component).unwrap();
    // 1: started.
    assert_eq!(call_u32(&store, &instance, "called"), 1);
    assert!(
        !store.is_quiet().unwrap(),
        "the host function is in progress"
    );
    open.set(true);
    host.run();
    assert!(store.is_quiet().unwrap());

    // Its twin waits for the import, and traps.
    let twin = STARTS_F_AND_YIELDS
        .replace("(canon lower (func $f) async)", "(canon lower (func $f))")
        .replace("(func $f (result i32))", "(func $f)")
        .replace(
            "(global.set $called (i32.and (call $f) (i32.const 15)))",
            "(call $f)",
        );
    let open = Rc::new(Cell::new(false));
    let error = gated(&open)
        .instantiate(&host.store(()), &host.component(&twin))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot block a synchronous task before returning"),
        "{error}"
    );
}

#[test]
fn a_host_function_that_calls_back_into_its_store_is_refused_or_waits() {
    // A plain host function is refused while the guest waits for it.
    type Exports = Rc<RefCell<Option<(Store<()>, Func)>>>;
    const CALLS_BACK: &str = r#"(component
      (import "back" (func $back async (result u32)))
      (core func $back' (canon lower (func $back)))
      (core func $return (canon task.return (result u32)))
      (core module $M
        (import "" "back" (func $back (result i32)))
        (import "" "return" (func $return (param i32)))
        (func (export "run") (call $return (call $back)))
        (func (export "seven") (result i32) (i32.const 7)))
      (core instance $m (instantiate $M (with "" (instance
        (export "back" (func $back')) (export "return" (func $return))))))
      (func (export "run") async (result u32) (canon lift (core func $m "run") async))
      (func (export "seven") (result u32) (canon lift (core func $m "seven"))))"#;
    let start = |linker: &Linker<()>, exports: &Exports| -> (Host, Store<()>, Instance) {
        let host = Host::new();
        let store = host.store(());
        let component = host.component(CALLS_BACK);
        let instance = linker.instantiate(&store, &component).unwrap();
        let seven = instance.get_func(&store, "seven").unwrap();
        *exports.borrow_mut() = Some((store.clone(), seven));
        (host, store, instance)
    };
    let exports = Exports::default();
    let mut linker = Linker::new();
    let used = Rc::clone(&exports);
    linker
        .root()
        .func("back", move |_: Caller<'_, ()>, ()| {
            let (store, seven) = used.borrow().clone().unwrap();
            let refused = match poll(Box::pin(seven.call(&store, &[])).as_mut()) {
                Poll::Ready(Err(error)) => error,
                other => panic!("the call was {other:?}"),
            };
            assert!(refused.refused().is_some(), "{refused}");
            Ok((1u32,))
        })
        .unwrap();
    let (_host, store, instance) = start(&linker, &exports);
    let run = instance.get_func(&store, "run").unwrap();
    let result = store.block_on(run.call(&store, &[])).unwrap();
    assert_eq!(result, Some(Val::U32(1)));
    exports.take();

    // An async one may, once it has given its guest the time to wait.
    let mut linker = Linker::new();
    let used = Rc::clone(&exports);
    linker
        .root()
        .func_async("back", move |_: Accessor<()>, ()| {
            let (store, seven) = used.borrow().clone().unwrap();
            async move {
                yield_now().await;
                match seven.call(&store, &[]).await? {
                    Some(Val::U32(seven)) => Ok((seven,)),
                    other => panic!("seven returned {other:?}"),
                }
            }
        })
        .unwrap();
    let (_host, store, instance) = start(&linker, &exports);
    let run = instance.get_func(&store, "run").unwrap();
    let result = store.block_on(run.call(&store, &[])).unwrap();
    assert_eq!(result, Some(Val::U32(7)));
    exports.take();
}

#[test]
fn a_future_that_panics_or_returns_after_it_was_cancelled_harms_nobody() {
    // The host future panics on its second poll.
    let host = Host::new();
    let store = host.store(());
    let mut linker = Linker::new();
    linker
        .root()
        .func_async("f", |_: Accessor<()>, ()| async {
            let mut polled = false;
            poll_fn(|cx| {
                assert!(!std::mem::replace(&mut polled, true), "the second poll");
                cx.waker().wake_by_ref();
                Poll::<()>::Pending
            })
            .await;
            Ok(())
        })
        .unwrap();
    let instance = linker.instantiate(&store, &host.component(GIVES)).unwrap();
    let give = instance.get_func(&store, "give").unwrap();
    let error = store.block_on(give.call(&store, &[])).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::HostPanic(_)), "{error}");
    assert!(store.is_quiet().unwrap());
    // A fresh instance in the same store goes on.
    let (store, instance) = host.instantiate(PLAIN).unwrap();
    assert_eq!(call_u32(&store, &instance, "value"), 7);
}
