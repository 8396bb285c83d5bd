//! Many threads at once on one executor, for a bounded time: wakes, drops of wakers, aborts,
//! spawns, shutdowns, a host's loop, phases.
//!
//! A plain `main`, every thread joined, no condition variable: so that it means something under
//! ThreadSanitizer. What the allocator holds is counted before and after every scenario.
//!
//! `VESTIBULE_STRESS_MS` sets how long each scenario runs, `VESTIBULE_SEED` what its dice start
//! with. An argument runs the scenarios whose names contain it.

mod dice;
mod scenarios;

use std::alloc::System;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cap::Cap;

use dice::Dice;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

fn number(variable: &str, by_default: u64) -> u64 {
    std::env::var(variable).map_or(by_default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number"))
    })
}

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if std::env::args().any(|argument| argument == "--list") {
        for (name, _) in scenarios::ALL {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let time = Duration::from_millis(number("VESTIBULE_STRESS_MS", 500));
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let clock = clock.map_or(0, |since| since.as_nanos() as u64);
    let seed = number("VESTIBULE_SEED", clock);
    println!("VESTIBULE_SEED={seed}");
    let mut code = ExitCode::SUCCESS;
    for (name, scenario) in scenarios::ALL {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        let run = || {
            // Once to warm up what the process itself keeps.
            scenario(Dice::new(seed));
            let before = ALLOCATOR.allocated();
            let (start, mut rounds) = (Instant::now(), 0);
            while start.elapsed() < time {
                rounds += 1;
                scenario(Dice::new(seed.wrapping_add(rounds)));
            }
            let after = ALLOCATOR.allocated();
            assert!(
                after <= before,
                "{} bytes are left after {rounds} rounds",
                after - before
            );
            rounds
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(rounds) => println!("{name} ... ok, {rounds} rounds"),
            Err(_) => {
                println!("{name} ... FAILED (VESTIBULE_SEED={seed})");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
