//! What a person reads who prints our values while looking for a bug.

use crate::common;
use vestibule_executor::{
    BlockInPhaseError, BlockOnError, Budget, CannotPark, ChoiceTrace, Executor, JoinError, JoinSet,
    Op, Phase, PhaseKind, Reason, Schedule, TaskState, WakeSource,
};

#[test]
fn an_executor_and_its_handle_say_what_they_are_doing() {
    let executor = Executor::new();
    let text = format!("{executor:?}");
    assert!(
        text.starts_with("Executor { activity: Idle, metrics: Metrics { spawned: 0,"),
        "{text}"
    );
    assert_eq!(
        format!("{:?}", executor.handle()),
        "Handle { activity: Idle, .. }"
    );
    let handle = executor.handle();
    drop(executor);
    assert_eq!(format!("{handle:?}"), "Handle { activity: Closed, .. }");
}

#[test]
fn a_builder_names_the_schedule() {
    let builder = Executor::builder().schedule(Schedule::Shuffle { seed: 7 });
    assert_eq!(
        format!("{builder:?}"),
        "Builder { schedule: Shuffle { seed: 7 }, .. }"
    );
}

#[test]
fn guards_of_phases_are_told_apart() {
    let executor = Executor::new();
    let store = executor.group("store");
    let outer = executor.enter_phase(Phase::instantiating(&store)).unwrap();
    let inner = executor.enter_phase(Phase::instantiating(&store)).unwrap();
    let texts = [format!("{outer:?}"), format!("{inner:?}")];
    assert!(texts[0].starts_with("PhaseGuard { serial: "), "{texts:?}");
    assert_ne!(texts[0], texts[1]);
}

#[test]
fn a_handle_of_a_task_names_it_and_says_whether_it_has_ended() {
    let executor = Executor::new();
    let task = executor.spawn(async {}).unwrap();
    let id = task.id();
    assert_eq!(
        (format!("{id}"), format!("{id:?}")),
        ("#1".into(), "TaskId(#1)".into())
    );
    assert_eq!(
        format!("{task:?}"),
        "JoinHandle { id: TaskId(#1), finished: false }"
    );
    let _ = executor.tick().unwrap();
    assert_eq!(
        format!("{task:?}"),
        "JoinHandle { id: TaskId(#1), finished: true }"
    );
    assert_eq!(
        format!("{:?}", task.abort_on_drop()),
        "AbortOnDrop(Some(JoinHandle { id: TaskId(#1), finished: true }))"
    );
}

#[test]
fn a_set_says_how_many_tasks_it_has_and_how_many_have_ended() {
    let executor = Executor::new();
    let mut set = JoinSet::new(&executor);
    set.spawn(async {}).unwrap();
    set.spawn(common::never()).unwrap();
    let _ = executor.tick().unwrap();
    assert_eq!(format!("{set:?}"), "JoinSet { tasks: 2, ended: 1 }");
}

#[test]
fn spawners_and_builders_say_what_their_executor_is_doing() {
    let executor = Executor::new();
    let (local, remote) = (executor.spawner(), executor.send_spawner());
    let builder = executor.task().name("n");
    assert_eq!(format!("{local:?}"), "LocalSpawner { core: Idle }");
    assert_eq!(
        format!("{builder:?}"),
        "TaskBuilder { core: Idle, whom: Whom { name: Some(\"n\"), group: None } }"
    );
    assert_eq!(format!("{remote:?}"), "Spawner { remote: Remote { .. } }");
    let task = remote.spawn(async {}).unwrap();
    assert_eq!(
        format!("{task:?}"),
        "RemoteJoinHandle { finished: false, .. }"
    );
    let _ = executor.tick().unwrap();
    assert_eq!(
        format!("{task:?}"),
        "RemoteJoinHandle { finished: true, .. }"
    );
    drop(executor);
    assert_eq!(format!("{local:?}"), "LocalSpawner { core: Closed }");
}

#[test]
fn a_future_that_could_not_be_spawned_gives_the_refusal_for_a_text() {
    let executor = Executor::new();
    let handle = executor.handle();
    drop(executor);
    let error = handle.spawn(async {}).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("cannot spawn a task: the executor has shut down;"),
        "{text}"
    );
    assert_eq!(text, error.refused().to_string());
    let debug = format!("{error:?}");
    assert!(
        debug.starts_with("SpawnError(Refused { op: Spawn, reason: Closed, "),
        "{debug}"
    );
    assert_eq!(error.into_refused().to_string(), text);
}

