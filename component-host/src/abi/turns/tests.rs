//! What ten thousand waiting calls cost those who go on: wakes of guest threads are counted, polls of
//! the executor, and how often the store looks at anything.

use crate::arena::steps;
use crate::{Accessor, Component, Engine, Instance, Linker, Store, Val};
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use vestibule_executor::{Budget, Executor};

/// `queue: async func()` yields until `open` was called and needs the exclusive thread to go on;
/// `shut` and `open` change the backpressure.
const GATE: &str = r#"(component
  (core func $inc (canon backpressure.inc))
  (core func $dec (canon backpressure.dec))
  (core func $return (canon task.return))
  (core module $M
    (import "" "inc" (func $inc))
    (import "" "dec" (func $dec))
    (import "" "return" (func $return))
    (global $entered (mut i32) (i32.const 0))
    (func (export "shut") (call $inc))
    (func (export "open") (call $dec))
    (func (export "entered") (result i32) (global.get $entered))
    (func (export "queue") (result i32)
      (global.set $entered (i32.add (global.get $entered) (i32.const 1)))
      (i32.const 1))
    (func (export "free") 
      (global.set $entered (i32.add (global.get $entered) (i32.const 1)))
      (call $return))
    (func (export "cb") (param i32 i32 i32) (result i32) (call $return) (i32.const 0)))
  (core instance $m (instantiate $M (with "" (instance
    (export "inc" (func $inc)) (export "dec" (func $dec)) (export "return" (func $return))))))
  (func (export "queue") async
    (canon lift (core func $m "queue") async (callback (core func $m "cb"))))
  (func (export "free") async (canon lift (core func $m "free") async))
  (func (export "shut") (canon lift (core func $m "shut")))
  (func (export "open") (canon lift (core func $m "open")))
  (func (export "entered") (result u32) (canon lift (core func $m "entered"))))"#;

fn call(store: &Store<()>, instance: &Instance, name: &str) -> Option<Val> {
    let func = instance.get_func(store, name).unwrap();
    store.block_on(func.call(store, &[])).unwrap()
}

fn wakes(store: &Store<()>) -> u64 {
    let mut taken = store.inner.take().unwrap();
    taken.context().data().wakes
}

/// The wakes it takes until `calls` calls of `name`, which wait at the gate, have returned.
fn wakes_at_the_gate(name: &str, calls: u32) -> u64 {
    let (executor, engine) = (Executor::new(), Engine::default());
    let store = Store::new(&engine, &executor, ());
    let component = Component::new(&engine, GATE.as_bytes()).unwrap();
    let instance = Linker::new().instantiate(&store, &component).unwrap();
    call(&store, &instance, "shut");
    let func = instance.get_func(&store, name).unwrap();
    let spawn = |_| executor.spawn(func.call(&store, &[])).unwrap();
    let tasks: Vec<_> = (0..calls).map(spawn).collect();
    executor.run_until_stalled(Budget::rounds(3)).unwrap();
    let entered = |calls| Some(Val::U32(calls));
    assert_eq!(call(&store, &instance, "entered"), entered(0));
    let before = wakes(&store);
    call(&store, &instance, "open");
    executor
        .run_until_stalled(Budget::rounds(u64::MAX))
        .unwrap();
    assert!(tasks.iter().all(|task| task.is_finished()));
    assert_eq!(call(&store, &instance, "entered"), entered(calls));
    assert!(store.is_quiet().unwrap());
    wakes(&store) - before
}

#[test]
fn who_waits_at_the_gate_is_not_woken_for_those_before_it() {
    for name in ["queue", "free"] {
        let (few, many) = (wakes_at_the_gate(name, 100), wakes_at_the_gate(name, 3_000));
        assert!(
            many <= 30 * (few + 10),
            "{name}: {few} wakes for a hundred calls, {many} for three thousand"
        );
    }
}

/// What some operations took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    wakes: u64,
    polls: u64,
    steps: u64,
}

impl Cost {
    fn of(executor: &Executor, store: &Store<()>, operations: impl FnOnce()) -> Cost {
        let now = || Cost {
            wakes: wakes(store),
            polls: executor.metrics().polls,
            steps: steps::taken(),
        };
        let before = now();
        operations();
        let after = now();
        Cost {
            wakes: after.wakes - before.wakes,
            polls: after.polls - before.polls,
            steps: after.steps - before.steps,
        }
    }
}

/// The same operations cost the same among few and among many; a search would cost a thousand times
/// as much.
fn assert_the_same(what: &str, cost: impl Fn(u32) -> Cost) {
    let (few, many) = (cost(10), cost(10_000));
    assert!(few.steps > 0 && few.polls > 0, "{what}: {few:?}");
    assert_eq!(few, many, "{what}: among ten, and among ten thousand");
}

