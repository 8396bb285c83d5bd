//! A task can be ended at every stage of its life, and its future is dropped exactly once,
//! on the owner's thread, at the right time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::common::{self, Gate, Log};
use vestibule_executor::{Executor, JoinError, JoinHandle, yield_now};

type Slot<T> = Rc<RefCell<Option<T>>>;

fn is_aborted<T>(executor: &Executor, task: JoinHandle<T>) -> bool {
    matches!(executor.try_block_on(task), Ok(Err(JoinError::Aborted)))
}

#[test]
fn a_queued_task_is_dropped_at_once_and_never_polled() {
    let executor = Executor::new();
    let log = Log::new();
    let witness = log.on_drop("dropped");
    let events = log.clone();
    let task = executor
        .spawn(async move {
            events.add("polled");
            drop(witness);
        })
        .unwrap();
    task.abort();
    assert_eq!(log.take(), ["dropped"]);
    assert!(task.is_finished());
    assert_eq!(executor.metrics().ready, 0);
    assert!(is_aborted(&executor, task));
}

#[test]
fn a_waiting_task_is_dropped_at_once_and_its_wakers_are_inert() {
    let executor = Executor::new();
    let log = Log::new();
    let (gate, witness) = (Gate::new(), log.on_drop("dropped"));
    let waiting = gate.clone();
    let task = executor
        .spawn(async move {
            waiting.await;
            drop(witness);
        })
        .unwrap();
    let _ = executor.tick().unwrap();
    let wakers = gate.wakers();
    task.abort();
    assert_eq!(log.take(), ["dropped"]);
    // The slot is taken by another task, which the old waker must not reach.
    let other = executor.spawn(common::never()).unwrap();
    let _ = executor.tick().unwrap();
    wakers.into_iter().for_each(|waker| waker.wake());
    assert_eq!(executor.metrics().ready, 0);
    assert!(is_aborted(&executor, task));
    drop(other);
}

#[test]
fn a_task_that_aborts_itself_is_dropped_when_its_poll_ends() {
    let executor = Executor::new();
    let log = Log::new();
    let own: Slot<JoinHandle<()>> = Rc::default();
    let (slot, events, witness) = (Rc::clone(&own), log.clone(), log.on_drop("dropped"));
    let task = async move {
        slot.borrow().as_ref().unwrap().abort();
        events.add("still here");
        yield_now().await;
        drop(witness);
        unreachable!("it was polled again");
    };
    *own.borrow_mut() = Some(executor.spawn(task).unwrap());
    let tick = executor.tick().unwrap();
    assert_eq!(log.take(), ["still here", "dropped"]);
    assert_eq!((tick.live, tick.completed), (0, 1));
    let task = own.borrow_mut().take().unwrap();
    assert!(is_aborted(&executor, task));
}

#[test]
fn a_value_returned_by_the_poll_in_which_the_task_was_aborted_counts() {
    let executor = Executor::new();
    let own: Slot<JoinHandle<i32>> = Rc::default();
    let slot = Rc::clone(&own);
    let task = async move {
        slot.borrow().as_ref().unwrap().abort();
        7
    };
    *own.borrow_mut() = Some(executor.spawn(task).unwrap());
    let _ = executor.tick().unwrap();
    let task = own.borrow_mut().take().unwrap();
    assert_eq!(executor.try_block_on(task).unwrap().unwrap(), 7);
}

#[test]
fn aborting_a_task_that_has_ended_changes_nothing() {
    let executor = Executor::new();
    let task = executor.spawn(async { 7 }).unwrap();
    let _ = executor.tick().unwrap();
    task.abort();
    assert_eq!(executor.try_block_on(task).unwrap().unwrap(), 7);
}

#[test]
fn aborting_wakes_whoever_awaits_the_task() {
    let executor = Executor::new();
    let group = executor.group("victims");
    let victim = executor
        .task()
        .group(&group)
        .spawn(common::never())
        .unwrap();
    let waiter = executor.spawn(victim).unwrap();
    let _ = executor.tick().unwrap();
    assert!(!waiter.is_finished());
    group.abort_all();
    let outcome = executor.try_block_on(waiter).unwrap().unwrap();
    assert!(matches!(outcome, Err(JoinError::Aborted)));
}

#[test]
fn cancelling_waits_until_the_future_is_really_dropped() {
    let executor = Executor::new();
    let log = Log::new();
    let witness = log.on_drop("dropped");
    let task = executor
        .spawn(async move {
            common::never().await;
            drop(witness);
        })
        .unwrap();
    let _ = executor.tick().unwrap();
    let outcome = executor.try_block_on(task.cancel()).unwrap();
    assert!(matches!(outcome, Err(JoinError::Aborted)));
    assert_eq!(log.take(), ["dropped"]);
}

