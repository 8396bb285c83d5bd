//! A host that sleeps after a stalled tick is woken for the next wake: once, never not.
//!
//! The owner's thread is the host: it ticks, sleeps when a tick left nothing ready, and is
//! roused by the host waker alone. A notification that is lost leaves it asleep, and loom
//! reports a deadlock; one too many is counted.

mod common;

use std::sync::Arc as StdArc;
use std::task::{Poll, Wake, Waker};

use executor_under_loom::{Executor, TickEnd};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use common::{assert_needed, explore};

/// The host's own event loop, reduced to its sleep.
struct Host {
    wakes: Mutex<(usize, bool)>,
    roused: Condvar,
}

impl Wake for Host {
    fn wake(self: StdArc<Self>) {
        let mut wakes = self.wakes.lock().unwrap();
        wakes.0 += 1;
        wakes.1 = true;
        drop(wakes);
        self.roused.notify_one();
    }
}

impl Host {
    fn sleep(&self) {
        let mut wakes = self.wakes.lock().unwrap();
        while !wakes.1 {
            wakes = self.roused.wait(wakes).unwrap();
        }
        wakes.1 = false;
    }
}

fn a_host_sleeps_between_ticks() {
    let host = StdArc::new(Host {
        wakes: Mutex::new((0, false)),
        roused: Condvar::new(),
    });
    let executor = Executor::builder()
        .host_waker(Waker::from(StdArc::clone(&host)))
        .build();
    let payload = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = std::sync::mpsc::channel();
    let seen = Arc::clone(&payload);
    let mut polls = 0;
    let task = std::future::poll_fn(move |cx| {
        polls += 1;
        if polls == 1 {
            sender.send(cx.waker().clone()).unwrap();
        }
        if seen.load(Ordering::Relaxed) == 2 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    let task = executor.spawn(task).unwrap();
    // The spawn was an edge, and so is every tick that ends stalled and is followed by a wake.
    host.sleep();
    let mut edges = 1;
    assert_eq!(executor.tick().unwrap().end, TickEnd::Stalled);
    let waker: Waker = receiver.recv().unwrap();
    let thread = thread::spawn(move || {
        for n in 1..=2 {
            payload.store(n, Ordering::Relaxed);
            waker.wake_by_ref();
        }
    });
    while !task.is_finished() {
        host.sleep();
        edges += 1;
        // A wake that comes while the tick ends is in its report: the host owes another one.
        while executor.tick().unwrap().end == TickEnd::Round {}
    }
    thread.join().unwrap();
    // The last wake may come after the task has ended: one edge more, at most.
    let wakes = host.wakes.lock().unwrap().0;
    assert!(
        wakes == edges || wakes == edges + 1,
        "{wakes} wakes for {edges} edges"
    );
}

#[test]
fn every_edge_is_told_once() {
    explore(None, 2_500, a_host_sleeps_between_ticks);
}

#[test]
fn every_ordering_on_the_path_is_needed() {
    for site in ["wake.claim", "wake.reopen"] {
        assert_needed(site, "every_edge_is_told_once", "deadlock");
    }
}
