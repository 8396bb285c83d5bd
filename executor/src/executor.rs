//! Owns an executor, and configures it.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use crate::blocking::Detector;
use crate::core::{Core, Parts};
use crate::handle::Handle;
use crate::hooks::Hooks;
use crate::limits;
use crate::panics::PanicPolicy;
use crate::park::{Park, ThreadPark};
use crate::remote::Remote;
use crate::schedule::{Schedule, Shuffler};
use crate::sync::Arc;
use crate::table::Table;
use crate::task::Arena;

/// A single-threaded executor; dropping it ends all its tasks.
///
/// It dereferences to its [`Handle`], where the operations are.
///
/// ```
/// use vestibule_executor::Executor;
///
/// let executor = Executor::new();
/// let task = executor.spawn(async { 6 * 7 })?;
/// assert_eq!(executor.try_block_on(task)??, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It belongs to the thread that made it:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(vestibule_executor::Executor::new());
/// ```
pub struct Executor {
    core: Rc<Core>,
    handle: Handle,
}

impl Executor {
    /// An executor that parks its thread, first come, first served.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Configures an executor.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A weak handle.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Default for Executor {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Executor {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Executor {
    /// As [`Handle::shutdown`]. It may happen inside one of its own tasks.
    fn drop(&mut self) {
        self.core.shut_down();
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("activity", &self.activity())
            .field("metrics", &self.metrics())
            .finish()
    }
}

/// Configures an [`Executor`].
#[must_use = "a builder does nothing until `build`"]
#[derive(Default)]
pub struct Builder {
    park: Option<Box<dyn Park>>,
    hooks: Option<Box<dyn Hooks>>,
    host_waker: Option<Waker>,
    schedule: Schedule,
    max_poll_depth: Option<u32>,
    on_panic: PanicPolicy,
    stamps: bool,
    /// Only heeded under the feature.
    blocking_threshold: Option<Duration>,
}

impl Builder {
    /// Sets how `try_block_on` waits; [`ThreadPark`] if not called.
    pub fn park(mut self, park: impl Park) -> Self {
        self.park = Some(Box::new(park));
        self
    }

    /// Sets what is called as things happen.
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.hooks = Some(Box::new(hooks));
        self
    }

    /// Sets a waker for the event loop that drives this executor with
    /// [`tick`](Handle::tick).
    ///
    /// It is woken, from whatever thread, exactly once when something becomes ready after a
    /// drive that left nothing ready (at first: after the executor was made). The loop then
    /// owes ticks until one returns [`TickEnd::Stalled`](crate::TickEnd::Stalled) or
    /// [`TickEnd::Empty`](crate::TickEnd::Empty).
    pub fn host_waker(mut self, waker: Waker) -> Self {
        self.host_waker = Some(waker);
        self
    }

    /// Sets the order of polls; [`Schedule::Fifo`] if not called.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Sets what the panic of a task does beyond ending it; [`PanicPolicy::Join`] if not
    /// called.
    pub fn on_panic(mut self, policy: PanicPolicy) -> Self {
        self.on_panic = policy;
        self
    }

    /// Sets whether a [`Watchdog`](crate::Watchdog) is told when the state changed, at the
    /// price of reading the clock at every change; without this it is not.
    pub fn stamps(mut self, stamps: bool) -> Self {
        self.stamps = stamps;
        self
    }

    /// Sets from when on sleep in a poll or a phase is reported to
    /// [`Hooks::on_blocked`](crate::Hooks::on_blocked); one millisecond if not called.
    #[cfg(feature = "blocking-detector")]
    pub fn blocking_threshold(mut self, threshold: Duration) -> Self {
        self.blocking_threshold = Some(threshold);
        self
    }

    /// Sets how many polls may nest on the native stack before
    /// [`block_in_phase`](Handle::block_in_phase) is refused; 128 if not called.
    pub fn max_poll_depth(mut self, depth: u32) -> Self {
        self.max_poll_depth = Some(depth);
        self
    }

    /// Makes the executor, owned by this thread.
    pub fn build(self) -> Executor {
        let park = self.park.unwrap_or_else(|| Box::new(ThreadPark::new()));
        let remote = Arc::new(Remote::new(park.unparker(), self.host_waker));
        let arena = Arena::new(Arc::clone(&remote));
        let core = Core::new(Parts {
            remote,
            table: Table::new(arena, Shuffler::new(self.schedule)),
            park,
            hooks: self.hooks,
            max_poll_depth: self.max_poll_depth.unwrap_or(limits::POLL_DEPTH),
            on_panic: self.on_panic,
            stamps: self.stamps,
            detector: Detector::new(self.blocking_threshold),
        });
        let handle = Handle::new(&core);
        Executor { core, handle }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}
