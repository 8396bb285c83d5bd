//! A block inside a block sleeps for both: a wake for the outer future, which the inner block takes
//! in, is kept until the outer one can be polled.
//!
//! Another thread wakes the outer main future first and the inner one second, with news for each.
//! A wake that is lost leaves the owner asleep, or makes it claim a deadlock: either is reported.

mod common;

use std::future::poll_fn;
use std::task::{Poll, Waker};

use executor_under_loom::{BlockOnError, Executor, OnBlock, Phase};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use common::{assert_needed, explore};

fn a_block_inside_a_block_takes_in_both_wakes() {
    let executor = Executor::new();
    let (handle, group) = (executor.handle(), executor.group("callback"));
    let news = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
    let tells = Arc::clone(&news);
    // A callback of a foreign interface, which can't await.
    let callback = executor.spawn(async move {
        let outer = receiver.recv().unwrap();
        let seen = Arc::clone(&tells);
        let mut wakers = Some((outer, tells));
        let mut thread = None;
        let phase = Phase::custom("callback", &group).on_block(OnBlock::DriveAll { max_depth: 1 });
        let inner = poll_fn(|cx| {
            if let Some((outer, news)) = wakers.take() {
                let inner = cx.waker().clone();
                thread = Some(thread::spawn(move || {
                    for (news, waker) in news.iter().zip([outer, inner]) {
                        news.store(1, Ordering::Relaxed);
                        waker.wake();
                    }
                }));
            }
            if seen[1].load(Ordering::Relaxed) == 1 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        let blocked = handle.with_phase(phase, || handle.try_block_on(inner));
        thread.take().unwrap().join().unwrap();
        blocked
    });
    let mut callback = callback.unwrap();
    let mut sender = Some(sender);
    let mut polls = 0;
    let outer = poll_fn(|cx| {
        polls += 1;
        if let Some(sender) = sender.take() {
            sender.send(cx.waker().clone()).unwrap();
        }
        if news[0].load(Ordering::Relaxed) == 1 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    let result = executor.try_block_on(outer);
    assert!(result.is_ok(), "deadlock: {result:?}");
    // Polled at the start and for its wake, not more.
    assert!(polls <= 2, "{polls} polls");
    let callback = executor.try_block_on(&mut callback).unwrap().unwrap();
    let callback: Result<(), BlockOnError> = callback;
    assert!(callback.is_ok(), "deadlock: {callback:?}");
}

/// Two threads. Three preemptions stop the waker between its two wakes, and the owner before either sleep.
#[test]
fn a_wake_for_the_outer_block_outlives_the_inner_one() {
    explore(Some(3), 1_500, a_block_inside_a_block_takes_in_both_wakes);
}

#[test]
fn the_orderings_that_publish_the_wakes_are_needed() {
    let name = "a_wake_for_the_outer_block_outlives_the_inner_one";
    for site in ["signal.list", "signal.take"] {
        assert_needed(site, name, "deadlock");
    }
    assert_needed("waker.drop", name, "Causality violation");
}
