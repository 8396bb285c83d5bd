//! Counts a task's wakers and wakes it, from any thread.
//!
//! On the owner's thread both touch no atomic. Other threads share one word with it:
//!
//! ```text
//!   bit       set when                                        cleared by
//!   CLAIMED   a remote waker wakes                             the owner, when it answers
//!   MERGED    the task has ended and wakers are left           nobody: the slot is a zombie
//!   WATCHED   the owner sleeps until the last waker is gone    the owner, when it is awake
//!   the rest  wakers, as a signed number
//! ```
//!
//! 1. A remote waker sets CLAIMED; it puts the slot on the list of wakes (src/remote.rs) only
//!    when it was clear. Whoever finds it set leaves: a wake is under way or was taken in but not
//!    yet answered.
//! 2. Only the owner clears it, before the poll which answers the wake and with a
//!    read-modify-write. So the writes of every waker that left under rule 1 happen before
//!    that poll (loom-tests/tests/wake_coalescing.rs).
//! 3. A slot that is claimed is not used again before its wake is answered, so that the list has it
//!    once and for one task. When its last waker is gone, who claimed it has put it on the list.
//! 4. A wake that races with the end of the executor leaves the slot on a list that nobody reads,
//!    which counts as nothing: neither a cycle nor a leak.
//! 5. Wakers are counted twice: in `wakers` by the owner's thread and in this word by others.
//!    A waker may be cloned in one count and dropped in the other, so only the sum means
//!    anything, and only the owner can know it. Under MERGED and WATCHED the owner has moved
//!    its count into the word: then whoever brings it to 0 frees the slot, or rouses the owner.

use crate::limits;
use crate::state::State;
use crate::sync::{Arc, Ordering, acquire_fence, at, peek, planted};
use crate::task::Slot;

const CLAIMED: u32 = 1 << 0;
const MERGED: u32 = 1 << 1;
const WATCHED: u32 = 1 << 2;
/// One waker.
const ONE: u32 = 1 << 3;

/// The wakers that a word counts.
fn count(shared: u32) -> i32 {
    shared.cast_signed() >> ONE.trailing_zeros()
}

/// What adds so many wakers to a word.
fn wakers(number: i32) -> u32 {
    number.cast_unsigned() << ONE.trailing_zeros()
}

/// Somebody forgets wakers in a loop. As with `Arc`, going on would end in a use after free.
fn abort_above_limit(wakers: i32) {
    if wakers > limits::WAKERS {
        std::process::abort();
    }
}

/// For the owner's thread.
impl Slot {
    /// Whether a waker of it exists. If not, everything its holders did has been seen.
    #[inline]
    pub(crate) fn has_waker(self) -> bool {
        let own = i32::from(self.wakers().get());
        if count(self.shared().load(Ordering::Relaxed)) + own != 0 {
            return true;
        }
        // Pairs with the Release decrement of the waker that was dropped last: one that found
        // the slot claimed and left may have written what the next poll must see.
        acquire_fence("waker.gone");
        false
    }

    /// Whether no waker of it was ever counted, or both counts are back at 0, and nothing else is
    /// noted beside them.
    #[inline]
    pub(crate) fn is_unshared(self) -> bool {
        let unshared = self.shared().load(Ordering::Relaxed) == 0 && self.wakers().get() == 0;
        // As in `has_waker`.
        acquire_fence("waker.gone");
        unshared
    }

    /// Answers a remote wake: the next one puts it on the list again (rule 2).
    #[inline(always)]
    pub(crate) fn reopen(self) {
        // Not a store, which would lose the wakers' writes. Release: the next one writes `earlier`
        // after we have read it.
        let before = self
            .shared()
            .fetch_and(!CLAIMED, at("wake.reopen", Ordering::AcqRel));
        debug_assert!(before & CLAIMED != 0, "rule 3: nobody claimed it");
    }

    /// Frees a slot that was taken off the list of wakes after its task had ended, if nothing else
    /// refers to it.
    #[cold]
    pub(crate) fn take_off_list(self) {
        let left = self.state().has(State::LEFT);
        self.update(|state| state.without(State::LISTED.with(State::LEFT)));
        if left {
            self.free_shared();
        }
    }

