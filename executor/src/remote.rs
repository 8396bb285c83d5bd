//! Takes wakes and tasks from other threads, and rouses the owner when it sleeps.
//!
//! The signal word, every transition of it a read-modify-write:
//!
//! ```text
//!   bit       set when                                  cleared by
//!   PENDING   a message was pushed                      the owner, before it reads the queue
//!   PARKED    the owner is about to sleep               the owner, when it is awake again
//!   ARMED     a tick left the host nothing to do        the owner, when it drives again
//!   CLOSED    the executor shut down                    nobody
//! ```
//!
//! 1. A sender pushes first and raises PENDING second; the owner clears PENDING first and
//!    pops second. So a message whose PENDING was cleared is popped.
//! 2. The sender that turns PENDING on, and only that one, rouses whoever sleeps: the
//!    owner's thread under PARKED, the host under ARMED. Both bits sit in the same word as
//!    PENDING, so either the sender sees that somebody sleeps or the sleeper sees the
//!    message; there is no third order.
//! 3. The queue is popped only when PENDING was seen: popping an empty `SegQueue` costs a
//!    sequentially consistent fence.
//! 4. Tasks are accepted under the gate's lock, and the gate is closed before the last
//!    drain: an accepted task is always met by its executor, a refused one goes back.

use std::rc::Rc;
use std::task::Waker;

use crate::core::{Core, drop_payload};
use crate::sync::{AtomicUsize, Mutex, Ordering, Queue, at, catch, lock, planted};
use crate::task::{Freed, Key};

/// Messages are in the queue, or were a moment ago.
const PENDING: usize = 1 << 0;
/// The owner's thread sleeps or is about to; implies that nothing local is ready.
const PARKED: usize = 1 << 1;
/// The host sleeps and expects one wake; never with PARKED.
const ARMED: usize = 1 << 2;
/// Nobody reads the queue any more.
const CLOSED: usize = 1 << 3;

/// What other threads ask for.
pub(crate) enum Message {
    Wake(Key),
    Abort(Key),
    Spawn(SpawnTask),
}

/// A task to spawn; called with `None` when the executor is gone.
pub(crate) type SpawnTask = Box<dyn FnOnce(Option<&Rc<Core>>) + Send>;

/// The part of an executor that other threads can reach.
pub(crate) struct Remote {
    signal: AtomicUsize,
    queue: Queue<Message>,
    /// Whether tasks are still accepted (rule 4).
    gate: Mutex<bool>,
    spawners: AtomicUsize,
    unparker: Waker,
    host: Option<Waker>,
    /// Wakers of other executors that poll a `run_until` of ours, each until it is woken.
    visitors: Mutex<Vec<(u64, Waker)>>,
    /// Slots whose last waker was dropped after their task had ended; `None` when nobody
    /// collects them any more.
    freed: Mutex<Option<Vec<Freed>>>,
}

impl Remote {
    pub(crate) fn new(unparker: Waker, host: Option<Waker>) -> Self {
        Self {
            signal: AtomicUsize::new(0),
            queue: Queue::new(),
            gate: Mutex::new(true),
            spawners: AtomicUsize::new(0),
            unparker,
            host,
            visitors: Mutex::new(Vec::new()),
            freed: Mutex::new(Some(Vec::new())),
        }
    }

    pub(crate) fn has_host(&self) -> bool {
        self.host.is_some()
    }

    // --- For any thread.

    pub(crate) fn is_closed(&self) -> bool {
        // Relaxed: an early way out. A message that slips through stays in the queue.
        self.signal.load(Ordering::Relaxed) & CLOSED != 0
    }

    pub(crate) fn send(&self, message: Message) {
        self.queue.push(message);
        self.announce();
    }

    /// Accepts a task unless the executor is gone, in which case `make` is not called.
    pub(crate) fn send_task<M>(&self, make: impl FnOnce() -> M) -> bool
    where
        M: FnOnce(Option<&Rc<Core>>) + Send + 'static,
    {
        let gate = lock(&self.gate);
        if !*gate {
            return false;
        }
        // Under the lock nothing foreign runs but the allocator; the rousing comes after.
        self.queue.push(Message::Spawn(Box::new(make())));
        drop(gate);
        self.announce();
        true
    }

    /// Raises PENDING for what was pushed, and rouses whoever sleeps.
    fn announce(&self) {
        // Rule 1. Release: with the owner's Acquire it makes the push visible to the pop.
        let before = self
            .signal
            .fetch_or(PENDING, at("signal.raise", Ordering::Release));
        if before & PENDING != 0 {
            return;
        }
        // Rule 2: we turned it on.
        if before & PARKED != 0 {
            self.wake_parker();
        }
        if before & ARMED != 0 {
            self.wake_host();
        }
    }

