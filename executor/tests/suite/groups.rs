//! Groups count exactly their tasks, form trees, and are freed when nothing needs them.

use crate::common::{self, Log};
use vestibule_executor::{Executor, Phase, Reason, Schedule, yield_now};

#[test]
fn a_group_counts_exactly_its_tasks() {
    let executor = Executor::new();
    let store = executor.group("store");
    let part = store.subgroup(String::from("part"));
    assert_eq!(
        (store.name().as_ref(), part.name().as_ref()),
        ("store", "part")
    );
    drop(
        executor
            .task()
            .group(&store)
            .spawn(common::never())
            .unwrap(),
    );
    drop(executor.task().group(&part).spawn(yield_now()).unwrap());
    drop(executor.spawn(common::never()).unwrap());
    assert_eq!(
        (store.live(), store.ready(), part.live(), part.ready()),
        (1, 1, 1, 1)
    );
    let _ = executor.tick().unwrap();
    assert_eq!(
        (store.live(), store.ready(), part.live(), part.ready()),
        (1, 0, 1, 1)
    );
    let _ = executor.tick().unwrap();
    assert_eq!((store.live(), part.live()), (1, 0));
}

#[test]
fn a_group_is_freed_when_its_last_handle_its_last_task_and_its_last_subgroup_are_gone() {
    let executor = Executor::new();
    let store = executor.group("store");
    let part = store.subgroup("part");
    let task = executor.task().group(&part).spawn(common::never()).unwrap();
    assert_eq!(executor.metrics().groups, 2);
    drop(part.clone());
    drop(store);
    drop(part);
    assert_eq!(
        executor.metrics().groups,
        2,
        "the task keeps its group, and that its parent"
    );
    task.abort();
    assert_eq!(executor.metrics().groups, 0);
}

#[test]
fn a_phase_and_a_task_builder_keep_their_group() {
    let executor = Executor::new();
    let group = executor.group("g");
    let phase = Phase::instantiating(&group);
    let builder = executor.task().group(&group);
    drop(group);
    assert_eq!(executor.metrics().groups, 1);
    let guard = executor.enter_phase(phase).unwrap();
    drop(builder);
    assert_eq!(executor.phase().group.as_deref(), Some("g"));
    guard.commit();
    assert_eq!(executor.metrics().groups, 0);
}

#[test]
fn handles_of_one_group_are_equal_and_a_reused_slot_is_another_group() {
    let executor = Executor::new();
    let first = executor.group("g");
    assert_eq!(first, first.clone());
    let label = format!("{first:?}");
    drop(first);
    let second = executor.group("g");
    assert_ne!(label, format!("{second:?}"));
    assert_ne!(second, executor.group("g"));
}

#[test]
fn a_group_of_another_executor_is_refused_and_the_future_comes_back() {
    let (executor, other) = (Executor::new(), Executor::new());
    let foreign = other.group("foreign");
    let error = executor
        .task()
        .group(&foreign)
        .spawn(std::future::ready(7))
        .unwrap_err();
    assert_eq!(error.refused().reason(), Reason::ForeignGroup);
    assert_eq!(error.into_inner().into_inner(), 7);
    assert_eq!(foreign.live(), 0);
}

#[test]
fn members_that_end_in_any_order_leave_the_others_linked() {
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        for polled in [false, true] {
            let executor = Executor::new();
            let group = executor.group("g");
            let tasks: Vec<_> = (0..3)
                .map(|_| {
                    executor
                        .task()
                        .group(&group)
                        .spawn(common::never())
                        .unwrap()
                })
                .collect();
            if polled {
                let _ = executor.tick().unwrap();
            }
            for (ended, at) in order.into_iter().enumerate() {
                tasks[at].abort();
                let left = 2 - ended;
                assert_eq!(group.live(), left);
                // Once polled, they wait; the last one is woken after the first has ended.
                let woken = usize::from(ended == 1);
                assert_eq!(group.ready(), if polled { woken } else { left });
                tasks[order[2]].wake();
            }
            assert_eq!(executor.metrics().ready, 0);
        }
    }
}

#[test]
fn the_end_of_a_tree_ends_the_tasks_of_a_group_and_of_all_below_it_and_no_others() {
    let executor = Executor::new();
    let root = executor.group("root");
    let (left, right) = (root.subgroup("left"), root.subgroup("right"));
    let leaf = left.subgroup("leaf");
    let stranger = executor.group("stranger");
    let groups = [&root, &left, &right, &leaf, &stranger];
    for group in groups {
        drop(executor.task().group(group).spawn(common::never()).unwrap());
    }
    left.abort_tree();
    assert_eq!(groups.map(|group| group.live()), [1, 0, 1, 0, 1]);
    root.abort_tree();
    assert_eq!(groups.map(|group| group.live()), [0, 0, 0, 0, 1]);
}

#[test]
fn aborting_a_group_ends_its_tasks_oldest_first_and_those_below_it_live_on() {
    let executor = Executor::new();
    let (store, log) = (executor.group("store"), Log::new());
    let part = store.subgroup("part");
    let spawn = |group, name| {
        let witness = log.on_drop(name);
        let task = executor.task().group(group).spawn(async move {
            common::never().await;
            drop(witness);
        });
        drop(task.unwrap());
    };
    for (group, name) in [
        (&store, "a"),
        (&part, "below"),
        (&store, "b"),
        (&store, "c"),
    ] {
        spawn(group, name);
    }
    store.abort_all();
    assert_eq!(log.take(), ["a", "b", "c"]);
    assert_eq!((store.live(), part.live()), (0, 1));
}

#[test]
fn a_step_under_a_shuffle_polls_any_ready_task_of_the_group_and_misses_none() {
    let mut first = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let schedule = Schedule::Shuffle { seed };
        let executor = Executor::builder().schedule(schedule).build();
        let (group, log) = (executor.group("g"), Log::new());
        for name in ["a", "b", "c"] {
            drop(executor.task().group(&group).spawn(log.task(name)).unwrap());
        }
        drop(executor.spawn(log.task("other")).unwrap());
        for left in (0..3).rev() {
            assert!(group.step().unwrap());
            assert_eq!(group.ready(), left);
        }
        assert!(!group.step().unwrap());
        let mut order = log.take();
        first.insert(order[0].clone());
        order.sort();
        assert_eq!(order, ["a", "b", "c"]);
    }
    assert_eq!(first.len(), 3, "{first:?}");
}
