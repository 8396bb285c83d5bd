//! Carries a task's outcome to whoever awaits it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use crate::core::Core;
use crate::ids::{Target, TaskId};
use crate::table::Doom;

/// A task's future, its type erased.
pub(crate) type BoxedTask = Pin<Box<dyn Task>>;

/// A future that deposits its output itself.
///
/// Implemented for every future, so that a task is its future and nothing around it: an
/// `async` block that awaits it and then stores the output would be twice its size.
pub(crate) trait Task {
    fn poll_task(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &dyn Completion) -> Poll<()>;
}

impl<F> Task for F
where
    F: Future + 'static,
{
    fn poll_task(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &dyn Completion) -> Poll<()> {
        self.poll(cx).map(|output| to.deposit(&mut Some(output)))
    }
}

/// The executor's end of a join.
pub(crate) trait Completion {
    /// Takes the output out of an `Option<T>` behind `output`.
    fn deposit(&self, output: &mut dyn Any);
    /// Ends the task with an error; an output deposited before is dropped.
    fn fail(&self, error: JoinError);
    /// Whoever is to be woken now, once.
    fn take_waiter(&self) -> Waiter;
    /// Who of this executor's awaits it.
    fn awaited_by(&self) -> Option<Target>;
    /// Whether nobody will ever see the outcome.
    fn is_detached(&self) -> bool;
}

/// Whom the end of a task wakes.
#[derive(Debug, Default)]
pub(crate) enum Waiter {
    #[default]
    Nobody,
    /// A task of the same executor, by its id: its waker does not leave it, so a task that
    /// awaits another one counts as having no escaped waker.
    Ours(Target),
    /// Anybody else.
    Foreign(Waker),
}

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

/// A task's outcome, as far as it is known.
enum Outcome<T> {
    Pending,
    Ended(Result<T, JoinError>),
    Taken,
}

/// The place where task and handle meet.
pub(crate) struct JoinCell<T> {
    outcome: RefCell<Outcome<T>>,
    waiter: Cell<Waiter>,
    handles: Cell<u32>,
}

impl<T> JoinCell<T> {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            outcome: RefCell::new(Outcome::Pending),
            waiter: Cell::new(Waiter::Nobody),
            handles: Cell::new(0),
        })
    }
}

impl<T: 'static> Completion for JoinCell<T> {
    fn deposit(&self, output: &mut dyn Any) {
        if let Some(output) = output.downcast_mut::<Option<T>>().and_then(Option::take) {
            self.outcome.replace(Outcome::Ended(Ok(output)));
        }
    }

    fn fail(&self, error: JoinError) {
        // `replace` gives its borrow back before what it returned is dropped.
        self.outcome.replace(Outcome::Ended(Err(error)));
    }

    fn take_waiter(&self) -> Waiter {
        self.waiter.take()
    }

    fn awaited_by(&self) -> Option<Target> {
        let waiter = self.waiter.take();
        let target = match &waiter {
            Waiter::Ours(target) => Some(*target),
            Waiter::Nobody | Waiter::Foreign(_) => None,
        };
        self.waiter.set(waiter);
        target
    }

    fn is_detached(&self) -> bool {
        self.handles.get() == 0
    }
}

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
    cell: Rc<JoinCell<T>>,
    core: Weak<Core>,
    id: TaskId,
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(cell: Rc<JoinCell<T>>, core: Weak<Core>, id: TaskId) -> Self {
        cell.handles.set(cell.handles.get() + 1);
        Self { cell, core, id }
    }

    /// The task's id.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Whether the task has ended, however it did.
    pub fn is_finished(&self) -> bool {
        !matches!(*self.cell.outcome.borrow(), Outcome::Pending)
    }

    /// Schedules the task exactly as its own waker would.
    ///
    /// No waker has to escape for it, so it does not stand in the way of the proof of a
    /// deadlock, and it touches no atomic. A task that has ended, that is deferred or that
    /// is ready already is left as it is; one that is being polled becomes ready again when
    /// its poll ends.
    pub fn wake(&self) {
        if let Some(core) = self.core.upgrade() {
            core.wake(Target::Task(self.id));
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
        if let Some(core) = self.core.upgrade() {
            core.end_task(self.id, Doom::Aborted);
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

    /// Makes a handle whose drop aborts the task instead of detaching it.
    pub fn abort_on_drop(self) -> AbortOnDrop<T> {
        AbortOnDrop {
            handle: self,
            armed: true,
        }
    }

    fn waiter_for(&self, cx: &Context<'_>) -> Waiter {
        let ours = self
            .core
            .upgrade()
            .and_then(|core| core.target_of(cx.waker()));
        match ours {
            Some(target) => Waiter::Ours(target),
            None => Waiter::Foreign(cx.waker().clone()),
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.is_finished() {
            let waiter = self.waiter_for(cx);
            // The old one is dropped with nothing of ours borrowed.
            drop(self.cell.waiter.replace(waiter));
            return Poll::Pending;
        }
        match self.cell.outcome.replace(Outcome::Taken) {
            Outcome::Ended(result) => Poll::Ready(result),
            Outcome::Pending | Outcome::Taken => {
                panic!("a JoinHandle was polled after it had returned its outcome")
            }
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.cell.handles.set(self.cell.handles.get() - 1);
        drop(self.cell.waiter.take());
    }
}

impl<T> Unpin for JoinHandle<T> {}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("id", &self.id)
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// A [`JoinHandle`] whose drop aborts the task.
#[must_use = "dropping it aborts the task"]
pub struct AbortOnDrop<T> {
    handle: JoinHandle<T>,
    armed: bool,
}

impl<T> AbortOnDrop<T> {
    /// The handle inside.
    pub fn handle(&self) -> &JoinHandle<T> {
        &self.handle
    }

    /// Gives the handle back: its drop detaches.
    pub fn detach(mut self) -> JoinHandle<T> {
        self.armed = false;
        let JoinHandle { cell, core, id } = &self.handle;
        JoinHandle::new(Rc::clone(cell), core.clone(), *id)
    }
}

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        if self.armed {
            self.handle.abort();
        }
    }
}

impl<T> fmt::Debug for AbortOnDrop<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AbortOnDrop").field(&self.handle).finish()
    }
}
