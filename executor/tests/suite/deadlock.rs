//! A deadlock that can be proven is reported; one that can't is waited for.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use crate::common::{self, CountWakes, Gate};
use vestibule_executor::{
    Activity, BlockOnError, CannotPark, Executor, Group, Handle, Hooks, JoinError, JoinHandle,
    NoPark, Park, Reason, Stalled, yield_now,
};

fn stalled<T>(result: Result<T, BlockOnError>) -> Stalled {
    match result {
        Err(BlockOnError::Stalled(stalled)) => stalled,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it ended"),
    }
}

#[test]
fn a_future_that_nobody_can_wake_is_a_deadlock() {
    let executor = Executor::new();
    drop(executor.spawn(common::never()).unwrap());
    let report = stalled(executor.try_block_on(common::never()));
    assert!(report.deadlock);
    assert_eq!((report.pending, report.escaped_wakers), (1, 0));
    assert!(report.to_string().starts_with("deadlock"));
    assert_eq!(executor.try_block_on(async { 1 }).unwrap(), 1);
}

#[test]
fn two_tasks_that_await_each_other_are_a_deadlock() {
    let executor = Executor::new();
    let slot: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
    let other = Rc::clone(&slot);
    let first = executor
        .spawn(async move {
            yield_now().await;
            let second = other.borrow_mut().take().unwrap();
            let _ = second.await;
        })
        .unwrap();
    *slot.borrow_mut() = Some(
        executor
            .spawn(async move {
                let _ = first.await;
            })
            .unwrap(),
    );
    let report = stalled(executor.try_block_on(common::never()));
    assert_eq!(
        (report.deadlock, report.pending, report.escaped_wakers),
        (true, 2, 0)
    );
}

#[test]
fn a_main_future_that_awaits_a_task_that_waits_for_ever_is_a_deadlock() {
    let executor = Executor::new();
    let task = executor.spawn(common::never()).unwrap();
    let report = stalled(executor.try_block_on(task));
    assert!(report.deadlock);
}

#[test]
fn an_escaped_waker_is_counted_and_forbids_the_claim() {
    let executor = Executor::builder().park(NoPark).build();
    let gate = Gate::new();
    drop(executor.spawn(gate.clone()).unwrap());
    let report = stalled(executor.try_block_on(common::never()));
    assert_eq!((report.deadlock, report.escaped_wakers), (false, 1));
    drop(gate.wakers());
    let report = stalled(executor.try_block_on(common::never()));
    assert_eq!((report.deadlock, report.escaped_wakers), (true, 0));
}

#[test]
fn an_escaped_waker_of_the_main_future_counts_too() {
    let executor = Executor::builder().park(NoPark).build();
    let gate = Gate::new();
    let report = stalled(executor.try_block_on(gate.clone()));
    assert_eq!((report.deadlock, report.escaped_wakers), (false, 1));
}

#[test]
fn a_join_through_a_waker_of_somebody_elses_forbids_the_claim() {
    struct Passes(Waker);
    impl Wake for Passes {
        fn wake(self: Arc<Self>) {
            self.0.wake_by_ref();
        }
    }
    let executor = Executor::builder().park(NoPark).build();
    let mut task = executor.spawn(common::never()).unwrap();
    let combinator = std::future::poll_fn(move |cx| {
        let waker = Waker::from(Arc::new(Passes(cx.waker().clone())));
        let polled =
            std::pin::Pin::new(&mut task).poll(&mut std::task::Context::from_waker(&waker));
        polled.map(drop)
    });
    let report = stalled(executor.try_block_on(combinator));
    assert_eq!((report.deadlock, report.escaped_wakers), (false, 1));
}

#[test]
fn a_live_spawner_forbids_the_claim_until_its_last_clone_is_dropped() {
    let executor = Executor::builder().park(NoPark).build();
    let spawner = executor.send_spawner();
    let clone = spawner.clone();
    drop(spawner);
    assert!(!stalled(executor.try_block_on(common::never())).deadlock);
    drop(clone);
    assert!(stalled(executor.try_block_on(common::never())).deadlock);
}

#[test]
fn a_sleeping_executor_notices_that_the_last_spawner_is_gone() {
    let executor = Executor::new();
    let spawner = executor.send_spawner();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(spawner);
    });
    assert!(stalled(executor.try_block_on(common::never())).deadlock);
    thread.join().unwrap();
}

