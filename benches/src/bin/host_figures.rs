//! Measures component hosts beside each other, and prints the table of `docs/PERFORMANCE.md`.
//!
//! ```text
//! usage: host-figures [--quick] [--only PART] [--workload NAME] [--component FILE]
//!        [--iterations N [--other]] [--suspended [CALLS]]
//! ```
//!
//! `--suspended` prints what one of so many suspended calls takes of the process's memory on each
//! host, each in a process of its own.
//! `--iterations N` runs ours, or with `--other` what is beside it, once and then N times more, without
//! measuring. Under `valgrind --tool=callgrind --toggle-collect='*host_figures::repeat*'` only the N
//! are counted.
//! `--component FILE` compiles that component instead of everything else.
//! wasmtime is there if this was built with the feature `peers-host`.

use std::time::{Duration, Instant};
use vestibule_benches::host::{Case, SUSPENDED, Work, cases, compile_file, suspend};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).cloned()
    };
    if let Some(host) = value("--suspended-by") {
        return suspended_by(&host, value("--suspended"));
    }
    if args.iter().any(|arg| arg == "--suspended") {
        return suspended(value("--suspended"));
    }
    let quick = args.iter().any(|arg| arg == "--quick");
    let only = value("--only").unwrap_or_default();
    let workload = value("--workload");
    let all = match value("--component") {
        Some(file) => vec![compile_file(std::fs::read(file).expect("a component"))],
        None => cases(),
    };
    let mut cases: Vec<Case> = all
        .into_iter()
        .filter(|case| case.name.contains(&only))
        .filter(|case| workload.as_deref().is_none_or(|name| name == case.name))
        .collect();
    if let Some(iterations) = value("--iterations") {
        let iterations: u32 = iterations.parse().expect("a number of iterations");
        for case in &mut cases {
            let other = case.other.as_mut().map(|(_, work)| work);
            let work = match args.iter().any(|arg| arg == "--other") {
                true => other.expect("something beside it"),
                false => &mut case.ours,
            };
            work();
            repeat(work, iterations);
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

fn calls(calls: Option<String>) -> u32 {
    let calls = calls.and_then(|calls| calls.parse().ok());
    calls.unwrap_or(SUSPENDED)
}

/// What one suspended call takes on each host.
fn suspended(number: Option<String>) {
    let number = calls(number).to_string();
    println!("| host | resident bytes a call |");
    println!("|---|---:|");
    for host in ["ours", "wasmtime"] {
        let this = std::env::current_exe().expect("this program has a path");
        let args = ["--suspended-by", host, "--suspended", &number];
        let output = std::process::Command::new(this).args(args).output();
        let output = output.expect("it runs");
        print!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What one suspended call takes on a host, by what the system says this process has.
fn suspended_by(host: &str, number: Option<String>) {
    let number = calls(number);
    let mut seen = Vec::new();
    if !suspend(host, number, &mut || seen.push(resident())) {
        println!("| {host} | not built: the feature `peers-host` is off |");
        return;
    }
    let (before, after) = (seen[0], seen[seen.len() - 1]);
    let each = after.saturating_sub(before) / u64::from(number);
    println!("| {host} | {each} |");
}

/// The bytes of memory that the process has now; 0 where the system does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_default() << 10
}

/// Has a name of its own, so that a profiler can be told to count this and nothing else.
#[inline(never)]
fn repeat(work: &mut Work, iterations: u32) {
    (0..iterations).for_each(|_| work());
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
