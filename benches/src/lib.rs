//! Workloads for executors, the executors they run on, and the loop that measures them.
//!
//! A [workload] is written once, over the [`Peer`] trait; each executor is an adapter
//! of one small file ([`peers`]). What comes of the two is a [`Case`]. Criterion runs the cases
//! (`benches/executor.rs`), and so does the command `figures`, which measures all executors in
//! turn and prints the table of `docs/PERFORMANCE.md`.

pub mod case;
pub mod peer;
pub mod workload;

pub mod peers;

pub mod goal;
pub mod measure;
pub mod table;

pub mod vigil;

pub mod host;

pub use case::{Bench, Case, Label};
pub use peer::Peer;
