//! How a thread waits while nothing is ready.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use crate::common::Gate;
use vestibule_executor::{CannotPark, Executor, Park, ThreadPark};

struct Counts(ThreadPark, Rc<Cell<u32>>);

impl Park for Counts {
    fn park(&self) -> Result<(), CannotPark> {
        self.1.set(self.1.get() + 1);
        self.0.park()
    }

    fn unparker(&self) -> Waker {
        self.0.unparker()
    }
}

#[test]
fn a_thread_that_waits_for_another_one_sleeps_and_does_not_ask_again_and_again() {
    let parks = Rc::new(Cell::new(0));
    let park = Counts(ThreadPark::new(), Rc::clone(&parks));
    let executor = Executor::builder().park(park).build();
    let gate = Gate::new();
    let task = executor.spawn(gate.clone()).unwrap();
    let _ = executor.tick().unwrap();
    let wakers = gate.wakers();
    gate.open();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        wakers.into_iter().for_each(Waker::wake);
    });
    executor.try_block_on(task).unwrap().unwrap();
    thread.join().unwrap();
    // One, and a few for wakes that come for no reason, which the system may make.
    assert!((1..100).contains(&parks.get()), "{} parks", parks.get());
}