#[test]
fn a_refusal_shows_its_facts_to_who_debugs() {
    let executor = Executor::new();
    let refused = executor.block_in_phase(|| true).unwrap_err();
    let BlockInPhaseError::Refused(refused) = refused else {
        panic!("{refused}")
    };
    let debug = format!("{refused:?}");
    let facts = "Refused { op: BlockInPhase, reason: NoPhase, phase: Running, label: None, \
                 depth: 0, task: None, entered_at: None, attempted_at: \"";
    assert!(debug.starts_with(facts), "{debug}");
}

#[test]
fn what_was_attempted_is_put_in_words() {
    for (op, words) in [
        (Op::BlockOn, "block on a future"),
        (Op::Tick, "tick"),
        (Op::RunUntilStalled, "run until stalled"),
        (Op::RunUntil, "run until a future is done"),
        (Op::Step, "step a group"),
        (Op::BlockInPhase, "block in the phase"),
        (Op::Spawn, "spawn a task"),
        (Op::Defer, "defer a task"),
        (Op::EnterPhase, "enter a phase"),
        (Op::Other("use the store"), "use the store"),
    ] {
        assert_eq!(op.to_string(), words);
        let refused = Executor::new().refuse(op, Reason::Other("of the host's"));
        let text = refused.to_string();
        assert!(
            text.starts_with(&format!(
                "cannot {words}: of the host's; no phase; attempted at "
            )),
            "{text}"
        );
    }
}

#[test]
fn errors_say_what_happened() {
    let executor = Executor::new();
    let refused = executor.refuse(Op::Tick, Reason::Reentrant);
    let text = refused.to_string();
    assert_eq!(BlockOnError::from(refused.clone()).to_string(), text);
    assert_eq!(BlockInPhaseError::from(refused).to_string(), text);
    assert_eq!(
        BlockInPhaseError::NothingReady.to_string(),
        "no task of the phase's group is ready"
    );
    assert_eq!(CannotPark.to_string(), "this thread may not sleep");
    let stalled = executor.try_block_on(common::never()).unwrap_err();
    assert!(
        stalled
            .to_string()
            .starts_with("deadlock: the future is pending and nothing is ready; 0 tasks wait, "),
        "{stalled}"
    );
    for (error, display, debug) in [
        (JoinError::Aborted, "the task was aborted", "Aborted"),
        (
            JoinError::Discarded,
            "the task was deferred in a phase that did not commit",
            "Discarded",
        ),
        (
            JoinError::Panicked(Box::new("text")),
            "the task panicked: text",
            "Panicked(Some(\"text\"))",
        ),
        (
            JoinError::Panicked(Box::new(7)),
            "the task panicked",
            "Panicked(None)",
        ),
        (
            JoinError::ExecutorGone,
            "the task's executor shut down",
            "ExecutorGone",
        ),
    ] {
        assert_eq!(error.to_string(), display);
        assert_eq!(format!("{error:?}"), debug);
    }
    let error = "3:x".parse::<ChoiceTrace>().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("`3:x` is no choice: expected such as `3:1`")
    );
}

#[test]
fn the_words_of_a_snapshot_are_plain() {
    assert_eq!(PhaseKind::Instantiating.to_string(), "Instantiating");
    let states = [
        TaskState::Ready,
        TaskState::Polling,
        TaskState::Waiting,
        TaskState::Deferred,
    ];
    let states = states.map(|state| state.to_string());
    assert_eq!(states, ["ready", "polling", "waiting", "deferred"]);
    let executor = Executor::new();
    let id = executor.spawn(async {}).unwrap().id();
    let sources = [
        WakeSource::Spawn,
        WakeSource::Task(id),
        WakeSource::MainFuture,
        WakeSource::Owner,
        WakeSource::Thread,
    ];
    let sources = sources.map(|source| source.to_string());
    assert_eq!(
        sources,
        ["spawn", "task #1", "main future", "owner", "thread"]
    );
}

#[test]
fn a_run_inside_another_executor_shows_its_budget() {
    let executor = Executor::new();
    let run = executor.run_until(common::never()).budget(Budget::polls(3));
    let budget = Budget::polls(3);
    assert_eq!(
        format!("{run:?}"),
        format!("RunUntil {{ budget: {budget:?}, .. }}")
    );
}

#[test]
fn a_local_waker_says_whom_it_wakes() {
    let executor = Executor::new();
    let handle = executor.handle();
    let prints = std::future::poll_fn(move |cx| {
        let waker = handle.local_waker(cx).unwrap();
        std::task::Poll::Ready(format!("{waker:?}"))
    });
    let task = executor.spawn(prints).unwrap();
    let id = task.id();
    let text = executor.try_block_on(task).unwrap().unwrap();
    assert_eq!(text, format!("LocalWaker({id:?})"));
}
