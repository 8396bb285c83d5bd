//! What the panic of a task does beyond ending it, by policy.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::common::{self, Log};
use vestibule_executor::{
    BlockOnError, Executor, JoinError, PanicPolicy, Phase, Reason, Refused, yield_now,
};

fn with(policy: PanicPolicy) -> Executor {
    Executor::builder().on_panic(policy).build()
}

fn text(payload: &(dyn std::any::Any + Send)) -> &str {
    payload.downcast_ref::<&str>().copied().unwrap_or("?")
}

#[test]
fn the_panic_of_a_detached_task_stays_inside_by_default() {
    let executor = Executor::new();
    drop(executor.spawn(async { panic!("unseen") }).unwrap());
    assert_eq!(executor.tick().unwrap().completed, 1);
    assert_eq!(executor.metrics().panicked, 1);
}

#[test]
fn the_panic_of_a_detached_task_goes_on_through_the_drive_and_the_rest_survives() {
    let executor = with(PanicPolicy::ResumeDetached);
    let log = Log::new();
    let witness = log.on_drop("its future");
    drop(
        executor
            .spawn(async move {
                let _witness = witness;
                yield_now().await;
                panic!("detached");
            })
            .unwrap(),
    );
    let spawner = executor.send_spawner();
    drop(spawner.spawn(async { panic!("remote") }).unwrap());
    let other = executor.spawn(log.task("other")).unwrap();
    let mut panics = Vec::new();
    while executor.metrics().live > 0 || panics.is_empty() {
        match catch_unwind(AssertUnwindSafe(|| executor.tick().map(drop))) {
            Ok(result) => result.unwrap(),
            Err(payload) => panics.push(text(&*payload).to_owned()),
        }
        assert_eq!(executor.activity(), vestibule_executor::Activity::Idle);
    }
    panics.sort();
    assert_eq!(panics, ["detached", "remote"]);
    let mut events = log.take();
    events.sort();
    assert_eq!(events, ["its future", "other"]);
    assert!(other.is_finished());
    assert_eq!(executor.metrics().panicked, 2);
}

#[test]
fn the_panic_of_a_task_with_a_handle_goes_to_the_handle_alone() {
    let executor = with(PanicPolicy::ResumeDetached);
    let task = executor.spawn(async { panic!("awaited") }).unwrap();
    let kept = task.abort_on_drop().detach();
    let _ = executor.tick().unwrap();
    let outcome = executor.try_block_on(kept).unwrap();
    assert_eq!(outcome.unwrap_err().panic_message(), Some("awaited"));
    let spawner = executor.send_spawner();
    let kept = spawner.spawn(async { panic!("awaited elsewhere") });
    let _ = executor.tick().unwrap();
    let outcome = executor.try_block_on(kept.unwrap()).unwrap();
    assert_eq!(
        outcome.unwrap_err().panic_message(),
        Some("awaited elsewhere")
    );
}

#[test]
fn a_resumed_panic_restores_phases_and_main_futures_on_its_way() {
    let executor = with(PanicPolicy::ResumeDetached);
    let group = executor.group("g");
    let blocked = catch_unwind(AssertUnwindSafe(|| {
        executor.with_phase(Phase::instantiating(&group), || {
            let task = executor.task().group(&group);
            drop(task.spawn(async { panic!("in the group") }).unwrap());
            executor.block_in_phase(|| false).unwrap();
            Ok::<(), Refused>(())
        })
    }));
    assert_eq!(text(&*blocked.unwrap_err()), "in the group");
    assert_eq!(executor.phase().depth, 0);
    drop(executor.spawn(async { panic!("under a main") }).unwrap());
    let blocked = catch_unwind(AssertUnwindSafe(|| executor.try_block_on(common::never())));
    assert_eq!(text(&*blocked.unwrap_err()), "under a main");
    assert_eq!(executor.try_block_on(async { 3 }).unwrap(), 3);
}

#[test]
fn the_first_panic_shuts_the_executor_down_after_it_was_answered() {
    let executor = with(PanicPolicy::ShutDown);
    let bystander = executor.spawn(common::never()).unwrap();
    let task = executor.spawn(async { panic!("the first") }).unwrap();
    let error = executor.try_block_on(common::never()).unwrap_err();
    assert!(matches!(error, BlockOnError::Refused(refused) if refused.reason() == Reason::Closed));
    let outside = Executor::new();
    let outcome = outside.try_block_on(task).unwrap();
    assert_eq!(outcome.unwrap_err().panic_message(), Some("the first"));
    let outcome = outside.try_block_on(bystander).unwrap();
    assert!(matches!(outcome, Err(JoinError::ExecutorGone)));
}
