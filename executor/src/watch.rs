//! Shows another thread what the executor is doing, without locks.
//!
//! Everything is in two words, each written by the owner alone with a plain store, so a look
//! never waits and never sees half of a state:
//!
//! ```text
//!   state   bits 0..3    activity
//!           bits 3..5    kind of the innermost phase
//!           bits 5..16   polls on the stack, 2047 at most
//!           bits 16..64  number of the task being polled; 0 if there is none
//!   polls   polls made
//! ```
//!
//! The words order nothing else, so they are no business of the loom models: these are the
//! standard atomics in every build.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::core::{Activity, Core};
use crate::phase::PhaseKind;

/// Looks at an executor from any thread; cheap to clone, outlives the executor.
///
/// The executor publishes from the first call of
/// [`Handle::watchdog`](crate::Handle::watchdog) on, at two plain stores for each change.
/// Whether something is stuck is for the watching thread to time: two looks with the same
/// poll counter and a running task, a second apart, mean a poll that takes a second.
///
/// ```
/// use vestibule_executor::{Activity, Executor};
///
/// let executor = Executor::new();
/// let watchdog = executor.watchdog();
/// let task = executor.spawn(async move {
///     // Another thread looks while this task is being polled.
///     std::thread::spawn(move || watchdog.look()).join().unwrap()
/// })?;
/// let number = task.id().number();
/// let seen = executor.try_block_on(task)??;
/// assert_eq!(seen.activity, Activity::Polling { depth: 1 });
/// assert_eq!(seen.task, Some(number));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Watchdog(Arc<Watched>);

/// What a [`Watchdog`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sighting {
    /// What the executor was doing.
    pub activity: Activity,
    /// The kind of the innermost phase.
    pub phase: PhaseKind,
    /// The task being polled, innermost, by its [number](crate::TaskId::number) (modulo
    /// 2^48); `None` if there was none, or a main future.
    pub task: Option<u64>,
    /// How many polls had been begun. Read a moment after the rest.
    pub polls: u64,
    /// How long ago the state changed, if the executor was built with
    /// [`Builder::stamps`](crate::Builder::stamps).
    pub unchanged_for: Option<Duration>,
}

impl Watchdog {
    /// What the executor is doing now.
    pub fn look(&self) -> Sighting {
        let watched = &*self.0;
        let state = watched.state.load(Relaxed);
        let depth = (state >> 5 & MAX_DEPTH) as u32;
        let number = state >> 16;
        let stamp = watched.stamp.load(Relaxed);
        Sighting {
            activity: match state & 7 {
                0 => Activity::Idle,
                1 => Activity::Driving,
                2 => Activity::Polling { depth },
                3 => Activity::Parked,
                4 => Activity::ShuttingDown,
                _ => Activity::Closed,
            },
            phase: match state >> 3 & 3 {
                0 => PhaseKind::Running,
                1 => PhaseKind::Instantiating,
                _ => PhaseKind::Custom,
            },
            task: (number != 0).then_some(number),
            polls: watched.polls.load(Relaxed),
            unchanged_for: watched.stamps.then(|| {
                let now = watched.born.elapsed();
                // A change between the two readings makes the stamp the later one.
                now.saturating_sub(Duration::from_nanos(stamp))
            }),
        }
    }
}

const MAX_DEPTH: u64 = (1 << 11) - 1;
const MAX_NUMBER: u64 = (1 << 48) - 1;

/// What owner and watchers share.
#[derive(Debug)]
pub(crate) struct Watched {
    state: AtomicU64,
    polls: AtomicU64,
    /// When the state changed, in nanoseconds since `born`.
    stamp: AtomicU64,
    born: Instant,
    stamps: bool,
}

impl Watched {
    fn new(stamps: bool) -> Self {
        Self {
            state: AtomicU64::new(0),
            polls: AtomicU64::new(0),
            stamp: AtomicU64::new(0),
            born: Instant::now(),
            stamps,
        }
    }
}

impl Core {
    pub(crate) fn watchdog(self: &Rc<Self>, stamps: bool) -> Watchdog {
        let watched = self.watched.get_or_init(|| Arc::new(Watched::new(stamps)));
        let watchdog = Watchdog(Arc::clone(watched));
        self.be_special();
        self.show();
        watchdog
    }

    /// Publishes what changed, if anybody has ever wanted to look.
    #[inline]
    pub(crate) fn show(&self) {
        if let Some(watched) = self.watched.get() {
            self.publish(watched);
        }
    }

    #[inline(never)]
    fn publish(&self, watched: &Watched) {
        let (activity, depth) = match self.activity() {
            Activity::Idle => (0, 0),
            Activity::Driving => (1, 0),
            Activity::Polling { depth } => (2, depth),
            Activity::Parked => (3, 0),
            Activity::ShuttingDown => (4, 0),
            Activity::Closed => (5, 0),
        };
        let phase = match self.phases.borrow().kind() {
            PhaseKind::Running => 0,
            PhaseKind::Instantiating => 1,
            PhaseKind::Custom => 2,
        };
        let number = self.current().map_or(0, |slot| slot.number() & MAX_NUMBER);
        let depth = u64::from(depth).min(MAX_DEPTH);
        let state = activity | phase << 3 | depth << 5 | number << 16;
        watched.polls.store(self.table.polls(), Relaxed);
        watched.state.store(state, Relaxed);
        if watched.stamps {
            let nanos = watched.born.elapsed().as_nanos();
            let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
            watched.stamp.store(nanos, Relaxed);
        }
    }
}
