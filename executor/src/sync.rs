//! Supplies everything that two threads may touch at once, so that loom can stand in for it.
//!
//! This is the only file that names loom and, but for one `pub use` in lib.rs, the only one
//! that tests `cfg(vestibule_loom)`. The name is private on purpose: a stranger's
//! `--cfg loom` changes nothing here. What it supplies:
//!
//! 1. atomics, a mutex, a parker and the remote queue;
//! 2. [`at`], through which every memory ordering of this crate is routed, so that a
//!    model can weaken one site at run time and watch the model fail;
//! 3. [`catch`], because a model's own panics must not end up in a `JoinHandle`;
//! 4. [`thread_number`], because loom's threads share one thread of the system.
//!
//! `Arc` is the standard one in both builds: no ordering of ours leans on its reference
//! counts.

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::Ordering;

#[cfg(vestibule_loom)]
pub use imp::plant;
pub(crate) use imp::*;

/// Locks, ignoring poison: nothing of ours can panic while it holds a lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // ThreadSanitizer does not see into the standard library, where a mutex sleeps; it sees this.
    #[cfg(vestibule_tsan)]
    loop {
        if let Ok(guard) = mutex.try_lock() {
            return guard;
        }
        std::thread::yield_now();
    }
    #[cfg(not(vestibule_tsan))]
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn next_thread_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(not(vestibule_loom))]
mod imp {
    use std::any::Any;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::Ordering;
    use std::thread::Thread;

    #[cfg(vestibule_tsan)]
    pub(crate) use crate::strong::{AtomicU32, AtomicUsize};
    pub(crate) use crossbeam_queue::SegQueue as Queue;
    #[cfg(not(vestibule_tsan))]
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicUsize};
    pub(crate) use std::sync::{Mutex, MutexGuard};

    thread_local! {
        static NUMBER: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    /// A number of the calling thread's own, never 0 and never used again.
    ///
    /// `thread::current().id()` tells the same and takes fifty times as long; the address of a
    /// thread-local is as fast and comes back when a thread has ended.
    #[inline(always)]
    pub(crate) fn thread_number() -> u64 {
        match NUMBER.get() {
            0 => number_thread(),
            number => number,
        }
    }

    /// The number of the calling thread, or 0, which is nobody's, if it has none yet.
    #[inline(always)]
    pub(crate) fn known_thread() -> u64 {
        NUMBER.get()
    }

    #[cold]
    fn number_thread() -> u64 {
        let number = super::next_thread_number();
        NUMBER.set(number);
        number
    }

    /// Names a memory ordering; the identity here.
    #[inline(always)]
    pub(crate) const fn at(_site: &'static str, ordering: Ordering) -> Ordering {
        ordering
    }

    /// Whether a bug is switched on; never, here.
    #[inline(always)]
    pub(crate) const fn planted(_bug: &'static str) -> bool {
        false
    }

    /// An `Acquire` fence, with a name.
    #[inline(always)]
    pub(crate) fn acquire_fence(_site: &'static str) {
        std::sync::atomic::fence(Ordering::Acquire);
    }

    /// What a word held a moment ago, for the first try of an exchange.
    #[inline(always)]
    pub(crate) fn peek(word: &AtomicU32) -> u32 {
        word.load(Ordering::Relaxed)
    }

    /// Memory that is freed or used again while others may still look at it: nothing, here.
    #[derive(Debug)]
    pub(crate) struct Traced;

    impl Traced {
        #[inline(always)]
        pub(crate) const fn new() -> Self {
            Self
        }

        /// It is looked at.
        #[inline(always)]
        pub(crate) const fn look(&self) {}

        /// It is the caller's alone.
        #[inline(always)]
        pub(crate) const fn take(&self) {}
    }

    /// Runs foreign code and catches its panic.
    #[inline]
    pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
        catch_unwind(AssertUnwindSafe(f))
    }

    /// Puts one thread to sleep until another wakes it; a wake that comes first is kept.
    #[derive(Debug)]
    pub(crate) struct Parker(Thread);

    impl Parker {
        /// A parker for the calling thread.
        pub(crate) fn new() -> Self {
            Self(std::thread::current())
        }

        pub(crate) fn park(&self) {
            std::thread::park();
        }

        pub(crate) fn unpark(&self) {
            self.0.unpark();
        }
    }
}

#[cfg(vestibule_loom)]
mod imp {
    use std::any::Any;
    use std::cell::Cell;
    use std::sync::atomic::Ordering;

