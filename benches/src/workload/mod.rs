//! What is measured. Each workload checks its own result.
//!
//! What all have in common, so that executors are compared and nothing else:
//!
//! - The futures, and the cells they exchange values through, are the same for all executors.
//! - Wakers are opaque (`parts::opaque`): the compiler sees a waker's table of functions for some
//!   executors and not for others, and would inline the wake.
//! - A main future does what is measured, and reads the clock inside: entering the executor is
//!   measured by `block_on` alone.
//! - The clock is the thread's own, but where threads wait for each other ([`crate::case::Clock`]).
//! - An executor is set up once and warm: what it keeps between iterations is its own business.

mod parts;

mod block_on;
mod cancel;
mod exchange;
mod join;
mod remote;
mod yields;

pub mod memory;
pub(crate) mod our_set;
pub(crate) mod phases;

#[cfg(feature = "peers-executor")]
pub mod join_set;
#[cfg(feature = "peers-executor")]
mod refuse;
#[cfg(feature = "peers-executor")]
pub(crate) mod sets;

use crate::case::{Bench, Case, Label, Offer};
use crate::peer::Peer;

pub use block_on::{block_on_pending_once, block_on_ready};
pub use cancel::spawn_cancel;
pub use exchange::{ping_pong, wake_chain};
pub use join::{join_random, spawn_join};
pub use parts::YieldOnce;
#[cfg(feature = "peers-executor")]
pub use refuse::refusals_by_panic;
#[cfg(feature = "peers-executor")]
pub(crate) use remote::asking_alone;
pub use remote::{burst, one_way, round_trip};
pub use yields::yields;

/// The workloads that any executor with join handles can run.
pub fn cases<P: Peer>(offer: Offer) -> Vec<Case> {
    let mut cases = Vec::new();
    for tasks in [1, 100, 10_000, 1_000_000] {
        let name = format!("spawn_join/tasks={tasks}");
        let start = move |label| spawn_join::<P>(label, tasks);
        cases.push(Case::new(name, P::NAME, "task", offer, start));
    }
    for tasks in [1, 10, 1_000, 100_000] {
        let name = format!("yield/tasks={tasks}");
        let start = move |label| yields::<P>(label, tasks, 0);
        cases.push(Case::new(name, P::NAME, "yield", offer, start));
    }
    type Start = fn(Label) -> Result<Bench, String>;
    let others: [(&str, &str, Start); 12] = [
        ("yield_among/idle=100000", "yield", |l| {
            yields::<P>(l, 1_000, 100_000)
        }),
        ("join_random/tasks=10000", "task", |l| {
            join_random::<P>(l, 10_000)
        }),
        ("ping_pong", "round trip", ping_pong::<P>),
        ("wake_chain/tasks=1000", "wake", |l| {
            wake_chain::<P>(l, 1_000)
        }),
        ("spawn_cancel/new", "task", |l| spawn_cancel::<P>(l, false)),
        ("spawn_cancel/polled", "task", |l| {
            spawn_cancel::<P>(l, true)
        }),
        ("block_on/ready", "call", block_on_ready::<P>),
        ("block_on/pending_once", "call", block_on_pending_once::<P>),
        ("cross_thread/one_way", "wake", one_way::<P>),
        ("cross_thread/round_trip", "round trip", round_trip::<P>),
        ("cross_thread/burst/producers=1", "wake", |l| {
            burst::<P>(l, 1)
        }),
        ("cross_thread/burst/producers=2", "wake", |l| {
            burst::<P>(l, 2)
        }),
    ];
    for (name, operation, start) in others {
        cases.push(Case::new(name, P::NAME, operation, offer, start));
    }
    cases
}
