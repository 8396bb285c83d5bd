//! Meters one entry into the guest: fuel, in slices when asked for, and a deadline.

use crate::config::Config;
use crate::error::Error;
use std::time::{Duration, Instant};

/// The budget of the entry in progress.
#[derive(Debug)]
pub(crate) struct Fuel {
    budget: u64,
    slice: Option<u64>,
    timeout: Option<Duration>,
    /// What has not been granted to the engine yet.
    left: u64,
    deadline: Option<Instant>,
}

impl Fuel {
    pub(crate) fn new(config: &Config) -> Fuel {
        Fuel {
            budget: config.fuel,
            slice: config.fuel_slice,
            timeout: config.timeout,
            left: 0,
            deadline: None,
        }
    }

    /// Begins an entry; returns what to grant the engine at first.
    pub(crate) fn begin(&mut self) -> u64 {
        self.deadline = self
            .timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        let first = self.slice.unwrap_or(self.budget).min(self.budget);
        self.left = self.budget - first;
        first
    }

    /// Grants more, at least `required`, unless the budget is spent or the deadline has passed.
    pub(crate) fn next_slice(&mut self, required: u64) -> Result<u64, Error> {
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            return Err(self.timed_out());
        }
        let grant = self.slice.unwrap_or(0).max(required);
        if required > self.left {
            return Err(self.exhausted());
        }
        let grant = grant.min(self.left);
        self.left -= grant;
        Ok(grant)
    }

    /// The error of a budget that is spent.
    pub(crate) fn exhausted(&self) -> Error {
        Error::limit(
            "fuel",
            self.budget,
            "units for one entry into the guest",
            "raise it with `Config::fuel` or `--fuel`, or look for a loop that does not end",
        )
    }

    fn timed_out(&self) -> Error {
        let milliseconds = self.timeout.map_or(0, |timeout| timeout.as_millis());
        Error::limit(
            "timeout",
            u64::try_from(milliseconds).unwrap_or(u64::MAX),
            "milliseconds for one entry into the guest",
            "raise it with `Config::timeout` or `--timeout`",
        )
    }
}
