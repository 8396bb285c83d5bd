//! Carries a task's outcome to whoever awaits it.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::ptr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use crate::core::Core;
use crate::extra::Waiter;
use crate::ids::TaskId;
use crate::state::State;
use crate::table::Doom;
use crate::task::{Key, Owned, Slot};

/// Why a task did not produce a value.
#[non_exhaustive]
pub enum JoinError {
    /// It was aborted.
    Aborted,
    /// It was deferred in a phase that did not commit.
    Discarded,
    /// It panicked, in a poll or in its destructor; the payload is what it panicked with.
    Panicked(Box<dyn Any + Send>),
    /// Its executor shut down before it ended.
    ExecutorGone,
}

impl JoinError {
    /// The panic's message, if it is a panic with a text.
    pub fn panic_message(&self) -> Option<&str> {
        let Self::Panicked(payload) = self else {
            return None;
        };
        let text = payload.downcast_ref::<&'static str>().copied();
        text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
    }
}

impl From<Doom> for JoinError {
    fn from(doom: Doom) -> Self {
        match doom {
            Doom::Aborted => Self::Aborted,
            Doom::Discarded => Self::Discarded,
            Doom::ExecutorGone => Self::ExecutorGone,
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted => f.write_str("the task was aborted"),
            Self::Discarded => f.write_str("the task was deferred in a phase that did not commit"),
            Self::Panicked(_) => match self.panic_message() {
                Some(text) => write!(f, "the task panicked: {text}"),
                None => f.write_str("the task panicked"),
            },
            Self::ExecutorGone => f.write_str("the task's executor shut down"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted => f.write_str("Aborted"),
            Self::Discarded => f.write_str("Discarded"),
            Self::Panicked(_) => write!(f, "Panicked({:?})", self.panic_message()),
            Self::ExecutorGone => f.write_str("ExecutorGone"),
        }
    }
}

impl Error for JoinError {}

/// Awaits a task, and has power over it.
///
/// A future of the task's output. Dropping the handle detaches the task: it goes on, and
/// its output is dropped. The handle neither keeps the executor alive nor needs it alive:
/// a task that ended before the executor did can still be joined.
///
/// # Cancellation
///
/// Awaiting a handle can be given up and taken up again, by the same task or another;
/// nothing is lost but a value that was already returned.
///
/// # Panics
///
/// Polling it again after it returned `Ready` panics, as with most futures.
pub struct JoinHandle<T> {
    task: Owned<T>,
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(task: Owned<T>) -> Self {
        Self { task }
    }

    /// Leaves the task to a set of tasks that return this.
    pub(crate) fn lend(self) -> Slot {
        let slot = self.task.slot();
        slot.update(|state| state.with(State::MEMBER));
        std::mem::forget(self);
        slot
    }

    /// Takes a task back that was lent to a set of tasks that return this.
    pub(crate) fn reclaim(slot: Slot) -> Self {
        Self::new(Owned::reclaim(slot))
    }

    /// The task's id.
    pub fn id(&self) -> TaskId {
        TaskId::of(self.task.slot())
    }

    pub(crate) fn slot(&self) -> Slot {
        self.task.slot()
    }

    pub(crate) fn key(&self) -> Key {
        Key::of(self.slot())
    }

    /// Whether the task has ended, however it did.
    pub fn is_finished(&self) -> bool {
        !self.task.slot().state().has(State::LIVE)
    }

    /// Schedules the task exactly as its own waker would.
    ///
    /// No waker has to escape for it, so it does not stand in the way of the proof of a
    /// deadlock, and it touches no atomic. A task that has ended, that is deferred or that
    /// is ready already is left as it is; one that is being polled becomes ready again when
    /// its poll ends.
    pub fn wake(&self) {
        let slot = self.task.slot();
        if self.task.with_core(|core| core.wake(slot)) == Some(true) {
            slot.complete_wake();
        }
    }

    /// Ends the task with [`JoinError::Aborted`].
    ///
    /// Its future is dropped before this returns, unless the task is on the stack (it or a
    /// task that it drives calls this): then it is dropped when its poll ends, and if that
    /// poll returns a value after all, the value counts. At most 64 destructors nest: when
    /// dropping one future aborts the next and so on, deeper ones run before the outermost
    /// abort returns. A task that has ended stays as it is.
    pub fn abort(&self) {
        if let Some(core) = self.core() {
            core.end_task(self.key(), Doom::Aborted);
        }
    }

    /// Aborts the task and waits until its future is really dropped.
    ///
    /// # Errors
    ///
    /// [`JoinError::Aborted`] as a rule; if the task had ended before, its outcome.
    pub async fn cancel(self) -> Result<T, JoinError> {
        self.abort();
        self.await
    }

    /// The core, kept alive while foreign code runs.
    fn core(&self) -> Option<Rc<Core>> {
        self.task.with_core(|core| core.this.upgrade())?
    }