/// `fill(n)` puts the readable ends of so many streams, each with a read in progress, into one set;
/// `touch(i)` drops the writable end of the i-th; `take` polls the set, and drops the end that has an
/// event; `leave(i)` takes the i-th out of the set and puts it back. `wait: async func()` waits for
/// the set with its core stack, `wait-cb` with a callback, and both take an event.
const SET: &str = r#"(component
  (type $s (stream))
  (core module $Memory (memory (export "mem") 4))
  (core instance $memory (instantiate $Memory))
  (alias core export $memory "mem" (core memory $mem))
  (core func $new (canon stream.new $s))
  (core func $read (canon stream.read $s async (memory $mem)))
  (core func $drop-r (canon stream.drop-readable $s))
  (core func $drop-w (canon stream.drop-writable $s))
  (core func $set-new (canon waitable-set.new))
  (core func $set-wait (canon waitable-set.wait (memory $mem)))
  (core func $set-poll (canon waitable-set.poll (memory $mem)))
  (core func $join (canon waitable.join))
  (core func $return (canon task.return))
  (core module $M
    (import "" "mem" (memory 4))
    (import "" "new" (func $new (result i64)))
    (import "" "read" (func $read (param i32 i32 i32) (result i32)))
    (import "" "drop-r" (func $drop-r (param i32)))
    (import "" "drop-w" (func $drop-w (param i32)))
    (import "" "set-new" (func $set-new (result i32)))
    (import "" "set-wait" (func $set-wait (param i32 i32) (result i32)))
    (import "" "set-poll" (func $set-poll (param i32 i32) (result i32)))
    (import "" "join" (func $join (param i32 i32)))
    (import "" "return" (func $return))
    (global $set (mut i32) (i32.const 0))
    (func $at (param i32) (result i32)
      (i32.add (i32.const 0x100) (i32.mul (local.get 0) (i32.const 8))))
    (func (export "fill") (param $n i32) (local $i i32) (local $ends i64)
      (global.set $set (call $set-new))
      (loop $more
        (if (i32.lt_u (local.get $i) (local.get $n)) (then
          (local.set $ends (call $new))
          (i64.store (call $at (local.get $i)) (local.get $ends))
          (drop (call $read (i32.wrap_i64 (local.get $ends)) (i32.const 0) (i32.const 1)))
          (call $join (i32.wrap_i64 (local.get $ends)) (global.get $set))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $more)))))
    (func (export "touch") (param $i i32)
      (call $drop-w (i32.load offset=4 (call $at (local.get $i)))))
    (func (export "leave") (param $i i32)
      (call $join (i32.load (call $at (local.get $i))) (i32.const 0))
      (call $join (i32.load (call $at (local.get $i))) (global.get $set)))
    (func (export "take") (result i32) (local $event i32)
      (local.set $event (call $set-poll (global.get $set) (i32.const 0)))
      (if (local.get $event) (then (call $drop-r (i32.load (i32.const 0)))))
      (local.get $event))
    (func (export "wait")
      (if (i32.ne (call $set-wait (global.get $set) (i32.const 0)) (i32.const 2))
        (then unreachable))
      (call $drop-r (i32.load (i32.const 0)))
      (call $return))
    (func (export "wait-cb") (result i32)
      (i32.or (i32.const 2) (i32.shl (global.get $set) (i32.const 4))))
    (func (export "cb") (param i32 i32 i32) (result i32)
      (call $drop-r (local.get 1))
      (call $return)
      (i32.const 0)))
  (core instance $m (instantiate $M (with "" (instance
    (export "mem" (memory $mem)) (export "new" (func $new)) (export "read" (func $read))
    (export "drop-r" (func $drop-r)) (export "drop-w" (func $drop-w))
    (export "set-new" (func $set-new)) (export "set-wait" (func $set-wait))
    (export "set-poll" (func $set-poll)) (export "join" (func $join))
    (export "return" (func $return))))))
  (func (export "fill") (param "n" u32) (canon lift (core func $m "fill")))
  (func (export "touch") (param "i" u32) (canon lift (core func $m "touch")))
  (func (export "leave") (param "i" u32) (canon lift (core func $m "leave")))
  (func (export "take") (result u32) (canon lift (core func $m "take")))
  (func (export "wait") async (canon lift (core func $m "wait") async))
  (func (export "wait-cb") async
    (canon lift (core func $m "wait-cb") async (callback (core func $m "cb")))))"#;

