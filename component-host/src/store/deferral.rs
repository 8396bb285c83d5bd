//! Holds what host functions defer while a component is instantiated in slices.
//!
//! A synchronous instantiation is one phase of the executor, which keeps deferred work until it
//! commits. Between two slices of an asynchronous one no phase is in force, so its deferred work is
//! kept here: spawned at once, so that there is a `JoinHandle`, and held at a gate.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use vestibule_executor::{Group, Handle, JoinHandle, Refused, SpawnError};

/// Whether deferred work is to be held, and where.
#[derive(Debug, Default)]
pub(crate) struct Deferral {
    gate: RefCell<Option<Rc<Gate>>>,
}

/// Where deferred work waits for an instantiation to end.
#[derive(Debug)]
struct Gate {
    group: Group,
    open: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Deferral {
    /// An instantiation begins; `group` is for what it defers.
    pub(crate) fn begin(&self, group: Group) {
        let gate = Gate {
            group,
            open: Cell::new(false),
            waiting: RefCell::default(),
        };
        self.gate.replace(Some(Rc::new(gate)));
    }

    /// It succeeded: what it deferred runs, in order.
    pub(crate) fn release(&self) {
        if let Some(gate) = self.gate.take() {
            gate.open.set(true);
            for waker in gate.waiting.take() {
                waker.wake();
            }
        }
    }

    /// It failed: what it deferred is dropped.
    pub(crate) fn discard(&self) {
        if let Some(gate) = self.gate.take() {
            gate.group.abort_all();
        }
    }

    /// Defers a future: to the gate when there is one, else to the executor.
    #[track_caller]
    pub(crate) fn defer<F: Future + 'static>(
        &self,
        executor: &Handle,
        future: F,
    ) -> Result<JoinHandle<F::Output>, Refused> {
        let Some(gate) = self.gate.borrow().clone() else {
            return executor.defer(future).map_err(SpawnError::into_refused);
        };
        let group = gate.group.clone();
        let held = async move {
            let mut future = pin!(future);
            poll_fn(|cx| {
                if gate.open.get() {
                    return Poll::Ready(());
                }
                gate.waiting.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            })
            .await;
            future.as_mut().await
        };
        executor
            .task()
            .name("deferred")
            .group(&group)
            .spawn(held)
            .map_err(SpawnError::into_refused)
    }
}
