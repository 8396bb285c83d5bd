//! One task spawns many, and takes their results as they complete, or in order.
//!
//! Executors without a set of their own get those of the futures crate around their handles.

use std::hint::black_box;

use futures::future::{FutureExt, join_all};
use futures::stream::{FuturesUnordered, StreamExt};

use crate::case::{Bench, Case, Clock, Label, Offer};
use crate::peer::Peer;

/// How many tasks are in a set.
const TASKS: u64 = 10_000;

/// [`completed`] on an executor without a set of its own.
pub fn completed_case<P: Peer>() -> Case {
    let name = format!("join_set/completed/tasks={TASKS}");
    Case::new(name, P::NAME, "task", Offer::Handles, |label| {
        completed::<P>(label, TASKS)
    })
}

/// [`ordered`] on an executor without a set of its own.
pub fn ordered_case<P: Peer>() -> Case {
    let name = format!("join_set/ordered/tasks={TASKS}");
    Case::new(name, P::NAME, "task", Offer::Handles, |label| {
        ordered::<P>(label, TASKS)
    })
}

/// Takes results as they complete, through a `FuturesUnordered` of handles.
pub fn completed<P: Peer>(label: Label, tasks: u64) -> Result<Bench, String> {
    let executor = P::start()?;
    Ok(Bench::new(tasks, move |iterations| {
        let (spawner, clock) = (executor.spawner(), Clock::default());
        let sum = executor.block_on(async {
            let mut sum = 0;
            clock.start();
            for _ in 0..iterations {
                let handles = (1..=tasks).map(|n| P::spawn(&spawner, async move { black_box(n) }));
                let mut set: FuturesUnordered<_> = handles.collect();
                while let Some(joined) = set.next().await {
                    sum += P::value(joined);
                }
            }
            clock.stop();
            sum
        });
        label.check("the sum", sum, iterations * (tasks * (tasks + 1) / 2));
        clock.elapsed()
    }))
}

/// Takes results in order, through a `join_all` of handles.
pub fn ordered<P: Peer>(label: Label, tasks: u64) -> Result<Bench, String> {
    let executor = P::start()?;
    Ok(Bench::new(tasks, move |iterations| {
        let (spawner, clock) = (executor.spawner(), Clock::default());
        let in_order = executor.block_on(async {
            let mut in_order = 0;
            clock.start();
            for _ in 0..iterations {
                let handles = (1..=tasks).map(|n| P::spawn(&spawner, async move { black_box(n) }));
                let results = join_all(handles.map(|handle| handle.map(P::value::<u64>))).await;
                let numbered = results.into_iter().zip(1..);
                in_order += numbered.filter(|(result, n)| result == n).count() as u64;
            }
            clock.stop();
            in_order
        });
        label.check("results in order", in_order, iterations * tasks);
        clock.elapsed()
    }))
}
