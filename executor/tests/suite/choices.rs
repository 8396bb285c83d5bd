//! Which of several ready tasks was polled is drawn from a seed, recorded, and made to happen again.

use crate::common::Log;
use vestibule_executor::{Choice, ChoiceTrace, Choices, Executor, Schedule, yield_now};

/// Runs tasks that yield a different number of times, so that from five down to one are ready at
/// once; returns the order of their polls.
fn order(schedule: Schedule) -> Vec<String> {
    let executor = Executor::builder().schedule(schedule).build();
    let log = Log::new();
    for task in 0..5 {
        let log = log.clone();
        let turns = async move {
            for turn in 0..=task {
                log.add(format!("{task}.{turn}"));
                yield_now().await;
            }
        };
        drop(executor.spawn(turns).unwrap());
    }
    while executor.metrics().live > 0 {
        let _ = executor.tick().unwrap();
    }
    log.take()
}

fn trace(choices: &[(u32, u32)]) -> ChoiceTrace {
    let choice = |&(ready, chosen)| Choice { ready, chosen };
    ChoiceTrace(choices.iter().map(choice).collect())
}

#[test]
fn what_is_drawn_from_a_seed_is_the_shuffle_of_that_seed_and_can_be_replayed() {
    for seed in 0..20 {
        let seeded = Choices::seeded(seed);
        let first = order(Schedule::Choices(seeded.clone()));
        assert_eq!(order(Schedule::Shuffle { seed }), first, "seed {seed}");
        let made = seeded.made();
        assert_eq!(seeded.made_since(1).0, made.0[1..]);
        assert!(made.0.iter().all(|choice| choice.ready >= 2), "{made}");
        // Five in the first round, all of them again in the second, then one less each time.
        let drawn: Vec<_> = made.0.iter().map(|choice| choice.ready).collect();
        let rounds = [5, 5, 4, 3, 2];
        let expected: Vec<_> = rounds.into_iter().flat_map(|n| (2..=n).rev()).collect();
        assert_eq!(drawn, expected);
        let text = seeded.to_string();
        assert_eq!(text, made.to_string());
        let replayed = Choices::replayed(text.parse().unwrap());
        assert_eq!(order(Schedule::Choices(replayed.clone())), first);
        assert_eq!((replayed.made(), replayed.has_diverged()), (made, false));
    }
}

#[test]
fn a_trace_that_is_too_short_goes_on_with_whoever_is_first() {
    let choices = Choices::replayed(trace(&[(5, 4)]));
    let polls = order(Schedule::Choices(choices.clone()));
    assert_eq!(polls[..5], ["4.0", "0.0", "1.0", "2.0", "3.0"]);
    assert!(!choices.has_diverged());
    assert_eq!(choices.made().0[..2], trace(&[(5, 4), (4, 0)]).0);
}

#[test]
fn a_choice_that_does_not_fit_is_of_the_first_and_the_replay_says_that_it_diverged() {
    for misfit in [(4, 1), (6, 1), (5, 5), (5, 6), (4, 4)] {
        let choices = Choices::replayed(trace(&[misfit]));
        let polls = order(Schedule::Choices(choices.clone()));
        assert_eq!(polls[0], "0.0", "{misfit:?}");
        assert!(choices.has_diverged(), "{misfit:?}");
        assert_eq!(choices.made().0[..1], trace(&[(5, 0)]).0);
    }
}

#[test]
fn a_trace_is_written_as_pairs_between_blanks_and_a_wrong_pair_is_named() {
    let written = trace(&[(3, 1), (2, 0), (10, 9)]);
    assert_eq!(written.to_string(), "3:1 2:0 10:9");
    assert_eq!("3:1 2:0  10:9".parse(), Ok(written));
    assert_eq!("".parse(), Ok(ChoiceTrace::default()));
    for wrong in ["3", "3:3", "3:4", "0:0", "x:1"] {
        let error = format!("2:0 {wrong}").parse::<ChoiceTrace>().unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("`{wrong}` is no choice:")),
            "{text}"
        );
    }
}

#[test]
fn handles_of_one_record_are_equal_and_of_two_are_not() {
    let choices = Choices::seeded(1);
    assert_eq!(choices, choices.clone());
    assert_ne!(choices, Choices::seeded(1));
}
