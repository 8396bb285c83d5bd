//! A local waker wakes the task or main future that was polled with it, and nobody else, and
//! stands in the way of no proof.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::common::{self, CountWakes};
use vestibule_executor::{BlockOnError, Executor, Handle, LocalWaker, TickEnd};

/// Where a waiting future leaves its waker.
type Place = Rc<RefCell<Option<LocalWaker>>>;

/// Is ready when it is polled once more; leaves a local waker the first time.
fn waits(handle: &Handle, place: &Place) -> impl Future<Output = ()> + 'static {
    let (handle, place) = (handle.clone(), Rc::clone(place));
    let mut polled = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        *place.borrow_mut() = handle.local_waker(cx);
        Poll::Pending
    })
}

fn wake(place: &Place) {
    let waker = place.borrow_mut().take();
    waker.expect("there is a local waker").wake();
}

#[test]
fn a_task_is_woken_once_however_often() {
    let executor = Executor::new();
    let place = Place::default();
    let task = executor.spawn(waits(&executor, &place)).unwrap();
    assert_eq!(executor.tick().unwrap().end, TickEnd::Stalled);
    place.borrow().as_ref().unwrap().wake();
    wake(&place);
    let tick = executor.tick().unwrap();
    assert_eq!((tick.polled, tick.completed), (1, 1));
    assert!(task.is_finished());
}

#[test]
fn a_main_future_is_woken_by_a_task_and_a_task_by_itself() {
    let executor = Executor::new();
    let place = Place::default();
    let wakes = Rc::clone(&place);
    drop(executor.spawn(async move { wake(&wakes) }).unwrap());
    executor.try_block_on(waits(&executor, &place)).unwrap();

    let handle = executor.handle();
    let mut polls = 0;
    let itself = poll_fn(move |cx| {
        polls += 1;
        handle.local_waker(cx).unwrap().wake();
        match polls {
            3 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    });
    executor
        .try_block_on(executor.spawn(itself).unwrap())
        .unwrap()
        .unwrap();
}

#[test]
fn a_task_of_a_group_that_is_woken_is_ready_in_its_group() {
    let executor = Executor::new();
    let group = executor.group("group");
    let place = Place::default();
    let waiting = waits(&executor, &place);
    let task = executor.task().group(&group).spawn(waiting).unwrap();
    assert!(group.step().unwrap());
    assert_eq!(group.ready(), 0);
    wake(&place);
    assert_eq!(group.ready(), 1);
    assert!(group.step().unwrap() && task.is_finished());
}

#[test]
fn it_is_no_escaped_waker_and_a_deadlock_is_proven_beside_it() {
    let executor = Executor::new();
    let place = Place::default();
    drop(executor.spawn(waits(&executor, &place)).unwrap());
    let main = Place::default();
    match executor.try_block_on(waits(&executor, &main)) {
        Err(BlockOnError::Stalled(stalled)) => {
            assert_eq!((stalled.deadlock, stalled.escaped_wakers), (true, 0));
        }
        other => panic!("{other:?}"),
    }
    assert!(!executor.snapshot().tasks[0].waker_held);
}

#[test]
fn there_is_none_under_another_waker_and_none_once_the_executor_has_shut_down() {
    let executor = Executor::new();
    let handle = executor.handle();
    let found = Rc::new(Cell::new((true, false, true)));
    let result = Rc::clone(&found);
    let task = poll_fn(move |cx| {
        let own = handle.local_waker(cx).is_some();
        let foreign = handle
            .local_waker(&Context::from_waker(Waker::noop()))
            .is_some();
        handle.shutdown();
        result.set((foreign, own, handle.local_waker(cx).is_some()));
        Poll::Ready(())
    });
    drop(executor.spawn(task).unwrap());
    let _ = executor.tick();
    assert_eq!(found.get(), (false, true, false));

    // Polled by another executor of ours: the waker is that one's.
    let (one, two) = (Executor::new(), Executor::new());
    let (ours, theirs) = (one.handle(), two.handle());
    let inner = poll_fn(move |cx| {
        assert!(ours.local_waker(cx).is_none());
        assert!(theirs.local_waker(cx).is_some());
        Poll::Ready(())
    });
    two.try_block_on(one.run_until(inner)).unwrap().unwrap();
    drop(executor);
}

#[test]
fn one_that_comes_too_late_wakes_nobody() {
    let executor = Executor::new();
    let place = Place::default();
    let task = executor.spawn(waits(&executor, &place)).unwrap();
    let _ = executor.tick().unwrap();
    task.abort();
    drop(task);
    // It has the slot of the one that ended, and waits.
    let next = executor.spawn(common::never()).unwrap();
    let _ = executor.tick().unwrap();
    place.borrow().as_ref().unwrap().wake();
    assert_eq!(executor.tick().unwrap().polled, 0);
    assert!(!next.is_finished());

    // A main future that was given up, and then the executor.
    let main = Place::default();
    drop(executor.try_block_on(waits(&executor, &main)));
    wake(&main);
    assert_eq!(executor.tick().unwrap().polled, 0);
    drop((next, executor));
    wake(&place);
}

#[test]
fn a_host_that_sleeps_is_told() {
    let (wakes, waker) = CountWakes::new();
    let executor = Executor::builder().host_waker(waker).build();
    let place = Place::default();
    drop(executor.spawn(waits(&executor, &place)).unwrap());
    let _ = executor.tick().unwrap();
    let before = wakes.get();
    wake(&place);
    assert_eq!(wakes.get(), before + 1);
}
