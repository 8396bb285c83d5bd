//! The end of a task, seen from another thread: whoever is told of it sees all that the task did,
//! and whoever sleeps for it is told.
//!
//! The task's news is stored and loaded `Relaxed`: nothing publishes it but the end. The thread
//! that awaits it has an executor of its own to sleep in; if it is not told, loom reports a
//! deadlock.

mod common;

use executor_under_loom::{BlockOnError, Executor};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use common::{assert_needed, explore};

fn a_thread_spawns_and_awaits() {
    let executor = Executor::new();
    let spawner = executor.send_spawner();
    let awaits = thread::spawn(move || {
        let news = Arc::new(AtomicUsize::new(0));
        let tells = Arc::clone(&news);
        let task = spawner.spawn(async move { tells.store(1, Ordering::Relaxed) });
        let task = task.unwrap();
        drop(spawner);
        if task.is_finished() {
            assert_eq!(
                news.load(Ordering::Relaxed),
                1,
                "the end came before the news"
            );
        }
        Executor::new().try_block_on(task).unwrap().unwrap();
        assert_eq!(
            news.load(Ordering::Relaxed),
            1,
            "the answer came before the news"
        );
    });
    let stalled = executor.try_block_on(std::future::pending::<()>());
    awaits.join().unwrap();
    assert!(matches!(stalled, Err(BlockOnError::Stalled(stalled)) if stalled.deadlock));
}

#[test]
fn whoever_awaits_a_task_elsewhere_is_told_and_sees_what_it_did() {
    explore(Some(3), 1_500, a_thread_spawns_and_awaits);
}

#[test]
fn an_end_that_is_not_told_is_caught() {
    let name = "whoever_awaits_a_task_elsewhere_is_told_and_sees_what_it_did";
    assert_needed("join.tell", name, "deadlock");
}

#[test]
fn the_orderings_that_publish_the_task_are_needed() {
    let name = "whoever_awaits_a_task_elsewhere_is_told_and_sees_what_it_did";
    for site in ["signal.raise", "signal.take"] {
        assert_needed(site, name, "deadlock");
    }
}
