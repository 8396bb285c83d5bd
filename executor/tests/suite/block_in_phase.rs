//! Waiting inside a phase polls the group's ready tasks one at a time, and nothing else.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::common::{self, Gate, Log};
use vestibule_executor::{
    Activity, BlockInPhaseError, Budget, Executor, JoinHandle, OnBlock, Phase, Reason, Refused,
    yield_now,
};

/// Enters an instantiation of `group` from idle and blocks until `until` holds.
fn block(
    executor: &Executor,
    phase: Phase,
    until: impl FnMut() -> bool,
) -> Result<(), BlockInPhaseError> {
    executor.with_phase(phase, || executor.block_in_phase(until))
}

fn is_drained(result: Result<(), BlockInPhaseError>) -> bool {
    matches!(result, Err(BlockInPhaseError::NothingReady))
}

#[test]
fn a_condition_that_holds_is_asked_once_and_nothing_is_polled() {
    let executor = Executor::new();
    let group = executor.group("g");
    let log = Log::new();
    drop(
        executor
            .task()
            .group(&group)
            .spawn(log.task("polled"))
            .unwrap(),
    );
    let asked = Cell::new(0);
    block(&executor, Phase::instantiating(&group), || {
        asked.set(asked.get() + 1);
        true
    })
    .unwrap();
    assert_eq!(asked.get(), 1);
    assert!(log.take().is_empty());
}

#[test]
fn the_condition_is_asked_again_after_every_poll() {
    let executor = Executor::new();
    let group = executor.group("g");
    let log = Log::new();
    for name in ["a", "b", "c"] {
        drop(executor.task().group(&group).spawn(log.task(name)).unwrap());
    }
    let mut asked = 0;
    block(&executor, Phase::instantiating(&group), || {
        log.add("asked");
        asked += 1;
        asked == 3
    })
    .unwrap();
    assert_eq!(log.take(), ["asked", "a", "asked", "b", "asked"]);
    assert_eq!(group.ready(), 1);
}

#[test]
fn a_group_without_a_ready_task_is_an_outcome_and_not_a_refusal() {
    let executor = Executor::new();
    let group = executor.group("g");
    drop(
        executor
            .task()
            .group(&group)
            .spawn(common::never())
            .unwrap(),
    );
    assert!(is_drained(block(
        &executor,
        Phase::instantiating(&group),
        || false
    )));
    assert_eq!(executor.metrics().refused, 0);
    assert_eq!((group.live(), group.ready()), (1, 0));
}

#[test]
fn tasks_of_subgroups_parents_and_no_group_stay_queued_and_run_later() {
    let executor = Executor::new();
    let store = executor.group("store");
    let instance = store.subgroup("instance");
    let part = instance.subgroup("part");
    let log = Log::new();
    drop(
        executor
            .task()
            .group(&store)
            .spawn(log.task("parent"))
            .unwrap(),
    );
    drop(
        executor
            .task()
            .group(&part)
            .spawn(log.task("part"))
            .unwrap(),
    );
    drop(executor.spawn(log.task("none")).unwrap());
    drop(
        executor
            .task()
            .group(&instance)
            .spawn(log.task("instance"))
            .unwrap(),
    );
    assert!(is_drained(block(
        &executor,
        Phase::instantiating(&instance),
        || false
    )));
    assert_eq!(log.take(), ["instance"]);
    let _ = executor.tick().unwrap();
    assert_eq!(log.take(), ["parent", "part", "none"]);
}

#[test]
fn a_task_spawned_into_the_group_while_it_is_driven_is_a_candidate_at_once() {
    let executor = Executor::new();
    let group = executor.group("g");
    let done = Rc::new(Cell::new(false));
    let (handle, inner, flag) = (executor.handle(), group.clone(), Rc::clone(&done));
    let first = async move {
        drop(
            handle
                .task()
                .group(&inner)
                .spawn(async move { flag.set(true) })
                .unwrap(),
        );
    };
    drop(executor.task().group(&group).spawn(first).unwrap());
    block(&executor, Phase::instantiating(&group), || done.get()).unwrap();
}

