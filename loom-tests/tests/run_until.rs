//! A `run_until` that sleeps inside another executor is told of a wake: once, never not.
//!
//! The other executor is this thread: it polls, sleeps when the future is pending, and is
//! roused by the waker that the future was polled with, alone.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use executor_under_loom::Executor;
use loom::sync::{Condvar, Mutex};
use loom::thread;

use common::{assert_needed, explore};

/// The other executor, reduced to its sleep.
struct Sleeper {
    woken: Mutex<(usize, bool)>,
    roused: Condvar,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        let mut woken = self.woken.lock().unwrap();
        *woken = (woken.0 + 1, true);
        drop(woken);
        self.roused.notify_one();
    }
}

impl Sleeper {
    fn sleep(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !woken.1 {
            woken = self.roused.wait(woken).unwrap();
        }
        woken.1 = false;
    }
}

fn a_task_is_woken_while_the_other_executor_sleeps() {
    let executor = Executor::new();
    let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
    let mut polls = 0;
    let task = std::future::poll_fn(move |cx| {
        polls += 1;
        if polls == 1 {
            sender.send(cx.waker().clone()).unwrap();
            return Poll::Pending;
        }
        Poll::Ready(())
    });
    let task = executor.spawn(task).unwrap();
    let sleeper = Arc::new(Sleeper {
        woken: Mutex::new((0, false)),
        roused: Condvar::new(),
    });
    let waker = Waker::from(Arc::clone(&sleeper));
    let mut cx = Context::from_waker(&waker);
    let mut run = pin!(executor.run_until(task));
    assert!(run.as_mut().poll(&mut cx).is_pending());
    let wakes = receiver.recv().unwrap();
    let thread = thread::spawn(move || wakes.wake());
    while run.as_mut().poll(&mut cx).is_pending() {
        sleeper.sleep();
    }
    thread.join().unwrap();
    // Once for the wake, unless a poll came first, and once for the end of the task.
    let woken = sleeper.woken.lock().unwrap().0;
    assert!((1..=2).contains(&woken), "{woken} wakes");
}

#[test]
fn the_other_executor_is_told_of_every_wake() {
    explore(None, 1_000, a_task_is_woken_while_the_other_executor_sleeps);
}

#[test]
fn an_executor_that_is_not_told_is_caught() {
    let name = "the_other_executor_is_told_of_every_wake";
    assert_needed("visitor.tell", name, "deadlock");
}
