//! Wakes a task or a main future from any thread, once per poll however often it is asked.
//!
//! A wake on the owner's thread goes straight to the task table and touches no atomic. A
//! wake from another thread claims the cell and sends the target's id through the remote
//! queue. Rules for the claim, the only field two threads write:
//!
//! 1. A remote waker sets `claimed`; it sends a message only when it was clear. Whoever
//!    finds it set leaves: a message is under way or was taken in but not yet answered.
//! 2. Only the owner clears it, before the poll which answers the message and with a
//!    read-modify-write. So the writes of every waker that left under rule 1 happen before
//!    that poll (loom-tests/tests/wake_coalescing.rs).
//! 3. Messages carry ids, never cells: a wake that races with the end of the executor
//!    leaves an id in a queue nobody reads, and neither a cycle nor a leak.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use futures_task::ArcWake;

use crate::core::Core;
use crate::ids::Target;
use crate::remote::{Message, Remote};
use crate::sync::{Arc, AtomicBool, Ordering, at, planted, seam_thread_local};

/// What a waker points to.
///
/// A task has one only while it is polled and while a waker of it is out; the others wait
/// in the core's store of spare cells.
#[derive(Debug)]
pub(crate) struct WakeCell {
    target: Target,
    claimed: AtomicBool,
    remote: Arc<Remote>,
}

impl WakeCell {
    pub(crate) fn new(target: Target, remote: Arc<Remote>) -> Self {
        Self {
            target,
            claimed: AtomicBool::new(false),
            remote,
        }
    }

    /// Gives an unshared cell to another target.
    pub(crate) fn retarget(&mut self, target: Target) {
        self.target = target;
        self.claimed = AtomicBool::new(false);
    }

    /// Rule 2: the owner is about to poll the target.
    pub(crate) fn reopen(&self) {
        // A swap, not a store: a store would lose the wakers' writes.
        self.claimed
            .swap(false, at("wake.reopen", Ordering::Acquire));
    }
}

impl ArcWake for WakeCell {
    fn wake_by_ref(cell: &Arc<Self>) {
        if wake_on_this_thread(cell.remote.id(), cell.target) {
            return;
        }
        // No look at whether the executor is closed: a cell whose message nobody answers
        // stays claimed, so it sends one message at most.
        // Rule 1. Release: what this thread wrote before must be seen by the poll, also
        // when somebody else's message is the one that brings it about.
        if !cell.claimed.swap(true, at("wake.claim", Ordering::Release)) {
            cell.remote.send(Message::Wake(cell.target));
        }
    }
}

impl Drop for WakeCell {
    /// The last holder of a waker gives it up. The owner keeps a strong reference of its own,
    /// but for the one cell whose end it sleeps for (src/drive.rs, `Witness`).
    fn drop(&mut self) {
        if !planted("waker.tell") {
            self.remote.last_waker_is_gone();
        }
    }
}

seam_thread_local! {
    // The executors that live on this thread, by number. An executor is found by its number
    // and not by the address of this variable alone: another thread may get that address
    // after this one has ended.
    static RESIDENTS: RefCell<Vec<(u64, Weak<Core>)>> = const { RefCell::new(Vec::new()) };
}

/// Makes this thread the owner of a core.
pub(crate) fn move_in(core: &Rc<Core>) {
    let entry = (core.remote.id(), Rc::downgrade(core));
    RESIDENTS.with(|residents| residents.borrow_mut().push(entry));
}

/// Ends the ownership; a no-op while the thread itself is being torn down.
pub(crate) fn move_out(id: u64) {
    let removed = RESIDENTS.try_with(|residents| {
        let mut residents = residents.borrow_mut();
        let at = residents.iter().position(|(resident, _)| *resident == id);
        at.map(|at| residents.swap_remove(at))
    });
    // Dropped here and not under the borrow: it may be the last reference to the core's
    // memory.
    drop(removed);
}

/// Wakes without atomics if the executor lives here; says whether it does.
fn wake_on_this_thread(id: u64, target: Target) -> bool {
    let core = RESIDENTS.try_with(|residents| {
        let residents = residents.borrow();
        let (_, core) = residents.iter().find(|(resident, _)| *resident == id)?;
        Some(core.upgrade())
    });
    match core {
        Ok(Some(core)) => {
            if let Some(core) = core {
                core.wake(target);
            }
            true
        }
        // Another thread, or this one is ending and the remote queue will do.
        Ok(None) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::RESIDENTS;
    use crate::Executor;

    #[test]
    fn an_executor_that_is_gone_leaves_nothing_behind_on_its_thread() {
        let residents = || RESIDENTS.with(|residents| residents.borrow().len());
        let executors: Vec<_> = (0..3).map(|_| Executor::new()).collect();
        assert_eq!(residents(), 3);
        executors[1].shutdown();
        assert_eq!(residents(), 2);
        drop(executors);
        assert_eq!(residents(), 0);
    }
}