#[test]
fn a_wake_by_another_thread_counts_at_once() {
    let executor = Executor::new();
    let group = executor.group("g");
    let gate = Gate::new();
    let done = Rc::new(Cell::new(false));
    let (waiting, flag) = (gate.clone(), Rc::clone(&done));
    let task = async move {
        waiting.await;
        flag.set(true);
    };
    drop(executor.task().group(&group).spawn(task).unwrap());
    assert!(is_drained(block(
        &executor,
        Phase::instantiating(&group),
        || done.get()
    )));
    let wakers = gate.wakers();
    gate.open();
    std::thread::spawn(move || wakers.into_iter().for_each(|waker| waker.wake()))
        .join()
        .unwrap();
    assert_eq!(group.ready(), 0, "the wake is still in the queue");
    block(&executor, Phase::instantiating(&group), || done.get()).unwrap();
}

#[test]
fn a_wake_through_the_handle_makes_a_task_a_candidate() {
    let executor = Executor::new();
    let group = executor.group("g");
    let polls = Rc::new(Cell::new(0));
    let count = Rc::clone(&polls);
    let task = std::future::poll_fn(move |_| {
        count.set(count.get() + 1);
        std::task::Poll::<()>::Pending
    });
    let task = executor.task().group(&group).spawn(task).unwrap();
    assert!(is_drained(block(
        &executor,
        Phase::instantiating(&group),
        || false
    )));
    task.wake();
    task.wake();
    assert!(is_drained(block(
        &executor,
        Phase::instantiating(&group),
        || false
    )));
    assert_eq!(polls.get(), 2, "two wakes before one poll are one");
}

