//! A deadlock is claimed only when nothing can come any more, and is noticed when the last
//! spawner goes while the owner sleeps.
//!
//! The main future has no waker out, so a live spawner is all that stands against the
//! claim. Claimed too early, it finds the task not run; noticed too late, the owner sleeps
//! for ever and loom reports a deadlock of its own.

mod common;

use executor_under_loom::{BlockOnError, Executor};
use loom::thread;

use common::{assert_needed, explore};

fn a_thread_spawns_and_drops_the_last_spawner() {
    let executor = Executor::new();
    let spawner = executor.send_spawner();
    let thread = thread::spawn(move || {
        drop(spawner.spawn(async {}).unwrap());
        drop(spawner);
    });
    let stalled = match executor.try_block_on(std::future::pending::<()>()) {
        Err(BlockOnError::Stalled(stalled)) => stalled,
        other => panic!("{other:?}"),
    };
    assert!(stalled.deadlock);
    let completed = executor.metrics().completed;
    thread.join().unwrap();
    // After the join: a panic while the other thread still runs would abort the process
    // before its text is out.
    assert_eq!(completed, 1, "claimed too early");
}

#[test]
fn a_deadlock_is_claimed_after_the_last_task_and_not_before() {
    // Three preemptions: the owner between its look at the count and its sleep, the thread
    // between its message and the drop, and once more between the two drops that count.
    explore(Some(3), 500, a_thread_spawns_and_drops_the_last_spawner);
}

#[test]
fn every_ordering_on_the_path_is_needed() {
    let name = "a_deadlock_is_claimed_after_the_last_task_and_not_before";
    for site in ["spawner.drop", "waker.gone"] {
        assert_needed(site, name, "claimed too early");
    }
    for site in ["spawner.tell", "park.announce"] {
        assert_needed(site, name, "deadlock");
    }
}
