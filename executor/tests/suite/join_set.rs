//! A set of tasks gives outcomes in the order of the ends, and loses none.

use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::common::{CountWakes, Gate, Log, never};
use vestibule_executor::{
    BlockOnError, Budget, Executor, JoinError, JoinSet, NoPark, TaskState, yield_now,
};

fn no_park() -> Executor {
    Executor::builder().park(NoPark).build()
}

#[test]
fn outcomes_come_in_the_order_of_the_ends() {
    let executor = no_park();
    let mut set = JoinSet::new(&executor);
    let gates: Vec<_> = (0..4).map(|_| Gate::new()).collect();
    for (n, gate) in gates.iter().enumerate() {
        let gate = gate.clone();
        set.spawn(async move {
            gate.await;
            n
        })
        .unwrap();
    }
    let _ = executor.tick().unwrap();
    assert!(set.try_join_next().is_none());
    for n in [2, 0, 3, 1] {
        gates[n].open();
    }
    let _ = executor.tick().unwrap();
    let order: Vec<_> = std::iter::from_fn(|| set.try_join_next())
        .map(|(id, outcome)| (id.number(), outcome.unwrap()))
        .collect();
    assert_eq!(order, [(3, 2), (1, 0), (4, 3), (2, 1)]);
    assert!(set.is_empty());
}

#[test]
fn a_set_is_awaited_by_a_task_by_a_main_future_and_by_a_foreign_waker() {
    let executor = no_park();
    let mut set = JoinSet::new(&executor);
    let gate = Gate::new();
    set.spawn(gate.clone()).unwrap();
    let (wakes, waker) = CountWakes::new();
    let mut cx = Context::from_waker(&waker);
    assert!(set.poll_join_next(&mut cx).is_pending());
    gate.open();
    let _ = executor.run_until_stalled(Budget::default()).unwrap();
    assert_eq!(wakes.get(), 1);
    assert!(matches!(
        set.poll_join_next(&mut cx),
        Poll::Ready(Some((_, Ok(()))))
    ));
    assert!(matches!(set.poll_join_next(&mut cx), Poll::Ready(None)));

    let mut set = JoinSet::new(&executor);
    for n in 0..3 {
        set.spawn(async move {
            yield_now().await;
            n
        })
        .unwrap();
    }
    let waits = executor
        .spawn(async move {
            let mut sum = 0;
            while let Some((_, outcome)) = set.join_next().await {
                sum += outcome.unwrap();
            }
            sum
        })
        .unwrap();
    assert_eq!(executor.try_block_on(waits).unwrap().unwrap(), 3);
}

#[test]
fn a_set_that_nobody_can_end_is_a_deadlock_and_a_snapshot_shows_it() {
    let executor = Executor::new();
    let mut set = JoinSet::new(&executor);
    let id = set.spawn(never()).unwrap();
    match executor.try_block_on(set.join_next()) {
        Err(BlockOnError::Stalled(stalled)) => assert!(stalled.deadlock),
        _ => panic!("nothing can wake it"),
    }
    let waits = executor
        .spawn(async move { set.join_next().await.is_some() })
        .unwrap();
    let _ = executor.tick().unwrap();
    let snapshot = executor.snapshot();
    let info = snapshot.get(waits.id()).unwrap();
    assert_eq!((info.state, info.awaits), (TaskState::Waiting, Some(id)));
}

#[test]
fn aborted_panicked_and_named_tasks_are_outcomes_too() {
    let executor = no_park();
    let group = executor.group("group");
    let mut set = JoinSet::new(&executor);
    let named = executor
        .task()
        .name("named")
        .group(&group)
        .spawn(never())
        .unwrap();
    let named = set.insert(named).unwrap();
    let panics = set
        .spawn(async { std::panic::resume_unwind(Box::new("as planned")) })
        .unwrap();
    let ended = executor.spawn(async {}).unwrap();
    let _ = executor.tick().unwrap();
    let ended = set.insert(ended).unwrap();
    group.abort_all();
    let mut seen = Vec::new();
    while let Some((id, outcome)) = set.try_join_next() {
        seen.push((id, outcome.err().map(|error| error.to_string())));
    }
    let text = |text: &str| Some(String::from(text));
    assert_eq!(
        seen,
        [
            (panics, text("the task panicked: as planned")),
            (ended, None),
            (named, text("the task was aborted"))
        ]
    );
}

