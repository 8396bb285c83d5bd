//! Deferred work runs when its phase commits, in order, and is discarded otherwise.

use std::cell::RefCell;
use std::rc::Rc;

use crate::common::Log;
use vestibule_executor::{
    Activity, Budget, Executor, Hooks, JoinError, OnBlock, Phase, PhaseKind, Refused, TaskId,
};

#[test]
fn outside_of_a_phase_deferring_is_spawning() {
    let executor = Executor::new();
    let log = Log::new();
    drop(executor.defer(log.task("ran")).unwrap());
    let _ = executor.tick().unwrap();
    assert_eq!(log.take(), ["ran"]);
}

#[test]
fn work_is_released_in_order_after_a_commit_and_behind_what_was_ready() {
    let executor = Executor::new();
    let store = executor.group("store");
    let log = Log::new();
    let guard = executor.enter_phase(Phase::instantiating(&store)).unwrap();
    drop(executor.defer(log.task("first")).unwrap());
    drop(
        executor
            .task()
            .group(&store)
            .name("n")
            .defer(log.task("second"))
            .unwrap(),
    );
    drop(executor.spawn(log.task("spawned")).unwrap());
    assert_eq!((store.live(), store.ready()), (1, 0));
    guard.commit();
    let _ = executor.tick().unwrap();
    assert_eq!(log.take(), ["spawned", "first", "second"]);
}

#[test]
fn deferred_work_is_no_candidate_inside_its_phase_even_when_it_is_woken() {
    let executor = Executor::new();
    let store = executor.group("store");
    let log = Log::new();
    let phase = Phase::instantiating(&store);
    let task = executor.with_phase(phase, || {
        let task = executor
            .task()
            .group(&store)
            .defer(log.task("deferred"))
            .unwrap();
        task.wake();
        assert!(executor.block_in_phase(|| false).is_err());
        assert!(log.take().is_empty());
        Ok::<_, Refused>(task)
    });
    executor.try_block_on(task.unwrap()).unwrap().unwrap();
    assert_eq!(log.take(), ["deferred"]);
}

#[test]
fn discarded_work_is_dropped_after_the_state_is_restored_and_its_handle_says_so() {
    struct Watch(Log);
    impl Hooks for Watch {
        fn on_discarded(&self, _: TaskId, name: Option<&str>) {
            self.0.add(format!("hook {}", name.unwrap_or("-")));
        }
    }
    let log = Log::new();
    let executor = Executor::builder().hooks(Watch(log.clone())).build();
    let store = executor.group("store");
    struct SeesPhase(vestibule_executor::Handle, Log);
    impl Drop for SeesPhase {
        fn drop(&mut self) {
            assert_eq!(self.0.phase().kind, PhaseKind::Running);
            assert_eq!(self.0.activity(), Activity::Idle);
            self.1.add("dropped");
        }
    }
    let guard = executor.enter_phase(Phase::instantiating(&store)).unwrap();
    let witness = SeesPhase(executor.handle(), log.clone());
    let task = executor.task().name("work").defer(async move {
        let _witness = witness;
    });
    guard.discard();
    assert_eq!(log.take(), ["hook work", "dropped"]);
    let error = executor.try_block_on(task.unwrap()).unwrap().unwrap_err();
    assert!(matches!(error, JoinError::Discarded));
}

#[test]
fn tasks_that_were_spawned_and_not_deferred_survive_a_failure() {
    let executor = Executor::new();
    let store = executor.group("store");
    let log = Log::new();
    let failed: Result<(), Refused> = executor.with_phase(Phase::instantiating(&store), || {
        drop(executor.spawn(log.task("spawned")).unwrap());
        drop(executor.defer(log.task("deferred")).unwrap());
        executor.tick().map(drop)
    });
    assert!(failed.is_err());
    let _ = executor.run_until_stalled(Budget::default()).unwrap();
    assert_eq!(log.take(), ["spawned"]);
}

