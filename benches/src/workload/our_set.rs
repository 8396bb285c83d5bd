//! The join set of ours: one task spawns many, and takes results as they complete, or in order.

use std::hint::black_box;

use vestibule_executor::{Executor, JoinSet};

use crate::case::{Bench, Case, Clock, Label, Offer};

/// How many tasks are in a set.
const TASKS: u64 = 10_000;

/// The two cases.
pub(crate) fn cases(executor: &'static str) -> [Case; 2] {
    type Start = fn(Label, u64) -> Bench;
    let starts: [(&str, Start); 2] = [("completed", completed), ("ordered", ordered)];
    starts.map(|(order, start)| {
        let name = format!("join_set/{order}/tasks={TASKS}");
        Case::new(name, executor, "task", Offer::Handles, move |label| {
            Ok(start(label, TASKS))
        })
    })
}

fn completed(label: Label, tasks: u64) -> Bench {
    let executor = Executor::new();
    Bench::new(tasks, move |iterations| {
        let clock = Clock::default();
        let sum = executor.try_block_on(async {
            let mut sum = 0;
            clock.start();
            for _ in 0..iterations {
                let mut set = JoinSet::new(&executor);
                for n in 1..=tasks {
                    let task = set.spawn(async move { black_box(n) });
                    task.expect("the executor runs");
                }
                while let Some((_, outcome)) = set.join_next().await {
                    sum += outcome.expect("the task returns");
                }
            }
            clock.stop();
            sum
        });
        let must = iterations * (tasks * (tasks + 1) / 2);
        label.check("the sum", sum.expect("nothing blocks twice"), must);
        clock.elapsed()
    })
}

fn ordered(label: Label, tasks: u64) -> Bench {
    let executor = Executor::new();
    Bench::new(tasks, move |iterations| {
        let clock = Clock::default();
        let in_order = executor.try_block_on(async {
            let mut in_order = 0;
            clock.start();
            for _ in 0..iterations {
                let mut set = JoinSet::new(&executor);
                for n in 1..=tasks {
                    let task = set.spawn(async move { black_box(n) });
                    task.expect("the executor runs");
                }
                let mut next = 1..;
                while let Some((_, outcome)) = set.join_oldest().await {
                    in_order += u64::from(next.next() == outcome.ok());
                }
            }
            clock.stop();
            in_order
        });
        let in_order = in_order.expect("nothing blocks twice");
        label.check("results in order", in_order, iterations * tasks);
        clock.elapsed()
    })
}
