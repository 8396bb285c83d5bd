//! What a task costs: spawning, waking, switching. Every benchmark checks its result.

#![allow(
    missing_docs,
    reason = "criterion's macros generate undocumented functions"
)]

use std::cell::Cell;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vestibule_executor::{Budget, Executor, Phase, Refused, TickEnd, yield_now};

/// Spawns tasks which return a number, joins them and adds up.
fn spawn_join(c: &mut Criterion) {
    for tasks in [1_u64, 100, 10_000] {
        let mut group = c.benchmark_group("spawn_join");
        group.throughput(Throughput::Elements(tasks));
        group.bench_function(format!("tasks={tasks}/ours"), |b| {
            let executor = Executor::new();
            let handle = executor.handle();
            let mut handles = Vec::with_capacity(tasks as usize);
            b.iter(|| {
                let sum = executor.try_block_on(async {
                    handles.extend(
                        (0..tasks).map(|n| handle.spawn(async move { black_box(n) }).unwrap()),
                    );
                    let mut sum = 0;
                    for task in handles.drain(..) {
                        sum += task.await.unwrap();
                    }
                    sum
                });
                assert_eq!(sum.unwrap(), tasks * (tasks - 1) / 2);
            });
        });
        group.finish();
    }
}

/// Tasks that yield to each other.
fn yields(c: &mut Criterion) {
    const TASKS: u64 = 100;
    const YIELDS: u64 = 100;
    let mut group = c.benchmark_group("yield");
    group.throughput(Throughput::Elements(TASKS * YIELDS));
    group.bench_function(format!("tasks={TASKS},yields={YIELDS}/ours"), |b| {
        let executor = Executor::new();
        b.iter(|| {
            for _ in 0..TASKS {
                let task = async {
                    for _ in 0..YIELDS {
                        yield_now().await;
                    }
                };
                drop(executor.spawn(task).unwrap());
            }
            let tick = executor.run_until_stalled(Budget::UNLIMITED).unwrap();
            assert_eq!(
                (tick.end, tick.polled),
                (TickEnd::Empty, TASKS * (YIELDS + 1))
            );
        });
    });
    group.finish();
}

/// Pending until it was polled often enough; nothing of it escapes.
struct Polls(u64);

impl Future for Polls {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.0 -= 1;
        if self.0 == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// A guest thread's life: woken through its handle, driven inside a phase.
fn block_in_phase(c: &mut Criterion) {
    const ROUNDS: u64 = 1_000;
    let mut group = c.benchmark_group("block_in_phase");
    group.throughput(Throughput::Elements(ROUNDS));
    group.bench_function(format!("rounds={ROUNDS}/ours"), |b| {
        let executor = Executor::new();
        let store = executor.group("store");
        b.iter(|| {
            let task = executor.task().group(&store).spawn(Polls(ROUNDS)).unwrap();
            let polls = Rc::new(Cell::new(0));
            executor
                .with_phase(Phase::instantiating(&store), || {
                    while !task.is_finished() {
                        task.wake();
                        let before = executor.metrics().polls;
                        executor
                            .block_in_phase(|| executor.metrics().polls > before)
                            .unwrap();
                        polls.set(polls.get() + 1);
                    }
                    Ok::<(), Refused>(())
                })
                .unwrap();
            assert_eq!(polls.get(), ROUNDS);
        });
    });
    group.finish();
}

criterion_group!(benches, spawn_join, yields, block_in_phase);
criterion_main!(benches);
