//! Every test of the executor that needs no process of its own, in one program: a file for each
//! subject, and one program to link instead of twenty-four.

#[path = "../common/mod.rs"]
mod common;

mod abort;
mod api;
mod bad_use;
mod basics;
mod block_in_phase;
mod choices;
mod deadlock;
mod deferred;
mod entry_points;
mod fairness;
mod foreign_code;
mod groups;
mod join_set;
mod local_waker;
mod nesting;
mod panic_policy;
mod panics;
mod parks;
mod phases;
mod printed;
mod refusal_matrix;
mod regressions;
mod remote_spawn;
mod run_until;
mod shutdown;
mod snapshot;
mod waker_counts;
mod wakes;
mod watchdog;
