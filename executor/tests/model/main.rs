//! Random sequences of operations, nested in each other, on the executor and on a model of it:
//! both must tell the same story.
//!
//! Compared are the order of polls, drops and hooks, every field of every report, refusals,
//! counters, what the host is told, how every handle ends, and that every future and output is
//! dropped exactly once.
//!
//! `VESTIBULE_CASES` sets how many cases are tried, `VESTIBULE_SEED` where the generator starts
//! (`random` for somewhere else every time). A failure prints the seed, and the smallest case that
//! it could find.

mod future;
mod reference;
mod script;
mod world;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use vestibule_executor::Schedule;

use script::Case;

fn seed() -> u64 {
    match std::env::var("VESTIBULE_SEED").as_deref() {
        Ok("random") => {
            let now = std::time::SystemTime::now();
            let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
            since.as_nanos() as u64
        }
        Ok(seed) => seed.parse().expect("VESTIBULE_SEED is a number"),
        Err(_) => 1,
    }
}

fn cases(by_default: u32) -> u32 {
    std::env::var("VESTIBULE_CASES").map_or(by_default, |cases| {
        cases.parse().expect("VESTIBULE_CASES is a number")
    })
}

/// Tries many cases; panics with the seed and the smallest case that fails.
fn try_cases(by_default: u32, check: impl Fn(&Case) -> Result<(), TestCaseError>) {
    let seed = seed();
    println!("VESTIBULE_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    // With what the environment says: PROPTEST_MAX_SHRINK_ITERS, say.
    let default = Config::default();
    let config = Config {
        cases: cases(by_default),
        failure_persistence: None,
        max_shrink_iters: default.max_shrink_iters.min(20_000),
        ..default
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let result = TestRunner::new_with_rng(config, rng).run(&script::case(), |case| check(&case));
    if let Err(TestError::Fail(reason, case)) = result {
        panic!("{reason}\nVESTIBULE_SEED={seed}\n{case:#?}");
    }
    result.unwrap();
}

/// The first line that differs, and what came before it.
fn compare(expected: &[String], actual: &[String]) -> Result<(), TestCaseError> {
    let pairs = expected.iter().zip(actual);
    let same = pairs.take_while(|(a, b)| a == b).count();
    if same == expected.len() && same == actual.len() {
        return Ok(());
    }
    let none = String::from("(nothing)");
    Err(TestCaseError::fail(format!(
        "after\n    {}\nexpected\n    {}\nbut came\n    {}",
        actual[..same].join("\n    "),
        expected.get(same).unwrap_or(&none),
        actual.get(same).unwrap_or(&none),
    )))
}

#[test]
fn the_executor_does_what_the_model_says() {
    try_cases(600, |case| {
        let expected = reference::Model::run(case);
        compare(&expected, &world::run(case, Schedule::Fifo))
    });
}

#[test]
fn a_shuffled_run_is_the_same_when_it_is_run_again_and_leaves_nothing_behind() {
    try_cases(150, |case| {
        let schedule = Schedule::Shuffle { seed: 7 };
        let first = world::run(case, schedule.clone());
        compare(&first, &world::run(case, schedule))?;
        let left = first.last().map(String::as_str);
        if left != Some("left: 0 futures, 0 outputs")
            || first.iter().any(|line| line.ends_with("never answered"))
        {
            return Err(TestCaseError::fail(first.join("\n")));
        }
        Ok(())
    });
}
