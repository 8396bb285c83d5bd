//! Puts the owner's thread to sleep while nothing is ready.

use std::error::Error;
use std::fmt;
use std::task::Waker;
use std::time::Instant;

use futures_task::ArcWake;

use crate::sync::{Arc, Parker};

/// How [`try_block_on`](crate::Handle::try_block_on) waits when nothing is ready.
///
/// The default sleeps until another thread wakes something. A host with an event loop of
/// its own waits there instead: for its timers and descriptors, and for
/// [`unparker`](Park::unparker).
pub trait Park: 'static {
    /// Waits until the unparker is woken, or for any other reason, or not at all: the
    /// executor looks again whenever this returns. A wake of the unparker that came before
    /// must make it return at once.
    ///
    /// It runs on the owner's thread with nothing of the executor borrowed, and may wake
    /// and spawn; driving the executor from here is refused.
    ///
    /// # Errors
    ///
    /// [`CannotPark`] if this thread may not sleep: `try_block_on` then returns
    /// [`Stalled`](crate::Stalled).
    fn park(&self) -> Result<(), CannotPark>;

    /// What makes `park` return, from any thread. Asked for once, when the executor is
    /// built.
    fn unparker(&self) -> Waker;

    /// When `park` will next make something ready by itself: its earliest timer. `None` if
    /// it has none.
    ///
    /// While there is one, no deadlock is claimed. A foreign loop that sleeps elsewhere asks
    /// for it with [`Handle::next_deadline`](crate::Handle::next_deadline). The executor does
    /// not compare it with any clock, so a clock that jumps is the park's affair alone.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether `park` itself may wake or spawn without a waker or
    /// [`Spawner`](crate::Spawner) (through a [`Handle`](crate::Handle), say). If so, no
    /// deadlock is ever claimed.
    fn brings_work(&self) -> bool {
        false
    }
}

/// The thread may not sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CannotPark;

impl fmt::Display for CannotPark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this thread may not sleep")
    }
}

impl Error for CannotPark {}

/// Sleeps until another thread wakes something; the default.
#[derive(Debug)]
pub struct ThreadPark(Arc<Unparker>);

#[derive(Debug)]
struct Unparker(Parker);

impl ThreadPark {
    /// For the calling thread, which must be the one that drives the executor.
    pub fn new() -> Self {
        Self(Arc::new(Unparker(Parker::new())))
    }
}

impl Default for ThreadPark {
    fn default() -> Self {
        Self::new()
    }
}

impl Park for ThreadPark {
    fn park(&self) -> Result<(), CannotPark> {
        self.0.0.park();
        Ok(())
    }

    fn unparker(&self) -> Waker {
        futures_task::waker(Arc::clone(&self.0))
    }
}

impl ArcWake for Unparker {
    fn wake_by_ref(unparker: &Arc<Self>) {
        unparker.0.unpark();
    }
}

/// Never sleeps: for threads that may not, such as a browser's or a GUI's.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPark;

impl Park for NoPark {
    fn park(&self) -> Result<(), CannotPark> {
        Err(CannotPark)
    }

    fn unparker(&self) -> Waker {
        Waker::noop().clone()
    }
}
