//! A store with as much in it as a checklist of load asks for: a hundred thousand of each thing, and a
//! million calls. Without the feature `heavy-tests` each is a tenth of that.

mod common;

use cap::Cap;
use common::{Host, PLAIN, call_u32};
use std::alloc::System;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use vestibule_component_host::{Component, Config, Engine, ErrorKind, Linker, Store};
use vestibule_executor::Executor;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// A number of the checklist, or a tenth of it.
fn sized(full: u32) -> u32 {
    match cfg!(feature = "heavy-tests") {
        true => full,
        false => {
            eprintln!("a tenth of {full}: `heavy-tests` is off");
            full / 10
        }
    }
}

/// One test, since the allocator counts for the whole process.
#[test]
fn a_store_carries_a_million_calls_and_a_hundred_thousand_of_each_thing() {
    a_million_calls_one_after_another_leave_memory_flat();
    a_hundred_thousand_tasks_wait_at_a_time();
    a_hundred_thousand_subtasks_are_in_progress_at_a_time();
    a_hundred_thousand_streams_are_open_at_a_time();
    what_is_made_without_end_reaches_a_limit_of_the_store_and_not_of_the_instance();
}

fn a_million_calls_one_after_another_leave_memory_flat() {
    let host = Host::new();
    let (store, instance) = host.instantiate(PLAIN).unwrap();
    let value = instance
        .get_typed_func::<(), (u32,)>(&store, "value")
        .unwrap();
    let calls = |times: u32| {
        for _ in 0..times {
            assert_eq!(store.block_on(value.call(&store, ())).unwrap(), (7,));
        }
    };
    calls(1_000);
    let before = ALLOCATOR.allocated();
    let live = store.counters().unwrap().live();
    calls(sized(1_000_000));
    let grown = ALLOCATOR.allocated().saturating_sub(before);
    assert!(grown < 256, "{grown} bytes are left");
    assert_eq!(store.counters().unwrap().live(), live);
}

