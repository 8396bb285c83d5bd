//! One workload on one executor: its name, how it is set up, and how it is repeated.

use std::cell::Cell;
use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A workload that is set up on one executor and can be repeated.
pub struct Bench {
    operations: u64,
    run: Box<dyn FnMut(u64) -> Duration>,
}

impl Bench {
    /// A bench whose iterations do `operations` operations each. `run` repeats the workload as
    /// often as it is told, checks the result, and returns the time of what is measured.
    pub fn new(operations: u64, run: impl FnMut(u64) -> Duration + 'static) -> Self {
        Self {
            operations,
            run: Box::new(run),
        }
    }

    /// How many operations one iteration does.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Repeats the workload and returns the time of what is measured.
    ///
    /// # Panics
    ///
    /// When the workload came to a wrong result; the message names it.
    pub fn run(&mut self, iterations: u64) -> Duration {
        (self.run)(iterations)
    }
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench")
            .field("operations", &self.operations)
            .finish_non_exhaustive()
    }
}

/// The name of a workload on an executor: `spawn_join/tasks=10000/ours`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The workload with its sizes: `spawn_join/tasks=10000`.
    pub workload: String,
    /// The executor.
    pub executor: &'static str,
}

impl Label {
    /// Compares what a workload came to with what it must come to.
    ///
    /// # Panics
    ///
    /// When they differ; the message begins with the workload and the executor.
    #[track_caller]
    pub fn check<T: PartialEq + fmt::Debug>(&self, what: &str, came: T, must: T) {
        assert!(
            came == must,
            "{self}: {what} is {came:?} and must be {must:?}"
        );
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.workload, self.executor)
    }
}

/// What an executor offers, which decides what ours is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Join handles, and wakes from other threads.
    Handles,
    /// Less than that: a set of futures, a function that blocks.
    Less,
}

type Start = Box<dyn Fn(Label) -> Result<Bench, String>>;

/// A workload on an executor, not set up yet.
pub struct Case {
    /// Its name.
    pub label: Label,
    /// What one operation is: `task`, `wake`.
    pub operation: &'static str,
    /// What the executor offers.
    pub offer: Offer,
    start: Start,
}

impl Case {
    /// A case that `start` sets up.
    pub fn new(
        workload: impl Into<String>,
        executor: &'static str,
        operation: &'static str,
        offer: Offer,
        start: impl Fn(Label) -> Result<Bench, String> + 'static,
    ) -> Self {
        Self {
            label: Label {
                workload: workload.into(),
                executor,
            },
            operation,
            offer,
            start: Box::new(start),
        }
    }

    /// Sets it up.
    ///
    /// # Errors
    ///
    /// Why the executor can't run here, or can't do this: to be shown in the table.
    pub fn start(&self) -> Result<Bench, String> {
        (self.start)(self.label.clone())
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({})", self.label)
    }
}

/// Takes the time between two moments that futures of one thread mark.
///
/// It is the time that the thread ran, so that what else the machine does is not counted. Where
/// threads wait for each other that says nothing: a workload of several threads takes the time of
/// the world (`Clock::of_the_world`). Elsewhere than on Unix there is only that one.
#[derive(Debug, Default)]
pub struct Clock {
    of_the_world: bool,
    started: Cell<Option<Duration>>,
    elapsed: Cell<Duration>,
}

impl Clock {
    /// A clock that goes on while the thread does not run.
    pub fn of_the_world() -> Self {
        Self {
            of_the_world: true,
            ..Self::default()
        }
    }

    /// Marks the beginning.
    pub fn start(&self) {
        self.started.set(Some(self.now()));
    }

    /// Marks the end.
    ///
    /// # Panics
    ///
    /// When the beginning was not marked.
    pub fn stop(&self) {
        let started = self.started.get().expect("the clock was started");
        self.elapsed.set(self.now().saturating_sub(started));
    }

    /// The time between.
    pub fn elapsed(&self) -> Duration {
        self.elapsed.get()
    }

    fn now(&self) -> Duration {
        match self.of_the_world {
            true => EPOCH.elapsed(),
            false => thread_time(),
        }
    }
}

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// How long this thread has run.
#[cfg(unix)]
fn thread_time() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.expect("a thread has a clock").into()
}

#[cfg(not(unix))]
fn thread_time() -> Duration {
    EPOCH.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_clock_of_a_thread_does_not_count_its_sleep() {
        let (own, world) = (Clock::default(), Clock::of_the_world());
        own.start();
        world.start();
        std::thread::sleep(Duration::from_millis(50));
        own.stop();
        world.stop();
        assert!(world.elapsed() >= Duration::from_millis(50));
        assert!(own.elapsed() < Duration::from_millis(25));
    }

    #[test]
    #[should_panic(expected = "spawn_join/tasks=2/ours: the sum is 2 and must be 3")]
    fn a_wrong_result_stops_with_the_name_of_the_workload() {
        let case = Case::new(
            "spawn_join/tasks=2",
            "ours",
            "task",
            Offer::Handles,
            |label| {
                Ok(Bench::new(2, move |_| {
                    label.check("the sum", 2, 3);
                    Duration::ZERO
                }))
            },
        );
        case.start().expect("it starts").run(1);
    }
}
