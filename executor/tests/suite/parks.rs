//! How a thread waits while nothing is ready.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use crate::common::{CountWakes, Gate, never};
use vestibule_executor::{
    BlockOnError, CannotPark, Executor, OnBlock, Park, Phase, ThreadPark, TickEnd, yield_now,
};

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

/// Sleeps never, and has an unparker that is looked at.
struct Unparked(Waker);

impl Park for Unparked {
    fn park(&self) -> Result<(), CannotPark> {
        Err(CannotPark)
    }

    fn unparker(&self) -> Waker {
        self.0.clone()
    }
}

#[test]
fn whoever_wakes_spawns_or_leaves_while_the_owner_is_awake_rouses_nobody() {
    let (rouses, unparker) = CountWakes::new();
    let executor = Executor::builder().park(Unparked(unparker)).build();
    let gate = Gate::new();
    let task = executor.spawn(gate.clone()).unwrap();
    // It tries to sleep, and is awake again.
    assert!(executor.try_block_on(never()).is_err());
    let (wakers, spawner) = (gate.wakers(), executor.send_spawner());
    gate.open();
    let thread = std::thread::spawn(move || {
        drop(spawner.spawn(async {}).unwrap());
        wakers.into_iter().for_each(Waker::wake);
        drop(spawner);
    });
    thread.join().unwrap();
    let _ = executor.tick().unwrap();
    assert!(task.is_finished());
    assert_eq!(rouses.get(), 0);
}

#[test]
fn a_host_that_was_left_something_ready_is_not_told_of_more() {
    let (told, waker) = CountWakes::new();
    let executor = Executor::builder().host_waker(waker).build();
    let gate = Gate::new();
    let task = executor.spawn(gate.clone()).unwrap();
    let busy = executor.spawn(async {
        yield_now().await;
        never().await;
    });
    let tick = executor.tick().unwrap();
    assert_eq!((tick.end, told.get()), (TickEnd::Round, 1));
    let wakers = gate.wakers();
    gate.open();
    let wake = move || wakers.into_iter().for_each(Waker::wake);
    std::thread::spawn(wake).join().unwrap();
    assert_eq!(told.get(), 1);
    assert_eq!(executor.tick().unwrap().end, TickEnd::Stalled);
    assert!(task.is_finished());
    drop(busy);
}

#[test]
fn an_abort_from_elsewhere_of_a_task_that_has_ended_tells_the_host_nothing() {
    let (told, waker) = CountWakes::new();
    let executor = Executor::builder().host_waker(waker).build();
    let task = executor.send_spawner().spawn(async {}).unwrap();
    assert_eq!(executor.tick().unwrap().end, TickEnd::Empty);
    let before = told.get();
    std::thread::spawn(move || {
        task.abort();
        task.abort();
    })
    .join()
    .unwrap();
    assert_eq!(told.get(), before);
}

#[test]
fn a_drive_inside_a_drive_does_not_put_the_host_to_sleep() {
    let (told, waker) = CountWakes::new();
    let executor = Executor::builder().host_waker(waker).build();
    let (handle, group) = (executor.handle(), executor.group("g"));
    let nests = executor.spawn(async move {
        let phase = Phase::custom("callback", &group).on_block(OnBlock::DriveAll { max_depth: 1 });
        let tick = handle.with_phase(phase, || handle.tick()).unwrap();
        assert_eq!(tick.end, TickEnd::Stalled);
        drop(handle.spawn(async {}).unwrap());
    });
    let before = told.get();
    let tick = executor.tick().unwrap();
    assert!(nests.unwrap().is_finished());
    assert_eq!((tick.end, told.get()), (TickEnd::Round, before));
}

#[test]
fn a_tick_in_which_the_executor_shuts_down_ends_and_leaves_the_host_alone() {
    let (told, waker) = CountWakes::new();
    let executor = Executor::builder().host_waker(waker).build();
    let handle = executor.handle();
    drop(executor.spawn(async move { handle.shutdown() }).unwrap());
    let before = told.get();
    let tick = executor.tick().unwrap();
    assert_eq!((tick.end, told.get()), (TickEnd::Empty, before));
}

#[test]
fn a_host_that_slept_sleeps_on_after_a_block_that_leaves_nothing_ready_and_is_told_of_the_next() {
    let (told, waker) = CountWakes::new();
    let executor = Executor::builder().host_waker(waker).build();
    executor.try_block_on(async {}).unwrap();
    assert_eq!(told.get(), 0);
    drop(executor.spawn(async {}).unwrap());
    assert_eq!(told.get(), 1);
}

/// Returns for no reason, and lets go of the wakers the third time.
struct Restless(Cell<u32>, Gate);

impl Park for Restless {
    fn park(&self) -> Result<(), CannotPark> {
        self.0.set(self.0.get() + 1);
        match self.0.get() {
            3 => drop(self.1.wakers()),
            10.. => return Err(CannotPark),
            _ => {}
        }
        Ok(())
    }

    fn unparker(&self) -> Waker {
        Waker::noop().clone()
    }
}

#[test]
fn a_task_that_was_watched_in_more_than_one_sleep_is_no_witness_once_its_waker_is_gone() {
    let gate = Gate::new();
    let park = Restless(Cell::new(0), gate.clone());
    let executor = Executor::builder().park(park).build();
    drop(executor.spawn(gate).unwrap());
    let stalled = executor.try_block_on(never()).unwrap_err();
    let BlockOnError::Stalled(stalled) = stalled else {
        panic!("{stalled}")
    };
    assert_eq!((stalled.deadlock, stalled.escaped_wakers), (true, 0));
}

#[test]
fn a_tick_reports_the_wakes_since_the_one_before() {
    let executor = Executor::new();
    for _ in 0..3 {
        let gates = [Gate::new(), Gate::new()];
        for gate in &gates {
            drop(executor.spawn(gate.clone()).unwrap());
        }
        let tick = executor.tick().unwrap();
        assert_eq!((tick.woken_local, tick.woken_remote), (0, 0));
        let opener = gates[0].clone();
        drop(executor.spawn(async move { opener.open() }).unwrap());
        let wakers = gates[1].wakers();
        gates[1].open();
        let wake = move || wakers.into_iter().for_each(Waker::wake);
        std::thread::spawn(wake).join().unwrap();
        let tick = executor.tick().unwrap();
        assert_eq!((tick.woken_local, tick.woken_remote), (1, 1));
        let _ = executor.tick().unwrap();
    }
}

/// Wakes a task and fails to sleep.
struct WakesAndFails(Gate);

impl Park for WakesAndFails {
    fn park(&self) -> Result<(), CannotPark> {
        self.0.open();
        Err(CannotPark)
    }

    fn unparker(&self) -> Waker {
        Waker::noop().clone()
    }
}

#[test]
fn a_park_that_fails_after_it_has_woken_a_task_does_not_end_the_block() {
    let gate = Gate::new();
    let park = WakesAndFails(gate.clone());
    let executor = Executor::builder().park(park).build();
    let task = executor.spawn(gate).unwrap();
    executor.try_block_on(task).unwrap().unwrap();
}