#[test]
fn dropping_a_set_aborts_its_tasks_and_detaching_does_not() {
    let executor = no_park();
    let log = Log::new();
    let spawn_into = |set: &mut JoinSet<()>, name: &'static str| {
        let dropped = log.on_drop(name);
        set.spawn(async move {
            yield_now().await;
            drop(dropped);
        })
        .unwrap();
    };
    let mut set = JoinSet::new(&executor);
    spawn_into(&mut set, "aborted");
    drop(set);
    assert_eq!(log.take(), ["aborted"]);
    let mut set = JoinSet::new(&executor);
    spawn_into(&mut set, "detached");
    set.detach_all();
    assert!(set.is_empty() && log.take().is_empty());
    drop(set);
    let _ = executor.run_until_stalled(Budget::default()).unwrap();
    assert_eq!(log.take(), ["detached"]);
}

#[test]
fn a_set_outlives_its_executor_and_refuses_the_tasks_of_another() {
    let (one, other) = (no_park(), no_park());
    let mut set = JoinSet::new(&one);
    let foreign = other.spawn(async {}).unwrap();
    let foreign = set.insert(foreign).unwrap_err();
    let value = Rc::new(());
    let kept = Rc::clone(&value);
    set.spawn(async move { drop(kept) }).unwrap();
    drop(one);
    assert_eq!(Rc::strong_count(&value), 1);
    let (_, outcome) = set.try_join_next().unwrap();
    assert!(matches!(outcome, Err(JoinError::ExecutorGone)));
    assert!(set.spawn(async {}).is_err());
    drop(foreign);
}

#[test]
fn aborting_all_ends_every_task_and_keeps_the_set_with_their_outcomes() {
    let executor = no_park();
    let mut set = JoinSet::new(&executor);
    assert_eq!((set.len(), set.is_empty()), (0, true));
    for len in 1..=3 {
        set.spawn(never()).unwrap();
        assert_eq!((set.len(), set.is_empty()), (len, false));
    }
    set.abort_all();
    assert_eq!((executor.metrics().live, set.len()), (0, 3));
    for left in (0..3).rev() {
        let (_, outcome) = set.try_join_next().unwrap();
        assert!(matches!(outcome, Err(JoinError::Aborted)));
        assert_eq!(set.len(), left);
    }
}

#[test]
fn the_oldest_comes_first_whoever_ends_first_and_only_its_end_wakes() {
    let executor = no_park();
    let mut set = JoinSet::new(&executor);
    let gates: Vec<_> = (0..5).map(|_| Gate::new()).collect();
    for (n, gate) in gates.iter().enumerate() {
        let gate = gate.clone();
        set.spawn(async move {
            gate.await;
            n
        })
        .unwrap();
    }
    let (wakes, waker) = CountWakes::new();
    let mut cx = Context::from_waker(&waker);
    assert!(set.poll_join_oldest(&mut cx).is_pending());
    let open = |n: usize| {
        gates[n].open();
        let _ = executor.tick().unwrap();
    };
    open(3);
    open(1);
    assert_eq!(wakes.get(), 0);
    assert!(set.poll_join_oldest(&mut cx).is_pending());
    open(0);
    assert_eq!(wakes.get(), 1);
    let mut oldest = || match set.poll_join_oldest(&mut cx) {
        Poll::Ready(Some((_, outcome))) => Some(outcome.unwrap()),
        Poll::Ready(None) => panic!("the set is not empty"),
        Poll::Pending => None,
    };
    assert_eq!([oldest(), oldest(), oldest()], [Some(0), Some(1), None]);
    // Whoever waited for the oldest takes what comes in the other order all the same.
    assert_eq!(set.try_join_next().unwrap().1.unwrap(), 3);
    open(4);
    open(2);
    assert_eq!((wakes.get(), set.len()), (2, 2));
    assert_eq!(set.try_join_next().unwrap().1.unwrap(), 4);
    assert!(matches!(
        set.poll_join_oldest(&mut cx),
        Poll::Ready(Some((_, Ok(2))))
    ));
    assert!(matches!(set.poll_join_oldest(&mut cx), Poll::Ready(None)));
}

#[test]
fn a_snapshot_shows_that_the_oldest_is_awaited() {
    let executor = no_park();
    let mut set = JoinSet::new(&executor);
    let first = set.spawn(never()).unwrap();
    set.spawn(never()).unwrap();
    let waits = executor
        .spawn(async move { set.join_oldest().await.is_some() })
        .unwrap();
    let _ = executor.tick().unwrap();
    let snapshot = executor.snapshot();
    assert_eq!(snapshot.get(waits.id()).unwrap().awaits, Some(first));
}

