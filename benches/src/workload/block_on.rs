//! Entering the executor for one future.

use std::hint::black_box;

use super::parts::YieldOnce;
use crate::case::{Bench, Clock, Label};
use crate::peer::Peer;

/// Blocks on a future that is ready.
pub fn block_on_ready<P: Peer>(label: Label) -> Result<Bench, String> {
    let executor = start::<P>()?;
    Ok(Bench::new(1, move |iterations| {
        let clock = Clock::default();
        clock.start();
        let mut sum = 0;
        for n in 0..iterations {
            sum += executor.block_on(async { black_box(n) });
        }
        clock.stop();
        label.check("the sum", sum, (0..iterations).sum());
        clock.elapsed()
    }))
}

/// Blocks on a future that wakes itself once.
pub fn block_on_pending_once<P: Peer>(label: Label) -> Result<Bench, String> {
    let executor = start::<P>()?;
    Ok(Bench::new(1, move |iterations| {
        let clock = Clock::default();
        clock.start();
        let mut sum = 0;
        for n in 0..iterations {
            sum += executor.block_on(async {
                YieldOnce::default().await;
                black_box(n)
            });
        }
        clock.stop();
        label.check("the sum", sum, (0..iterations).sum());
        clock.elapsed()
    }))
}

fn start<P: Peer>() -> Result<P, String> {
    match P::BLOCKS {
        true => P::start(),
        false => Err("it has no `block_on` of its own".into()),
    }
}
