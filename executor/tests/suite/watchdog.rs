//! What another thread sees of the executor.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::common;
use vestibule_executor::{
    Activity, Executor, Hooks, OnBlock, Phase, PhaseKind, Refused, Sighting, TaskId, Watchdog,
};

/// Looks from another thread.
fn look(watchdog: &Watchdog) -> Sighting {
    let watchdog = watchdog.clone();
    std::thread::spawn(move || watchdog.look()).join().unwrap()
}

#[test]
fn every_activity_and_phase_is_seen_from_another_thread() {
    #[derive(Default, Clone)]
    struct Looks(Rc<RefCell<(Option<Watchdog>, Option<Sighting>)>>);
    impl Hooks for Looks {
        fn before_poll(&self, _: TaskId) {
            let watchdog = self.0.borrow().0.clone().unwrap();
            self.0.borrow_mut().1 = Some(look(&watchdog));
        }
    }
    let hooks = Looks::default();
    let executor = Executor::builder().hooks(hooks.clone()).build();
    let watchdog = executor.watchdog();
    hooks.0.borrow_mut().0 = Some(watchdog.clone());
    let idle = look(&watchdog);
    assert_eq!(
        (idle.activity, idle.task, idle.polls),
        (Activity::Idle, None, 0)
    );
    assert_eq!((idle.phase, idle.unchanged_for), (PhaseKind::Running, None));

    let group = executor.group("g");
    let (handle, inner_group, view) = (executor.handle(), group.clone(), watchdog.clone());
    let task = executor
        .spawn(async move {
            let inner_view = view.clone();
            let inner = handle
                .task()
                .group(&inner_group)
                .spawn(async move { look(&inner_view) })
                .unwrap();
            let phase = Phase::instantiating(&inner_group);
            let seen = handle
                .with_phase(phase, || {
                    handle.block_in_phase(|| inner.is_finished()).unwrap();
                    Ok::<_, Refused>(look(&view))
                })
                .unwrap();
            (seen, inner)
        })
        .unwrap();
    let number = task.id().number();
    let (outer, inner) = executor.try_block_on(task).unwrap().unwrap();
    assert_eq!(outer.activity, Activity::Polling { depth: 1 });
    assert_eq!(
        (outer.phase, outer.task),
        (PhaseKind::Instantiating, Some(number))
    );
    let inner_number = inner.id().number();
    let deep = executor.try_block_on(inner).unwrap().unwrap();
    assert_eq!(deep.activity, Activity::Polling { depth: 2 });
    assert_eq!(deep.task, Some(inner_number));
    assert!(deep.polls > 1);
    let driving = hooks.0.borrow().1.unwrap();
    assert_eq!(driving.activity, Activity::Polling { depth: 1 });

    let custom = Phase::custom("mine", &group).on_block(OnBlock::Refuse);
    let in_custom = executor.with_phase(custom, || Ok::<_, Refused>(look(&watchdog)));
    assert_eq!(in_custom.unwrap().phase, PhaseKind::Custom);
    assert_eq!(look(&watchdog).phase, PhaseKind::Running);
    drop(executor);
    assert_eq!(look(&watchdog).activity, Activity::Closed);
}

#[test]
fn a_parked_executor_and_a_stuck_poll_are_told_apart_and_timed() {
    let executor = Executor::builder().stamps(true).build();
    let watchdog = executor.watchdog();
    let (release, released) = mpsc::channel::<()>();
    let spawner = executor.send_spawner();
    let thread = std::thread::spawn(move || {
        let until = |wanted: fn(&Sighting) -> bool| {
            let start = Instant::now();
            loop {
                let seen = watchdog.look();
                if wanted(&seen) {
                    return seen;
                }
                assert!(start.elapsed() < Duration::from_secs(10), "{seen:?}");
                std::thread::yield_now();
            }
        };
        until(|seen| seen.activity == Activity::Parked);
        drop(spawner.spawn_with(move || async move { released.recv().unwrap() }));
        let long = Duration::from_millis(2);
        let stuck = until(|seen| {
            seen.task.is_some() && seen.unchanged_for > Some(Duration::from_millis(2))
        });
        assert!(stuck.unchanged_for.unwrap() > long);
        assert_eq!(watchdog.look().polls, stuck.polls);
        release.send(()).unwrap();
        drop(spawner);
    });
    assert!(executor.try_block_on(common::never()).is_err());
    thread.join().unwrap();
}
