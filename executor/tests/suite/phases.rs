//! Phases stack, end on every way out, and never panic about it.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::rc::Rc;
use std::task::Poll;

use crate::common::{Gate, Log};
use vestibule_executor::{
    Budget, Executor, Handle, Hooks, JoinError, OnBlock, Phase, PhaseEvent, PhaseGuard, PhaseInfo,
    PhaseKind, Reason, Refused, yield_now,
};

#[derive(Debug, PartialEq)]
enum HostError {
    Trap,
    Refused,
}

impl From<Refused> for HostError {
    fn from(_: Refused) -> Self {
        Self::Refused
    }
}

#[test]
fn a_snapshot_names_the_innermost_phase() {
    let executor = Executor::new();
    let store = executor.group("store");
    assert_eq!(executor.phase().kind, PhaseKind::Running);
    let outer = executor
        .enter_phase(Phase::instantiating(&store).label("outer"))
        .unwrap();
    let inner = executor
        .enter_phase(Phase::custom("link", &store.subgroup("part")))
        .unwrap();
    let info = executor.phase();
    assert_eq!(
        (info.kind, info.name.as_deref(), info.depth),
        (PhaseKind::Custom, Some("link"), 2)
    );
    assert_eq!(info.group.as_deref(), Some("part"));
    assert!(inner.commit());
    let info = executor.phase();
    assert_eq!(
        (info.kind, info.label.as_deref(), info.depth),
        (PhaseKind::Instantiating, Some("outer"), 1)
    );
    assert!(outer.commit());
    assert_eq!(executor.phase().depth, 0);
}

#[test]
fn the_place_of_entry_is_the_callers_line_or_what_the_host_says() {
    let executor = Executor::new();
    let store = executor.group("store");
    let guard = executor.enter_phase(Phase::instantiating(&store)).unwrap();
    let here = Location::caller();
    let entered_at = executor.phase().entered_at.unwrap();
    assert!(entered_at.file().ends_with("phases.rs"));
    drop(guard);
    let phase = Phase::instantiating(&store).entered_at(here);
    let guard = executor.enter_phase(phase).unwrap();
    assert_eq!(executor.tick().unwrap_err().entered_at(), Some(here));
    drop(guard);
}

#[test]
fn the_closure_form_commits_on_ok_and_restores_on_error_and_unwind() {
    let executor = Executor::new();
    let store = executor.group("store");
    let events: Rc<RefCell<Vec<PhaseEvent>>> = Rc::default();
    struct Watch(Rc<RefCell<Vec<PhaseEvent>>>);
    impl Hooks for Watch {
        fn on_phase(&self, event: PhaseEvent, _: &PhaseInfo) {
            self.0.borrow_mut().push(event);
        }
    }
    drop(store);
    drop(executor);
    let executor = Executor::builder().hooks(Watch(Rc::clone(&events))).build();
    let store = executor.group("store");
    let phase = || Phase::instantiating(&store);
    assert_eq!(
        executor.with_phase(phase(), || Ok::<i32, HostError>(1)),
        Ok(1)
    );
    assert_eq!(
        executor.with_phase(phase(), || Err::<i32, _>(HostError::Trap)),
        Err(HostError::Trap)
    );
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        executor.with_phase(phase(), || -> Result<(), HostError> { panic!("inside") })
    }));
    assert!(unwound.is_err());
    assert_eq!(executor.phase().depth, 0);
    use PhaseEvent::{Committed, Discarded, Entered};
    let expected = [Entered, Committed, Entered, Discarded, Entered, Discarded];
    assert_eq!(*events.borrow(), expected);
}

#[test]
fn a_hook_is_told_of_an_end_with_the_depth_at_which_the_phase_was() {
    #[derive(Default)]
    struct Depths(Rc<RefCell<Vec<(PhaseEvent, usize)>>>);
    impl Hooks for Depths {
        fn on_phase(&self, event: PhaseEvent, phase: &PhaseInfo) {
            self.0.borrow_mut().push((event, phase.depth));
        }
    }
    let depths = Depths::default();
    let seen = Rc::clone(&depths.0);
    let executor = Executor::builder().hooks(depths).build();
    let store = executor.group("store");
    let outer = executor.enter_phase(Phase::instantiating(&store)).unwrap();
    let inner = executor.enter_phase(Phase::instantiating(&store)).unwrap();
    inner.commit();
    drop(outer);
    use PhaseEvent::{Committed, Discarded, Entered};
    let expected = [(Entered, 1), (Entered, 2), (Committed, 2), (Discarded, 1)];
    assert_eq!(*seen.borrow(), expected);
}

