//! In which order ready tasks run: first come, first served, drawn from a seed, or as before.

use clap::Args;
use vestibule_executor::{ChoiceTrace, Choices, Executor, Schedule};

/// The order of ready tasks.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Order {
    /// Runs ready tasks in an order drawn from this number, instead of first come, first served.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Runs ready tasks in an order that a failed run with --seed has printed.
    #[arg(long, value_name = "CHOICES", conflicts_with = "seed")]
    replay: Option<ChoiceTrace>,
}

impl Order {
    /// What makes and records the choices, unless it is first come, first served.
    pub(crate) fn choices(&self) -> Option<Choices> {
        match (&self.replay, self.seed) {
            (Some(trace), _) => Some(Choices::replayed(trace.clone())),
            (None, Some(seed)) => Some(Choices::seeded(seed)),
            (None, None) => None,
        }
    }

    /// Says how to make the same choices again.
    pub(crate) fn how_to_replay(&self, choices: &Choices) -> String {
        match self.seed {
            Some(seed) => format!("with --seed {seed}, which chose: --replay '{choices}'"),
            None if choices.has_diverged() => {
                format!("the replay met other choices than were recorded: '{choices}'")
            }
            None => format!("with --replay '{choices}'"),
        }
    }
}

/// An executor that takes these choices, or the first that is ready.
pub(crate) fn executor(choices: Option<&Choices>) -> Executor {
    match choices {
        Some(choices) => Executor::builder()
            .schedule(Schedule::Choices(choices.clone()))
            .build(),
        None => Executor::new(),
    }
}
