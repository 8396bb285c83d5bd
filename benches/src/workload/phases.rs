//! What only ours has: phases, refusals that are values, work that waits for a commit.

use std::cell::Cell;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use vestibule_executor::{BlockOnError, Budget, Executor, Phase, Refused};

use crate::case::{Bench, Case, Clock, Label, Offer};

/// The cases.
pub(crate) fn cases(executor: &'static str) -> Vec<Case> {
    type Start = fn(Label) -> Bench;
    let cases: [(&str, &str, Start); 4] = [
        ("phase/enter_leave", "phase", enter_leave),
        ("phase/block_in_phase", "wait", block_in_phase),
        ("refuse/block_on", "refusal", refusals),
        ("defer/tasks=1000", "task", |label| defer(label, 1_000)),
    ];
    cases
        .into_iter()
        .map(|(name, operation, start)| {
            let start = move |label| Ok(start(label));
            Case::new(name, executor, operation, Offer::Handles, start)
        })
        .collect()
}

/// Enters a phase and leaves it again.
fn enter_leave(label: Label) -> Bench {
    let executor = Executor::new();
    let group = executor.group("instance");
    Bench::new(1, move |iterations| {
        let (clock, mut entered) = (Clock::default(), 0);
        clock.start();
        for _ in 0..iterations {
            let phase = Phase::instantiating(black_box(&group));
            let result = executor.with_phase(phase, || {
                entered += 1;
                Ok::<(), Refused>(())
            });
            result.expect("phases stack");
        }
        clock.stop();
        label.check("the number of phases", entered, iterations);
        clock.elapsed()
    })
}

/// Pending until it was polled often enough; nothing of it escapes.
struct Polls(u64);

impl Future for Polls {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.0 -= 1;
        match self.0 {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

/// A guest thread's life: woken through its handle, driven inside a phase.
fn block_in_phase(label: Label) -> Bench {
    let executor = Executor::new();
    let store = executor.group("store");
    Bench::new(1, move |iterations| {
        let clock = Clock::default();
        let task = executor.task().group(&store).spawn(Polls(iterations));
        let task = task.expect("the executor runs");
        let mut waits = 0;
        let result = executor.with_phase(Phase::instantiating(&store), || {
            clock.start();
            while !task.is_finished() {
                task.wake();
                let before = executor.metrics().polls;
                executor
                    .block_in_phase(|| executor.metrics().polls > before)
                    .expect("the task was woken");
                waits += 1;
            }
            clock.stop();
            Ok::<(), Refused>(())
        });
        result.expect("phases stack");
        label.check("the number of waits", waits, iterations);
        clock.elapsed()
    })
}

/// Blocks inside a task again and again; the refusal is a value.
fn refusals(label: Label) -> Bench {
    let executor = Executor::new();
    Bench::new(1, move |iterations| {
        let (handle, clock) = (executor.handle(), Rc::new(Clock::default()));
        let task = {
            let clock = clock.clone();
            executor.spawn(async move {
                clock.start();
                let refused = (0..iterations)
                    .filter(|_| {
                        let result = handle.try_block_on(async {});
                        matches!(black_box(result), Err(BlockOnError::Refused(_)))
                    })
                    .count();
                clock.stop();
                refused as u64
            })
        };
        let refused = executor.try_block_on(task.expect("the executor runs"));
        let refused = refused.expect("nothing blocks twice");
        label.check("the number of refusals", refused.ok(), Some(iterations));
        clock.elapsed()
    })
}

/// Defers tasks in a phase, commits, and lets them run.
fn defer(label: Label, tasks: u64) -> Bench {
    let executor = Executor::new();
    let store = executor.group("store");
    Bench::new(tasks, move |iterations| {
        let (clock, ran) = (Clock::default(), Rc::new(Cell::new(0)));
        clock.start();
        for _ in 0..iterations {
            let result = executor.with_phase(Phase::instantiating(&store), || {
                for _ in 0..tasks {
                    let ran = ran.clone();
                    let task = executor.defer(async move { ran.set(ran.get() + 1) });
                    drop(task.expect("the executor runs"));
                }
                Ok::<(), Refused>(())
            });
            result.expect("phases stack");
            let tick = executor.run_until_stalled(Budget::UNLIMITED);
            tick.expect("no phase is left");
        }
        clock.stop();
        label.check("the number of tasks", ran.get(), iterations * tasks);
        clock.elapsed()
    })
}
