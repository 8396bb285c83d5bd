//! A task's wakers are counted on both sides, and each of them once.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::common::{CountWakes, never};
use vestibule_executor::{
    BlockOnError, CannotPark, Executor, JoinHandle, NoPark, Park, Stalled, TickEnd,
};

type Kept = Rc<RefCell<Vec<Waker>>>;

/// A waker of the task that is polled, made here, and one that is made on another thread.
fn one_of_each(cx: &Context<'_>) -> [Waker; 2] {
    let here = cx.waker().clone();
    let there = std::thread::scope(|scope| scope.spawn(|| here.clone()).join().unwrap());
    [here, there]
}

/// A task that waits for ever, and leaves what `make` makes in its first poll.
fn spawn_waiting(
    executor: &Executor,
    make: impl Fn(&Context<'_>) -> Vec<Waker> + 'static,
) -> (JoinHandle<()>, Kept) {
    let kept = Kept::default();
    let mut make = Some((make, Rc::clone(&kept)));
    let task = executor.spawn(poll_fn(move |cx| {
        if let Some((make, kept)) = make.take() {
            kept.borrow_mut().extend(make(cx));
        }
        Poll::Pending
    }));
    let _ = executor.tick().unwrap();
    (task.unwrap(), kept)
}

fn stall(executor: &Executor) -> Stalled {
    match executor.try_block_on(never()) {
        Err(BlockOnError::Stalled(stalled)) => stalled,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_waker_that_was_used_up_here_is_held_by_nobody() {
    let executor = Executor::builder().park(NoPark).build();
    let (_task, kept) = spawn_waiting(&executor, |cx| vec![cx.waker().clone()]);
    assert_eq!(stall(&executor).escaped_wakers, 1);
    kept.take().into_iter().for_each(Waker::wake);
    assert_eq!(executor.tick().unwrap().polled, 1);
    let stalled = stall(&executor);
    assert_eq!((stalled.deadlock, stalled.escaped_wakers), (true, 0));
}

#[test]
fn wakers_made_here_and_there_forbid_the_claim_together() {
    let executor = Executor::builder().park(NoPark).build();
    let (_task, kept) = spawn_waiting(&executor, |cx| one_of_each(cx).into());
    assert!(!stall(&executor).deadlock);
    drop(kept.take());
    assert!(stall(&executor).deadlock);
}

#[test]
fn a_place_whose_wakers_were_made_here_and_there_is_not_used_again_while_they_exist() {
    let executor = Executor::new();
    let kept = Kept::default();
    let keep = Rc::clone(&kept);
    let task = executor.spawn(poll_fn(move |cx| {
        keep.borrow_mut().extend(one_of_each(cx));
        Poll::Ready(())
    }));
    executor.block_on(task.unwrap()).unwrap();
    // A future as large as the first one.
    let alive = Kept::default();
    let next = executor.spawn(poll_fn(move |_| {
        let _ = &alive;
        Poll::<()>::Pending
    }));
    assert_eq!(executor.tick().unwrap().polled, 1);
    for waker in kept.borrow().iter() {
        waker.wake_by_ref();
        assert_eq!(executor.tick().unwrap().polled, 0);
    }
    drop(next);
}

#[test]
fn a_waker_of_a_main_future_that_has_ended_does_not_wake_the_next_one() {
    let executor = Executor::builder().park(NoPark).build();
    let mut kept = None;
    let keep = poll_fn(|cx| {
        kept = Some(cx.waker().clone());
        Poll::Ready(())
    });
    executor.try_block_on(keep).unwrap();
    let stale = kept.unwrap();
    let mut polls = 0;
    let next = poll_fn(|_| {
        polls += 1;
        stale.wake_by_ref();
        if polls < 3 {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    });
    assert!(executor.try_block_on(next).is_err());
    assert_eq!(polls, 1);
}

/// Lets wakers go on another thread, and fails to sleep.
struct LetsGo(Kept, Waker);

impl Park for LetsGo {
    fn park(&self) -> Result<(), CannotPark> {
        let wakers = self.0.take();
        std::thread::spawn(|| drop(wakers)).join().unwrap();
        Err(CannotPark)
    }

    fn unparker(&self) -> Waker {
        self.1.clone()
    }
}

#[test]
fn a_last_waker_that_nobody_watches_rouses_nobody() {
    let (rouses, unparker) = CountWakes::new();
    let in_park = Kept::default();
    let park = LetsGo(Rc::clone(&in_park), unparker);
    let executor = Executor::builder().park(park).build();
    // The spawner is reason enough to sleep, so no task is watched.
    let spawner = executor.send_spawner();
    let (_task, kept) = spawn_waiting(&executor, |cx| {
        let [_here, there] = one_of_each(cx);
        vec![there]
    });
    in_park.borrow_mut().extend(kept.take());
    assert!(!stall(&executor).deadlock);
    assert!(in_park.borrow().is_empty());
    assert_eq!(rouses.get(), 0);
    drop(spawner);
}

#[test]
fn a_host_that_sleeps_is_told_of_a_task_with_a_name() {
    let (told, waker) = CountWakes::new();
    let executor = Executor::builder().host_waker(waker).build();
    assert_eq!(executor.tick().unwrap().end, TickEnd::Empty);
    let task = executor.task().name("late").spawn(never());
    assert_eq!(told.get(), 1);
    drop(task);
}
