//! Blocking inside a task, which is refused.

use std::panic::catch_unwind;

use crate::case::{Bench, Clock, Label};
use crate::peer::Peer;
use crate::vigil;

/// Blocks inside a task again and again; the refusal is a panic, which is caught.
pub fn refusals_by_panic<P: Peer>(label: Label, block: fn()) -> Result<Bench, String> {
    let executor = P::start()?;
    Ok(Bench::new(1, move |iterations| {
        let (spawner, clock) = (executor.spawner(), Clock::default());
        vigil::expect_panics(true);
        let refused = executor.block_on(async {
            clock.start();
            let refused =
                P::value(P::spawn(&spawner, async move { attempts(block, iterations) }).await);
            clock.stop();
            refused
        });
        vigil::expect_panics(false);
        label.check("the number of refusals", refused, iterations);
        clock.elapsed()
    }))
}

fn attempts(block: fn(), iterations: u64) -> u64 {
    (0..iterations)
        .filter(|_| catch_unwind(block).is_err())
        .count() as u64
}
