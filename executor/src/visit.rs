//! Runs the executor as a guest of another one: as a future that it polls.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Weak;
use std::task::{Context, Poll};

use crate::core::Core;
use crate::drive::{Drive, Main};
use crate::refusal::{Op, Reason, Refused};
use crate::tick::Budget;

/// The future of [`Handle::run_until`](crate::Handle::run_until).
///
/// Every poll of it polls the future inside, and then one round of the executor's tasks.
///
/// # Errors
///
/// It returns a refusal if it is polled where a [`tick`](crate::Handle::tick) would be
/// refused, and when the executor shuts down.
///
/// # Cancellation
///
/// Dropping it drops the future inside. The executor's tasks stay, and wait for whoever
/// drives next.
#[must_use = "futures do nothing unless awaited"]
pub struct RunUntil<F> {
    core: Weak<Core>,
    future: Pin<Box<F>>,
    budget: Budget,
    /// The number under which our waker is kept.
    visit: Option<u64>,
    location: &'static Location<'static>,
}

impl<F: Future> RunUntil<F> {
    pub(crate) fn new(core: Weak<Core>, future: F, location: &'static Location<'static>) -> Self {
        Self {
            core,
            future: Box::pin(future),
            budget: Budget::default().and_rounds(1),
            visit: None,
            location,
        }
    }

    /// Sets how much one poll may do before the other executor gets a turn; one round, and at
    /// most as many polls as [`Budget::default`] grants, if not called.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }
}

impl<F: Future> Future for RunUntil<F> {
    type Output = Result<F::Output, Refused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let op = Op::RunUntil;
        let Some(core) = this.core.upgrade() else {
            return Poll::Ready(Err(Refused::gone(op, this.location)));
        };
        core.check(op, this.location)?;
        let visit = *this.visit.get_or_insert_with(|| core.begin_visit());
        core.remote.keep_visitor(visit, cx.waker().clone());
        let mut drive = Drive::begin(&core, this.location);
        {
            let main = Main::begin(&core, this.location);
            if let Poll::Ready(output) = main.poll(&core, Some(cx), this.future.as_mut()) {
                return Poll::Ready(Ok(output));
            }
        }
        core.run_rounds(this.budget, None);
        drive.settle();
        if !core.is_open() {
            return Poll::Ready(Err(core.refuse(op, Reason::Closed, this.location)));
        }
        let more = core.table.ready() > 0;
        drop(drive);
        if more {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<F> Drop for RunUntil<F> {
    fn drop(&mut self) {
        if let (Some(core), Some(visit)) = (self.core.upgrade(), self.visit) {
            core.end_visit(visit);
        }
    }
}

impl<F> fmt::Debug for RunUntil<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunUntil")
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

impl Core {
    fn begin_visit(&self) -> u64 {
        self.visitors.set(self.visitors.get() + 1);
        let number = self.next_visit.get();
        self.next_visit.set(number + 1);
        number
    }

    fn end_visit(&self, visit: u64) {
        self.visitors.set(self.visitors.get() - 1);
        self.remote.drop_visitor(visit);
        // Somebody else has to go on with what is ready.
        if self.is_open() && self.drives() == 0 && self.table.ready() > 0 {
            self.remote.wake_host();
        }
    }

    /// Whether somebody else's loop wants to be told when something becomes ready.
    #[inline(always)]
    pub(crate) fn has_host(&self) -> bool {
        self.visitors.get() > 0 || self.hosted
    }
}