    /// Takes the value of a task that has ended, if it has one.
    #[inline]
    fn take_value(&self) -> Option<T> {
        let slot = self.task.slot();
        let state = slot.state();
        if state.has(State::LIVE) || !state.has(State::VALUE) {
            return None;
        }
        slot.update(|_| state.with(State::TAKEN));
        self.task.take_value()
    }

    /// Takes the outcome of a task that has ended.
    #[inline]
    pub(crate) fn take_outcome(&self) -> Option<Result<T, JoinError>> {
        match self.take_value() {
            Some(value) => Some(Ok(value)),
            None => self.take_error().map(Err),
        }
    }

    /// Takes what a task ended with in place of a value.
    #[cold]
    #[inline(never)]
    fn take_error(&self) -> Option<JoinError> {
        let slot = self.task.slot();
        let state = slot.state();
        if state.has_any(State::LIVE.with(State::TAKEN)) {
            return None;
        }
        slot.update(|state| state.with(State::TAKEN));
        Some(match slot.take_panic() {
            Some(payload) => JoinError::Panicked(payload),
            None => state.doom().unwrap_or(Doom::ExecutorGone).into(),
        })
    }

    /// A poll that found no value.
    #[inline(never)]
    fn wait(&self, cx: &Context<'_>) -> Poll<Result<T, JoinError>> {
        if !self.is_finished() {
            self.register(cx);
            // Registering may have run foreign code.
            if !self.is_finished() {
                return Poll::Pending;
            }
        }
        match self.take_outcome() {
            Some(outcome) => Poll::Ready(outcome),
            None => panic!("a JoinHandle was polled after it had returned its outcome"),
        }
    }

    /// Whether the task is this executor's.
    pub(crate) fn belongs_to(&self, core: &Weak<Core>) -> bool {
        self.task
            .with_core(|ours| ptr::eq(ours, core.as_ptr()))
            .unwrap_or(false)
    }

    /// Sets who is woken when the task ends, if it has not; returns who was, to be dropped
    /// with nothing borrowed.
    pub(crate) fn set_waiter(&self, waiter: Waiter) -> Option<Waiter> {
        if self.is_finished() {
            return Some(waiter);
        }
        let slot = self.task.slot();
        self.task
            .with_core(|core| core.table.set_waiter(slot, waiter))
    }

    /// Has the task that polls us woken when ours ends.
    fn register(&self, cx: &Context<'_>) {
        let ours = self.task.with_core(|core| core.running_under(cx.waker()));
        let waiter = Waiter::polling(ours.flatten(), cx.waker());
        // Cloning is foreign code: the task may have ended.
        drop(self.set_waiter(waiter));
    }

    /// Makes a handle whose drop aborts the task instead of detaching it.
    pub fn abort_on_drop(self) -> AbortOnDrop<T> {
        AbortOnDrop { handle: Some(self) }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.take_value() {
            Some(value) => Poll::Ready(Ok(value)),
            None => self.wait(cx),
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    #[inline]
    fn drop(&mut self) {
        let slot = self.task.slot();
        if slot.state().has_any(State::LIVE.with(State::PAYLOAD)) {
            self.give_up();
        } else {
            slot.let_go();
        }
    }
}

impl<T> JoinHandle<T> {
    /// Lets the task go, or drops the outcome that nobody took.
    #[inline(never)]
    fn give_up(&self) {
        /// Gives the slot up, also when the outcome's destructor panics.
        struct GiveUp(Slot);

        impl Drop for GiveUp {
            fn drop(&mut self) {
                self.0.let_go();
            }
        }

        let slot = self.task.slot();
        if slot.state().has(State::LIVE) {
            let waiter = self.set_waiter(Waiter::Nobody);
            slot.update(State::without_handle);
            // Foreign code, which may end the task: the slot is not ours any more.
            drop(waiter);
        } else {
            let _slot = GiveUp(slot);
            slot.drop_outcome();
        }
    }
}

impl<T> Unpin for JoinHandle<T> {}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("id", &self.id())
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// A [`JoinHandle`] whose drop aborts the task.
#[must_use = "dropping it aborts the task"]
pub struct AbortOnDrop<T> {
    /// Gone only while it is taken apart.
    handle: Option<JoinHandle<T>>,
}

impl<T> AbortOnDrop<T> {
    /// The handle inside.
    pub fn handle(&self) -> &JoinHandle<T> {
        self.handle.as_ref().expect(WHOLE)
    }

    /// Gives the handle back: its drop detaches.
    pub fn detach(mut self) -> JoinHandle<T> {
        self.handle.take().expect(WHOLE)
    }
}

const WHOLE: &str = "only `detach` takes the handle, and it takes `self` too";

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(self.handle.as_mut().expect(WHOLE)).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            handle.abort();
        }
    }
}

impl<T> fmt::Debug for AbortOnDrop<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AbortOnDrop").field(&self.handle).finish()
    }
}