    /// Has the owner roused when the last waker is dropped; false if there is none (rule 5).
    #[must_use]
    pub(crate) fn watch(self) -> bool {
        let own = i32::from(self.wakers().replace(0));
        // Release: who brings the count to 0 under WATCHED must see PARKED, which was set
        // before.
        let before = self.shared().fetch_add(
            wakers(own).wrapping_add(WATCHED),
            at("waker.watch", Ordering::Release),
        );
        self.update(|state| state.with(State::WATCHED));
        count(before) + own != 0
    }

    /// Ends `watch`; after it, what the holders of dropped wakers did has been seen.
    pub(crate) fn unwatch(self) {
        self.update(|state| state.without(State::WATCHED));
        let before = self.shared().fetch_and(!WATCHED, Ordering::Relaxed);
        if count(before) == 0 {
            acquire_fence("waker.gone");
        }
    }

    /// Frees a slot whose task has ended and whose handle is gone, or makes it a zombie.
    #[inline]
    pub(crate) fn retire(self) {
        debug_assert!(
            !self.state().has_any(State::PAYLOAD),
            "its payload would be lost"
        );
        if self.is_unshared() {
            self.free();
        } else {
            self.retire_shared();
        }
    }

    /// As [`retire`](Self::retire), for the handle of a task that has ended.
    #[inline]
    pub(crate) fn let_go(self) {
        if self.is_unshared() {
            self.free();
        } else {
            self.update(State::without_handle);
            self.retire_shared();
        }
    }

    /// [`retire`](Self::retire) of a slot whose wakers have been counted.
    #[cold]
    #[inline(never)]
    fn retire_shared(self) {
        if !self.has_waker() || self.merge_wakers() {
            self.note_claim(self.shared().load(Ordering::Relaxed));
            self.free_unlisted();
        }
    }

    /// Notes for a slot whose task has ended whether it is on the list, or about to be put there.
    fn note_claim(self, shared: u32) {
        // Without the core nobody answers, and nothing is used again.
        if shared & CLAIMED != 0 && self.with_core(|_| ()).is_some() {
            self.update(|state| state.with(State::LISTED));
        }
    }

    /// Frees a slot that nothing but the list of wakes may refer to, or leaves it to that (rule 3).
    pub(crate) fn free_unlisted(self) {
        if self.state().has(State::LISTED) && !planted("list.reuse") {
            self.update(|state| state.with(State::LEFT));
        } else {
            self.free_shared();
        }
    }

    /// Frees a slot that was shared, and that nothing refers to any more.
    fn free_shared(self) {
        // A free slot is unshared.
        self.wakers().set(0);
        self.shared().store(0, Ordering::Relaxed);
        self.free();
    }

    /// Lets whoever drops the last waker free the slot; true if there was none after all.
    #[cold]
    fn merge_wakers(self) -> bool {
        let hold = self.hold();
        self.update(|state| state.with(State::MERGED));
        let own = i32::from(self.wakers().replace(0));
        let before = self.shared().fetch_add(
            wakers(own).wrapping_add(MERGED),
            at("waker.merge", Ordering::AcqRel),
        );
        if count(before) + own != 0 {
            // Whoever claims it from now on does not put it on the list.
            self.note_claim(before);
            return false;
        }
        if hold {
            self.unhold();
        }
        true
    }
}

/// For any thread that has a waker.
impl Slot {
    /// Whether the owner's own count is in force here.
    #[inline(always)]
    fn counts_here(self) -> bool {
        self.is_on_owner() && !self.state().has_any(State::MERGED.with(State::WATCHED))
    }

    #[inline]
    pub(crate) fn add_waker(self) {
        if self.counts_here() {
            self.count_own(1);
        } else {
            self.look();
            // Relaxed: it is made of one that exists.
            abort_above_limit(count(self.shared().fetch_add(ONE, Ordering::Relaxed)));
        }
    }

