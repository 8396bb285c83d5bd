//! Measures component hosts beside each other, and prints the table of `docs/PERFORMANCE.md`.
//!
//! usage: host-figures [--quick] [--only PART] [--iterations N]
//!
//! `--iterations N` repeats ours N times without measuring, as for `valgrind --tool=callgrind`.
//! wasmtime is there if this was built with the feature `peers-host`.

use std::time::{Duration, Instant};
use vestibule_benches::host::{Case, Work, cases};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).cloned()
    };
    let quick = args.iter().any(|arg| arg == "--quick");
    let only = value("--only").unwrap_or_default();
    let mut cases: Vec<Case> = cases()
        .into_iter()
        .filter(|case| case.name.contains(&only))
        .collect();
    if let Some(iterations) = value("--iterations") {
        let iterations: u32 = iterations.parse().expect("a number of iterations");
        for case in &mut cases {
            (0..iterations).for_each(|_| (case.ours)());
        }
        return;
    }
    println!("| workload | ours | beside | its time | ratio | aim |");
    println!("|---|---|---|---|---|---|");
    let rounds = if quick { 5 } else { 101 };
    for case in &mut cases {
        row(case, rounds);
    }
}

/// Samples both in turn, and compares the best: what others do to the machine only makes a sample
/// slower.
fn row(case: &mut Case, rounds: usize) {
    const SAMPLE: Duration = Duration::from_millis(1);
    let ours = iterations(&mut case.ours, SAMPLE);
    let other = case
        .other
        .as_mut()
        .map(|(who, work)| (*who, iterations(work, SAMPLE)));
    let (mut our_samples, mut other_samples) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        our_samples.push(sample(&mut case.ours, ours));
        if let (Some((_, work)), Some((_, iterations))) = (&mut case.other, other) {
            other_samples.push(sample(work, iterations));
        }
    }
    let per = f64::from(case.per_work);
    let ours = best(&our_samples) / per;
    let aim = case
        .aim
        .map_or_else(|| "–".to_owned(), |aim| format!("{aim}"));
    match other {
        Some((who, _)) => {
            let theirs = best(&other_samples) / per;
            let (name, ratio) = (case.name, ours / theirs);
            println!(
                "| `{name}` | {} | {who} | {} | {ratio:.3} | {aim} |",
                time(ours),
                time(theirs)
            );
        }
        None => println!("| `{}` | {} | – | – | – | {aim} |", case.name, time(ours)),
    }
}

fn iterations(work: &mut Work, sample: Duration) -> u32 {
    let mut iterations = 1_u32;
    loop {
        let taken = self::sample(work, iterations) * f64::from(iterations);
        if taken >= sample.as_nanos() as f64 || iterations > 1 << 24 {
            return iterations;
        }
        iterations *= 2;
    }
}

/// Nanoseconds for one.
fn sample(work: &mut Work, iterations: u32) -> f64 {
    let start = Instant::now();
    (0..iterations).for_each(|_| work());
    start.elapsed().as_nanos() as f64 / f64::from(iterations)
}

fn best(samples: &[f64]) -> f64 {
    samples.iter().copied().fold(f64::INFINITY, f64::min)
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.1} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns => format!("{:.2} ms", ns / 1e6),
    }
}
