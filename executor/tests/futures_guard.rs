//! The feature `futures-guard`: a stray `block_on` of the futures crate does not nest.

use std::cell::Cell;
use std::rc::Rc;

use futures_executor::{LocalPool, block_on, enter};
use vestibule_executor::{Executor, Hooks, PollOutcome, TaskId, yield_now};

const TEXT: &str = "cannot execute `LocalPool` executor from within another executor";

#[test]
fn a_stray_block_on_inside_a_task_is_the_tasks_panic_and_not_a_hang() {
    let executor = Executor::new();
    let task = executor.spawn(async { block_on(async { 1 }) }).unwrap();
    let pool = executor
        .spawn(async { LocalPool::new().run_until(async { 1 }) })
        .unwrap();
    for task in [task, pool] {
        let error = executor.try_block_on(task).unwrap().unwrap_err();
        let text = error.panic_message().unwrap().to_owned();
        assert!(text.contains(TEXT), "{text}");
    }
}

#[test]
fn the_mark_is_there_during_a_poll_and_gone_after_it_and_after_a_panic() {
    let executor = Executor::new();
    assert!(executor.try_block_on(async { enter().is_err() }).unwrap());
    assert!(enter().is_ok());
    let task = executor.spawn(async { panic!("in a poll") }).unwrap();
    let _: Result<(), _> = executor.try_block_on(task).unwrap();
    assert!(enter().is_ok());
    assert_eq!(block_on(async { 2 }), 2);
}

#[test]
fn what_runs_when_a_poll_has_ended_may_block() {
    struct Blocks(Rc<Cell<u32>>);

    impl Hooks for Blocks {
        fn after_poll(&self, _: TaskId, _: PollOutcome) {
            self.0.set(self.0.get() + block_on(async { 1 }));
        }
    }

    let blocked = Rc::new(Cell::new(0));
    let executor = Executor::builder().hooks(Blocks(blocked.clone())).build();
    let task = executor.spawn(yield_now()).unwrap();
    executor.try_block_on(task).unwrap().unwrap();
    assert_eq!(blocked.get(), 2);
    assert_eq!(executor.metrics().foreign_panics, 0);
}

#[test]
fn ours_runs_inside_a_local_pool_and_inside_ours_with_the_mark_taken_already() {
    let (outer, inner) = (Executor::new(), Executor::new());
    let seven = LocalPool::new().run_until(async {
        outer.try_block_on(async {
            inner.try_block_on(async {
                yield_now().await;
                7
            })
        })
    });
    assert_eq!(seven.unwrap().unwrap(), 7);
    assert!(enter().is_ok());
}