#[test]
fn the_task_on_the_stack_is_no_candidate_and_its_wake_is_kept_for_later() {
    let executor = Executor::new();
    let group = executor.group("g");
    let log = Log::new();
    let own: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
    let (handle, inner, events, slot) = (
        executor.handle(),
        group.clone(),
        log.clone(),
        Rc::clone(&own),
    );
    let mut polls = 0;
    let task = std::future::poll_fn(move |cx| {
        polls += 1;
        events.add(format!("poll {polls}"));
        if polls == 2 {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        slot.borrow().as_ref().unwrap().wake();
        let blocked = handle.with_phase(Phase::instantiating(&inner), || {
            handle.block_in_phase(|| false)
        });
        assert!(is_drained(blocked));
        assert_eq!(handle.activity(), Activity::Polling { depth: 1 });
        std::task::Poll::Pending
    });
    *own.borrow_mut() = Some(executor.task().group(&group).spawn(task).unwrap());
    let tick = executor.tick().unwrap();
    assert_eq!((tick.polled, tick.ready), (1, 1));
    let _ = executor.tick().unwrap();
    assert_eq!(log.take(), ["poll 1", "poll 2"]);
}

#[test]
fn a_driven_task_that_blocks_drives_the_rest_of_the_group_deeper_down() {
    let executor = Executor::new();
    let group = executor.group("g");
    let log = Log::new();
    for name in ["a", "b", "c"] {
        let (handle, events) = (executor.handle(), log.clone());
        let task = async move {
            let Activity::Polling { depth } = handle.activity() else {
                panic!("not polling")
            };
            events.add(format!("{name} at {depth}"));
            assert!(is_drained(handle.block_in_phase(|| false)));
            events.add(format!("{name} done"));
        };
        drop(executor.task().group(&group).spawn(task).unwrap());
    }
    assert!(is_drained(block(
        &executor,
        Phase::instantiating(&group),
        || false
    )));
    let expected = ["a at 1", "b at 2", "c at 3", "c done", "b done", "a done"];
    assert_eq!(log.take(), expected);
    assert_eq!(executor.activity(), Activity::Idle);
}

#[test]
fn nesting_is_refused_before_the_native_stack_ends() {
    let executor = Executor::builder().max_poll_depth(10).build();
    let group = executor.group("g");
    let deepest = Rc::new(Cell::new(0));
    for _ in 0..50 {
        let (handle, deepest) = (executor.handle(), Rc::clone(&deepest));
        let task = async move {
            match handle.block_in_phase(|| false) {
                Err(BlockInPhaseError::Refused(refused)) => {
                    assert_eq!(refused.reason(), Reason::TooDeep);
                    deepest.set(deepest.get().max(refused.depth()));
                }
                other => assert!(is_drained(other)),
            }
        };
        drop(executor.task().group(&group).spawn(task).unwrap());
    }
    assert!(is_drained(block(
        &executor,
        Phase::instantiating(&group),
        || false
    )));
    assert_eq!(deepest.get(), 10);
    assert_eq!(executor.metrics().live, 0);
}

#[test]
fn drive_all_polls_any_task_and_refuses_to_nest_beyond_its_depth() {
    let executor = Executor::new();
    let group = executor.group("g");
    let log = Log::new();
    drop(executor.spawn(log.task("outside")).unwrap());
    drop(
        executor
            .task()
            .group(&group)
            .spawn(log.task("inside"))
            .unwrap(),
    );
    let (handle, events) = (executor.handle(), log.clone());
    let nested = async move {
        let refused = handle.tick().unwrap_err();
        events.add(format!("{:?}", refused.reason()));
    };
    drop(executor.spawn(nested).unwrap());
    let phase = Phase::custom("callback", &group).on_block(OnBlock::DriveAll { max_depth: 1 });
    assert!(is_drained(block(&executor, phase, || false)));
    assert_eq!(log.take(), ["outside", "inside", "TooDeep"]);
}

#[test]
fn a_future_may_be_blocked_on_inside_drive_all_and_the_outer_wakes_survive_it() {
    // pollster 1.0.1: nested use lost the outer wake, and the outer call hung.
    let executor = Executor::new();
    let group = executor.group("g");
    let handle = executor.handle();
    let outer = executor.try_block_on(async move {
        let sibling = handle.spawn(async { 1 }).unwrap();
        let phase = Phase::custom("callback", &group).on_block(OnBlock::DriveAll { max_depth: 2 });
        let inner = handle.with_phase(phase, || {
            let yields = async {
                yield_now().await;
                yield_now().await;
                2
            };
            Ok::<i32, Refused>(handle.try_block_on(yields).unwrap())
        });
        inner.unwrap() + sibling.await.unwrap()
    });
    assert_eq!(outer.unwrap(), 3);
}

#[test]
fn a_panicking_condition_leaves_the_executor_usable() {
    let executor = Executor::new();
    let group = executor.group("g");
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = block(&executor, Phase::instantiating(&group), || {
            panic!("condition")
        });
    }));
    assert!(unwound.is_err());
    assert_eq!(executor.phase().depth, 0);
    assert_eq!(executor.activity(), Activity::Idle);
    assert_eq!(executor.try_block_on(async { 1 }).unwrap(), 1);
}

#[test]
fn tasks_left_over_in_the_group_run_at_later_ticks() {
    let executor = Executor::new();
    let group = executor.group("g");
    let log = Log::new();
    drop(
        executor
            .task()
            .group(&group)
            .spawn(log.task("first"))
            .unwrap(),
    );
    drop(
        executor
            .task()
            .group(&group)
            .spawn(log.task("left over"))
            .unwrap(),
    );
    let mut asked = 0;
    let twice = || {
        asked += 1;
        asked == 2
    };
    block(&executor, Phase::instantiating(&group), twice).unwrap();
    assert_eq!(log.take(), ["first"]);
    let _ = executor.run_until_stalled(Budget::default()).unwrap();
    assert_eq!(log.take(), ["left over"]);
}