#[test]
fn a_refused_entry_does_not_run_the_closure() {
    let (executor, other) = (Executor::new(), Executor::new());
    let foreign = other.group("foreign");
    let refused = executor.with_phase(Phase::instantiating(&foreign), || -> Result<(), Refused> {
        unreachable!("the closure ran")
    });
    assert_eq!(refused.unwrap_err().reason(), Reason::ForeignGroup);
    executor.shutdown();
    let own = executor.group("late");
    let result = executor.with_phase(Phase::instantiating(&own), || Ok::<(), HostError>(()));
    assert_eq!(result, Err(HostError::Refused));
}

/// Enters three phases and defers one task in each; returns the guards, outermost first.
fn three_phases(executor: &Executor, log: &Log) -> Vec<PhaseGuard> {
    let store = executor.group("store");
    ["a", "b", "c"]
        .into_iter()
        .map(|name| {
            let guard = executor.enter_phase(Phase::custom(name, &store)).unwrap();
            drop(executor.defer(log.task(name)).unwrap());
            guard
        })
        .collect()
}

#[test]
fn guards_ended_in_every_order_and_manner_leave_a_defined_state() {
    let orders: [[usize; 3]; 6] = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for order in orders {
        for commits in 0..8_u32 {
            let executor = Executor::new();
            let log = Log::new();
            let mut guards: Vec<_> = three_phases(&executor, &log)
                .into_iter()
                .map(Some)
                .collect();
            // The model: the depth in force, and which of the three deferred tasks each
            // phase holds.
            let mut held: Vec<Vec<&str>> = vec![vec!["a"], vec!["b"], vec!["c"]];
            let mut released: Vec<&str> = Vec::new();
            for at in order {
                let commit = commits & (1 << at) != 0;
                let guard = guards[at].take().unwrap();
                let ended = if commit {
                    guard.commit()
                } else {
                    guard.discard()
                };
                let in_force = at < held.len();
                assert_eq!(ended, in_force, "{order:?} {commits:b} at {at}");
                if in_force {
                    held.truncate(at + 1);
                    let work = held.pop().unwrap();
                    match held.last_mut() {
                        _ if !commit => {}
                        Some(outer) => outer.extend(work),
                        None => released = work,
                    }
                }
                assert_eq!(executor.phase().depth, held.len());
            }
            let _ = executor.tick().unwrap();
            assert_eq!(log.take(), released, "{order:?} {commits:b}");
            assert_eq!(executor.metrics().live, 0);
        }
    }
}

#[test]
fn a_guard_forgotten_in_a_poll_ends_with_the_poll() {
    let executor = Executor::new();
    let store = executor.group("store");
    let handle = executor.handle();
    let forgetful = async move {
        let guard = handle.enter_phase(Phase::instantiating(&store)).unwrap();
        let forgotten = ManuallyDrop::new(guard);
        let deferred = handle.defer(async {}).unwrap();
        assert_eq!(handle.phase().depth, 1);
        yield_now().await;
        assert_eq!(handle.phase().depth, 0);
        assert!(matches!(deferred.await, Err(JoinError::Discarded)));
        // For the sake of a leak checker.
        drop(ManuallyDrop::into_inner(forgotten));
    };
    let task = executor.spawn(forgetful).unwrap();
    let witness = executor.spawn({
        let handle = executor.handle();
        async move { handle.phase().depth }
    });
    assert_eq!(executor.try_block_on(witness.unwrap()).unwrap().unwrap(), 0);
    executor.try_block_on(task).unwrap().unwrap();
}

