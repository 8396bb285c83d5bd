//! Lets whoever polls wait for something that happens in a store.
//!
//! A waker kept in the store would have escaped its task, and the executor could prove no deadlock
//! while it lives. A task or main future of the executor's own is woken without one. Anybody else,
//! such as a combinator with wakers of its own, joins a small task of the executor, which also tells
//! it when the executor is shut down.

use super::StoreInner;
use crate::error::{Error, Result};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use vestibule_executor::{JoinHandle, LocalWaker};

/// Something that one at a time waits for.
#[derive(Default)]
pub(crate) struct Signal {
    set: Cell<bool>,
    waiter: Cell<Option<Waiter>>,
}

enum Waiter {
    /// A task or a main future of the executor.
    Own(LocalWaker),
    /// Whoever joins this task, which ends when it is polled and the flag is set.
    Joined(JoinHandle<()>, Rc<Cell<bool>>),
}

/// What became of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Happened,
    /// The executor was shut down, or the store dropped.
    GivenUp,
}

impl Waiter {
    /// Wakes whoever waits; returns a task that may be joined again.
    fn wake(self) -> Option<Waiter> {
        match self {
            Waiter::Own(waker) => {
                waker.wake();
                None
            }
            Waiter::Joined(task, happened) => {
                happened.set(true);
                task.wake();
                Some(Waiter::Joined(task, happened))
            }
        }
    }
}

impl Signal {
    /// It has happened.
    pub(crate) fn set(&self) {
        self.set.set(true);
        let waiter = self.waiter.take();
        self.waiter.set(waiter.and_then(Waiter::wake));
    }

    /// Notes that it has happened, for who asks; [`set`](Signal::set) tells who waits. Returns
    /// whether that was noted before.
    pub(crate) fn mark(&self) -> bool {
        self.set.replace(true)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.get()
    }

    /// It has not happened yet, again.
    pub(crate) fn reset(&self) {
        self.set.set(false);
        let waiter = self.waiter.take();
        if let Some(Waiter::Joined(_, happened)) = &waiter {
            happened.set(false);
        }
        self.waiter.set(waiter);
    }

    /// Whether somebody waits.
    pub(crate) fn is_awaited(&self) -> bool {
        let waiter = self.waiter.take();
        let awaited = waiter.is_some();
        self.waiter.set(waiter);
        awaited
    }

    /// Waits until it has happened.
    ///
    /// # Errors
    ///
    /// When the executor was shut down before anybody waited.
    pub(crate) fn poll(
        &self,
        store: &StoreInner,
        name: &'static str,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Waited>> {
        if self.set.get() {
            return Poll::Ready(Ok(Waited::Happened));
        }
        if let Some(waker) = store.executor.local_waker(cx) {
            end(self.waiter.replace(Some(Waiter::Own(waker))));
            return Poll::Pending;
        }
        let (mut task, happened) = match self.waiter.take() {
            Some(Waiter::Joined(task, happened)) => (task, happened),
            Some(Waiter::Own(_)) if !store.executor.is_alive() => {
                return Poll::Ready(Ok(Waited::GivenUp));
            }
            Some(Waiter::Own(_)) | None => spawn(store, name)?,
        };
        match Pin::new(&mut task).poll(cx) {
            Poll::Pending => {
                self.waiter.set(Some(Waiter::Joined(task, happened)));
                Poll::Pending
            }
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Waited::Happened)),
            Poll::Ready(Err(_)) => Poll::Ready(Ok(Waited::GivenUp)),
        }
    }
}

fn spawn(store: &StoreInner, name: &'static str) -> Result<(JoinHandle<()>, Rc<Cell<bool>>)> {
    let happened = Rc::new(Cell::new(false));
    let seen = Rc::clone(&happened);
    let until = poll_fn(move |_| match seen.get() {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    let task = store
        .executor
        .task()
        .name(name)
        .group(&store.group)
        .spawn(until)
        .map_err(|error| Error::from(error.into_refused()))?;
    Ok((task, happened))
}

/// The error of a wait that was given up.
pub(crate) fn given_up() -> Error {
    Error::link("the executor was shut down, or the store dropped, before what was waited for")
}

/// Nobody joins the task any more: it ends at its next turn.
fn end(waiter: Option<Waiter>) {
    if let Some(joined @ Waiter::Joined(..)) = waiter {
        drop(joined.wake());
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        end(self.waiter.take());
    }
}
