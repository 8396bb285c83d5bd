//! Wakes from other threads: coalesced, never lost, and ordered before the poll they cause.
//!
//! The payloads are stored and loaded `Relaxed`: nothing publishes them but the orderings
//! under test. The task is done when it has seen all of them; if a wake is lost, or a poll
//! does not see what was written before the wake that caused it, the owner sleeps for ever
//! and loom reports a deadlock.
//!
//! Each site is weakened in turn, and the model is seen to fail.

mod common;

use std::task::{Poll, Waker};

use executor_under_loom::{Executor, JoinHandle};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use common::{assert_needed, explore};

/// A task that ends when every payload is there, polled once, and its waker.
fn wait_for_all(executor: &Executor, payloads: &Arc<[AtomicUsize; 2]>) -> (JoinHandle<()>, Waker) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let payloads = Arc::clone(payloads);
    let mut waker = None;
    let task = std::future::poll_fn(move |cx| {
        if waker.is_none() {
            waker = Some(cx.waker().clone());
            sender.send(cx.waker().clone()).unwrap();
        }
        // Every payload is loaded at every poll: a shortcut would hide a stale one.
        let missing = payloads
            .iter()
            .filter(|payload| payload.load(Ordering::Relaxed) == 0)
            .count();
        if missing == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    let task = executor.spawn(task).unwrap();
    let _ = executor.tick().unwrap();
    (task, receiver.recv().unwrap())
}

fn payloads() -> Arc<[AtomicUsize; 2]> {
    Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)])
}

/// Two threads: one wakes twice, with news before each wake. The second wake is coalesced
/// into the first, or not.
fn one_waker_wakes_twice() {
    let executor = Executor::new();
    let payloads = payloads();
    let (task, waker) = wait_for_all(&executor, &payloads);
    let thread = thread::spawn(move || {
        for payload in payloads.iter() {
            payload.store(1, Ordering::Relaxed);
            waker.wake_by_ref();
        }
    });
    executor.try_block_on(task).unwrap().unwrap();
    thread.join().unwrap();
}

/// Three threads: two wake the same task, each with news of its own.
fn two_wakers_wake_once_each() {
    let executor = Executor::new();
    let payloads = payloads();
    let (task, waker) = wait_for_all(&executor, &payloads);
    let threads: Vec<_> = (0..2)
        .map(|n| {
            let (payloads, waker) = (Arc::clone(&payloads), waker.clone());
            thread::spawn(move || {
                payloads[n].store(1, Ordering::Relaxed);
                waker.wake_by_ref();
            })
        })
        .collect();
    executor.try_block_on(task).unwrap().unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn one_waker_that_wakes_twice_is_heard() {
    // Three preemptions: before each of the two claims, and between a claim and its message.
    explore(Some(3), 1_000, one_waker_wakes_twice);
}

#[test]
fn two_wakers_are_heard() {
    // Three: each waker is stopped once, and the owner.
    explore(Some(3), 20_000, two_wakers_wake_once_each);
}

#[test]
fn every_ordering_on_the_path_is_needed() {
    for site in ["wake.claim", "wake.reopen"] {
        assert_needed(site, "one_waker_that_wakes_twice_is_heard", "deadlock");
    }
}
