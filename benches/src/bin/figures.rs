//! Measures executors beside each other, and prints the tables of `docs/PERFORMANCE.md`.

use std::process::ExitCode;
use std::time::Duration;

use vestibule_benches::case::Case;
use vestibule_benches::measure::{Plan, interleaved};
use vestibule_benches::table::{self, Entry, Row};
use vestibule_benches::{peers, vigil};

const USAGE: &str = "\
Measures executors beside each other, and prints how ours compares.

usage: figures [--quick] [--rounds N] [--sample-ms N] [--workload PART]... [--only PART[,PART]...]
       figures --iterations N [--workload PART]... [--only PART[,PART]...]
       figures --list

  --quick         few and short samples
  --rounds N      samples for each executor (31)
  --sample-ms N   about how long a sample takes (3)
  --workload PART only workloads whose names contain PART, such as `yield/tasks=1000`
  --only PART     only executors whose names contain PART, such as `ours,tokio`
  --iterations N  no measuring: repeat each workload N times, as for `valgrind --tool=callgrind`
  --list          the names

Other executors are there if this was built with the feature `peers-executor`.";

/// How long one sample may take.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug)]
struct Options {
    plan: Plan,
    workloads: Vec<String>,
    executors: Vec<String>,
    iterations: Option<u64>,
    list: bool,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let cases = peers::cases();
    let cases: Vec<_> = cases.iter().filter(|case| options.select(case)).collect();
    if cases.is_empty() {
        eprintln!("no workload and executor have such names; see --list");
        return ExitCode::from(2);
    }
    vigil::keep(PATIENCE);
    if options.list {
        cases.iter().for_each(|case| println!("{}", case.label));
    } else if let Some(iterations) = options.iterations {
        repeat(&cases, iterations);
    } else {
        let rows = measure(&cases, options.plan);
        print(&rows, options.plan);
    }
    ExitCode::SUCCESS
}

impl Options {
    fn select(&self, case: &Case) -> bool {
        let fits = |parts: &[String], name: &str| {
            parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()))
        };
        // A name that is there in full is meant alone: `tasks=1000` is part of `tasks=10000`.
        let workload = &case.label.workload;
        let exact = |part: &String| part.ends_with(|c: char| c.is_ascii_digit());
        let workload_fits = self.workloads.is_empty()
            || self.workloads.iter().any(|part| match exact(part) {
                true => contains_number(workload, part),
                false => workload.contains(part.as_str()),
            });
        workload_fits && fits(&self.executors, case.label.executor)
    }
}

/// Whether `name` contains `part`, whose last number is not continued there.
fn contains_number(name: &str, part: &str) -> bool {
    name.match_indices(part)
        .any(|(at, _)| !name[at + part.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        plan: Plan {
            rounds: 31,
            sample: Duration::from_millis(3),
        },
        workloads: Vec::new(),
        executors: Vec::new(),
        iterations: None,
        list: false,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--quick" => {
                options.plan.rounds = 11;
                options.plan.sample = Duration::from_millis(1);
            }
            "--rounds" => options.plan.rounds = number(&arg, &value()?)?,
            "--sample-ms" => options.plan.sample = Duration::from_millis(number(&arg, &value()?)?),
            "--workload" => options.workloads.push(value()?),
            "--only" => options
                .executors
                .extend(value()?.split(',').map(String::from)),
            "--iterations" => options.iterations = Some(number(&arg, &value()?)?),
            "--list" => options.list = true,
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    Ok(options)
}

fn number<T: std::str::FromStr + PartialOrd + From<u8>>(
    arg: &str,
    text: &str,
) -> Result<T, String> {
    match text.parse() {
        Ok(number) if number >= T::from(1) => Ok(number),
        _ => Err(format!("{arg} takes a number from 1 up, not {text}")),
    }
}

/// Runs each case once, `iterations` times over.
fn repeat(cases: &[&Case], iterations: u64) {
    for case in cases {
        vigil::enter(&case.label);
        match case.start() {
            Ok(mut bench) => {
                let taken = bench.run(iterations);
                let operations = iterations * bench.operations();
                let each = taken.as_secs_f64() * 1e9 / operations as f64;
                println!(
                    "{}: {operations} {}s, {each:.1} ns each",
                    case.label, case.operation
                );
            }
            Err(reason) => println!("{}: {reason}", case.label),
        }
        vigil::leave();
    }
}

/// Measures workload by workload, each on all executors in turn.
fn measure(cases: &[&Case], plan: Plan) -> Vec<Row> {
    let mut workloads: Vec<&str> = Vec::new();
    for case in cases {
        if !workloads.contains(&&*case.label.workload) {
            workloads.push(&case.label.workload);
        }
    }
    let mut rows = Vec::new();
    for workload in workloads {
        eprintln!("{workload}");
        let same = cases.iter().filter(|case| case.label.workload == workload);
        rows.push(row(workload, same.copied().collect(), plan));
    }
    rows
}

fn row(workload: &str, cases: Vec<&Case>, plan: Plan) -> Row {
    let (mut benches, mut absent) = (Vec::new(), Vec::new());
    for case in &cases {
        vigil::enter(&case.label);
        match case.start() {
            Ok(bench) => benches.push((case.label.clone(), bench)),
            Err(reason) => absent.push((case.label.executor, reason)),
        }
        vigil::leave();
    }
    let figures = interleaved(&mut benches, plan);
    let labels = benches.iter().map(|(label, _)| label.executor);
    let mut outcomes: Vec<_> = labels.zip(figures.into_iter().map(Ok)).collect();
    outcomes.extend(absent.into_iter().map(|(name, reason)| (name, Err(reason))));
    let entries = cases.iter().map(|case| {
        let executor = case.label.executor;
        let at = outcomes.iter().position(|(name, _)| *name == executor);
        let (_, outcome) = outcomes.swap_remove(at.expect("each was started or is absent"));
        Entry {
            executor,
            offer: case.offer,
            outcome,
        }
    });
    Row {
        workload: workload.into(),
        operation: cases[0].operation,
        entries: entries.collect(),
    }
}

fn print(rows: &[Row], plan: Plan) {
    let (rounds, sample) = (plan.rounds, plan.sample.as_millis());
    println!(
        "Nanoseconds an operation; medians of {rounds} samples of about {sample} ms, taken in \
         turn. Time of the thread, but for `cross_thread`.\n"
    );
    println!("{}", table::ratios(rows));
    println!("{}", table::times(rows));
    let absences = table::absences(rows);
    if !absences.is_empty() {
        println!("Not measured:\n\n{absences}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_not_part_of_a_larger_size() {
        assert!(contains_number("yield/tasks=1000", "tasks=1000"));
        assert!(!contains_number("yield/tasks=10000", "tasks=1000"));
    }

    #[test]
    fn arguments_are_checked() {
        let parsed = |args: &str| parse(args.split(' ').map(String::from));
        let options = parsed("--quick --only ours,tokio --workload yield").unwrap();
        assert_eq!(options.plan.rounds, 11);
        assert_eq!(options.executors, ["ours", "tokio"]);
        assert!(parsed("--rounds 0").unwrap_err().contains("from 1 up"));
        assert!(parsed("--rounds").unwrap_err().contains("needs a value"));
        assert!(parsed("--fast").unwrap_err().contains("--fast"));
    }
}