    /// Counts in the owner's count; what drifts too far from 0, because wakers are cloned on one
    /// side and dropped on the other, goes into the shared word.
    #[inline(always)]
    fn count_own(self, by: i16) {
        const FAR: i16 = limits::OWN_WAKERS;
        match self.wakers().get().checked_add(by) {
            // As far as 16 bits go, unless that is too far for a test.
            Some(own) if FAR == i16::MAX || (-FAR..=FAR).contains(&own) => self.wakers().set(own),
            _ => self.fold(by),
        }
    }

    #[cold]
    #[inline(never)]
    fn fold(self, by: i16) {
        let own = i32::from(self.wakers().replace(0)) + i32::from(by);
        let before = self.shared().fetch_add(wakers(own), Ordering::Relaxed);
        abort_above_limit(count(before) + own);
    }

    #[inline]
    pub(crate) fn remove_waker(self) {
        if self.counts_here() {
            self.count_own(-1);
        } else {
            self.remove_shared_waker();
        }
    }

    #[inline(never)]
    fn remove_shared_waker(self) {
        self.look();
        let mut before = peek(self.shared());
        let mut watching = None;
        loop {
            if count(before) == 1 && before & WATCHED != 0 && watching.is_none() {
                // The slot is not ours any more when the count is down.
                watching = Some(Arc::clone(self.remote()));
            }
            // Release: what was done before is done when the owner finds the count at 0.
            // Acquire: PARKED was set before WATCHED, and a zombie's slot is ours from here on.
            let ordering = at("waker.drop", Ordering::AcqRel);
            match self.shared().compare_exchange(
                before,
                before.wrapping_sub(ONE),
                ordering,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => before = now,
            }
        }
        if count(before) != 1 {
            return;
        }
        if let Some(remote) = watching
            && !planted("waker.tell")
        {
            remote.last_waker_is_gone();
        }
        if before & MERGED != 0 {
            self.give_back();
        }
    }

    #[inline]
    pub(crate) fn wake(self) {
        if !self.is_on_owner() {
            self.wake_remotely();
        } else if self.with_core(|core| core.wake(self)) == Some(true) {
            self.complete_wake();
        }
    }

    /// [`wake`](Self::wake), and [`remove_waker`](Self::remove_waker) of the waker that does it.
    #[inline]
    pub(crate) fn wake_and_remove(self) {
        if !self.counts_here() {
            self.wake();
            self.remove_shared_waker();
            return;
        }
        if self.with_core(|core| core.wake(self)) == Some(true) {
            self.complete_wake();
            // A sleeper that was roused may have brought the task to its end.
            self.remove_waker();
        } else {
            self.count_own(-1);
        }
    }

