//! The refusal matrix, as the product of everything that can be attempted and everywhere
//! that it can be attempted from.

use std::cell::Cell;
use std::rc::Rc;

use crate::common::{self, Log};
use vestibule_executor::{
    BlockInPhaseError, BlockOnError, Budget, Executor, Group, Handle, OnBlock, Op, Phase,
    PhaseKind, Reason, Refused, yield_now,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    BlockOn,
    Tick,
    TickWith,
    RunUntilStalled,
    TickUntil,
    BlockInPhase,
    Spawn,
    Defer,
    Wake,
    EnterPhase,
}

const ATTEMPTS: [Attempt; 10] = [
    Attempt::BlockOn,
    Attempt::Tick,
    Attempt::TickWith,
    Attempt::RunUntilStalled,
    Attempt::TickUntil,
    Attempt::BlockInPhase,
    Attempt::Spawn,
    Attempt::Defer,
    Attempt::Wake,
    Attempt::EnterPhase,
];

/// Where the attempt is made: outside or inside of a poll, and in which phase.
#[derive(Clone, Copy, Debug)]
struct Place {
    stack: Stack,
    phase: Option<(PhaseKind, OnBlock)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stack {
    Idle,
    InTask,
    InMainFuture,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ran,
    Refused(Reason),
}

/// The matrix, written down a second time.
fn expected(attempt: Attempt, place: Place) -> Outcome {
    use Attempt::*;
    use Outcome::*;
    let drives = matches!(
        attempt,
        BlockOn | Tick | TickWith | RunUntilStalled | TickUntil
    );
    match (place.phase.map(|(_, on_block)| on_block), place.stack) {
        (_, _) if !drives && attempt != BlockInPhase => Ran,
        (Some(OnBlock::DriveAll { max_depth: 0 }), _) => Refused(Reason::TooDeep),
        (Some(OnBlock::DriveAll { .. }), _) => Ran,
        (Some(OnBlock::DriveGroup), _) if attempt == BlockInPhase => Ran,
        (Some(_), _) => Refused(Reason::PhaseForbids),
        (None, _) if attempt == BlockInPhase => Refused(Reason::NoPhase),
        (None, Stack::Idle) => Ran,
        (None, _) if attempt == BlockOn => Refused(Reason::Nested),
        (None, _) => Refused(Reason::Reentrant),
    }
}

fn refused(result: Result<(), Refused>) -> (Outcome, Option<Refused>) {
    match result {
        Ok(()) => (Outcome::Ran, None),
        Err(refused) => (Outcome::Refused(refused.reason()), Some(refused)),
    }
}

/// Makes the attempt; `ready` says whether what it would wait for is there already.
fn attempt(
    attempt: Attempt,
    handle: &Handle,
    group: &Group,
    ready: bool,
) -> (Outcome, Option<Refused>) {
    match attempt {
        Attempt::BlockOn => {
            let future = async move {
                if !ready {
                    yield_now().await;
                }
            };
            match handle.try_block_on(future) {
                Ok(()) => (Outcome::Ran, None),
                Err(BlockOnError::Refused(value)) => refused(Err(value)),
                Err(other) => panic!("{other}"),
            }
        }
        Attempt::Tick => refused(handle.tick().map(drop)),
        Attempt::TickWith => refused(handle.tick_with(Budget::default()).map(drop)),
        Attempt::RunUntilStalled => refused(handle.run_until_stalled(Budget::default()).map(drop)),
        Attempt::TickUntil => refused(handle.tick_until(Budget::default(), || ready).map(drop)),
        Attempt::BlockInPhase => {
            let done = Rc::new(Cell::new(ready));
            let setter = Rc::clone(&done);
            let helper = handle
                .task()
                .group(group)
                .spawn(async move { setter.set(true) })
                .unwrap();
            let outcome = match handle.block_in_phase(|| done.get()) {
                Ok(()) => (Outcome::Ran, None),
                Err(BlockInPhaseError::Refused(value)) => refused(Err(value)),
                Err(other) => panic!("{other}"),
            };
            helper.abort();
            outcome
        }
        Attempt::Spawn => refused(handle.spawn(async {}).map(drop).map_err(Into::into)),
        Attempt::Defer => refused(handle.defer(async {}).map(drop).map_err(Into::into)),
        Attempt::Wake => {
            let sleeper = handle.spawn(common::never()).unwrap();
            sleeper.wake();
            sleeper.abort();
            (Outcome::Ran, None)
        }
        Attempt::EnterPhase => {
            refused(handle.with_phase(Phase::custom("inner", group), || Ok::<(), Refused>(())))
        }
    }
}

fn in_place<R>(handle: &Handle, group: &Group, place: Place, f: impl FnOnce() -> R) -> R {
    let Some((kind, on_block)) = place.phase else {
        return f();
    };
    let phase = match kind {
        PhaseKind::Instantiating => Phase::instantiating(group),
        _ => Phase::custom("test", group),
    };
    let phase = phase.on_block(on_block).label("the label");
    handle.with_phase(phase, || Ok::<R, Refused>(f())).unwrap()
}

fn places() -> Vec<Place> {
    let kinds = [PhaseKind::Instantiating, PhaseKind::Custom];
    let policies = [
        OnBlock::Refuse,
        OnBlock::DriveGroup,
        OnBlock::DriveAll { max_depth: 0 },
        OnBlock::DriveAll { max_depth: 1 },
    ];
    let mut places = Vec::new();
    for stack in [Stack::Idle, Stack::InTask, Stack::InMainFuture] {
        places.push(Place { stack, phase: None });
        for kind in kinds {
            for policy in policies {
                let phase = Some((kind, policy));
                places.push(Place { stack, phase });
            }
        }
    }
    places
}

/// Makes one attempt in one place, and checks what it did to a bystander.
fn check(what: Attempt, place: Place, ready: bool) {
    let executor = Executor::new();
    let group = executor.group("group");
    let log = Log::new();
    let body = {
        let (handle, group, log) = (executor.handle(), group.clone(), log.clone());
        move || {
            in_place(&handle, &group, place, || {
                // Ready, outside of the group, and not to be lost.
                drop(handle.spawn(log.task("bystander")).unwrap());
                let (outcome, refused) = attempt(what, &handle, &group, ready);
                if outcome != Outcome::Ran {
                    assert!(log.take().is_empty(), "a refusal polled something");
                    assert_eq!(handle.metrics().refused, 1);
                }
                log.add("attempted");
                (outcome, refused)
            })
        }
    };
    let (outcome, refused) = match place.stack {
        Stack::Idle => body(),
        Stack::InTask => {
            let task = executor
                .task()
                .name("the task")
                .spawn(async move { body() })
                .unwrap();
            executor.try_block_on(task).unwrap().unwrap()
        }
        Stack::InMainFuture => executor.try_block_on(async move { body() }).unwrap(),
    };
    let context = format!("{what:?} in {place:?}, ready: {ready}");
    assert_eq!(outcome, expected(what, place), "{context}");
    if let Some(refused) = refused {
        check_text(&refused, place, &context);
    }
    // Whatever happened, the bystander ran exactly once in the end.
    let _ = executor.run_until_stalled(Budget::default()).unwrap();
    let mut events = log.take();
    events.sort();
    assert_eq!(events, ["attempted", "bystander"], "{context}");
    assert_eq!(executor.metrics().live, 0, "{context}");
}

fn check_text(refused: &Refused, place: Place, context: &str) {
    let text = refused.to_string();
    assert!(text.contains("refusal_matrix.rs"), "{context}: {text}");
    assert!(text.contains("instead: "), "{context}: {text}");
    assert_eq!(
        text.contains("the label"),
        place.phase.is_some(),
        "{context}: {text}"
    );
    assert_eq!(
        text.contains("`the task`"),
        place.stack == Stack::InTask,
        "{context}: {text}"
    );
    assert_eq!(
        refused.phase_kind(),
        place.phase.map_or(PhaseKind::Running, |(kind, _)| kind)
    );
    assert_eq!(
        refused.depth(),
        u32::from(place.stack != Stack::Idle),
        "{context}"
    );
    if place.phase.is_some() || place.stack != Stack::Idle {
        assert!(refused.entered_at().is_some(), "{context}: {text}");
    }
}

#[test]
fn every_attempt_in_every_place_has_the_outcome_of_the_matrix_ready_or_not() {
    let mut cases = 0;
    for place in places() {
        for what in ATTEMPTS {
            for ready in [false, true] {
                check(what, place, ready);
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 3 * 9 * 10 * 2);
}

#[test]
fn everything_is_refused_by_an_executor_that_was_shut_down_or_dropped() {
    for gone in [false, true] {
        let executor = Executor::new();
        let handle = executor.handle();
        let group = handle.group("group");
        handle.shutdown();
        let keep = (!gone).then_some(executor);
        for what in ATTEMPTS {
            if what == Attempt::Wake || what == Attempt::BlockInPhase {
                continue; // they need a task first
            }
            let (outcome, _) = attempt(what, &handle, &group, true);
            assert_eq!(
                outcome,
                Outcome::Refused(Reason::Closed),
                "{what:?}, gone: {gone}"
            );
        }
        let blocked = handle.block_in_phase(|| true).unwrap_err();
        assert!(
            matches!(blocked, BlockInPhaseError::Refused(refused) if refused.reason() == Reason::Closed)
        );
        drop(keep);
    }
}

#[test]
fn the_scope_is_one_executor_and_never_the_thread() {
    let (outer, inner) = (Executor::new(), Executor::new());
    let handle = inner.handle();
    let answer = outer
        .try_block_on(async move { handle.try_block_on(async { 7 }).unwrap() })
        .unwrap();
    assert_eq!(answer, 7);
}

#[test]
fn block_on_panics_with_the_text_of_the_refusal() {
    let executor = Executor::new();
    let handle = executor.handle();
    let task = executor
        .spawn(async move { handle.block_on(async {}) })
        .unwrap();
    let error = executor.try_block_on(task).unwrap().unwrap_err();
    let text = error.panic_message().unwrap();
    assert!(
        text.starts_with("cannot block on a future: this executor is polling a task already"),
        "{text}"
    );
}

#[test]
fn a_host_makes_refusals_of_its_own_with_the_state_filled_in() {
    let executor = Executor::new();
    let group = executor.group("store");
    let phase = Phase::instantiating(&group).label("component `a`");
    let guard = executor.enter_phase(phase).unwrap();
    let refused = executor.refuse(Op::Other("use the store"), Reason::StoreBusy);
    assert!(guard.discard());
    assert_eq!(
        (refused.op(), refused.reason()),
        (Op::Other("use the store"), Reason::StoreBusy)
    );
    assert_eq!(refused.phase_label(), Some("component `a`"));
    assert_eq!(refused.group(), Some("store"));
    assert!(
        refused
            .to_string()
            .starts_with("cannot use the store: the store is running guest code")
    );
}

#[test]
fn a_refusal_names_the_task_the_phase_and_how_deep_they_nest() {
    let executor = Executor::new();
    let (handle, group) = (executor.handle(), executor.group("store"));
    let task = executor.task().name("builder").spawn(async move {
        let outer = handle.enter_phase(Phase::custom("build", &group)).unwrap();
        let once = handle.tick().unwrap_err();
        let inner = handle
            .enter_phase(Phase::instantiating(&group).label("inner"))
            .unwrap();
        let twice = handle.tick().unwrap_err();
        drop((inner, outer));
        (once, twice, handle.tick().unwrap_err())
    });
    let task = task.unwrap();
    let id = task.id();
    let (once, twice, none) = executor.try_block_on(task).unwrap().unwrap();
    for refused in [&once, &twice, &none] {
        assert_eq!(
            (refused.task(), refused.task_name()),
            (Some(id), Some("builder"))
        );
        assert_eq!(refused.depth(), 1);
        let task = format!("; running task {id} `builder`, poll depth 1;");
        assert!(refused.to_string().contains(&task), "{refused}");
    }
    let facts = |refused: &Refused| {
        let name = refused.phase_name().map(str::to_owned);
        let label = refused.phase_label().map(str::to_owned);
        let group = refused.group().map(str::to_owned);
        (
            refused.phase_kind(),
            name,
            label,
            group,
            refused.phase_depth(),
        )
    };
    let (build, inner, store) = ("build".to_owned(), "inner".to_owned(), "store".to_owned());
    assert_eq!(
        facts(&once),
        (PhaseKind::Custom, Some(build), None, Some(store.clone()), 1)
    );
    assert_eq!(
        facts(&twice),
        (PhaseKind::Instantiating, None, Some(inner), Some(store), 2)
    );
    assert_eq!(facts(&none), (PhaseKind::Running, None, None, None, 0));
    assert!(
        once.to_string()
            .contains("; phase `build` of group `store`; running"),
        "{once}"
    );
    assert!(
        twice
            .to_string()
            .contains("; phase Instantiating (inner) of group `store`, 2 phases deep;"),
        "{twice}"
    );
    assert!(none.to_string().contains("; no phase; running"), "{none}");
    let debugged = format!("{twice:?}");
    for part in [
        "Tick",
        "PhaseForbids",
        "Instantiating",
        "inner",
        "depth: 1",
        "refusal_matrix.rs",
    ] {
        assert!(debugged.contains(part), "{part} is not in {debugged}");
    }
    // Outside of any poll there is neither task nor depth to name.
    let phase = Phase::custom("idle", &executor.group("g"));
    let guard = executor.enter_phase(phase).unwrap();
    let refused = executor.tick().unwrap_err();
    drop(guard);
    assert_eq!((refused.task(), refused.depth()), (None, 0));
    assert!(!refused.to_string().contains("depth"), "{refused}");
    assert!(!refused.to_string().contains("running task"), "{refused}");
}