/// A set of `members` streams, and the store it is in.
fn set(members: u32) -> (Executor, Store<()>, Instance) {
    let (executor, engine) = (Executor::new(), Engine::default());
    let store = Store::new(&engine, &executor, ());
    let component = Component::new(&engine, SET.as_bytes()).unwrap();
    let instance = Linker::new().instantiate(&store, &component).unwrap();
    call_with(&store, &instance, "fill", members);
    (executor, store, instance)
}

fn call_with(store: &Store<()>, instance: &Instance, name: &str, arg: u32) {
    let func = instance.get_func(store, name).unwrap();
    store.block_on(func.call(store, &[Val::U32(arg)])).unwrap();
}

#[test]
fn an_event_of_one_of_ten_thousand_members_costs_what_it_costs_among_ten() {
    assert_the_same("an event", |members| {
        let (executor, store, instance) = set(members);
        Cost::of(&executor, &store, || {
            for i in 0..5 {
                call_with(&store, &instance, "leave", i);
                call_with(&store, &instance, "touch", i);
                assert_eq!(call(&store, &instance, "take"), Some(Val::U32(2)));
                assert_eq!(call(&store, &instance, "take"), Some(Val::U32(0)));
            }
        })
    });
}

#[test]
fn an_event_for_one_of_ten_thousand_waiters_costs_what_it_costs_among_ten() {
    for name in ["wait", "wait-cb"] {
        assert_the_same(name, |waiters| {
            let (executor, store, instance) = set(20);
            let func = instance.get_func(&store, name).unwrap();
            let spawn = |_| executor.spawn(func.call(&store, &[])).unwrap();
            let tasks: Vec<_> = (0..waiters).map(spawn).collect();
            executor.run_until_stalled(Budget::rounds(10)).unwrap();
            let cost = Cost::of(&executor, &store, || {
                for i in 0..5 {
                    call_with(&store, &instance, "touch", i);
                    executor.run_until_stalled(Budget::rounds(10)).unwrap();
                }
            });
            let ended = tasks.iter().filter(|task| task.is_finished());
            assert_eq!(ended.count(), 5, "{name}: one for each event");
            cost
        });
    }
}

/// `run: async func()` calls the async import `f`, and waits for it.
const CALLS: &str = r#"(component
  (import "f" (func $f async))
  (core func $f' (canon lower (func $f)))
  (core func $return (canon task.return))
  (core module $M
    (import "" "f" (func $f))
    (import "" "return" (func $return))
    (func (export "run") (call $f) (call $return)))
  (core instance $m (instantiate $M
    (with "" (instance (export "f" (func $f')) (export "return" (func $return))))))
  (func (export "run") async (canon lift (core func $m "run") async)))"#;

#[test]
fn a_call_among_ten_thousand_returns_and_is_cancelled_for_what_it_costs_among_ten() {
    assert_the_same("a call", |calls| {
        let (executor, engine) = (Executor::new(), Engine::default());
        let store = Store::new(&engine, &executor, ());
        // The wakers of the host functions in progress, and which of them may return.
        let gates = Rc::new(RefCell::new(Vec::<(Option<Waker>, bool)>::new()));
        let mut linker = Linker::new();
        let made = Rc::clone(&gates);
        linker
            .root()
            .func_async("f", move |_: Accessor<()>, ()| {
                let gates = Rc::clone(&made);
                let mine = gates.borrow().len();
                gates.borrow_mut().push((None, false));
                async move {
                    poll_fn(|cx| {
                        let (waker, open) = &mut gates.borrow_mut()[mine];
                        *waker = Some(cx.waker().clone());
                        match open {
                            true => Poll::Ready(()),
                            false => Poll::Pending,
                        }
                    })
                    .await;
                    Ok(())
                }
            })
            .unwrap();
        let component = Component::new(&engine, CALLS.as_bytes()).unwrap();
        let instance = linker.instantiate(&store, &component).unwrap();
        let run = instance.get_func(&store, "run").unwrap();
        let spawn = |_| executor.spawn(run.call(&store, &[])).unwrap();
        let mut tasks: Vec<_> = (0..calls).map(spawn).collect();
        executor.run_until_stalled(Budget::rounds(10)).unwrap();
        Cost::of(&executor, &store, || {
            for i in 0..4 {
                let waker = {
                    let gate = &mut gates.borrow_mut()[i];
                    gate.1 = true;
                    gate.0.take()
                };
                waker.expect("it waits").wake();
                executor.run_until_stalled(Budget::rounds(10)).unwrap();
                assert!(tasks[i].is_finished());
                tasks.pop().expect("there are more").abort();
                executor.run_until_stalled(Budget::rounds(10)).unwrap();
            }
        })
    });
}
