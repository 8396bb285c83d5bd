//! Takes wakes and tasks from other threads, and rouses the owner when it sleeps.
//!
//! The signal word, every transition of it a read-modify-write:
//!
//! ```text
//!   bits      set when                                  cleared by
//!   MAIL      a message was pushed                      the owner, before it reads the queue
//!   PARKED    the owner is about to sleep               the owner, when it is awake again
//!   ARMED     a tick left the host nothing to do        the owner, when it drives again
//!   CLOSED    the executor shut down                    nobody
//!   the rest  a task was woken: its slot's id, or 0     the owner, who takes the list
//! ```
//!
//! 1. Wakes are a list through the slots: each names the one before in its `earlier`. Whoever
//!    claimed a slot (src/wake.rs) puts it in front, and the owner takes the list as a whole.
//!    All else is a message in the queue: a sender pushes first and raises MAIL second, the owner
//!    clears MAIL first and pops second. So a message whose MAIL was cleared is popped.
//! 2. MAIL and the list are what is *pending*. The sender that finds nothing pending, and only
//!    that one, rouses whoever sleeps: the owner's thread under PARKED, the host under ARMED. All
//!    of it is one word, so either the sender sees that somebody sleeps or the sleeper sees what
//!    is pending; there is no third order.
//! 3. The queue is popped only when MAIL was seen: popping an empty `SegQueue` costs a
//!    sequentially consistent fence. A wake over it would lock seven times in place of three.
//! 4. Tasks are accepted under the gate's lock, and the gate is closed before the last
//!    drain: an accepted task is always met by its executor, a refused one goes back.

use std::rc::Rc;
use std::task::Waker;

use crate::core::{Core, drop_payload};
use crate::sync::{AtomicU32, AtomicUsize, Mutex, Ordering, Queue, at, catch, lock, peek, planted};
use crate::task::{Freed, Key, Slot};

/// Messages are in the queue, or were a moment ago.
const MAIL: u32 = 1 << 0;
/// The owner's thread sleeps or is about to; implies that nothing local is ready.
const PARKED: u32 = 1 << 1;
/// The host sleeps and expects one wake; never with PARKED.
const ARMED: u32 = 1 << 2;
/// Nobody reads the queue or the list any more.
const CLOSED: u32 = 1 << 3;
/// The slot that was woken last, as far as the owner has not taken it in.
const LIST: u32 = !0 << LIST_SHIFT;
const LIST_SHIFT: u32 = 4;
const PENDING: u32 = MAIL | LIST;

/// What the owner takes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    /// The id of the slot that was woken last, or 0; each has that of the one before.
    pub(crate) wakes: u32,
    /// Messages are in the queue.
    pub(crate) mail: bool,
}

/// What other threads ask for.
pub(crate) enum Message {
    /// A wake of a slot without an id.
    Wake(Key),
    Abort(Key),
    Spawn(SpawnTask),
}

/// A task to spawn; called with `None` when the executor is gone.
pub(crate) type SpawnTask = Box<dyn FnOnce(Option<&Rc<Core>>) + Send>;

/// The part of an executor that other threads can reach.
pub(crate) struct Remote {
    signal: AtomicU32,
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
            signal: AtomicU32::new(0),
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

    /// Has a slot woken that the caller has claimed and has a waker of.
    pub(crate) fn send_wake(&self, slot: Slot) {
        let Some(id) = slot.list_id() else {
            return self.send(Message::Wake(Key::of(slot)));
        };
        let mut before = peek(&self.signal);
        loop {
            if before & CLOSED != 0 {
                return;
            }
            slot.earlier()
                .store(before >> LIST_SHIFT, Ordering::Relaxed);
            // Release: with the owner's Acquire it makes `earlier` visible.
            match self.signal.compare_exchange(
                before,
                before & !LIST | id << LIST_SHIFT,
                at("signal.list", Ordering::Release),
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => before = now,
            }
        }
        self.rouse(before);
    }

    /// Accepts a task unless the executor is gone, in which case `make` is not called.
    pub(crate) fn send_task<M>(&self, make: impl FnOnce() -> M)
    where
        M: FnOnce(Option<&Rc<Core>>) + Send + 'static,
    {
        let gate = lock(&self.gate);
        if !*gate {
            return;
        }
        // Under the lock nothing foreign runs but the allocator; the rousing comes after.
        self.queue.push(Message::Spawn(Box::new(make())));
        drop(gate);
        self.announce();
    }

    /// Raises MAIL for what was pushed, and rouses whoever sleeps.
    fn announce(&self) {
        // Rule 1. Release: with the owner's Acquire it makes the push visible to the pop.
        let before = self
            .signal
            .fetch_or(MAIL, at("signal.raise", Ordering::Release));
        self.rouse(before);
    }

    /// Rouses whoever slept, if nothing was pending (rule 2).
    fn rouse(&self, before: u32) {
        if before & PENDING != 0 {
            return;
        }
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

    /// Asked before a fence (`find_witness`), which orders what the last spawner sent before
    /// what is read after it.
    pub(crate) fn has_spawner(&self) -> bool {
        self.spawners.load(Ordering::Relaxed) != 0
    }

    /// Relaxed: what is missed here is met at the next round, and nobody sleeps before a
    /// read-modify-write has looked again.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.signal.load(Ordering::Relaxed) & PENDING != 0
    }

    /// Takes the list of wakes, and says whether the queue is to be read (rule 1).
    pub(crate) fn take_pending(&self) -> Pending {
        let before = self
            .signal
            .fetch_and(!PENDING, at("signal.take", Ordering::Acquire));
        Pending {
            wakes: before >> LIST_SHIFT,
            mail: before & MAIL != 0,
        }
    }

    /// Has the queue read once more, after a drain that was cut short.
    pub(crate) fn keep_mail(&self) {
        self.signal.fetch_or(MAIL, Ordering::Relaxed);
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
        if planted("visitor.tell") {
            return;
        }
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
        // MAIL stays, since nobody drains any more: no sender finds nothing pending any more, and so none rouses the host or
        // the owner for what nobody will read.
        self.signal.fetch_or(CLOSED | MAIL, Ordering::Relaxed);
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
