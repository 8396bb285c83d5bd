//! Runs the destructors of resources that nobody wants any more: those in a result that was
//! discarded, in arguments of a call that never started, among the items of a stream that were not
//! read.
//!
//! Whoever lets such a value go may be anywhere, also in the middle of a run of guest code. So the
//! destructors wait for the executor's next turns, and run one a turn, each as the call that it
//! would be if the embedder dropped the resource: with the limits of a call, and its failure among
//! the store's background errors.

use super::canon_lift::{Lifted, canon_lift};
use super::host_resources::{Destructor, call_host_dtor};
use super::tasks::Caller;
use super::threads::Flow;
use crate::engine::{Context, CoreVal};
use crate::error::Error;
use crate::store::drive::{self, Base};
use crate::store::{State, StoreInner};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context as Cx, Poll};

/// The destructors that are due, each with the representation it is for.
#[derive(Default)]
pub(crate) struct Destructors {
    due: VecDeque<(Destructor, u32)>,
    /// Whether a task of the executor is at work on them.
    running: bool,
}

impl Destructors {
    pub(super) fn add(&mut self, destructor: Destructor, rep: u32) {
        self.due.push_back((destructor, rep));
    }

    /// Whether one is due, or the last one has not ended.
    pub(crate) fn are_due(&self) -> bool {
        self.running || !self.due.is_empty()
    }
}

impl fmt::Debug for Destructors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destructors")
            .field("due", &self.due.len())
            .field("running", &self.running)
            .finish()
    }
}

impl State {
    /// Leaves the destructors that are due to a task of the executor.
    pub(crate) fn begin_destructors(&mut self) {
        let destructors = &self.destructors;
        if destructors.running || destructors.due.is_empty() {
            return;
        }
        let task = self.executor.task().name("drop resources");
        let store = self.store.clone();
        let spawned = task.group(&self.group).spawn(RunDestructors { store });
        // An executor that was shut down runs nothing any more.
        self.destructors.running = spawned.is_ok();
    }

    /// The next destructor that can run: what a locked-down instance implements is gone with it.
    fn next_destructor(&mut self) -> Option<(Destructor, u32)> {
        while let Some((destructor, rep)) = self.destructors.due.pop_front() {
            if let Destructor::Guest(dtor) = &destructor
                && self.instance(dtor.inst).locked_down_by.is_some()
            {
                continue;
            }
            return Some((destructor, rep));
        }
        self.destructors.running = false;
        None
    }
}

struct RunDestructors {
    store: Weak<StoreInner>,
}

impl Future for RunDestructors {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<()> {
        let Some(store) = self.store.upgrade() else {
            return Poll::Ready(());
        };
        let Some(mut taken) = store.take() else {
            store.wait_for_release(cx.waker());
            return Poll::Pending;
        };
        let next = taken.context().data_mut().next_destructor();
        drop(taken);
        match next {
            None => return Poll::Ready(()),
            Some((Destructor::Guest(dtor), rep)) => {
                drive::run_in_background(&store, Base::turn(None), |cx| {
                    call_guest_dtor(cx, &dtor, rep)
                });
            }
            Some((Destructor::Host(dtor), rep)) => {
                if let Err(error) = call_host_dtor(&dtor, rep) {
                    store.report_background(error);
                }
            }
            Some((Destructor::None, _)) => {}
        }
        // One a turn, so that many of them starve nobody.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Calls a guest's destructor, as a synchronous function of the instance that implements the type.
pub(super) fn call_guest_dtor(
    cx: &mut Context<'_>,
    dtor: &Rc<Lifted>,
    rep: u32,
) -> Result<Flow, Error> {
    let args: Rc<[CoreVal]> = Rc::new([CoreVal::I32(rep as i32)]);
    canon_lift(cx, dtor, Caller::Internal(args)).map(|(_, flow)| flow)
}