    use loom::sync::atomic::AtomicBool;
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicUsize};
    pub(crate) use loom::sync::{Mutex, MutexGuard};

    loom::thread_local! {
        static NUMBER: u64 = super::next_thread_number();
    }

    /// A number of the calling loom thread's own.
    pub(crate) fn thread_number() -> u64 {
        // While the thread is torn down it is nobody's owner.
        NUMBER.try_with(|number| *number).unwrap_or(0)
    }

    /// The same.
    pub(crate) fn known_thread() -> u64 {
        thread_number()
    }

    std::thread_local! {
        // Every loom thread of one model runs on the thread of the test that started it,
        // so a plain thread-local keeps parallel tests apart.
        static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Weakens the named site to `Relaxed` (or switches the named bug on) for the models
    /// that this thread runs from now on; `None` heals it.
    pub fn plant(site: Option<&'static str>) {
        PLANTED.set(site);
    }

    pub(crate) fn at(site: &'static str, ordering: Ordering) -> Ordering {
        if PLANTED.get() == Some(site) {
            Ordering::Relaxed
        } else {
            ordering
        }
    }

    /// Whether the named bug is switched on.
    pub(crate) fn planted(bug: &'static str) -> bool {
        PLANTED.get() == Some(bug)
    }

    pub(crate) fn acquire_fence(site: &'static str) {
        // There is no relaxed fence: the weak form of a fence is none.
        if PLANTED.get() != Some(site) {
            loom::sync::atomic::fence(Ordering::Acquire);
        }
    }

    /// A guess in place of a look, which the exchange puts right: loom takes the last access before
    /// an exchange for the one that it may come before, and a look by the same thread would hide
    /// those of all others.
    pub(crate) fn peek(_word: &AtomicU32) -> u32 {
        0
    }

    /// Memory that is freed or used again while others may still look at it. Loom reports whoever
    /// takes it without being ordered after everybody who looked.
    #[derive(Debug)]
    pub(crate) struct Traced(loom::cell::UnsafeCell<()>);

    impl Traced {
        pub(crate) fn new() -> Self {
            Self(loom::cell::UnsafeCell::new(()))
        }

        pub(crate) fn look(&self) {
            self.0.with(|_| ());
        }

        pub(crate) fn take(&self) {
            self.0.with_mut(|_| ());
        }
    }

    /// Runs foreign code; a panic goes through, because it is the model's verdict.
    pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
        Ok(f())
    }

    /// `loom::thread::park` forgets its token when a mutex blocks in between, and its
    /// `unpark` orders more than the real one: hence a mutex and a condition variable.
    #[derive(Debug)]
    pub(crate) struct Parker {
        token: Mutex<bool>,
        changed: loom::sync::Condvar,
    }

    impl Parker {
        pub(crate) fn new() -> Self {
            Self {
                token: Mutex::new(false),
                changed: loom::sync::Condvar::new(),
            }
        }

        pub(crate) fn park(&self) {
            let mut token = self.token.lock().unwrap();
            while !*token {
                token = self.changed.wait(token).unwrap();
            }
            *token = false;
        }

        pub(crate) fn unpark(&self) {
            *self.token.lock().unwrap() = true;
            self.changed.notify_one();
        }
    }

    /// How many messages one model may send.
    const SLOTS: usize = 8;

    /// Stands in for `SegQueue`, whose atomics loom can't see.
    ///
    /// It orders no more than the real one: a value is published by a `Release` store to
    /// its own slot and by nothing else, and `pop` does not wait for a slot that was
    /// taken but not yet written (the real one does). A `Mutex<VecDeque>` would order
    /// every pair of operations and so hide bugs. The value itself sits in a standard
    /// mutex, which loom does not see either.
    #[derive(Debug)]
    pub(crate) struct Queue<T> {
        tail: AtomicUsize,
        head: std::sync::atomic::AtomicUsize,
        slots: [Slot<T>; SLOTS],
    }

    #[derive(Debug)]
    struct Slot<T> {
        written: AtomicBool,
        value: std::sync::Mutex<Option<T>>,
    }

    impl<T> Queue<T> {
        pub(crate) fn new() -> Self {
            Self {
                tail: AtomicUsize::new(0),
                head: std::sync::atomic::AtomicUsize::new(0),
                slots: std::array::from_fn(|_| Slot {
                    written: AtomicBool::new(false),
                    value: std::sync::Mutex::new(None),
                }),
            }
        }

        pub(crate) fn push(&self, value: T) {
            let slot = &self.slots[self.tail.fetch_add(1, Ordering::Relaxed)];
            *slot.value.lock().unwrap() = Some(value);
            slot.written.store(true, Ordering::Release);
        }

        /// Only the owner pops.
        pub(crate) fn pop(&self) -> Option<T> {
            let head = self.head.load(Ordering::Relaxed);
            let slot = self.slots.get(head)?;
            if !slot.written.load(Ordering::Acquire) {
                return None;
            }
            self.head.store(head + 1, Ordering::Relaxed);
            slot.value.lock().unwrap().take()
        }
    }
}

#[cfg(all(test, not(vestibule_loom)))]
mod tests {
    use super::thread_number;

    #[test]
    fn every_thread_has_a_number_of_its_own_and_keeps_it() {
        let here = thread_number();
        let there = std::thread::spawn(thread_number).join().unwrap();
        assert!(here != there && here != 0 && there != 0, "{here} {there}");
        assert_eq!(thread_number(), here);
    }
}
