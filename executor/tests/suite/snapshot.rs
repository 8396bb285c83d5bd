//! Who waits for whom, and since when; and groups stepped one task at a time.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::Waker;

use crate::common::{self, Gate, Log};
use vestibule_executor::{
    Executor, Phase, Reason, Refused, TaskId, TaskName, TaskState, WakeSource, yield_now,
};

#[test]
fn every_state_and_every_source_of_a_wake_is_shown() {
    let executor = Executor::new();
    let store = executor.group("store");
    let gates: [Gate; 4] = Default::default();
    let mut ids: Vec<TaskId> = Vec::new();
    for gate in &gates {
        let task = executor.task().group(&store).spawn(gate.clone()).unwrap();
        ids.push(task.id());
    }
    let _ = executor.tick().unwrap();
    for task in executor.snapshot().tasks {
        assert_eq!(
            (task.state, task.last_wake, task.waker_held),
            (TaskState::Waiting, WakeSource::Spawn, true)
        );
    }

    gates[0].open();
    let woken = executor.snapshot();
    let woken = woken.get(ids[0]).unwrap();
    assert_eq!(
        (woken.state, woken.last_wake),
        (TaskState::Ready, WakeSource::Owner)
    );
    let wakers = gates[1].wakers();
    let wake = move || wakers.into_iter().for_each(Waker::wake);
    std::thread::spawn(wake).join().unwrap();
    let (gate, handle) = (gates[2].clone(), executor.handle());
    let waker = async move {
        gate.open();
        handle.snapshot()
    };
    let waker = executor.task().name("waker").spawn(waker).unwrap();
    let waker_id = waker.id();
    let main = async {
        gates[3].open();
        waker.await.unwrap()
    };
    let seen = executor.try_block_on(main).unwrap();

    // The first one was ready before the waker was and has ended.
    let tasks: Vec<_> = seen
        .tasks
        .iter()
        .map(|task| (task.id, task.state, task.last_wake))
        .collect();
    assert_eq!(
        tasks,
        [
            (ids[1], TaskState::Ready, WakeSource::Thread),
            (ids[2], TaskState::Ready, WakeSource::Task(waker_id)),
            (ids[3], TaskState::Ready, WakeSource::MainFuture),
            (waker_id, TaskState::Polling, WakeSource::Spawn),
        ]
    );
    assert_eq!(seen.main_awaits, Some(waker_id));
    let by_task = seen.get(ids[2]).unwrap();
    assert_eq!(by_task.group.as_deref(), Some("store"));
    assert!(by_task.spawned_at.file().ends_with("snapshot.rs"));
}

/// Main futures have numbers of their own, which must not be mistaken for those of tasks.
#[test]
fn a_main_future_that_waits_is_not_taken_for_a_task() {
    let executor = Executor::new();
    let tasks: Vec<_> = (0..5)
        .map(|_| executor.spawn(common::never()).unwrap())
        .collect();
    for _ in 0..5 {
        let handle = executor.handle();
        let looks = executor.spawn(async move {
            yield_now().await;
            handle.snapshot()
        });
        let looks = looks.unwrap();
        let id = looks.id();
        let seen = executor.try_block_on(looks).unwrap().unwrap();
        assert_eq!(seen.main_awaits, Some(id));
        assert!(
            seen.tasks.iter().all(|task| task.awaits.is_none()),
            "{seen}"
        );
    }
    drop(tasks);
}

#[test]
fn a_remote_wake_is_named_and_a_state_says_since_when() {
    let executor = Executor::new();
    let gate = Gate::new();
    let task = executor.spawn(gate.clone()).unwrap();
    assert_eq!(executor.snapshot().tasks[0].since, 0);
    let _ = executor.tick().unwrap();
    executor.try_block_on(yield_now()).unwrap();
    let before = executor.snapshot();
    let before = before.get(task.id()).unwrap();
    assert_eq!((before.state, before.since), (TaskState::Waiting, 1));
    let wakers = gate.wakers();
    let wake = move || wakers.into_iter().for_each(Waker::wake);
    std::thread::spawn(wake).join().unwrap();
    // It is taken in by the next drive, which this one is: a step of a group without tasks.
    assert!(!executor.group("empty").step().unwrap());
    let after = executor.snapshot();
    let polls = executor.metrics().polls;
    let after = after.get(task.id()).unwrap();
    assert_eq!((after.state, after.since), (TaskState::Ready, polls));
    assert_eq!(after.last_wake, WakeSource::Thread);
    assert!(!after.waker_held);
}

