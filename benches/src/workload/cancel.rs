//! Tasks that are cancelled.

use std::cell::Cell;
use std::rc::Rc;

use super::parts::{Never, YieldOnce};
use crate::case::{Bench, Clock, Label};
use crate::peer::Peer;

/// How many tasks are spawned before they are cancelled.
const TASKS: u64 = 1_000;

/// Spawns tasks that would never end, lets them be polled first if `polled`, cancels them, and
/// waits until every future is dropped.
pub fn spawn_cancel<P: Peer>(label: Label, polled: bool) -> Result<Bench, String> {
    if !P::CANCELS {
        return Err("its handles can't cancel a task".into());
    }
    let executor = P::start()?;
    let mut handles = Vec::with_capacity(TASKS as usize);
    Ok(Bench::new(TASKS, move |iterations| {
        let (spawner, clock) = (executor.spawner(), Clock::default());
        let dropped = Rc::new(Cell::new(0));
        executor.block_on(async {
            clock.start();
            for iteration in 1..=iterations {
                handles.extend((0..TASKS).map(|_| P::spawn(&spawner, Never(dropped.clone()))));
                if polled {
                    // All of them have been polled by the time that a task after them is.
                    P::value(P::spawn(&spawner, async {}).await);
                }
                handles.drain(..).for_each(P::cancel);
                // Some drop the futures at their next turns.
                for _ in 0..TASKS {
                    if dropped.get() == iteration * TASKS {
                        break;
                    }
                    YieldOnce::default().await;
                }
            }
            clock.stop();
        });
        label.check(
            "the number of futures dropped",
            dropped.get(),
            iterations * TASKS,
        );
        clock.elapsed()
    }))
}
