//! Atomics that order everything, in place of the standard ones under ThreadSanitizer.
//!
//! ThreadSanitizer knows no fences, and some of this crate's orderings are a fence after a
//! `Relaxed` load. With these it sees whether what two threads touch is ordered by *some* atomic
//! operation of theirs; whether by one that is strong enough is what the loom models tell.

use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Release};

macro_rules! strong {
    ($name:ident, $value:ty) => {
        #[derive(Debug)]
        pub(crate) struct $name(std::sync::atomic::$name);

        #[allow(dead_code)]
        impl $name {
            pub(crate) const fn new(value: $value) -> Self {
                Self(std::sync::atomic::$name::new(value))
            }

            pub(crate) fn load(&self, _: Ordering) -> $value {
                self.0.load(Acquire)
            }

            pub(crate) fn store(&self, value: $value, _: Ordering) {
                self.0.store(value, Release);
            }

            pub(crate) fn fetch_or(&self, value: $value, _: Ordering) -> $value {
                self.0.fetch_or(value, AcqRel)
            }

            pub(crate) fn fetch_and(&self, value: $value, _: Ordering) -> $value {
                self.0.fetch_and(value, AcqRel)
            }

            pub(crate) fn fetch_add(&self, value: $value, _: Ordering) -> $value {
                self.0.fetch_add(value, AcqRel)
            }

            pub(crate) fn fetch_sub(&self, value: $value, _: Ordering) -> $value {
                self.0.fetch_sub(value, AcqRel)
            }

            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                _: Ordering,
                _: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange(current, new, AcqRel, Acquire)
            }
        }
    };
}

strong!(AtomicU32, u32);
strong!(AtomicUsize, usize);
