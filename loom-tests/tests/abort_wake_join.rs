//! A task that one thread aborts and then awaits, while another one wakes it: it ends once, its
//! future is dropped once and before its end is told, and who awaits it is told.
//!
//! The owner sleeps in a block whose end is the proof that nothing can come any more; the thread
//! that aborts holds a spawner until it has asked, so that the proof waits for it. An abort, a wake
//! or an answer that is lost leaves a thread asleep, and loom reports a deadlock.

mod common;

use std::task::{Poll, Waker};

use executor_under_loom::{BlockOnError, Executor, JoinError, RemoteJoinHandle};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use common::{Counted, assert_needed, explore};

fn aborted_while_it_is_woken(wakes: bool) {
    let executor = Executor::new();
    let (news, drops) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
    let spawner = executor.send_spawner();
    let (seen, counted) = (Arc::clone(&news), Counted(Arc::clone(&drops)));
    let task: RemoteJoinHandle<()> = spawner
        .spawn_with(move || {
            let mut sender = Some(sender);
            std::future::poll_fn(move |cx| {
                let _counted = &counted;
                if let Some(sender) = sender.take() {
                    sender.send(cx.waker().clone()).unwrap();
                }
                if seen.load(Ordering::Relaxed) == 1 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
        })
        .unwrap();
    let _ = executor.tick().unwrap();
    let waker = receiver.recv().unwrap();
    let dropped = Arc::clone(&drops);
    let aborts = thread::spawn(move || {
        task.abort();
        drop(spawner);
        let outcome = Executor::new().try_block_on(task).unwrap();
        assert_eq!(
            dropped.load(Ordering::Relaxed),
            1,
            "answered before the drop"
        );
        outcome
    });
    let waking = if wakes {
        Some(thread::spawn(move || {
            news.store(1, Ordering::Relaxed);
            waker.wake();
        }))
    } else {
        drop(waker);
        None
    };
    let stalled = executor.try_block_on(std::future::pending::<()>());
    let live = executor.metrics().live;
    let outcome = aborts.join().unwrap();
    if let Some(waking) = waking {
        waking.join().unwrap();
    }
    assert!(matches!(stalled, Err(BlockOnError::Stalled(stalled)) if stalled.deadlock));
    assert_eq!((live, drops.load(Ordering::Relaxed)), (0, 1));
    match outcome {
        Ok(()) => assert!(wakes),
        Err(error) => assert!(matches!(error, JoinError::Aborted), "{error}"),
    }
}

/// Two threads. Three preemptions part the message of the abort from its sign, and both from the answer.
#[test]
fn an_abort_from_another_thread_ends_the_task_and_is_answered() {
    explore(Some(3), 1_500, || aborted_while_it_is_woken(false));
}

/// Three threads. One preemption brings the wake between the abort's message and its sign, or
/// between the owner's look and its sleep; a second one the answer; more than that repeats what the
/// model above and wake_coalescing.rs explore.
#[test]
fn an_abort_that_meets_a_wake_ends_the_task_once() {
    explore(Some(2), 4_000, || aborted_while_it_is_woken(true));
}

#[test]
fn the_orderings_that_publish_the_abort_are_needed() {
    let name = "an_abort_from_another_thread_ends_the_task_and_is_answered";
    for site in ["signal.raise", "signal.take"] {
        assert_needed(site, name, "deadlock");
    }
}

#[test]
fn an_end_that_is_not_told_is_caught() {
    let name = "an_abort_from_another_thread_ends_the_task_and_is_answered";
    assert_needed("join.tell", name, "deadlock");
}