#[test]
fn after_a_forgotten_guard_has_ended_with_its_poll_deferring_is_spawning_again() {
    let executor = Executor::new();
    let store = executor.group("store");
    let (handle, guards) = (executor.handle(), Rc::new(RefCell::new(Vec::new())));
    let kept = Rc::clone(&guards);
    let keeps = async move {
        for _ in 0..2 {
            let guard = handle.enter_phase(Phase::instantiating(&store)).unwrap();
            kept.borrow_mut().push(guard);
        }
    };
    let task = executor.spawn(keeps).unwrap();
    executor.try_block_on(task).unwrap().unwrap();
    let task = executor.defer(async { 1 }).unwrap();
    let _ = executor.tick().unwrap();
    assert!(task.is_finished());
    assert!(!guards.borrow_mut().pop().unwrap().commit());
}

#[test]
fn a_guard_held_across_an_await_is_inert_afterwards() {
    let executor = Executor::new();
    let store = executor.group("store");
    let handle = executor.handle();
    let held = async move {
        let guard = handle.enter_phase(Phase::instantiating(&store)).unwrap();
        yield_now().await;
        guard.commit()
    };
    let task = executor.spawn(held).unwrap();
    assert!(!executor.try_block_on(task).unwrap().unwrap());
}

/// The destructor of what the inner phase had deferred ends all phases, also the one that is being
/// committed, and enters as many others.
#[test]
fn a_commit_does_not_end_a_phase_that_a_destructor_entered_in_place_of_its_own() {
    struct Replaces(Rc<RefCell<Vec<PhaseGuard>>>, vestibule_executor::Handle);
    impl Drop for Replaces {
        fn drop(&mut self) {
            let outermost = self.0.borrow_mut().pop();
            assert!(outermost.unwrap().discard());
            assert_eq!(self.1.phase().depth, 0);
            let store = self.1.group("other store");
            for name in ["a", "b"] {
                let guard = self.1.enter_phase(Phase::custom(name, &store)).unwrap();
                self.0.borrow_mut().push(guard);
            }
        }
    }
    let executor = Executor::new();
    let store = executor.group("store");
    let enter = || executor.enter_phase(Phase::instantiating(&store)).unwrap();
    let guards = Rc::new(RefCell::new(vec![enter()]));
    let (committed, inner) = (enter(), enter());
    let replaces = Replaces(Rc::clone(&guards), executor.handle());
    let deferred = executor.defer(async move { drop(replaces) }).unwrap();
    assert!(!committed.commit());
    assert_eq!(executor.phase().name.as_deref(), Some("b"));
    assert!(!inner.commit());
    assert!(deferred.is_finished());
    assert!(guards.borrow_mut().drain(..).rev().all(PhaseGuard::commit));
}

#[test]
fn a_guard_that_outlives_the_executor_is_inert() {
    let executor = Executor::new();
    let store = executor.group("store");
    let guard = executor.enter_phase(Phase::instantiating(&store)).unwrap();
    drop(executor);
    assert!(!guard.commit());
}

#[test]
fn a_guard_forgotten_outside_of_a_poll_stays_in_force_and_is_named_by_the_refusals() {
    let executor = Executor::new();
    let store = executor.group("store");
    let guard = executor.enter_phase(Phase::instantiating(&store)).unwrap();
    let forgotten = ManuallyDrop::new(guard);
    let refused = executor.tick().unwrap_err();
    assert_eq!(refused.reason(), Reason::PhaseForbids);
    let file = file!();
    assert!(refused.to_string().contains(&format!("entered at {file}")));
    drop(executor);
    // For the sake of a leak checker.
    drop(ManuallyDrop::into_inner(forgotten));
}

#[test]
fn a_phase_entered_in_a_poll_does_not_reach_other_tasks_while_it_suspends() {
    let executor = Executor::new();
    let store = executor.group("store");
    let gate = Gate::new();
    let (handle, waiting) = (executor.handle(), gate.clone());
    let instantiation = async move {
        handle
            .with_phase(Phase::instantiating(&store), || Ok::<(), Refused>(()))
            .unwrap();
        waiting.await;
        handle
            .with_phase(Phase::instantiating(&store), || Ok::<(), Refused>(()))
            .unwrap();
    };
    let task = executor.spawn(instantiation).unwrap();
    let _ = executor.tick().unwrap();
    assert_eq!(executor.phase().depth, 0);
    gate.open();
    executor.try_block_on(task).unwrap().unwrap();
}

