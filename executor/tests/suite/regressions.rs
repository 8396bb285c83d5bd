//! Bugs that other executors shipped, each by its situation. Those that belong to a subject are in
//! the file of that subject, with the name of the crate beside them.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::common::{self, CountWakes, Gate, Log};
use vestibule_executor::{Executor, Hooks, JoinError, TaskId, TickEnd, yield_now};

#[test]
fn a_tick_inside_a_tick_is_refused_and_the_outer_one_goes_on() {
    // compio-executor 0.2 (beta): it panicked the outer loop.
    let executor = Executor::new();
    let log = Log::new();
    let (handle, events) = (executor.handle(), log.clone());
    let nested = async move {
        for _ in 0..3 {
            events.add(format!("{:?}", handle.tick().unwrap_err().reason()));
            yield_now().await;
        }
    };
    drop(executor.spawn(nested).unwrap());
    drop(executor.spawn(log.task("after it")).unwrap());
    let tick = executor.tick().unwrap();
    assert_eq!((tick.polled, tick.end), (2, TickEnd::Round));
    assert_eq!(log.take(), ["Reentrant", "after it"]);
    let tick = executor.run_until_stalled(Default::default()).unwrap();
    assert_eq!((tick.completed, tick.end), (1, TickEnd::Empty));
}

thread_local! {
    static VICTIM: RefCell<Option<Executor>> = const { RefCell::new(None) };
}

/// A host's waker that ends the executor which calls it.
struct EndsIt;

impl Wake for EndsIt {
    fn wake(self: Arc<Self>) {
        drop(VICTIM.take());
    }
}

#[test]
fn the_executor_may_end_inside_the_very_wake_that_the_last_waker_makes() {
    // async-task: the schedule function was dropped while it ran.
    let log = Log::new();
    let gate = Gate::new();
    let executor = Executor::builder()
        .host_waker(Waker::from(Arc::new(EndsIt)))
        .build();
    let (waits, witness) = (gate.clone(), log.on_drop("dropped"));
    let task = async move {
        waits.await;
        drop(witness);
    };
    let task = executor.spawn(task).unwrap();
    // Stalled: the next wake is an edge, of which the host is told.
    assert_eq!(executor.tick().unwrap().end, TickEnd::Stalled);
    let waker = gate.wakers().remove(0);
    VICTIM.set(Some(executor));
    // By value: the wake holds the last reference.
    waker.wake();
    assert!(VICTIM.take().is_none());
    assert_eq!(log.take(), ["dropped"]);
    let outcome = Executor::new().try_block_on(task).unwrap();
    assert!(matches!(outcome, Err(JoinError::ExecutorGone)));
}

#[test]
fn a_handle_that_was_polled_and_dropped_takes_its_waker_back_before_the_task_ends() {
    // oneshot (RUSTSEC-2026-0005): the sender used the waker of a receiver that was gone.
    let executor = Executor::new();
    let spawner = executor.send_spawner();
    for local in [true, false] {
        let (count, waker) = CountWakes::new();
        let mut cx = Context::from_waker(&waker);
        if local {
            let mut handle = executor.spawn(yield_now()).unwrap();
            assert!(Pin::new(&mut handle).poll(&mut cx).is_pending());
        } else {
            let mut handle = spawner.spawn(yield_now()).unwrap();
            assert!(Pin::new(&mut handle).poll(&mut cx).is_pending());
        }
        assert_eq!(Arc::strong_count(&count), 2, "the handle's clone is gone");
        let tick = executor.run_until_stalled(Default::default()).unwrap();
        assert_eq!((tick.completed, count.get()), (1, 0));
    }
}

#[test]
fn a_poll_that_comes_round_to_its_own_task_finds_no_second_way_in() {
    // actix-utils and actix-service (RUSTSEC-2020-0045, -0046): a re-entrant poll had the same
    // state twice.
    let executor = Executor::new();
    let handle = executor.handle();
    let depth = Rc::new(Cell::new(0));
    let own: Rc<RefCell<Option<vestibule_executor::JoinHandle<()>>>> = Rc::default();
    let (inside, me) = (Rc::clone(&depth), Rc::clone(&own));
    let task = std::future::poll_fn(move |cx| {
        inside.set(inside.get() + 1);
        assert_eq!(inside.get(), 1, "polled inside its own poll");
        cx.waker().wake_by_ref();
        me.borrow().as_ref().unwrap().wake();
        let group = handle.group("everything");
        let phase = vestibule_executor::Phase::custom("all", &group)
            .on_block(vestibule_executor::OnBlock::DriveAll { max_depth: 8 });
        // Every way of driving, where driving is permitted.
        let guard = handle.enter_phase(phase).unwrap();
        assert_eq!(handle.tick().unwrap().polled, 0);
        assert!(handle.block_in_phase(|| false).is_err());
        assert!(handle.try_block_on(async { 5 }).is_ok());
        assert_eq!(
            handle.run_until_stalled(Default::default()).unwrap().polled,
            0
        );
        let _ = guard.commit();
        me.borrow().as_ref().unwrap().abort();
        inside.set(inside.get() - 1);
        Poll::<()>::Pending
    });
    *own.borrow_mut() = Some(executor.spawn(task).unwrap());
    assert_eq!(executor.tick().unwrap().end, TickEnd::Empty);
    assert_eq!(depth.get(), 0);
}

#[test]
fn a_hook_may_abort_the_task_that_is_about_to_be_polled_or_was_just_polled() {
    // maitake: the pointer to the current task outlived the task.
    type Own = Rc<RefCell<Option<vestibule_executor::JoinHandle<()>>>>;
    struct Aborts(Own, bool);
    impl Hooks for Aborts {
        fn before_poll(&self, _: TaskId) {
            if self.1 {
                self.0.borrow().as_ref().unwrap().abort();
            }
        }
        fn after_poll(&self, _: TaskId, _: vestibule_executor::PollOutcome) {
            self.0.borrow().as_ref().unwrap().abort();
        }
    }
    for before in [true, false] {
        let (own, log) = (Own::default(), Log::new());
        let executor = Executor::builder()
            .hooks(Aborts(Rc::clone(&own), before))
            .build();
        let witness = log.on_drop("dropped");
        let task = async move {
            common::never().await;
            drop(witness);
        };
        *own.borrow_mut() = Some(executor.spawn(task).unwrap());
        let _ = executor.tick().unwrap();
        assert_eq!(log.take(), ["dropped"], "before: {before}");
        let task = own.borrow_mut().take().unwrap();
        let outcome = executor.try_block_on(task).unwrap();
        assert!(matches!(outcome, Err(JoinError::Aborted)), "{outcome:?}");
    }
}