#[test]
fn a_thread_that_wakes_and_then_drops_its_waker_is_never_taken_for_a_deadlock() {
    for _ in 0..500 {
        let executor = Executor::new();
        let mut sent = false;
        let main = std::future::poll_fn(move |cx| {
            if std::mem::replace(&mut sent, true) {
                return Poll::Ready(());
            }
            let waker = cx.waker().clone();
            std::thread::spawn(move || waker.wake());
            Poll::Pending
        });
        executor.try_block_on(main).unwrap();
    }
}

#[test]
fn a_thread_that_spawns_and_then_drops_its_spawner_is_never_taken_for_a_deadlock() {
    for _ in 0..500 {
        let executor = Executor::new();
        let gate = Gate::new();
        let spawner = executor.send_spawner();
        let opener = RefCell::new(Some(gate.clone()));
        thread_local! {
            static GATE: RefCell<Option<Gate>> = const { RefCell::new(None) };
        }
        GATE.set(opener.take());
        std::thread::spawn(move || {
            drop(
                spawner
                    .spawn(async { GATE.take().unwrap().open() })
                    .unwrap(),
            )
        });
        executor.try_block_on(gate).unwrap();
    }
}

/// Does something on the owner's thread instead of sleeping, and counts who rouses it.
struct Acts<F> {
    act: F,
    brings_work: bool,
    answer: Result<(), CannotPark>,
    roused: Arc<CountWakes>,
}

impl<F: Fn() + 'static> Park for Acts<F> {
    fn park(&self) -> Result<(), CannotPark> {
        (self.act)();
        self.answer
    }

    fn unparker(&self) -> Waker {
        Waker::from(Arc::clone(&self.roused))
    }

    fn brings_work(&self) -> bool {
        self.brings_work
    }
}

/// An executor whose park calls `act` with its handle, and the count of its unparks.
fn parks_with(
    brings_work: bool,
    answer: Result<(), CannotPark>,
    act: impl Fn(&Handle) + 'static,
) -> (Executor, Arc<CountWakes>) {
    let handle: Rc<RefCell<Option<Handle>>> = Rc::default();
    let (own, roused) = (Rc::clone(&handle), Arc::default());
    let park = Acts {
        act: move || act(own.borrow().as_ref().unwrap()),
        brings_work,
        answer,
        roused: Arc::clone(&roused),
    };
    let executor = Executor::builder().park(park).build();
    *handle.borrow_mut() = Some(executor.handle());
    (executor, roused)
}

#[test]
fn a_park_that_brings_work_itself_forbids_the_claim_and_is_waited_for() {
    for brings_work in [false, true] {
        let victims: Rc<RefCell<Option<Group>>> = Rc::default();
        let group = Rc::clone(&victims);
        let (executor, roused) = parks_with(brings_work, Ok(()), move |handle| {
            assert_eq!(handle.activity(), Activity::Parked);
            assert_eq!(handle.tick().unwrap_err().reason(), Reason::Reentrant);
            group.borrow().as_ref().unwrap().abort_all();
        });
        let group = executor.group("victims");
        let task = executor
            .task()
            .group(&group)
            .spawn(common::never())
            .unwrap();
        *victims.borrow_mut() = Some(group);
        // Awaiting the handle lets no waker escape.
        let result = executor.try_block_on(task);
        if brings_work {
            assert!(matches!(result, Ok(Err(JoinError::Aborted))));
            assert_eq!(
                roused.get(),
                1,
                "a wake on the owner's own thread ends its sleep"
            );
        } else {
            assert!(stalled(result).deadlock);
        }
    }
}

#[test]
fn a_park_that_can_not_sleep_but_made_something_ready_is_no_stall() {
    let gate = Gate::new();
    let opener = gate.clone();
    let (executor, _) = parks_with(true, Err(CannotPark), move |handle| {
        drop(handle.spawn(opener.clone()).unwrap());
        opener.open();
    });
    executor.try_block_on(gate).unwrap();
}

#[test]
fn a_wake_by_another_thread_just_before_the_park_gives_up_is_no_stall() {
    let gate = Gate::new();
    let opener = gate.clone();
    let (executor, roused) = parks_with(true, Err(CannotPark), move |_| {
        let wakers = opener.wakers();
        opener.open();
        let wake = move || wakers.into_iter().for_each(Waker::wake);
        std::thread::spawn(wake).join().unwrap();
    });
    executor.try_block_on(gate).unwrap();
    assert_eq!(roused.get(), 1);
}

