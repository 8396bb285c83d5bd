//! Wakers in use while what they woke goes: the task, its slot in the table, the executor. A stale
//! waker wakes nobody else, and every future is dropped once, by the owner.

mod common;

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Poll, Waker};

use executor_under_loom::{Executor, JoinHandle};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use common::{Counted, explore};

/// A task that waits for ever, polled once, its waker, and how often it is dropped.
fn waits(executor: &Executor) -> (JoinHandle<()>, Waker, Arc<AtomicUsize>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let drops = Arc::new(AtomicUsize::new(0));
    let (mut sender, counted) = (Some(sender), Counted(Arc::clone(&drops)));
    let task = std::future::poll_fn(move |cx| {
        let _counted = &counted;
        if let Some(sender) = sender.take() {
            sender.send(cx.waker().clone()).unwrap();
        }
        Poll::Pending
    });
    let task = executor.spawn(task).unwrap();
    let _ = executor.tick().unwrap();
    (task, receiver.recv().unwrap(), drops)
}

/// The task ends and another one is spawned, while a thread wakes the first, by reference and by
/// value, and so drops its waker.
fn a_slot_is_used_again_under_a_stale_waker() {
    let executor = Executor::new();
    let (task, waker, drops) = waits(&executor);
    let thread = thread::spawn(move || {
        waker.wake_by_ref();
        waker.wake();
    });
    task.abort();
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    let polls = Rc::new(Cell::new(0));
    let count = Rc::clone(&polls);
    let next = executor.spawn(std::future::poll_fn(move |_| {
        count.set(count.get() + 1);
        Poll::<()>::Pending
    }));
    let _ = executor.tick().unwrap();
    let early = polls.get();
    thread.join().unwrap();
    let _ = executor.tick().unwrap();
    let polls = (early, polls.get());
    assert_eq!((polls, next.unwrap().is_finished()), ((1, 1), false));
}

/// The executor ends while a thread wakes one of its tasks.
fn an_executor_ends_under_a_wake() {
    let executor = Executor::new();
    let (task, waker, drops) = waits(&executor);
    let thread = thread::spawn(move || {
        waker.wake_by_ref();
        waker.wake();
    });
    drop(executor);
    let dropped = drops.load(Ordering::Relaxed);
    let finished = task.is_finished();
    thread.join().unwrap();
    let after = drops.load(Ordering::Relaxed);
    assert_eq!((dropped, finished, after), (1, true, 1));
}

/// Two threads drop the last two wakers of a task that ends meanwhile, and one of them wakes.
fn two_wakers_go_while_the_task_ends() {
    let executor = Executor::new();
    let (task, waker, drops) = waits(&executor);
    let clone = waker.clone();
    let threads = [
        thread::spawn(move || drop(clone)),
        thread::spawn(move || waker.wake()),
    ];
    task.abort();
    let dropped = drops.load(Ordering::Relaxed);
    let _ = executor.tick().unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
    let tick = executor.tick().unwrap();
    drop(executor);
    assert_eq!((dropped, tick.live, tick.polled), (1, 0, 0));
}

#[test]
fn a_stale_waker_wakes_nobody_else() {
    explore(None, 10, a_slot_is_used_again_under_a_stale_waker);
}

#[test]
fn a_wake_that_meets_the_end_of_the_executor_is_inert() {
    explore(None, 10, an_executor_ends_under_a_wake);
}

/// Three threads: three preemptions put each of the two drops and the wake between the steps of the
/// abort.
#[test]
fn the_last_wakers_go_while_the_task_ends() {
    explore(Some(3), 10, two_wakers_go_while_the_task_ends);
}