    /// What is left to do after a wake by the owner. Rousing may drop the executor.
    #[cold]
    #[inline(never)]
    pub(crate) fn complete_wake(self) {
        let sleeper = self.with_core(|core| match core.complete_wake(self) {
            true => core.this.upgrade(),
            false => None,
        });
        if let Some(core) = sleeper.flatten() {
            core.rouse();
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_remotely(self) {
        self.look();
        // Rule 1. Release: what this thread wrote before must be seen by the poll, also when
        // somebody else's wake is the one that brings it about. Acquire: the owner is done with
        // `earlier`.
        let before = self
            .shared()
            .fetch_or(CLAIMED, at("wake.claim", Ordering::AcqRel));
        if before & (CLAIMED | MERGED) == 0 {
            self.remote().send_wake(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::{Poll, Waker};

    use crate::{Executor, limits};

    /// Three times as many wakers as may exist, each gone before the next ones are made: first
    /// made there and dropped here, then the other way round. Too many would abort the process.
    #[test]
    fn wakers_made_on_one_side_and_dropped_on_the_other_do_not_add_up() {
        const BATCH: usize = 100;
        let rounds = 3 * MOST / BATCH;
        let (here, there) = mpsc::channel::<Vec<Waker>>();
        let (back, again) = mpsc::channel::<Vec<Waker>>();
        let thread = std::thread::spawn(move || {
            for (round, wakers) in there.into_iter().enumerate() {
                let answer = if round < rounds {
                    vec![wakers[0].clone(); BATCH]
                } else {
                    drop(wakers);
                    Vec::new()
                };
                back.send(answer).unwrap();
            }
        });
        let executor = Executor::new();
        let task = executor.spawn(std::future::poll_fn(move |cx| {
            for round in 0..2 * rounds {
                let number = if round < rounds { 1 } else { BATCH };
                here.send(vec![cx.waker().clone(); number]).unwrap();
                drop(again.recv().unwrap());
            }
            Poll::Ready(())
        }));
        executor.block_on(task.unwrap()).unwrap();
        thread.join().unwrap();
    }

    /// More slots than ids reach: some are on the list, and the others are messages.
    #[test]
    fn a_slot_without_an_id_is_woken_too() {
        const TASKS: usize = 100;
        let executor = Executor::new();
        let (sender, wakers) = mpsc::channel::<Waker>();
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let mut sender = Some(sender.clone());
                let task = std::future::poll_fn(move |cx| match sender.take() {
                    Some(sender) => {
                        sender.send(cx.waker().clone()).unwrap();
                        Poll::Pending
                    }
                    None => Poll::Ready(()),
                });
                executor.spawn(task).unwrap()
            })
            .collect();
        let ids = tasks.iter().map(|task| task.slot().list_id());
        let ids: Vec<_> = ids.flatten().collect();
        assert!((1..TASKS).contains(&ids.len()), "{ids:?}");
        assert!(ids.iter().all(|id| id >> 12 < limits::LISTED_CHUNKS));
        let thread =
            std::thread::spawn(move || wakers.into_iter().take(TASKS).for_each(Waker::wake));
        executor.block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
        });
        thread.join().unwrap();
        assert_eq!(executor.metrics().woken_remote, TASKS as u64);
    }

    /// Each is left with nothing but its place on the list of wakes.
    #[test]
    fn a_slot_that_comes_off_the_list_is_used_again() {
        let executor = Executor::new();
        let mut slots = Vec::new();
        for _ in 0..50 {
            let (sender, wakers) = mpsc::channel::<Waker>();
            let task = executor.spawn(std::future::poll_fn(move |cx| {
                sender.send(cx.waker().clone()).unwrap();
                Poll::<()>::Pending
            }));
            let task = task.unwrap();
            let _ = executor.tick().unwrap();
            let waker = wakers.recv().unwrap();
            std::thread::spawn(move || waker.wake()).join().unwrap();
            let slot = task.slot();
            task.abort();
            drop(task);
            if !slots.contains(&slot) {
                slots.push(slot);
            }
            let _ = executor.tick().unwrap();
        }
        assert!(slots.len() <= 2 * limits::FIRST_SLOTS, "{}", slots.len());
    }

    const MOST: usize = limits::WAKERS as usize;

    /// Makes so many wakers of a task on another thread, then so many here: all exist at once.
    fn make(there: usize, here: usize) {
        let executor = Executor::new();
        let task = executor.spawn(std::future::poll_fn(move |cx| {
            let waker = cx.waker().clone();
            let make = |number| (0..number).map(|_| waker.clone()).collect::<Vec<_>>();
            let thread = std::thread::scope(|scope| scope.spawn(|| make(there)).join());
            drop((thread.unwrap(), make(here)));
            Poll::Ready(())
        }));
        executor.block_on(task.unwrap()).unwrap();
    }

    #[test]
    fn as_many_wakers_as_the_limit_says_may_exist_wherever_they_are_made() {
        make(MOST + 1, 0);
        make(MOST / 4, MOST / 2);
    }

    #[cfg(unix)]
    #[test]
    fn more_wakers_than_the_limit_says_abort_the_process() {
        use std::os::unix::process::ExitStatusExt;

        const INSIDE: &str = "VESTIBULE_MAKES_TOO_MANY_WAKERS";
        const THIS: &str = "wake::tests::more_wakers_than_the_limit_says_abort_the_process";
        const SIGABRT: i32 = 6;
        if std::env::var_os(INSIDE).is_some() {
            return make(MOST + 2, 0);
        }
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", THIS]).env(INSIDE, "1").output();
        assert_eq!(child.unwrap().status.signal(), Some(SIGABRT));
    }
}
