//! A phase is entered and left while another thread wakes one task of its group and one outside:
//! the one outside is not polled before the phase is over, and neither wake is lost.
//!
//! A wake that is lost leaves the owner asleep at the end, and loom reports a deadlock.

mod common;

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Poll, Waker};

use executor_under_loom::{BlockInPhaseError, Executor, Group, JoinHandle, Phase};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use common::{assert_needed, explore};

/// A task that waits for its news, polled once, and its waker.
fn waits(
    executor: &Executor,
    group: Option<&Group>,
    news: &Arc<[AtomicUsize; 2]>,
    which: usize,
    in_phase: &Rc<Cell<bool>>,
) -> (JoinHandle<()>, Waker) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (mut sender, news, in_phase) = (Some(sender), Arc::clone(news), Rc::clone(in_phase));
    let outside = group.is_none();
    let task = std::future::poll_fn(move |cx| {
        assert!(!(outside && in_phase.get()), "polled in a phase of others");
        if let Some(sender) = sender.take() {
            sender.send(cx.waker().clone()).unwrap();
        }
        if news[which].load(Ordering::Relaxed) == 1 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    let builder = executor.task();
    let builder = match group {
        Some(group) => builder.group(group),
        None => builder,
    };
    let task = builder.spawn(task).unwrap();
    let _ = executor.tick().unwrap();
    (task, receiver.recv().unwrap())
}

fn wakes_meet_a_phase() {
    let executor = Executor::new();
    let group = executor.group("instance");
    let in_phase = Rc::new(Cell::new(false));
    let news = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let (outsider, wakes_outsider) = waits(&executor, None, &news, 0, &in_phase);
    let (insider, wakes_insider) = waits(&executor, Some(&group), &news, 1, &in_phase);
    let thread = thread::spawn(move || {
        for (news, waker) in news.iter().zip([wakes_outsider, wakes_insider]) {
            news.store(1, Ordering::Relaxed);
            waker.wake();
        }
    });
    let blocked = executor.with_phase(Phase::instantiating(&group), || {
        in_phase.set(true);
        let blocked = executor.block_in_phase(|| insider.is_finished());
        in_phase.set(false);
        blocked
    });
    match blocked {
        Ok(()) => assert!(insider.is_finished() && !outsider.is_finished()),
        Err(BlockInPhaseError::NothingReady) => assert!(!insider.is_finished()),
        Err(other) => panic!("{other}"),
    }
    let both = executor.try_block_on(async {
        insider.await.unwrap();
        outsider.await.unwrap();
    });
    thread.join().unwrap();
    assert!(both.is_ok(), "deadlock: {both:?}");
}

/// Two threads. Three preemptions put either wake between the look at the condition and the report
/// that nothing is ready, and between that and the end of the phase; without a bound there are two
/// million interleavings, which find no more.
#[test]
fn a_wake_from_outside_the_group_waits_for_the_end_of_the_phase() {
    explore(Some(3), 4_000, wakes_meet_a_phase);
}

#[test]
fn every_ordering_on_the_path_is_needed() {
    let name = "a_wake_from_outside_the_group_waits_for_the_end_of_the_phase";
    for site in ["signal.list", "signal.take"] {
        assert_needed(site, name, "deadlock");
    }
}

#[test]
fn a_phase_that_drives_everybody_is_caught() {
    let name = "a_wake_from_outside_the_group_waits_for_the_end_of_the_phase";
    assert_needed("phase.scope", name, "polled in a phase of others");
}