/// `run` waits for the import; `many` calls it so often without waiting; `streams` makes so many.
const GUEST: &str = r#"(component
  (import "f" (func $f async))
  (type $s (stream u8))
  (type $r (resource (rep i32)))
  (core module $Memory (memory (export "mem") 1)
    (func $thread (param i32)) (table (export "table") 1 funcref) (elem (i32.const 0) func $thread))
  (core instance $memory (instantiate $Memory))
  (core type $thread (func (param i32)))
  (core func $f' (canon lower (func $f)))
  (core func $begin (canon lower (func $f) async))
  (core func $stream (canon stream.new $s))
  (core func $return (canon task.return))
  (core func $set (canon waitable-set.new))
  (core func $context (canon error-context.new (memory (core memory $memory "mem"))))
  (core func $resource (canon resource.new $r))
  (core func $thread (canon thread.new-indirect $thread (core table $memory "table")))
  (core module $M
    (import "" "f" (func $f))
    (import "" "begin" (func $begin (result i32)))
    (import "" "stream" (func $stream (result i64)))
    (import "" "return" (func $return))
    (import "" "set" (func $set (result i32)))
    (import "" "context" (func $context (param i32 i32) (result i32)))
    (import "" "resource" (func $resource (param i32) (result i32)))
    (import "" "thread" (func $thread (param i32 i32) (result i32)))
    (func (export "run") (call $f) (call $return))
    (func (export "many") (param $n i32)
      (loop $l (drop (call $begin))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "streams") (param $n i32)
      (loop $l (drop (call $stream))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "sets") (loop (drop (call $set)) (br 0)))
    (func (export "contexts") (loop (drop (call $context (i32.const 0) (i32.const 0))) (br 0)))
    (func (export "resources") (loop (drop (call $resource (i32.const 1))) (br 0)))
    (func (export "threads") (loop (drop (call $thread (i32.const 0) (i32.const 0))) (br 0))))
  (core instance $m (instantiate $M (with "" (instance
    (export "f" (func $f')) (export "begin" (func $begin)) (export "stream" (func $stream))
    (export "return" (func $return)) (export "set" (func $set)) (export "context" (func $context))
    (export "resource" (func $resource)) (export "thread" (func $thread))))))
  (func (export "run") async (canon lift (core func $m "run") async))
  (func (export "many") (param "n" u32) (canon lift (core func $m "many")))
  (func (export "streams") (param "n" u32) (canon lift (core func $m "streams")))
  (func (export "sets") (canon lift (core func $m "sets")))
  (func (export "contexts") (canon lift (core func $m "contexts")))
  (func (export "resources") (canon lift (core func $m "resources")))
  (func (export "threads") (canon lift (core func $m "threads"))))"#;

struct Loaded {
    executor: Executor,
    store: Store<()>,
    linker: Linker<()>,
    component: Component,
    open: Rc<Cell<bool>>,
    waiting: Rc<RefCell<Vec<Waker>>>,
}

impl Loaded {
    /// Limits of a million, so that they are not what is tested.
    fn new() -> Loaded {
        let million = 1_000_000;
        let config = Config::new()
            .fuel(10_000_000_000)
            .max_handles(million)
            .max_waitables(million)
            .max_tasks(million)
            .max_threads(million);
        Loaded::with(config)
    }

    fn with(config: Config) -> Loaded {
        let (executor, engine) = (Executor::new(), Engine::new(config));
        let (open, waiting) = (
            Rc::new(Cell::new(false)),
            Rc::<RefCell<Vec<Waker>>>::default(),
        );
        let mut linker = Linker::new();
        let (gate, queue) = (Rc::clone(&open), Rc::clone(&waiting));
        linker
            .root()
            .func_async("f", move |_, ()| {
                let (gate, queue) = (Rc::clone(&gate), Rc::clone(&queue));
                poll_fn(move |cx| {
                    if gate.get() {
                        return Poll::Ready(Ok(()));
                    }
                    queue.borrow_mut().push(cx.waker().clone());
                    Poll::Pending
                })
            })
            .unwrap();
        Loaded {
            store: Store::new(&engine, &executor, ()),
            component: Component::new(&engine, GUEST.as_bytes()).unwrap(),
            executor,
            linker,
            open,
            waiting,
        }
    }

    fn call(&self, name: &str, count: u32) {
        let instance = self
            .linker
            .instantiate(&self.store, &self.component)
            .unwrap();
        let func = instance
            .get_typed_func::<(u32,), ()>(&self.store, name)
            .unwrap();
        self.store
            .block_on(func.call(&self.store, (count,)))
            .unwrap();
    }

    /// Lets everybody go on, until nobody waits.
    fn release(&self) {
        self.open.set(true);
        self.waiting.take().into_iter().for_each(Waker::wake);
        self.store.block_on(self.store.wait_until_quiet()).unwrap();
    }

    #[track_caller]
    fn assert_nothing_is_left(&self) {
        assert!(self.store.is_quiet().unwrap());
        assert_eq!(self.executor.metrics().live, 0);
    }
}

fn a_hundred_thousand_tasks_wait_at_a_time() {
    let loaded = Loaded::new();
    let count = sized(100_000);
    let instance = loaded
        .linker
        .instantiate(&loaded.store, &loaded.component)
        .unwrap();
    let run = instance.get_func(&loaded.store, "run").unwrap();
    let calls: Vec<_> = (0..count)
        .map(|_| loaded.executor.spawn(run.call(&loaded.store, &[])).unwrap())
        .collect();
    let begun = || loaded.waiting.borrow().len() == count as usize;
    loaded
        .executor
        .tick_until(vestibule_executor::Budget::rounds(10_000), begun)
        .unwrap();
    assert!(begun(), "{} wait", loaded.waiting.borrow().len());
    loaded.release();
    for call in calls {
        loaded.executor.block_on(call).unwrap().unwrap();
    }
    loaded.assert_nothing_is_left();
}

fn a_hundred_thousand_subtasks_are_in_progress_at_a_time() {
    let loaded = Loaded::new();
    let count = sized(100_000);
    loaded.call("many", count);
    assert_eq!(
        loaded.store.counters().unwrap().live.subtasks,
        count as usize
    );
    loaded.release();
    loaded.assert_nothing_is_left();
}

fn a_hundred_thousand_streams_are_open_at_a_time() {
    let loaded = Loaded::new();
    let count = sized(100_000);
    loaded.call("streams", count);
    assert_eq!(
        loaded.store.counters().unwrap().live.ends,
        2 * count as usize
    );
    loaded.release();
    loaded.assert_nothing_is_left();
}

/// Two instances share what the store has.
fn what_is_made_without_end_reaches_a_limit_of_the_store_and_not_of_the_instance() {
    for (name, limit) in [
        ("sets", "max_waitables"),
        ("contexts", "max_handles"),
        ("resources", "max_handles"),
        ("threads", "max_threads"),
    ] {
        let config = Config::new()
            .max_waitables(900)
            .max_handles(1_000)
            .max_threads(1_000);
        let loaded = Loaded::with(config);
        let (store, linker) = (&loaded.store, &loaded.linker);
        // What the first has made stays made: its instance is locked down, and its handles go. So
        // it makes what it may keep, by a call that returns.
        let [first, second] =
            [(); 2].map(|()| linker.instantiate(store, &loaded.component).unwrap());
        let streams = first
            .get_typed_func::<(u32,), ()>(store, "streams")
            .unwrap();
        store.block_on(streams.call(store, (400,))).unwrap();
        let before = store.counters().unwrap();
        let func = second.get_func(store, name).unwrap();
        let error = store.block_on(func.call(store, &[])).unwrap_err();
        match error.kind() {
            ErrorKind::Limit(reached) => assert_eq!(reached.limit, limit, "{name}: {error}"),
            _ => panic!("{name}: {error}"),
        }
        assert_eq!(
            store.counters().unwrap().live.ends,
            before.live.ends,
            "{name}"
        );
        let plain = Component::new(store.engine(), PLAIN.as_bytes()).unwrap();
        let instance = Linker::new().instantiate(store, &plain).unwrap();
        assert_eq!(call_u32(store, &instance, "value"), 7, "{name}");
    }
}
