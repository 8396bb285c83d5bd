//! A task spawned while the executor shuts down either comes back or is answered and
//! dropped by the owner: exactly once, and never left behind.
//!
//! The model's own bug to be caught is not an ordering (a lock decides here) but a gate left
//! open: `gate.close` switches it on.

mod common;

use executor_under_loom::{Executor, Handle};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use common::{Counted, assert_needed, explore};

fn a_thread_spawns_while_the_executor_shuts_down() {
    let executor = Executor::new();
    let handle: Handle = executor.handle();
    let spawner = executor.send_spawner();
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = Counted(Arc::clone(&drops));
    let thread = thread::spawn(move || {
        let task = async move {
            std::future::pending::<()>().await;
            drop(counted);
        };
        // Given back, or else a handle.
        match spawner.spawn(task) {
            Ok(handle) => Some(handle),
            Err(error) => {
                drop(error.into_inner());
                None
            }
        }
    });
    handle.shutdown();
    let accepted = thread.join().unwrap();
    let answered = accepted.as_ref().is_none_or(|task| task.is_finished());
    let drops = drops.load(Ordering::Relaxed);
    // A panic with the executor alive would abort in its destructor.
    drop((accepted, executor));
    assert!(answered && drops == 1, "left behind: {drops} drops");
}

#[test]
fn the_future_comes_to_exactly_one_end() {
    explore(None, 10, a_thread_spawns_while_the_executor_shuts_down);
}

#[test]
fn an_open_gate_is_caught() {
    assert_needed(
        "gate.close",
        "the_future_comes_to_exactly_one_end",
        "left behind",
    );
}