    pub(crate) fn add_spawner(&self) {
        self.spawners.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_spawner(&self) {
        // Release: whoever reads 0 sees every message that this spawner sent.
        if self
            .spawners
            .fetch_sub(1, at("spawner.drop", Ordering::Release))
            != 1
        {
            return;
        }
        // Without a spawner the owner may find that it sleeps for ever: let it look again.
        // A read-modify-write that changes nothing, not a load: if it comes before the
        // owner's own in the word's order, the owner sees the count (Release here, Acquire
        // in `announce_park`); if after, PARKED is seen here.
        if self
            .signal
            .fetch_or(0, at("spawner.tell", Ordering::Release))
            & PARKED
            != 0
        {
            self.wake_parker();
        }
    }

    /// The task that the owner watches has no waker any more. If it sleeps, let it look again.
    pub(crate) fn last_waker_is_gone(&self) {
        // Relaxed: the owner set PARKED before it set WATCHED, which was seen.
        if self.signal.fetch_or(0, Ordering::Relaxed) & PARKED != 0 {
            self.wake_parker();
        }
    }

    /// Gives a slot back that nothing refers to.
    pub(crate) fn give_back(&self, slot: Freed) {
        if let Some(freed) = &mut *lock(&self.freed) {
            freed.push(slot);
        }
    }

    // --- For the owner's thread.

    /// Takes the slots that were given back.
    pub(crate) fn take_back(&self) -> Vec<Freed> {
        lock(&self.freed)
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Collects no slots any more.
    pub(crate) fn stop_collecting(&self) {
        let slots = lock(&self.freed).take();
        drop(slots);
    }

    /// Asked before a fence (`lend_witness`), which orders what the last spawner sent before
    /// what is read after it.
    pub(crate) fn has_spawner(&self) -> bool {
        self.spawners.load(Ordering::Relaxed) != 0
    }

    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.signal.load(Ordering::Relaxed) & PENDING != 0
    }

    /// Says whether the queue is to be read, and clears the sign (rule 1).
    pub(crate) fn take_pending(&self) -> bool {
        // Rule 3. Relaxed: what is missed here is met at the next round, and nobody sleeps
        // before a read-modify-write has looked again.
        self.is_pending()
            && self
                .signal
                .fetch_and(!PENDING, at("signal.take", Ordering::Acquire))
                & PENDING
                != 0
    }

    /// Puts the sign back after a drain that was cut short.
    pub(crate) fn keep_pending(&self) {
        self.signal.fetch_or(PENDING, Ordering::Relaxed);
    }

    pub(crate) fn pop(&self) -> Option<Message> {
        self.queue.pop()
    }

    /// Announces that the owner will sleep; false if there is a message instead.
    #[must_use]
    pub(crate) fn announce_park(&self) -> bool {
        // The word's own order decides about messages (rule 2), whose data come with
        // `take_pending`. Acquire is for the count of spawners, read next.
        self.signal
            .fetch_or(PARKED, at("park.announce", Ordering::Acquire))
            & PENDING
            == 0
    }

    pub(crate) fn retract_park(&self) {
        self.signal.fetch_and(!PARKED, Ordering::Relaxed);
    }

    /// Announces that the host will sleep; false if there is a message instead.
    #[must_use]
    pub(crate) fn arm_host(&self) -> bool {
        self.signal.fetch_or(ARMED, Ordering::Relaxed) & PENDING == 0
    }

    /// The host is awake, or is about to be told; true if nobody had told it yet.
    pub(crate) fn disarm_host(&self) -> bool {
        self.signal.fetch_and(!ARMED, Ordering::Relaxed) & (ARMED | PENDING) == ARMED
    }

    pub(crate) fn wake_host(&self) {
        if let Some(host) = &self.host {
            call(host);
        }
        self.wake_visitors();
    }

    pub(crate) fn wake_visitors(&self) {
        let visitors = std::mem::take(&mut *lock(&self.visitors));
        for (_, waker) in visitors {
            // Its drop is foreign code, too.
            if let Err(payload) = catch(|| waker.wake()) {
                drop_payload(payload);
            }
        }
    }

    pub(crate) fn keep_visitor(&self, visit: u64, waker: Waker) {
        let old = {
            let mut visitors = lock(&self.visitors);
            match visitors.iter_mut().find(|(number, _)| *number == visit) {
                Some((_, old)) => Some(std::mem::replace(old, waker)),
                None => {
                    visitors.push((visit, waker));
                    None
                }
            }
        };
        drop(old);
    }

    pub(crate) fn drop_visitor(&self, visit: u64) {
        let old = {
            let mut visitors = lock(&self.visitors);
            let at = visitors.iter().position(|(number, _)| *number == visit);
            at.map(|at| visitors.swap_remove(at))
        };
        drop(old);
    }

    pub(crate) fn wake_parker(&self) {
        call(&self.unparker);
    }

    /// Refuses tasks and ignores wakes from now on; what was accepted is in the queue.
    pub(crate) fn close(&self) {
        *lock(&self.gate) = planted("gate.close");
        // PENDING for good: no sender turns it on any more, and so none rouses the host or the
        // owner for what nobody will read.
        self.signal.fetch_or(CLOSED | PENDING, Ordering::Relaxed);
    }
}

/// Wakes a waker of the host's. It is called wherever a wake is made, in destructors too: a
/// panic of it must not get out.
fn call(waker: &Waker) {
    if let Err(payload) = catch(|| waker.wake_by_ref()) {
        drop_payload(payload);
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}
