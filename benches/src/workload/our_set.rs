//! The join set of ours: one task spawns many, and takes results as they complete.

use std::hint::black_box;

use vestibule_executor::{Executor, JoinSet};

use crate::case::{Bench, Case, Clock, Label, Offer};

/// How many tasks are in a set.
const TASKS: u64 = 10_000;

/// The case.
pub(crate) fn case(executor: &'static str) -> Case {
    let name = format!("join_set/completed/tasks={TASKS}");
    Case::new(name, executor, "task", Offer::Handles, |label| {
        Ok(completed(label, TASKS))
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
