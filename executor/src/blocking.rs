//! Tells that a poll or a phase blocked the thread, under the feature `blocking-detector`.
//!
//! A poll must not sleep: whatever else is ready waits for it. What sleeps nevertheless
//! leaves a trace, the count of the thread's *voluntary* context switches, which computing
//! does not raise. The count is read before and after, at about half a microsecond each, and
//! so is the clock: hence a feature, for debugging and for tests.
//!
//! What is reported once is not reported again by what it is nested in, and the executor's
//! own parking is not reported at all.

#[cfg(feature = "blocking-detector")]
pub use imp::Blocked;
pub(crate) use imp::{Detector, Mark};

#[cfg(not(feature = "blocking-detector"))]
mod imp {
    use std::time::Duration;

    use crate::core::Core;
    use crate::phase::Phase;
    use crate::task::Slot;

    /// Detects nothing.
    pub(crate) struct Detector;

    impl Detector {
        pub(crate) fn new(_: Option<Duration>) -> Self {
            Self
        }

        fn mark(&self) -> Mark {
            Mark
        }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Mark;

    impl Core {
        pub(crate) fn mark(&self) -> Mark {
            self.detector.mark()
        }

        pub(crate) fn excuse(&self, _: Mark) {}

        pub(crate) fn look_at_poll(&self, _: Mark, _: Option<Slot>) {}

        pub(crate) fn look_at_phase(&self, _: Mark, _: &Phase) {}
    }
}

#[cfg(feature = "blocking-detector")]
mod imp {
    use std::borrow::Cow;
    use std::cell::Cell;
    use std::fmt;
    use std::panic::Location;
    use std::time::{Duration, Instant};

    use crate::core::Core;
    use crate::ids::TaskId;
    use crate::limits;
    use crate::phase::{Phase, PhaseInfo};
    use crate::task::Slot;

    /// A poll, or the code that ran in a phase, put the thread to sleep.
    ///
    /// # What it can't see
    ///
    /// Waiting that does not sleep: spinning, `sched_yield`, a mutex that was free again before
    /// the kernel was asked, a file that was cached. Sleep shorter than the
    /// [threshold](crate::Builder::blocking_threshold). Code that unwinds. What another thread
    /// does on the task's behalf. Where in the poll it was.
    ///
    /// It can't tell a wait that was asked for from one that was not: a major page fault or a
    /// debugger's stop counts as sleep too. On systems other than Linux there is no count, and
    /// everything that takes longer than the threshold is reported, computing included.
    #[derive(Clone, Debug)]
    #[non_exhaustive]
    pub struct Blocked {
        /// The task being polled, innermost; `None` for a main future, and outside of polls.
        pub task: Option<TaskId>,
        /// Its name.
        pub task_name: Option<Cow<'static, str>>,
        /// The phase: for code that ran in a phase that one, for a poll the one in force.
        pub phase: PhaseInfo,
        /// Whether it was the code of the phase itself that blocked, a start function's say,
        /// and not a poll.
        pub in_phase: bool,
        /// How long it took, what was reported before not counted.
        pub duration: Duration,
        /// How often the thread went to sleep; `None` where the system does not say.
        pub switches: Option<u64>,
        /// Where the phase was entered, the task spawned, or the main future passed in.
        pub location: Option<&'static Location<'static>>,
    }

    impl fmt::Display for Blocked {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match (self.in_phase, self.task) {
                (true, _) => write!(f, "code in phase {}", self.phase.kind)?,
                (false, Some(id)) => write!(f, "task {id}")?,
                (false, None) => write!(f, "the main future")?,
            }
            if let (false, Some(name)) = (self.in_phase, &self.task_name) {
                write!(f, " `{name}`")?;
            }
            if let Some(label) = &self.phase.label {
                write!(f, " ({label})")?;
            }
            write!(f, " blocked the thread for {:?}", self.duration)?;
            if let Some(switches) = self.switches {
                write!(f, " ({switches} sleeps)")?;
            }
            if let Some(location) = self.location {
                write!(f, "; from {location}")?;
            }
            Ok(())
        }
    }

    /// What has been reported, or need not be.
    pub(crate) struct Detector {
        threshold: Duration,
        excused: Cell<(Duration, u64)>,
    }

    impl Detector {
        pub(crate) fn new(threshold: Option<Duration>) -> Self {
            Self {
                threshold: threshold.unwrap_or(limits::BLOCKING),
                excused: Cell::default(),
            }
        }
    }

    /// A reading taken before something runs.
    #[derive(Clone, Copy)]
    pub(crate) struct Mark {
        at: Instant,
        switches: Option<u64>,
        excused: (Duration, u64),
    }

    impl Core {
        pub(crate) fn mark(&self) -> Mark {
            Mark {
                at: Instant::now(),
                switches: voluntary_switches(),
                excused: self.detector.excused.get(),
            }
        }

        /// What happened since the mark, without what was excused in between.
        fn since(&self, mark: Mark) -> (Duration, Option<u64>) {
            let excused = self.detector.excused.get();
            let time = mark.at.elapsed().saturating_sub(excused.0 - mark.excused.0);
            let switches = mark.switches.zip(voluntary_switches());
            let switches = switches
                .map(|(before, after)| (after - before).saturating_sub(excused.1 - mark.excused.1));
            (time, switches)
        }

        /// Keeps what happened since the mark out of the reports.
        pub(crate) fn excuse(&self, mark: Mark) {
            let (time, switches) = self.since(mark);
            let (all_time, all_switches) = self.detector.excused.get();
            let excused = (all_time + time, all_switches + switches.unwrap_or(0));
            self.detector.excused.set(excused);
        }

        pub(crate) fn look_at_poll(&self, mark: Mark, task: Option<Slot>) {
            self.look(mark, |core| Blocked {
                task: task.map(TaskId::of),
                task_name: task.and_then(|slot| core.table.name(slot)),
                phase: PhaseInfo::default(),
                in_phase: false,
                duration: Duration::ZERO,
                switches: None,
                location: task.map(Slot::spawned_at).or(core.driven.get().1),
            });
        }

        /// The phase is off the stack already.
        pub(crate) fn look_at_phase(&self, mark: Mark, phase: &Phase) {
            self.look(mark, |core| {
                let depth = core.phase_depth.get() + 1;
                let phase = core.info_of(phase, depth);
                let task = core.current();
                Blocked {
                    task: task.map(TaskId::of),
                    task_name: task.and_then(|slot| core.table.name(slot)),
                    location: phase.entered_at,
                    phase,
                    in_phase: true,
                    duration: Duration::ZERO,
                    switches: None,
                }
            });
        }

        fn look(&self, mark: Mark, describe: impl FnOnce(&Self) -> Blocked) {
            let (duration, switches) = self.since(mark);
            if duration < self.detector.threshold || switches == Some(0) {
                return;
            }
            self.excuse(mark);
            let mut blocked = describe(self);
            if !blocked.in_phase {
                blocked.phase = self.phase_info();
            }
            blocked.duration = duration;
            blocked.switches = switches;
            self.hook(|hooks| hooks.on_blocked(&blocked));
        }
    }

    #[cfg(target_os = "linux")]
    fn voluntary_switches() -> Option<u64> {
        use nix::sys::resource::{UsageWho, getrusage};
        let usage = getrusage(UsageWho::RUSAGE_THREAD).ok()?;
        u64::try_from(usage.voluntary_context_switches()).ok()
    }

    #[cfg(not(target_os = "linux"))]
    fn voluntary_switches() -> Option<u64> {
        None
    }
}
