//! What is measured. Each workload checks its own result.
//!
//! What all have in common, so that executors are compared and nothing else:
//!
//! - The futures, and the cells they exchange values through, are the same for all executors.
//! - Wakers are opaque (`parts::opaque`): the compiler sees a waker's table of functions for some
//!   executors and not for others, and would inline the wake.
//! - A main future does what is measured, and reads the clock inside: entering the executor is
//!   measured by `block_on` alone.
//! - An executor is set up once and warm: what it keeps between iterations is its own business.

mod parts;

mod block_on;
mod cancel;
mod exchange;
mod join;
mod remote;
mod yields;

use crate::case::{Case, Offer};
use crate::peer::Peer;

pub use block_on::{block_on_pending_once, block_on_ready};
pub use cancel::spawn_cancel;
pub use exchange::{ping_pong, wake_chain};
pub use join::{join_random, spawn_join};
pub use parts::YieldOnce;
pub use remote::{burst, one_way, round_trip};
pub use yields::yields;

/// The workloads that any executor with join handles can run.
pub fn cases<P: Peer>(offer: Offer) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, operation, start: fn(crate::Label, u64) -> _, size: u64| {
        let start = move |label| start(label, size);
        cases.push(Case::new(name, P::NAME, operation, offer, start));
    };
    for tasks in [1, 100, 10_000, 1_000_000] {
        add(
            format!("spawn_join/tasks={tasks}"),
            "task",
            spawn_join::<P>,
            tasks,
        );
    }
    add(
        "join_random/tasks=10000".into(),
        "task",
        join_random::<P>,
        10_000,
    );
    for tasks in [1, 10, 1_000, 100_000] {
        add(format!("yield/tasks={tasks}"), "yield", yields::<P>, tasks);
    }
    add(
        "ping_pong".into(),
        "round trip",
        |label, _| ping_pong::<P>(label),
        0,
    );
    add(
        "wake_chain/tasks=1000".into(),
        "wake",
        wake_chain::<P>,
        1_000,
    );
    add(
        "spawn_cancel/new".into(),
        "task",
        |label, _| spawn_cancel::<P>(label, false),
        0,
    );
    add(
        "spawn_cancel/polled".into(),
        "task",
        |label, _| spawn_cancel::<P>(label, true),
        0,
    );
    add(
        "block_on/ready".into(),
        "call",
        |label, _| block_on_ready::<P>(label),
        0,
    );
    add(
        "block_on/pending_once".into(),
        "call",
        |label, _| block_on_pending_once::<P>(label),
        0,
    );
    add(
        "cross_thread/one_way".into(),
        "wake",
        |label, _| one_way::<P>(label),
        0,
    );
    add(
        "cross_thread/round_trip".into(),
        "round trip",
        |label, _| round_trip::<P>(label),
        0,
    );
    for producers in [1, 2] {
        let name = format!("cross_thread/burst/producers={producers}");
        add(name, "wake", burst::<P>, producers);
    }
    cases
}