#[test]
fn a_stall_is_told_to_the_hooks() {
    struct Watch(Rc<RefCell<Vec<Stalled>>>);
    impl Hooks for Watch {
        fn on_stalled(&self, stalled: &Stalled) {
            self.0.borrow_mut().push(*stalled);
        }
    }
    let seen = Rc::default();
    let executor = Executor::builder().hooks(Watch(Rc::clone(&seen))).build();
    let report = stalled(executor.try_block_on(common::never()));
    assert_eq!(*seen.borrow(), [report]);
}

/// Gives up the wakers of `gates` one by one while the owner sleeps.
fn drops_later(gates: Vec<Gate>) -> std::thread::JoinHandle<()> {
    let wakers: Vec<Vec<Waker>> = gates.iter().map(Gate::wakers).collect();
    assert!(wakers.iter().all(|wakers| !wakers.is_empty()));
    std::thread::spawn(move || {
        for wakers in wakers {
            std::thread::sleep(std::time::Duration::from_millis(5));
            drop(wakers);
        }
    })
}

#[test]
fn a_sleeping_executor_notices_that_the_last_waker_of_a_task_is_dropped() {
    let executor = Executor::new();
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    for gate in &gates {
        drop(executor.spawn(gate.clone()).unwrap());
    }
    let _ = executor.tick().unwrap();
    let thread = drops_later(gates);
    let report = stalled(executor.try_block_on(common::never()));
    assert_eq!(
        (report.deadlock, report.pending, report.escaped_wakers),
        (true, 3, 0)
    );
    thread.join().unwrap();
}

#[test]
fn a_sleeping_executor_notices_that_the_main_futures_last_waker_is_dropped() {
    let executor = Executor::new();
    let mut thread = None;
    let main = std::future::poll_fn(|cx| {
        let waker = cx.waker().clone();
        thread.get_or_insert_with(|| {
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(10));
                drop(waker);
            })
        });
        Poll::<()>::Pending
    });
    assert!(stalled(executor.try_block_on(main)).deadlock);
    thread.unwrap().join().unwrap();
    assert_eq!(executor.try_block_on(async { 1 }).unwrap(), 1);
}

#[test]
fn a_waker_that_is_dropped_while_another_one_is_held_does_not_end_the_sleep() {
    let executor = Executor::new();
    let (dropped, held) = (Gate::new(), Gate::new());
    drop(executor.spawn(dropped.clone()).unwrap());
    let waits = executor.spawn(held.clone()).unwrap();
    let _ = executor.tick().unwrap();
    let wakers = held.wakers();
    held.open();
    let first = drops_later(vec![dropped]);
    let second = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        wakers.into_iter().for_each(Waker::wake);
    });
    executor.try_block_on(waits).unwrap().unwrap();
    first.join().unwrap();
    second.join().unwrap();
}

#[test]
fn a_task_aborted_by_a_park_while_its_waker_is_the_reason_to_sleep_leaves_a_deadlock() {
    let gate = Gate::new();
    let slot: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
    let aborts = Rc::clone(&slot);
    let (executor, _) = parks_with(false, Ok(()), move |_| {
        if let Some(task) = aborts.borrow_mut().take() {
            task.abort();
        }
    });
    *slot.borrow_mut() = Some(executor.spawn(gate.clone()).unwrap());
    let report = stalled(executor.try_block_on(common::never()));
    assert_eq!((report.deadlock, report.pending), (true, 0));
    drop(gate);
}

#[test]
fn a_park_with_a_deadline_forbids_the_claim_while_it_has_one() {
    use std::cell::Cell;
    use std::time::{Duration, Instant};
    struct Timer(Rc<Cell<u32>>);
    impl Park for Timer {
        fn park(&self) -> Result<(), CannotPark> {
            self.0.set(self.0.get() - 1);
            Ok(())
        }
        fn unparker(&self) -> Waker {
            Waker::noop().clone()
        }
        fn next_deadline(&self) -> Option<Instant> {
            // A clock that jumps: the deadline is far away, then long past, then gone.
            let now = Instant::now();
            match self.0.get() {
                0 => None,
                left if left % 2 == 0 => now.checked_add(Duration::from_secs(1 << 30)),
                _ => Some(now.checked_sub(Duration::from_secs(3600)).unwrap_or(now)),
            }
        }
    }
    let left = Rc::new(Cell::new(4));
    let executor = Executor::builder().park(Timer(Rc::clone(&left))).build();
    assert!(executor.next_deadline().is_some());
    assert!(stalled(executor.try_block_on(common::never())).deadlock);
    assert_eq!((left.get(), executor.next_deadline()), (0, None));
    let handle = executor.handle();
    drop(executor);
    assert_eq!(handle.next_deadline(), None);
}
