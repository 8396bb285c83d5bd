//! Tasks that are ready at once, joined in order or in random order.

use std::hint::black_box;

use super::parts::shuffled;
use crate::case::{Bench, Clock, Label};
use crate::peer::Peer;

/// One task spawns `tasks` tasks that return a number, then joins them in order.
pub fn spawn_join<P: Peer>(label: Label, tasks: u64) -> Result<Bench, String> {
    let executor = P::start()?;
    let mut handles = Vec::with_capacity(tasks as usize);
    Ok(Bench::new(tasks, move |iterations| {
        let (spawner, clock) = (executor.spawner(), Clock::default());
        let sum = executor.block_on(async {
            let mut sum = 0;
            clock.start();
            for _ in 0..iterations {
                handles
                    .extend((1..=tasks).map(|n| P::spawn(&spawner, async move { black_box(n) })));
                for handle in handles.drain(..) {
                    sum += P::value(handle.await);
                }
            }
            clock.stop();
            sum
        });
        label.check("the sum", sum, iterations * (tasks * (tasks + 1) / 2));
        clock.elapsed()
    }))
}

/// As [`spawn_join`], but joins in an order that was drawn once.
pub fn join_random<P: Peer>(label: Label, tasks: u64) -> Result<Bench, String> {
    let executor = P::start()?;
    let order = shuffled(tasks as usize);
    let mut handles = Vec::with_capacity(tasks as usize);
    Ok(Bench::new(tasks, move |iterations| {
        let (spawner, clock) = (executor.spawner(), Clock::default());
        let sum = executor.block_on(async {
            let mut sum = 0;
            clock.start();
            for _ in 0..iterations {
                handles.extend(
                    (1..=tasks).map(|n| Some(P::spawn(&spawner, async move { black_box(n) }))),
                );
                for &index in &order {
                    let handle = handles[index].take().expect("each index comes once");
                    sum += P::value(handle.await);
                }
                handles.clear();
            }
            clock.stop();
            sum
        });
        label.check("the sum", sum, iterations * (tasks * (tasks + 1) / 2));
        clock.elapsed()
    }))
}
