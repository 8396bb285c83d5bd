//! Threads a list through slots, by their own two links: a task is in one such list at a time.
//!
//! That is the list of the ready while it lives, and its join set's when it has ended.

use std::cell::Cell;

use crate::task::Slot;

/// One list of slots.
#[derive(Default)]
pub(crate) struct Chain {
    head: Cell<Option<Slot>>,
    tail: Cell<Option<Slot>>,
}

impl Chain {
    #[inline(always)]
    pub(crate) fn first(&self) -> Option<Slot> {
        self.head.get()
    }

    /// The slots from the first on; the list must stay as it is meanwhile.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Slot> + use<> {
        std::iter::successors(self.first(), |slot| slot.next())
    }

    /// Puts a slot at the end.
    #[inline(always)]
    pub(crate) fn push(&self, slot: Slot) {
        let tail = self.tail.replace(Some(slot));
        slot.set_prev(tail);
        slot.set_next(None);
        match tail {
            Some(tail) => tail.set_next(Some(slot)),
            None => self.head.set(Some(slot)),
        }
    }

    /// Takes the first slot off, which the caller knows. The link that the next one has to it stays
    /// and is not followed.
    #[inline(always)]
    pub(crate) fn unlink_first(&self, slot: Slot) {
        debug_assert!(self.first() == Some(slot), "it is another one");
        let next = slot.next();
        self.head.set(next);
        if next.is_none() {
            self.tail.set(None);
        }
    }

    /// Takes a slot off, wherever it is.
    #[inline]
    pub(crate) fn unlink(&self, slot: Slot) {
        let next = slot.next();
        // What was before the first one was taken off and may be free.
        let prev = slot.prev().filter(|_| self.first() != Some(slot));
        match prev {
            Some(prev) => prev.set_next(next),
            None => self.head.set(next),
        }
        match next {
            Some(next) => next.set_prev(prev),
            None => self.tail.set(prev),
        }
    }
}
