//! The feature `blocking-detector`: who put the thread to sleep, and who did not.
#![cfg(target_os = "linux")]

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::Gate;
use vestibule_executor::{Blocked, Executor, Hooks, OnBlock, Phase, PhaseKind, Refused, yield_now};

#[derive(Clone, Default)]
struct Seen(Rc<RefCell<Vec<Blocked>>>);

impl Hooks for Seen {
    fn on_blocked(&self, blocked: &Blocked) {
        self.0.borrow_mut().push(blocked.clone());
    }
}

impl Seen {
    fn take(&self) -> Vec<Blocked> {
        self.0.take()
    }
}

fn watched(threshold: Option<Duration>) -> (Executor, Seen) {
    let seen = Seen::default();
    let mut builder = Executor::builder().hooks(seen.clone());
    if let Some(threshold) = threshold {
        builder = builder.blocking_threshold(threshold);
    }
    (builder.build(), seen)
}

const NAP: Duration = Duration::from_millis(3);

#[test]
fn a_task_that_sleeps_is_reported_with_its_name_its_place_and_the_time() {
    let (executor, seen) = watched(None);
    let lazy = executor.task().name("lazy");
    let task = lazy.spawn(async { sleep(NAP) }).unwrap();
    let _ = executor.tick().unwrap();
    let reports = seen.take();
    let [report] = &reports[..] else {
        panic!("{reports:?}");
    };
    assert_eq!(report.task, Some(task.id()));
    assert_eq!(report.task_name.as_deref(), Some("lazy"));
    assert!(report.duration >= NAP && report.switches.unwrap() > 0 && !report.in_phase);
    let text = report.to_string();
    assert!(
        text.starts_with("task #1 `lazy` blocked the thread for "),
        "{text}"
    );
    assert!(text.contains("blocking_detector.rs"), "{text}");
}

#[test]
fn a_start_function_that_sleeps_is_reported_with_its_label() {
    let (executor, seen) = watched(None);
    let store = executor.group("store");
    let phase = Phase::instantiating(&store).label("start function `$start`");
    executor
        .with_phase(phase, || {
            sleep(NAP);
            Ok::<(), Refused>(())
        })
        .unwrap();
    let reports = seen.take();
    let [report] = &reports[..] else {
        panic!("{reports:?}");
    };
    assert!(report.in_phase && report.task.is_none());
    assert_eq!(report.phase.kind, PhaseKind::Instantiating);
    assert_eq!(report.phase.depth, 1);
    assert!(
        report
            .location
            .unwrap()
            .file()
            .ends_with("blocking_detector.rs")
    );
    let text = report.to_string();
    assert!(
        text.starts_with("code in phase Instantiating (start function `$start`)"),
        "{text}"
    );
}

#[test]
fn computing_is_not_reported_however_long_it_takes() {
    let (executor, seen) = watched(None);
    let compute = async {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(5) {
            std::hint::black_box(0);
        }
    };
    executor.try_block_on(compute).unwrap();
    assert!(seen.take().is_empty());
}

#[test]
fn sleep_below_the_threshold_is_not_reported() {
    let (executor, seen) = watched(Some(Duration::from_secs(5)));
    executor.try_block_on(async { sleep(NAP) }).unwrap();
    assert!(seen.take().is_empty());
}

#[test]
fn sleep_above_the_threshold_that_the_host_sets_is_reported() {
    let (executor, seen) = watched(Some(NAP / 2));
    executor.try_block_on(async { sleep(NAP) }).unwrap();
    let reports = seen.take();
    assert_eq!(reports.len(), 1);
    let text = reports[0].to_string();
    assert!(
        text.starts_with("the main future blocked the thread for "),
        "{text}"
    );
}

#[test]
fn the_executors_own_parking_is_not_reported() {
    let (executor, seen) = watched(None);
    let store = executor.group("store");
    let gate = Gate::new();
    let opened = gate.clone();
    let task = executor.spawn(gate.clone()).unwrap();
    let _ = executor.tick().unwrap();
    let wakers = gate.wakers();
    opened.open();
    let thread = std::thread::spawn(move || {
        sleep(NAP);
        wakers.into_iter().for_each(std::task::Waker::wake);
    });
    let phase = Phase::custom("callback", &store).on_block(OnBlock::DriveAll { max_depth: 1 });
    executor
        .with_phase(phase, || {
            executor.try_block_on(task).unwrap().unwrap();
            Ok::<(), Refused>(())
        })
        .unwrap();
    thread.join().unwrap();
    assert!(seen.take().is_empty());
}

#[test]
fn what_a_nested_poll_slept_is_reported_once_and_for_the_innermost() {
    let (executor, seen) = watched(None);
    let store = executor.group("store");
    let (handle, group) = (executor.handle(), store.clone());
    let outer = executor.task().name("outer").spawn(async move {
        let inner = handle.task().name("inner").group(&group);
        let inner = inner.spawn(async { sleep(NAP) }).unwrap();
        handle
            .with_phase(Phase::instantiating(&group), || {
                handle.block_in_phase(|| inner.is_finished()).unwrap();
                Ok::<(), Refused>(())
            })
            .unwrap();
        yield_now().await;
    });
    drop(outer.unwrap());
    let _ = executor.tick().unwrap();
    let _ = executor.tick().unwrap();
    let names: Vec<_> = seen.take().into_iter().map(|b| b.task_name).collect();
    assert_eq!(names, [Some("inner".into())]);
}

#[test]
fn each_sleep_is_measured_by_itself_whatever_came_before_it() {
    const BEFORE: u64 = 20;
    for _ in 0..BEFORE {
        sleep(NAP / 10);
    }
    let (executor, seen) = watched(None);
    for _ in 0..3 {
        executor.try_block_on(async { sleep(NAP) }).unwrap();
        let reports = seen.take();
        let [report] = &reports[..] else {
            panic!("{reports:?}");
        };
        assert!(report.duration >= NAP, "{report}");
        assert!((1..BEFORE).contains(&report.switches.unwrap()), "{report}");
    }
}

#[test]
fn what_slept_in_a_poll_that_computes_is_not_reported_twice() {
    let (executor, seen) = watched(None);
    let store = executor.group("store");
    let (handle, group) = (executor.handle(), store.clone());
    let outer = executor.task().name("outer").spawn(async move {
        let inner = handle.task().name("inner").group(&group);
        let inner = inner.spawn(async { sleep(NAP) }).unwrap();
        handle
            .with_phase(Phase::instantiating(&group), || {
                handle.block_in_phase(|| inner.is_finished()).unwrap();
                Ok::<(), Refused>(())
            })
            .unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(5) {
            std::hint::black_box(0);
        }
    });
    drop(outer.unwrap());
    let _ = executor.tick().unwrap();
    let names: Vec<_> = seen.take().into_iter().map(|b| b.task_name).collect();
    assert_eq!(names, [Some("inner".into())]);
}
