//! A sleeping owner notices that the last waker is dropped, and claims a deadlock only after
//! what its holder did before.
//!
//! The waker of the main future is all that stands against the claim. Its holder spawns a task
//! in one model and wakes in the other before it lets go. Claimed too early, the executor
//! misses it; noticed too late, the owner sleeps for ever and loom reports a deadlock of its
//! own. Of the reference counts loom sees nothing, only their effect: the drop of the cell.

mod common;

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;

use executor_under_loom::{BlockOnError, Executor};
use loom::thread;

use common::explore;

fn a_thread_drops_the_last_waker(wakes: bool) {
    let executor = Executor::new();
    let thread = Cell::new(None);
    let polls = Cell::new(0);
    let result = executor.try_block_on(poll_fn(|cx| {
        polls.set(polls.get() + 1);
        if polls.get() == 1 {
            let waker = cx.waker().clone();
            thread.set(Some(thread::spawn(move || {
                if wakes {
                    waker.wake();
                } else {
                    drop(waker);
                }
            })));
        }
        Poll::<()>::Pending
    }));
    thread.take().unwrap().join().unwrap();
    let Err(BlockOnError::Stalled(stalled)) = result else {
        panic!("{result:?}");
    };
    assert!(stalled.deadlock);
    let expected = if wakes { 2 } else { 1 };
    assert_eq!(polls.get(), expected, "claimed too early");
}

#[test]
fn the_drop_of_the_last_waker_ends_the_sleep() {
    // Three preemptions: one thread is stopped before the count is down, after it, and the
    // owner once between its look and its sleep.
    explore(Some(3), 10, || a_thread_drops_the_last_waker(false));
}

#[test]
fn a_wake_before_the_drop_of_the_last_waker_is_met_before_the_claim() {
    explore(Some(3), 50, || a_thread_drops_the_last_waker(true));
}

#[test]
fn a_drop_that_nobody_is_told_of_is_caught() {
    common::assert_needed(
        "waker.tell",
        "the_drop_of_the_last_waker_ends_the_sleep",
        "deadlock",
    );
}

#[test]
fn the_orderings_of_the_last_drop_are_needed() {
    let name = "a_wake_before_the_drop_of_the_last_waker_is_met_before_the_claim";
    for site in ["waker.drop", "waker.gone"] {
        common::assert_needed(site, name, "Causality violation");
    }
}