#[test]
fn unwinding_after_a_refused_call_does_not_panic_again() {
    // tokio #5177.
    let executor = Executor::new();
    let handle = executor.handle();
    struct BlocksInDrop(vestibule_executor::Handle);
    impl Drop for BlocksInDrop {
        fn drop(&mut self) {
            assert!(self.0.try_block_on(async {}).is_err());
        }
    }
    let task = executor
        .spawn(async move {
            let _guard = BlocksInDrop(handle.clone());
            handle.block_on(async {});
        })
        .unwrap();
    let error = executor.try_block_on(task).unwrap().unwrap_err();
    assert!(matches!(error, JoinError::Panicked(_)));
    assert_eq!(executor.try_block_on(async { 1 }).unwrap(), 1);
}

/// What the task that ends the outer phase does besides, and whether another one does it.
fn a_phase_is_left_while_an_outer_one_ends(by_another: bool) {
    let executor = Executor::new();
    let group = executor.group("g");
    let outer = Phase::custom("outer", &group)
        .on_block(vestibule_executor::OnBlock::DriveAll { max_depth: 4 });
    let outer = executor.enter_phase(outer).unwrap();
    let handle = executor.handle();
    let inner = Phase::custom("left", &group);
    let guard = Rc::new(RefCell::new(None));
    let kept = Rc::clone(&guard);
    let leave = move || {
        kept.replace(Some(handle.enter_phase(inner).unwrap()));
    };
    // Kept: where nobody has the handle, a run of polls ends with the task.
    let _tasks = if by_another {
        let ends = executor.spawn(async move { assert!(outer.commit()) });
        [
            ends.unwrap(),
            executor.spawn(async move { leave() }).unwrap(),
        ]
        .into()
    } else {
        let both = executor.spawn(async move {
            assert!(outer.commit());
            leave();
        });
        vec![both.unwrap()]
    };
    executor.tick().unwrap();
    assert_eq!(executor.phase().depth, 0);
    executor.tick().unwrap();
    assert!(!guard.take().unwrap().commit(), "it has ended");
}

#[test]
fn what_a_poll_leaves_in_force_ends_with_it_whatever_other_polls_ended() {
    a_phase_is_left_while_an_outer_one_ends(true);
}

/// The depth is the same before and after, and the phase is another one.
#[test]
fn a_poll_that_ends_an_outer_phase_and_leaves_one_of_its_own_leaves_nothing() {
    a_phase_is_left_while_an_outer_one_ends(false);
}

/// A destructor runs after its task's poll has ended. What it enters there is not the next poll's,
/// also when a drive inside it has ended polls of its own.
#[test]
fn a_phase_that_a_destructor_entered_is_not_discarded_by_the_next_poll() {
    struct Enters(Handle, Rc<Cell<Option<PhaseGuard>>>, bool);
    impl Drop for Enters {
        fn drop(&mut self) {
            let all = |name| {
                let group = self.0.group(name);
                Phase::custom(name, &group).on_block(OnBlock::DriveAll { max_depth: 4 })
            };
            self.1.set(Some(self.0.enter_phase(all("kept")).unwrap()));
            if self.2 {
                let one = Budget::polls(1);
                let tick = self.0.with_phase(all("inner"), || self.0.tick_with(one));
                assert_eq!(tick.unwrap().polled, 1);
            }
        }
    }
    for drives in [false, true] {
        let executor = Executor::new();
        let kept = Rc::default();
        let enters = Enters(executor.handle(), Rc::clone(&kept), drives);
        let entering = std::future::poll_fn(move |_| {
            let _ = &enters;
            Poll::Ready(())
        });
        let other = executor.handle();
        let tasks = (
            executor.spawn(entering).unwrap(),
            executor.spawn(async {}).unwrap(),
            executor
                .spawn(async move {
                    let group = other.group("other");
                    let phase = Phase::custom("other", &group);
                    other.with_phase(phase, || Ok::<_, Refused>(())).unwrap();
                })
                .unwrap(),
        );
        let _ = executor.tick().unwrap();
        assert!(tasks.2.is_finished());
        assert_eq!(executor.phase().depth, 1, "drives: {drives}");
        assert!(kept.take().unwrap().commit(), "drives: {drives}");
    }
}
