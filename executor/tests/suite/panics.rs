//! A panic reaches the handle of its task and nobody else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

use crate::common::{self, Log};
use vestibule_executor::{
    Activity, Executor, Hooks, JoinError, PollOutcome, TaskId, TickEnd, yield_now,
};

struct PanicsInDrop(&'static str);

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

fn message(executor: &Executor, task: vestibule_executor::JoinHandle<()>) -> String {
    let error = executor.try_block_on(task).unwrap().unwrap_err();
    error.panic_message().unwrap().to_owned()
}

#[test]
fn a_panic_in_a_poll_goes_to_the_handle_and_the_others_go_on() {
    let executor = Executor::new();
    let log = Log::new();
    let task = executor.spawn(async { panic!("task {}", 1) }).unwrap();
    drop(executor.spawn(log.task("other")).unwrap());
    let tick = executor.tick().unwrap();
    assert_eq!(
        (tick.polled, tick.completed, tick.end),
        (2, 2, TickEnd::Empty)
    );
    assert_eq!(log.take(), ["other"]);
    assert_eq!(message(&executor, task), "task 1");
    assert_eq!(executor.metrics().panicked, 1);
}

#[test]
fn the_future_of_a_panicked_task_is_dropped() {
    let executor = Executor::new();
    let log = Log::new();
    let witness = log.on_drop("dropped");
    let task = executor
        .spawn(async move {
            let _witness = witness;
            panic!("now");
        })
        .unwrap();
    let _ = executor.tick().unwrap();
    assert_eq!(log.take(), ["dropped"]);
    assert!(matches!(
        executor.try_block_on(task),
        Ok(Err(JoinError::Panicked(_)))
    ));
}

#[test]
fn a_wake_after_a_detached_task_has_panicked_is_inert() {
    // maitake: use after free through the current-task pointer.
    let executor = Executor::new();
    let gate = common::Gate::new();
    let waiting = gate.clone();
    let mut polls = 0;
    let task = std::future::poll_fn(move |cx: &mut Context<'_>| -> Poll<()> {
        polls += 1;
        let _ = std::pin::Pin::new(&mut waiting.clone()).poll(cx);
        assert!(polls < 2, "second poll");
        Poll::Pending
    });
    let task = executor.spawn(task).unwrap();
    let _ = executor.tick().unwrap();
    task.wake();
    drop(task);
    let _ = executor.tick().unwrap();
    assert_eq!(executor.metrics().panicked, 1);
    gate.open();
    assert_eq!(executor.metrics().ready, 0);
}

#[test]
fn a_panic_of_the_main_future_goes_through_and_the_executor_stays_usable() {
    // glommio: a second run after a panic hung.
    let executor = Executor::new();
    let log = Log::new();
    drop(executor.spawn(log.task("task")).unwrap());
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        executor.try_block_on(async {
            yield_now().await;
            panic!("main");
        })
    }));
    assert!(unwound.is_err());
    assert_eq!(executor.activity(), Activity::Idle);
    assert_eq!(executor.try_block_on(async { 1 }).unwrap(), 1);
    assert_eq!(log.take(), ["task"]);
}

#[test]
fn a_panic_in_a_destructor_goes_to_the_handle() {
    let executor = Executor::new();
    let bomb = PanicsInDrop("in drop");
    let aborted = executor
        .spawn(async move {
            let _bomb = bomb;
            common::never().await;
        })
        .unwrap();
    let _ = executor.tick().unwrap();
    aborted.abort();
    assert_eq!(message(&executor, aborted), "in drop");
    let bomb = PanicsInDrop("at the end");
    let ended = executor.spawn(std::future::poll_fn(move |_| {
        let _ = &bomb;
        Poll::Ready(())
    }));
    let ended = ended.unwrap();
    let _ = executor.tick().unwrap();
    assert_eq!(message(&executor, ended), "at the end");
}

#[test]
fn a_panic_in_the_destructor_of_an_output_nobody_wants_is_counted_and_dropped() {
    let executor = Executor::new();
    drop(executor.spawn(async { PanicsInDrop("output") }).unwrap());
    let _ = executor.tick().unwrap();
    assert_eq!(executor.metrics().foreign_panics, 1);
    assert_eq!(executor.try_block_on(async { 1 }).unwrap(), 1);
}

#[test]
fn a_panic_in_a_destructor_does_not_stop_the_executor_from_dropping_the_rest() {
    let log = Log::new();
    let executor = Executor::new();
    for name in ["a", "b"] {
        let (bomb, witness) = (PanicsInDrop("bomb"), log.on_drop(name));
        let task = async move {
            let (_witness, _bomb) = (witness, bomb);
            common::never().await;
        };
        drop(executor.spawn(task).unwrap());
    }
    let _ = executor.tick().unwrap();
    drop(executor);
    assert_eq!(log.take(), ["a", "b"]);
}

#[test]
fn a_panicking_waker_of_somebody_elses_harms_nobody() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("waker");
        }
    }
    let executor = Executor::new();
    let mut task = executor.spawn(async { 1 }).unwrap();
    let waker = Waker::from(std::sync::Arc::new(Panics));
    let polled = std::pin::Pin::new(&mut task).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    let _ = executor.tick().unwrap();
    assert_eq!(executor.metrics().foreign_panics, 1);
    assert_eq!(executor.try_block_on(task).unwrap().unwrap(), 1);
}

#[test]
fn a_panicking_hook_is_counted_and_the_poll_goes_on() {
    struct Panics;
    impl Hooks for Panics {
        fn before_poll(&self, _: TaskId) {
            panic!("before");
        }
        fn after_poll(&self, _: TaskId, outcome: PollOutcome) {
            assert_eq!(outcome, PollOutcome::Pending, "after");
        }
    }
    let executor = Executor::builder().hooks(Panics).build();
    let task = executor.spawn(async { 1 }).unwrap();
    assert_eq!(executor.try_block_on(task).unwrap().unwrap(), 1);
    assert_eq!(executor.metrics().foreign_panics, 2);
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_does_not_get_out_of_a_tick() {
    let executor = Executor::new();
    drop(
        executor
            .spawn(async { std::panic::panic_any(PanicsInDrop("payload")) })
            .unwrap(),
    );
    let _ = executor.tick().unwrap();
    assert_eq!(executor.metrics().panicked, 1);
}
