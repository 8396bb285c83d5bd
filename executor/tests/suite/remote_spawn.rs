//! Tasks spawned from other threads run, end and are dropped on the owner's thread.

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, ThreadId};

use crate::common;
use futures_task::{LocalSpawn, Spawn};
use vestibule_executor::{Executor, JoinError, Reason};

struct TellsThread(mpsc::Sender<ThreadId>);

impl Drop for TellsThread {
    fn drop(&mut self) {
        self.0.send(thread::current().id()).unwrap();
    }
}

#[test]
fn a_task_from_another_thread_runs_and_its_end_is_seen_there() {
    let executor = Executor::new();
    let spawner = executor.send_spawner();
    let other = thread::spawn(move || {
        let task = spawner.spawn(async { 6 * 7 }).unwrap();
        drop(spawner);
        // This thread has an executor of its own.
        Executor::new().try_block_on(task).unwrap().unwrap()
    });
    while !other.is_finished() {
        let _ = executor.tick().unwrap();
        thread::yield_now();
    }
    assert_eq!(other.join().unwrap(), 42);
}

#[test]
fn a_closure_is_sent_and_its_future_need_not_be() {
    let executor = Executor::new();
    let spawner = executor.send_spawner();
    let task = thread::spawn(move || {
        spawner
            .spawn_with(|| {
                let local = Rc::new(5);
                async move { *local }
            })
            .unwrap()
    });
    let task = task.join().unwrap();
    assert_eq!(executor.try_block_on(task).unwrap().unwrap(), 5);
}

#[test]
fn a_future_is_dropped_on_the_owners_thread_however_it_ends() {
    // RUSTSEC-2021-0072 (tokio): a future was dropped on the thread that aborted it.
    for end in [
        "completes",
        "aborted before it starts",
        "aborted later",
        "executor gone",
    ] {
        let executor = Executor::new();
        let spawner = executor.send_spawner();
        let (sender, dropped) = mpsc::channel();
        let task = thread::spawn(move || {
            let tells = TellsThread(sender);
            let task = async move {
                if end != "completes" {
                    common::never().await;
                }
                drop(tells);
            };
            spawner.spawn(task).unwrap()
        });
        let task = task.join().unwrap();
        if end != "aborted before it starts" && end != "executor gone" {
            let _ = executor.tick().unwrap();
        }
        let task = thread::spawn(move || {
            if end.starts_with("aborted") {
                task.abort();
            }
            task
        });
        let task = task.join().unwrap();
        if end == "executor gone" {
            drop(executor);
        } else {
            let _ = executor.tick().unwrap();
        }
        assert_eq!(dropped.recv().unwrap(), thread::current().id(), "{end}");
        assert!(task.is_finished(), "{end}");
        let outcome = Executor::new().try_block_on(task).unwrap();
        match end {
            "completes" => assert!(outcome.is_ok()),
            "executor gone" => assert!(matches!(outcome, Err(JoinError::ExecutorGone))),
            _ => assert!(
                matches!(outcome, Err(JoinError::Aborted)),
                "{end}: {outcome:?}"
            ),
        }
    }
}

#[test]
fn a_closure_whose_task_was_aborted_before_it_started_is_not_called() {
    let executor = Executor::new();
    let spawner = executor.send_spawner();
    let task = spawner
        .spawn_with(|| -> std::future::Ready<()> { panic!("it was called") })
        .unwrap();
    task.abort();
    let _ = executor.tick().unwrap();
    drop(spawner);
    assert!(matches!(
        executor.try_block_on(task),
        Ok(Err(JoinError::Aborted))
    ));
}

#[test]
fn a_future_refused_by_a_gone_executor_comes_back() {
    let executor = Executor::new();
    let spawner = executor.send_spawner();
    assert!(spawner.status().is_ok());
    drop(executor);
    assert!(spawner.status().is_err());
    let error = spawner.spawn(std::future::ready(7)).unwrap_err();
    assert_eq!(error.refused().reason(), Reason::Closed);
    assert_eq!(error.into_inner().into_inner(), 7);
}

