//! Counts what idle tasks take, and prints the table of `docs/PERFORMANCE.md`.
//!
//! Each executor is measured in a process of its own, so that none profits from what another one
//! left behind.

use std::alloc::System;
use std::process::{Command, ExitCode};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use vestibule_benches::peers;
use vestibule_benches::workload::memory::{FUTURE, Heap, PerTask};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const USAGE: &str = "\
Counts what idle tasks take on each executor: bytes and allocations.

usage: memory [--tasks N]

Other executors are there if this was built with the feature `peers-executor`.";

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let tasks = |text: &str| text.parse().ok().filter(|&n| n > 0);
    let tasks = match args[..] {
        [] => Some(1_000_000),
        ["--tasks", n] => tasks(n),
        // How this command calls itself.
        ["--tasks", n, "--executor", name] => {
            let tasks = tasks(n).expect("the parent checked it");
            return measure(name, tasks);
        }
        _ => None,
    };
    let Some(tasks) = tasks else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    print(tasks)
}

/// What the allocator counted.
fn heap() -> Heap {
    let stats = ALLOCATOR.stats();
    Heap {
        live: stats.bytes_allocated as i64 - stats.bytes_deallocated as i64,
        allocations: (stats.allocations + stats.reallocations) as i64,
    }
}

/// Measures one executor and prints its line.
fn measure(name: &str, tasks: usize) -> ExitCode {
    let cases = peers::idle();
    let case = cases.iter().find(|case| case.executor == name);
    match case
        .expect("the parent took the name there")
        .measure(tasks, heap)
    {
        Ok(idle) => {
            let beyond = |task: PerTask| format!("{:.0}", task.bytes - FUTURE as f64);
            let allocations = |task: PerTask| format!("{:.2}", task.allocations);
            println!(
                "| {name} | {} | {} | {} | {} |",
                beyond(idle.unwakeable),
                beyond(idle.wakeable),
                allocations(idle.wakeable),
                allocations(idle.again),
            );
        }
        Err(reason) => println!("| {name} | {reason} | | | |"),
    }
    ExitCode::SUCCESS
}

fn print(tasks: usize) -> ExitCode {
    println!(
        "{tasks} idle tasks, each with a future of {FUTURE} bytes; bytes are those beyond it.\n\n\
         | executor | bytes a task | bytes, its waker held | allocations a task | again, when warm |\n\
         |---|---:|---:|---:|---:|"
    );
    let program = std::env::current_exe().expect("a running program has a path");
    for case in peers::idle() {
        let status = Command::new(&program)
            .args(["--tasks", &tasks.to_string(), "--executor", case.executor])
            .status();
        match status {
            Ok(status) if status.success() => {}
            other => {
                eprintln!("memory/tasks={tasks}/{}: failed: {other:?}", case.executor);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
