//! In which order ready tasks run: first come, first served, drawn from a seed, or as before.

use clap::Args;
use std::sync::{Arc, Mutex};
use vestibule_executor::{ChoiceTrace, Choices, Executor, Hooks, Schedule, TaskId};

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
            None if choices.has_diverged() => {
                format!("the replay met other choices than were recorded: '{choices}'")
            }
            _ => self.made(&choices.made()),
        }
    }

    /// Says how to make the choices again of a thread that hangs, unless the order is the usual one.
    pub(crate) fn how_to_replay_log(&self, log: &Log) -> Option<String> {
        self.choices().map(|_| self.made(&log.trace()))
    }

    fn made(&self, trace: &ChoiceTrace) -> String {
        match self.seed {
            Some(seed) => format!("with --seed {seed}, which chose: --replay '{trace}'"),
            None => format!("with --replay '{trace}'"),
        }
    }
}

/// The choices that a thread has made, for another one to read: a thread that hangs tells nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<ChoiceTrace>>);

impl Log {
    fn trace(&self) -> ChoiceTrace {
        self.0.lock().map(|trace| trace.clone()).unwrap_or_default()
    }
}

/// Keeps a log up to date.
struct Recorder {
    choices: Choices,
    log: Log,
}

impl Hooks for Recorder {
    fn before_poll(&self, _: TaskId) {
        if let Ok(mut trace) = self.log.0.lock() {
            let new = self.choices.made_since(trace.0.len());
            trace.0.extend(new.0);
        }
    }
}

/// An executor that takes these choices, or the first that is ready.
pub(crate) fn executor(choices: Option<&Choices>, log: Log) -> Executor {
    match choices {
        Some(choices) => Executor::builder()
            .schedule(Schedule::Choices(choices.clone()))
            .hooks(Recorder {
                choices: choices.clone(),
                log,
            })
            .build(),
        None => Executor::new(),
    }
}