#[test]
fn abort_on_drop_aborts_and_detach_undoes_it() {
    let executor = Executor::new();
    let log = Log::new();
    let aborted = executor.spawn(log.task("aborted")).unwrap().abort_on_drop();
    let detached = executor
        .spawn(log.task("detached"))
        .unwrap()
        .abort_on_drop();
    drop(aborted);
    drop(detached.detach());
    let _ = executor.tick().unwrap();
    assert_eq!(log.take(), ["detached"]);
}

#[test]
fn a_dropped_handle_detaches_and_the_output_is_dropped_when_the_task_ends() {
    let executor = Executor::new();
    let log = Log::new();
    let output = log.on_drop("output dropped");
    let events = log.clone();
    drop(
        executor
            .spawn(async move {
                yield_now().await;
                events.add("returning");
                output
            })
            .unwrap(),
    );
    let _ = executor.tick().unwrap();
    let _ = executor.tick().unwrap();
    assert_eq!(log.take(), ["returning", "output dropped"]);
}

/// A future whose drop aborts the next link of the chain.
fn chain(executor: &Executor, length: usize, dropped: &Rc<Cell<usize>>) -> Option<JoinHandle<()>> {
    struct Counts(Rc<Cell<usize>>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let mut next: Option<JoinHandle<()>> = None;
    for _ in 0..length {
        let (inner, counts) = (
            next.take().map(JoinHandle::abort_on_drop),
            Counts(Rc::clone(dropped)),
        );
        let link = async move {
            let (_inner, _counts) = (inner, counts);
            common::never().await;
        };
        next = Some(executor.spawn(link).unwrap());
    }
    next
}

#[test]
fn a_chain_of_aborts_does_not_recurse_on_the_native_stack_and_is_complete_on_return() {
    const LENGTH: usize = 100_000;
    let executor = Executor::new();
    let dropped = Rc::new(Cell::new(0));
    let head = chain(&executor, LENGTH, &dropped).unwrap();
    head.abort();
    assert_eq!(dropped.get(), LENGTH);
    assert_eq!(executor.metrics().live, 0);
}

#[test]
fn a_chain_of_aborts_is_complete_when_the_executor_is_dropped() {
    let executor = Executor::new();
    let dropped = Rc::new(Cell::new(0));
    drop(chain(&executor, 10_000, &dropped));
    drop(executor);
    assert_eq!(dropped.get(), 10_000);
}

#[test]
fn aborting_a_group_ends_exactly_its_tasks_and_the_tree_all_below() {
    let executor = Executor::new();
    let store = executor.group("store");
    let part = store.subgroup("part");
    let log = Log::new();
    for (group, name) in [(&store, "store"), (&part, "part")] {
        let witness = log.on_drop(name);
        let task = async move {
            common::never().await;
            drop(witness);
        };
        drop(executor.task().group(group).spawn(task).unwrap());
    }
    store.abort_all();
    assert_eq!(log.take(), ["store"]);
    store.abort_tree();
    assert_eq!(log.take(), ["part"]);
}

#[test]
fn a_destructor_that_spawns_wakes_and_aborts_runs_with_nothing_borrowed() {
    let executor = Executor::new();
    struct Busy(vestibule_executor::Handle, Log);
    impl Drop for Busy {
        fn drop(&mut self) {
            let task = self.0.spawn(self.1.task("spawned in drop")).unwrap();
            task.wake();
            self.0.spawn(common::never()).unwrap().abort();
            let group = self.0.group("made in drop");
            drop(self.0.task().group(&group).spawn(async {}).unwrap());
            group.abort_all();
        }
    }
    let log = Log::new();
    let busy = Busy(executor.handle(), log.clone());
    let task = executor.spawn(async move { drop(busy) }).unwrap();
    task.abort();
    let _ = executor.tick().unwrap();
    assert_eq!(log.take(), ["spawned in drop"]);
    assert_eq!(executor.metrics().groups, 0);
}

#[test]
fn a_destructor_that_aborts_its_own_task_once_more_changes_nothing() {
    type Own = Rc<RefCell<Option<JoinHandle<()>>>>;
    struct AbortsItself(Own, Log);
    impl Drop for AbortsItself {
        fn drop(&mut self) {
            self.0.borrow().as_ref().unwrap().abort();
            self.1.add("dropped");
        }
    }
    for polled in [false, true] {
        let (executor, log) = (Executor::new(), Log::new());
        let own = Own::default();
        let aborts = AbortsItself(Rc::clone(&own), log.clone());
        let task = executor.spawn(async move {
            common::never().await;
            drop(aborts);
        });
        *own.borrow_mut() = Some(task.unwrap());
        if polled {
            let _ = executor.tick().unwrap();
        }
        own.borrow().as_ref().unwrap().abort();
        assert_eq!(log.take(), ["dropped"]);
        let metrics = executor.metrics();
        assert_eq!((metrics.live, metrics.completed), (0, 1));
        let task = own.take().unwrap();
        let outcome = executor.try_block_on(task).unwrap();
        assert!(matches!(outcome, Err(JoinError::Aborted)), "{outcome:?}");
    }
}