#[test]
fn a_spawn_that_races_with_the_end_is_either_run_down_or_given_back() {
    // Every future is dropped exactly once, and every handle gets an answer.
    struct Counts(Arc<AtomicUsize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    for _ in 0..200 {
        let executor = Executor::new();
        let dropped = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (spawner, dropped) = (executor.send_spawner(), Arc::clone(&dropped));
                thread::spawn(move || {
                    let mut handles = Vec::new();
                    for _ in 0..20 {
                        let counts = Counts(Arc::clone(&dropped));
                        let task = async move {
                            common::never().await;
                            drop(counts);
                        };
                        handles.push(spawner.spawn(task));
                    }
                    handles
                })
            })
            .collect();
        let _ = executor.tick().unwrap();
        drop(executor);
        for thread in threads {
            for handle in thread.join().unwrap() {
                match handle {
                    Ok(task) => assert!(task.is_finished()),
                    Err(returned) => drop(returned),
                }
            }
        }
        assert_eq!(dropped.load(Ordering::SeqCst), 40);
    }
}

#[test]
fn a_panic_of_the_closure_or_the_task_goes_to_the_handle() {
    let executor = Executor::new();
    let spawner = executor.send_spawner();
    let closure = spawner
        .spawn_with(|| -> std::future::Ready<()> { panic!("closure") })
        .unwrap();
    let task = spawner.spawn(async { panic!("task") }).unwrap();
    drop(spawner);
    let _ = executor.tick().unwrap();
    let error = executor.try_block_on(closure).unwrap().unwrap_err();
    assert_eq!(error.panic_message(), Some("closure"));
    let outcome: Result<(), JoinError> = executor.try_block_on(task).unwrap();
    let error = outcome.unwrap_err();
    assert_eq!(error.panic_message(), Some("task"));
}

#[test]
fn the_futures_task_traits_spawn_and_say_when_they_can_not() {
    let executor = Executor::new();
    let log = common::Log::new();
    let (local, remote) = (executor.spawner(), executor.send_spawner());
    local
        .spawn_local_obj(Box::new(log.task("local")).into())
        .unwrap();
    local.spawn_obj(Box::new(async {}).into()).unwrap();
    remote.spawn_obj(Box::new(async {}).into()).unwrap();
    assert!(local.status_local().is_ok() && local.status().is_ok());
    let tick = executor.tick().unwrap();
    assert_eq!((tick.polled, tick.completed), (3, 3));
    assert_eq!(log.take(), ["local"]);
    let refuse = || {
        assert!(local.spawn_local_obj(Box::new(async {}).into()).is_err());
        assert!(remote.spawn_obj(Box::new(async {}).into()).is_err());
        assert!(local.status().is_err() && local.status_local().is_err());
        assert!(remote.status().is_err());
    };
    executor.shutdown();
    refuse();
    drop(executor);
    refuse();
}

#[test]
fn spawning_many_from_inside_a_task_does_not_deadlock() {
    // async-executor: `spawn_many` deadlocked when it was re-entered.
    let executor = Executor::new();
    let spawner = executor.send_spawner();
    let local = executor.handle();
    let task = async move {
        let remote: Vec<_> = (0..100)
            .map(|n| spawner.spawn(async move { n }).unwrap())
            .collect();
        let local: Vec<_> = (0..100)
            .map(|n| local.spawn(async move { n }).unwrap())
            .collect();
        let mut sum = 0;
        for task in remote {
            sum += task.await.unwrap();
        }
        for task in local {
            sum += task.await.unwrap();
        }
        sum
    };
    assert_eq!(executor.try_block_on(task).unwrap(), 9900);
}

/// Panics when it is dropped.
struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("in a destructor"));
    }
}

#[test]
fn a_closure_that_panics_when_it_is_dropped_unused_answers_its_handle_all_the_same() {
    for shuts_down in [false, true] {
        let executor = Executor::new();
        let spawner = executor.send_spawner();
        let panics = PanicsInDrop;
        let task = spawner.spawn_with(move || async move { drop(panics) });
        let task = task.unwrap();
        if shuts_down {
            executor.shutdown();
        } else {
            task.abort();
            let _ = executor.tick().unwrap();
        }
        assert!(task.is_finished(), "shuts down: {shuts_down}");
        let outcome = Executor::new().try_block_on(task).unwrap();
        assert!(
            matches!(outcome, Err(JoinError::Panicked(_))),
            "{outcome:?}"
        );
    }
}
