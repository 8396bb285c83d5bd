//! Runs a model, says how far it got, and sees it fail when an ordering is taken away.

#![allow(dead_code, unreachable_pub)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use executor_under_loom::plant;

/// Names the site to weaken, in the child process that is to fail.
const PLANT: &str = "VESTIBULE_LOOM_PLANT";

/// Explores every interleaving of `model` (with at most `preemptions` preemptions, if any
/// number is given) and fails if there were fewer than `least`.
pub fn explore(preemptions: Option<usize>, least: usize, model: impl Fn() + Send + Sync + 'static) {
    // Sites are compared by their text; a leaked one lives as long as the child process.
    let site = std::env::var(PLANT).ok().map(|site| &*site.leak());
    plant(site);
    let iterations = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&iterations);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    // These come from the environment and would end a run early, which loom counts as
    // success.
    builder.max_duration = None;
    builder.max_permutations = None;
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    plant(None);
    let iterations = iterations.load(Ordering::Relaxed);
    println!("{iterations} interleavings");
    assert!(
        iterations >= least,
        "only {iterations} interleavings: the run was cut short"
    );
}

/// Runs the test `name` of this file again with the ordering at `site` weakened to
/// `Relaxed`, and fails unless that run fails with `complaint`.
///
/// In a process of its own, because a model that fails while the executor is on its stack
/// unwinds through destructors that use loom's atomics, and so aborts.
pub fn assert_needed(site: &str, name: &str, complaint: &str) {
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this)
        .args([name, "--exact", "--nocapture"])
        .env(PLANT, site)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let seen = text.contains(complaint);
    assert!(
        !output.status.success() && seen,
        "`{name}` does not fail without the ordering at `{site}`:\n{text}"
    );
}

/// Counts its drops.
pub struct Counted(pub loom::sync::Arc<loom::sync::atomic::AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, loom::sync::atomic::Ordering::Relaxed);
    }
}