#[test]
fn tasks_that_await_each_other_are_shown_as_a_chain_and_as_a_table() {
    let executor = Executor::new();
    let store = executor.group("store");
    let guard = executor.enter_phase(Phase::instantiating(&store)).unwrap();
    let stuck = executor
        .task()
        .name("stuck\nhere")
        .group(&store)
        .spawn(common::never())
        .unwrap();
    let deferred = executor.task().name("later").defer(async {}).unwrap();
    let stuck_id = stuck.id();
    let waits = executor.task().group(&store).spawn(stuck).unwrap();
    let _ = executor.block_in_phase(|| false);
    let snapshot = executor.snapshot();
    assert_eq!(snapshot.get(waits.id()).unwrap().awaits, Some(stuck_id));
    assert_eq!(
        snapshot.get(deferred.id()).unwrap().state,
        TaskState::Deferred
    );
    assert_eq!(
        snapshot.to_string(),
        "3 live tasks after 2 polls\n\
         id  name         group  state     since   last wake  awaits  waker\n\
         #1  stuck\\nhere  store  waiting   poll 1  spawn      -       -\n\
         #2  later        -      deferred  poll 0  spawn      -       -\n\
         #3  -            store  waiting   poll 2  spawn      #1      -\n"
    );
    drop(guard);
    drop(executor);
}

#[test]
fn a_snapshot_of_a_gone_executor_is_empty() {
    let handle = Executor::new().handle();
    assert_eq!(handle.snapshot(), Default::default());
    assert!(handle.snapshot().to_string().starts_with("0 live tasks"));
}

#[test]
fn a_step_polls_one_ready_task_of_the_group_and_no_other() {
    let executor = Executor::new();
    let (plugins, others) = (executor.group("plugins"), executor.group("others"));
    let log = Log::new();
    for (name, group) in [
        ("other", &others),
        ("first", &plugins),
        ("second", &plugins),
    ] {
        drop(executor.task().group(group).spawn(log.task(name)).unwrap());
    }
    assert!(plugins.step().unwrap());
    assert_eq!(log.take(), ["first"]);
    assert!(plugins.step().unwrap());
    assert!(!plugins.step().unwrap());
    assert_eq!(log.take(), ["second"]);
    assert_eq!((others.ready(), others.live()), (1, 1));
}

#[test]
fn a_step_is_refused_where_a_tick_is() {
    let executor = Executor::new();
    let group = executor.group("g");
    let inside = group.clone();
    let task = executor.spawn(async move { inside.step() }).unwrap();
    let refused = executor.try_block_on(task).unwrap().unwrap().unwrap_err();
    assert_eq!(refused.reason(), Reason::Reentrant);
    let in_phase = executor.with_phase(Phase::instantiating(&group), || group.step());
    assert_eq!(in_phase.unwrap_err().reason(), Reason::PhaseForbids);
    drop(executor);
    let gone: Refused = group.step().unwrap_err();
    assert_eq!(gone.reason(), Reason::Closed);
    assert!(gone.to_string().starts_with("cannot step a group"));
}

#[test]
fn a_task_may_be_named_by_any_kind_of_text() {
    let executor = Executor::new();
    let shared: Arc<str> = "shared".into();
    let names: [TaskName; 4] = [
        "literal".into(),
        String::from("put together").into(),
        Cow::Borrowed("borrowed").into(),
        Arc::clone(&shared).into(),
    ];
    for name in names {
        assert!(format!("{name} {name:?}").contains(name.as_str()));
        let waits = std::future::pending::<()>();
        drop(executor.task().name(name).spawn(waits).unwrap());
    }
    assert_eq!(
        Arc::strong_count(&shared),
        2,
        "the task has the text itself"
    );
    let tasks = executor.snapshot().tasks;
    let names: Vec<_> = tasks
        .iter()
        .filter_map(|task| task.name.as_deref())
        .collect();
    assert_eq!(names, ["literal", "put together", "borrowed", "shared"]);
    drop(executor);
    assert_eq!(Arc::strong_count(&shared), 1);
}
