//! Meters a call from the host: fuel, in slices when asked for, a deadline, and interrupts.
//!
//! The budget is that of a whole call: what its threads do at later turns of the executor is taken
//! from the same [`Meter`]. With slices, a run whose slice is over is suspended like one that
//! waits (`Block::Paused`), and the base lets the executor run other things before it goes on.
//! What cannot be suspended, because the specification does not let it leave its instance
//! (`realloc`, `post-return`), gets its slices at once, and a smaller budget of its own.

use crate::config::Config;
use crate::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The budget of the entry in progress.
#[derive(Debug)]
pub(crate) struct Fuel {
    budget: u64,
    slice: Option<u64>,
    timeout: Option<Duration>,
    unsuspended_budget: u64,
    interrupt: Arc<AtomicBool>,
    meter: Meter,
    /// Whether the base lets the executor run other things between two slices.
    yields: bool,
    /// Set when a run was suspended because its slice is over; the base clears it.
    pub(crate) slice_over: bool,
    /// What a function that cannot be suspended may still take, while one runs.
    unsuspended: Option<u64>,
}

/// What a call has not been granted yet, and until when it may run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Meter {
    left: u64,
    deadline: Option<Instant>,
}

/// Ends guest code of a store from any thread.
///
/// It is there before a component is instantiated, so that a start function that does not end can
/// be ended. It is heeded at the next end of a slice of fuel, so the engine must have
/// [slices](crate::Config::fuel_slice); without them only what is entered later is ended.
///
/// A guest that waits runs no code: to end its call, drop the call's future.
#[derive(Debug, Clone)]
pub struct InterruptHandle(Arc<AtomicBool>);

impl InterruptHandle {
    /// Ends what guest code the store runs, or else what it enters next, with a `Limit` error of
    /// the name `interrupt`. One interrupt ends one run.
    pub fn interrupt(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Fuel {
    pub(crate) fn new(config: &Config) -> Fuel {
        Fuel {
            budget: config.fuel,
            slice: config.fuel_slice,
            timeout: config.timeout,
            unsuspended_budget: config.unsuspended_fuel,
            interrupt: Arc::default(),
            meter: Meter::default(),
            yields: false,
            slice_over: false,
            unsuspended: None,
        }
    }

    pub(crate) fn interrupt_handle(&self) -> InterruptHandle {
        InterruptHandle(Arc::clone(&self.interrupt))
    }

    /// Begins an entry, with what its call has left when it was entered before; returns what to
    /// grant the engine at first.
    pub(crate) fn begin(&mut self, meter: Option<Meter>, yields: bool) -> Result<u64, Error> {
        self.meter = meter.unwrap_or_else(|| Meter {
            left: self.budget,
            deadline: self
                .timeout
                .and_then(|timeout| Instant::now().checked_add(timeout)),
        });
        self.yields = yields && self.slice.is_some();
        self.slice_over = false;
        self.unsuspended = None;
        self.check_time()?;
        let first = self.slice.unwrap_or(u64::MAX).min(self.meter.left);
        self.meter.left -= first;
        Ok(first)
    }

    /// Ends an entry of which the engine has `unused` units left.
    pub(crate) fn end(&self, unused: u64) -> Meter {
        Meter {
            left: self.meter.left.saturating_add(unused),
            deadline: self.meter.deadline,
        }
    }

    /// Whether a run whose slice is over is to be suspended.
    pub(crate) fn suspends(&self) -> bool {
        self.yields && self.unsuspended.is_none()
    }

    /// A function begins that cannot be suspended; returns what to give
    /// [`end_unsuspended`](Fuel::end_unsuspended).
    pub(crate) fn begin_unsuspended(&mut self) -> Option<u64> {
        let outer = self.unsuspended;
        if self.slice.is_some() {
            self.unsuspended = outer.or(Some(self.unsuspended_budget));
        }
        outer
    }

    pub(crate) fn end_unsuspended(&mut self, outer: Option<u64>) {
        self.unsuspended = outer;
    }

    /// Grants the next slice, at least `required`, unless the budget is spent or the time is over.
    pub(crate) fn next_slice(&mut self, required: u64) -> Result<u64, Error> {
        let slice = self.slice.unwrap_or(0);
        self.grant(required, slice.max(required))
    }

    /// Grants what the host's own work for the guest costs. It is no more than that where a slice
    /// could end: a guest that lives on built-ins must not be given a new slice by each of them.
    pub(crate) fn grant_work(&mut self, required: u64) -> Result<u64, Error> {
        match self.suspends() {
            true => self.grant(required, required),
            false => self.next_slice(required),
        }
    }

    fn grant(&mut self, required: u64, wanted: u64) -> Result<u64, Error> {
        self.check_time()?;
        if required > self.meter.left {
            return Err(self.exhausted());
        }
        let mut grant = wanted.min(self.meter.left);
        if let Some(left) = &mut self.unsuspended {
            if required > *left {
                return Err(unsuspended_exhausted(self.unsuspended_budget));
            }
            grant = grant.min(*left);
            *left -= grant;
        }
        self.meter.left -= grant;
        Ok(grant)
    }

    fn check_time(&self) -> Result<(), Error> {
        // A swap only when there is something to take: this is asked for every slice.
        if self.interrupt.load(Ordering::Relaxed) && self.interrupt.swap(false, Ordering::Acquire) {
            return Err(interrupted());
        }
        match self.meter.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(self.timed_out()),
            _ => Ok(()),
        }
    }

    /// The error of a budget that is spent.
    pub(crate) fn exhausted(&self) -> Error {
        Error::limit(
            "fuel",
            self.budget,
            "units for one call from the host, or one instantiated start function",
            "raise it with `Config::fuel` or `--fuel`, or look for a loop that does not end",
        )
    }

    fn timed_out(&self) -> Error {
        let milliseconds = self.timeout.map_or(0, |timeout| timeout.as_millis());
        Error::limit(
            "timeout",
            u64::try_from(milliseconds).unwrap_or(u64::MAX),
            "milliseconds for one call from the host, or one start function",
            "raise it with `Config::timeout` or `--timeout`",
        )
    }
}

fn interrupted() -> Error {
    Error::limit(
        "interrupt",
        1,
        "run of guest code, ended through the store's `InterruptHandle`",
        "the host asked for it; what the guest did so far stays, and its instances are locked down",
    )
}

fn unsuspended_exhausted(budget: u64) -> Error {
    Error::limit(
        "unsuspended_fuel",
        budget,
        "units for one `realloc` or `post-return`, which cannot be suspended between slices",
        "raise it with `Config::unsuspended_fuel`, or look for a loop that does not end",
    )
}