/// Who owns the phases of a nest, outermost first, and which of them commit: what runs?
#[test]
fn an_inner_commit_hands_its_work_to_the_nearest_phase_of_its_scope() {
    for scopes in 0..8_u32 {
        for commits in 0..8_u32 {
            let executor = Executor::new();
            let stores = [executor.group("A"), executor.group("B")];
            let log = Log::new();
            let scope = |level: usize| usize::from(scopes & (1 << level) != 0);
            let mut guards = Vec::new();
            for level in 0..3 {
                // A subgroup: the scope is the root of the tree.
                let group = stores[scope(level)].subgroup(format!("{level}"));
                guards.push(executor.enter_phase(Phase::instantiating(&group)).unwrap());
                drop(executor.defer(log.task(level)).unwrap());
            }
            for (level, guard) in guards.into_iter().enumerate().rev() {
                if commits & (1 << level) != 0 {
                    guard.commit();
                } else {
                    guard.discard();
                }
            }
            let _ = executor.tick().unwrap();
            // Work of level n runs if n commits, and every phase that it is handed to.
            let runs = |mut level: usize| loop {
                if commits & (1 << level) == 0 {
                    return false;
                }
                match (0..level).rev().find(|&outer| scope(outer) == scope(level)) {
                    Some(outer) => level = outer,
                    None => return true,
                }
            };
            let mut ran = log.take();
            ran.sort();
            let expected: Vec<_> = (0..3)
                .filter(|&level| runs(level))
                .map(|l| l.to_string())
                .collect();
            assert_eq!(ran, expected, "scopes {scopes:03b}, commits {commits:03b}");
            assert_eq!(executor.metrics().live, 0);
        }
    }
}

#[test]
fn an_outer_phase_runs_its_own_work_before_what_was_handed_to_it_later() {
    let executor = Executor::new();
    let store = executor.group("store");
    let log = Log::new();
    let outer = executor.enter_phase(Phase::instantiating(&store)).unwrap();
    drop(executor.defer(log.task("outer 1")).unwrap());
    let inner = executor.enter_phase(Phase::instantiating(&store)).unwrap();
    drop(executor.defer(log.task("inner")).unwrap());
    inner.commit();
    drop(executor.defer(log.task("outer 2")).unwrap());
    outer.commit();
    let _ = executor.tick().unwrap();
    assert_eq!(log.take(), ["outer 1", "inner", "outer 2"]);
}

#[test]
fn aborted_deferred_work_is_dropped_at_once_and_not_released() {
    let executor = Executor::new();
    let store = executor.group("store");
    let log = Log::new();
    let guard = executor.enter_phase(Phase::instantiating(&store)).unwrap();
    let witness = log.on_drop("dropped");
    let task = executor.defer(async move { drop(witness) }).unwrap();
    task.abort();
    assert_eq!(log.take(), ["dropped"]);
    guard.commit();
    assert!(matches!(
        executor.try_block_on(task),
        Ok(Err(JoinError::Aborted))
    ));
}

#[test]
fn discarding_work_may_defer_again_and_end_further_phases() {
    let executor = Executor::new();
    let store = executor.group("store");
    let outer = Rc::new(RefCell::new(None));
    *outer.borrow_mut() = Some(executor.enter_phase(Phase::instantiating(&store)).unwrap());
    let inner = executor
        .enter_phase(Phase::custom("inner", &store))
        .unwrap();
    struct EndsOuter(
        vestibule_executor::Handle,
        Rc<RefCell<Option<vestibule_executor::PhaseGuard>>>,
    );
    impl Drop for EndsOuter {
        fn drop(&mut self) {
            drop(self.0.defer(async {}).unwrap());
            let outer = self.1.borrow_mut().take().unwrap();
            assert!(outer.discard());
        }
    }
    let mischief = EndsOuter(executor.handle(), Rc::clone(&outer));
    drop(executor.defer(async move { drop(mischief) }).unwrap());
    assert!(inner.discard());
    assert_eq!(executor.phase().depth, 0);
    assert_eq!(executor.metrics().live, 0);
}

#[test]
fn work_deferred_by_a_driven_task_belongs_to_the_phase_that_drives_it() {
    let executor = Executor::new();
    let store = executor.group("store");
    let log = Log::new();
    let (handle, events) = (executor.handle(), log.clone());
    let task = async move { drop(handle.defer(events.task("deferred")).unwrap()) };
    drop(executor.task().group(&store).spawn(task).unwrap());
    let phase = Phase::instantiating(&store).on_block(OnBlock::DriveGroup);
    let guard = executor.enter_phase(phase).unwrap();
    assert!(executor.block_in_phase(|| false).is_err());
    guard.discard();
    let _ = executor.run_until_stalled(Budget::default()).unwrap();
    assert!(log.take().is_empty());
}
