//! A slab whose keys carry a generation: slab keys are reused, so a bare index is no identity.

use slab::Slab;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZeroU32;

/// Owns values under [`Id`]s.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    slots: Slab<(NonZeroU32, T)>,
    generation: NonZeroU32,
}

/// Names one value of an [`Arena`] for ever: an id whose value is gone finds nothing.
pub(crate) struct Id<T> {
    index: u32,
    /// Not 0, so that an `Option<Id>` is no larger.
    generation: NonZeroU32,
    marker: PhantomData<fn() -> T>,
}

impl<T> Arena<T> {
    pub(crate) const fn new() -> Arena<T> {
        Arena {
            slots: Slab::new(),
            generation: NonZeroU32::MAX,
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Id<T> {
        self.generation = self.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let index = self.slots.insert((self.generation, value));
        // Limits far below 2^32 are checked before anything is inserted.
        Id {
            index: index as u32,
            generation: self.generation,
            marker: PhantomData,
        }
    }

    pub(crate) fn get(&self, id: Id<T>) -> Option<&T> {
        #[cfg(test)]
        steps::count(1);
        match self.slots.get(id.index as usize) {
            Some((generation, value)) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        #[cfg(test)]
        steps::count(1);
        match self.slots.get_mut(id.index as usize) {
            Some((generation, value)) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, id: Id<T>) -> Option<T> {
        self.get(id)?;
        Some(self.slots.remove(id.index as usize).1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        #[cfg(test)]
        steps::count(self.slots.len() as u64);
        self.slots.iter().map(|(index, (generation, value))| {
            (
                Id {
                    index: index as u32,
                    generation: *generation,
                    marker: PhantomData,
                },
                value,
            )
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

impl<T> Id<T> {
    /// The id as a number, for a handle that leaves the crate.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.index) | (u64::from(self.generation.get()) << 32)
    }

    /// None if no id has these bits.
    pub(crate) fn from_bits(bits: u64) -> Option<Id<T>> {
        Some(Id {
            index: bits as u32,
            generation: NonZeroU32::new((bits >> 32) as u32)?,
            marker: PhantomData,
        })
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Id<T> {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Id<T>) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}

impl<T> Eq for Id<T> {}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.index, self.generation).hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}v{}", self.index, self.generation)
    }
}

/// Counts, for tests, how often values are looked at: a search among those that wait shows here.
#[cfg(test)]
pub(crate) mod steps {
    use std::cell::Cell;

    thread_local! {
        static STEPS: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn count(more: u64) {
        STEPS.set(STEPS.get() + more);
    }

    /// All steps of this thread so far.
    pub(crate) fn taken() -> u64 {
        STEPS.get()
    }
}