#[test]
fn order_and_outcomes_outlive_the_executor() {
    let executor = no_park();
    let mut set = JoinSet::new(&executor);
    let gates: Vec<_> = (0..4).map(|_| Gate::new()).collect();
    for gate in &gates {
        set.spawn(gate.clone()).unwrap();
    }
    for n in [2, 1] {
        gates[n].open();
        let _ = executor.run_until_stalled(Budget::default()).unwrap();
    }
    let (third, outcome) = set.try_join_next().unwrap();
    outcome.unwrap();
    drop(executor);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut order = Vec::new();
    while let Poll::Ready(Some((id, outcome))) = set.poll_join_oldest(&mut cx) {
        order.push((id.number(), outcome.is_ok()));
    }
    assert_eq!(third.number(), 3);
    assert_eq!(order, [(1, false), (2, true), (4, false)]);
    assert!(set.is_empty());
}

#[test]
fn members_that_come_and_go_for_ever_leave_nothing_behind() {
    let executor = no_park();
    let mut set = JoinSet::new(&executor);
    let first = set.spawn(never()).unwrap();
    for n in 0..1000 {
        set.spawn(async move {
            if n % 3 == 0 {
                never().await;
            }
        })
        .unwrap();
        let _ = executor.tick().unwrap();
        assert_eq!(set.try_join_next().is_some(), n % 3 != 0);
    }
    assert_eq!((set.len(), executor.metrics().live), (335, 335));
    set.abort_all();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let Poll::Ready(Some((id, Err(JoinError::Aborted)))) = set.poll_join_oldest(&mut cx) else {
        panic!("the first one was aborted");
    };
    assert_eq!(id, first);
    assert_eq!(std::iter::from_fn(|| set.try_join_next()).count(), 334);
}

#[test]
fn a_set_of_named_and_plain_tasks_gives_them_up_together() {
    let executor = no_park();
    let log = Log::new();
    let mut set = JoinSet::new(&executor);
    set.spawn(never()).unwrap();
    let named = executor.task().name("named").spawn(never()).unwrap();
    set.insert(named).unwrap();
    // It waits already, in a table that the set has no part in.
    let mut awaited = executor.spawn(never()).unwrap();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(std::pin::Pin::new(&mut awaited).poll(&mut cx).is_pending());
    set.insert(awaited).unwrap();
    let ended = log.on_drop("an outcome");
    let mut outcomes = JoinSet::new(&executor);
    outcomes.spawn(async move { ended }).unwrap();
    outcomes.spawn(std::future::pending()).unwrap();
    let _ = executor.tick().unwrap();
    outcomes.detach_all();
    assert_eq!(log.take(), ["an outcome"]);
    set.detach_all();
    assert_eq!(executor.metrics().live, 4);
    // The tasks are nobody's members any more: their places serve the next ones.
    executor.shutdown();
    assert!(set.is_empty() && set.try_join_next().is_none());
}

#[test]
fn the_other_outcomes_are_dropped_when_the_drop_of_one_panics() {
    struct Bomb {
        _alive: Rc<()>,
        goes_off: bool,
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.goes_off, "as planned");
        }
    }
    let executor = no_park();
    let alive = Rc::new(());
    let mut set = JoinSet::new(&executor);
    for n in 0..4 {
        let bomb = Bomb {
            _alive: Rc::clone(&alive),
            goes_off: n == 1,
        };
        set.spawn(async move { bomb }).unwrap();
    }
    let _ = executor.tick().unwrap();
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(set)));
    assert!(dropped.is_err());
    assert_eq!(Rc::strong_count(&alive), 1);
}

#[test]
fn who_waits_for_any_and_for_the_oldest_is_woken_by_any() {
    let executor = Executor::new();
    let mut set = JoinSet::new(&executor);
    set.spawn(std::future::pending()).unwrap();
    set.spawn(async {
        yield_now().await;
        7
    })
    .unwrap();
    let first = std::future::poll_fn(|cx| {
        if let Poll::Ready(next) = set.poll_join_next(cx) {
            return Poll::Ready(next.unwrap().1.unwrap());
        }
        set.poll_join_oldest(cx)
            .map(|oldest| oldest.unwrap().1.unwrap())
    });
    assert_eq!(executor.try_block_on(first).unwrap(), 7);
}
