//! Wakes whoever waits for something that happens on the owner's thread.

use std::fmt;
use std::rc::Weak;
use std::task::Context;

use crate::core::Core;
use crate::handle::Handle;
use crate::ids::TaskId;
use crate::task::{Key, with_weak};

/// Wakes one task, or one main future, on the owner's thread; made by
/// [`Handle::local_waker`].
///
/// It is to a [`Waker`](std::task::Waker) what [`JoinHandle::wake`](crate::JoinHandle::wake) is,
/// for who has no handle: it touches no atomic, and it does not count as a waker that has
/// escaped. So it does not stand in the way of the proof of a deadlock: a
/// [`Park`](crate::Park) that keeps one has to say that it
/// [brings work](crate::Park::brings_work).
///
/// It is weak: what it would wake may end, and the executor may go.
pub struct LocalWaker {
    core: Weak<Core>,
    key: Key,
}

impl LocalWaker {
    /// Schedules the task as its own waker would; nothing happens when it has ended, or is
    /// ready already.
    pub fn wake(&self) {
        let woken = with_weak(&self.core, |core| {
            let slot = core.table.arena.resolve(self.key)?;
            core.wake(slot).then_some(slot)
        });
        if let Some(slot) = woken.flatten() {
            slot.complete_wake();
        }
    }
}

impl fmt::Debug for LocalWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.key.number();
        f.debug_tuple("LocalWaker")
            .field(&TaskId { number })
            .finish()
    }
}

impl Handle {
    /// A waker, for this thread alone, of the task or main future that is being polled; none
    /// when it is polled with another waker than its own, as inside a combinator that has some
    /// of its own, or by another executor, and when the executor has shut down.
    ///
    /// ```
    /// use std::{cell::Cell, future::poll_fn, rc::Rc, task::Poll};
    /// use vestibule_executor::{Executor, LocalWaker};
    ///
    /// let executor = Executor::new();
    /// let handle = executor.handle();
    /// let waiter = Rc::new(Cell::new(None::<LocalWaker>));
    /// let waits = {
    ///     let waiter = Rc::clone(&waiter);
    ///     let mut polled = false;
    ///     executor.spawn(poll_fn(move |cx| {
    ///         if std::mem::replace(&mut polled, true) {
    ///             return Poll::Ready(());
    ///         }
    ///         waiter.set(handle.local_waker(cx));
    ///         Poll::Pending
    ///     }))?
    /// };
    /// executor.tick()?;
    /// waiter.take().expect("the executor polls it itself").wake();
    /// executor.tick()?;
    /// assert!(waits.is_finished());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn local_waker(&self, cx: &Context<'_>) -> Option<LocalWaker> {
        let key = with_weak(self.weak(), |core| {
            let slot = core.running_under(cx.waker()).filter(|_| core.is_open())?;
            Some(Key::of(slot))
        });
        Some(LocalWaker {
            core: Weak::clone(self.weak()),
            key: key.flatten()?,
        })
    }
}
