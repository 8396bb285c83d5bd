//! Lets a task of the embedder's wait for something that happens in a store.
//!
//! A waker kept in the store would have escaped its task, and the executor could prove no deadlock
//! while it lives. So whoever waits joins a small task of the executor, and that is woken.

use super::StoreInner;
use crate::error::{Error, Result};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use vestibule_executor::JoinHandle;

/// Something that one task at a time waits for.
#[derive(Default)]
pub(crate) struct Signal {
    set: Rc<Cell<bool>>,
    waiter: Cell<Option<JoinHandle<()>>>,
}

impl Signal {
    /// It has happened.
    pub(crate) fn set(&self) {
        self.set.set(true);
        let waiter = self.waiter.take();
        if let Some(waiter) = &waiter {
            waiter.wake();
        }
        self.waiter.set(waiter);
    }

    /// It has not happened yet, again.
    pub(crate) fn reset(&self) {
        self.set.set(false);
    }

    /// Waits until it has happened.
    ///
    /// # Errors
    ///
    /// When the executor was shut down.
    pub(crate) fn poll(
        &self,
        store: &StoreInner,
        name: &'static str,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        if self.set.get() {
            return Poll::Ready(Ok(()));
        }
        let waiter = match self.waiter.take().filter(|waiter| !waiter.is_finished()) {
            Some(waiter) => waiter,
            None => self.spawn(store, name)?,
        };
        let mut waiter = waiter;
        let joined = Pin::new(&mut waiter).poll(cx);
        self.waiter.set(Some(waiter));
        match joined {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Error::link(
                "the executor was shut down, or the store dropped, before what was waited for",
            ))),
        }
    }

    fn spawn(&self, store: &StoreInner, name: &'static str) -> Result<JoinHandle<()>> {
        let set = Rc::clone(&self.set);
        let happened = poll_fn(move |_| match set.get() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        store
            .executor
            .task()
            .name(name)
            .group(&store.group)
            .spawn(happened)
            .map_err(|error| Error::from(error.into_refused()))
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        // Nobody waits any more: the task ends at its next turn.
        self.set();
    }
}
