//! Threads doubly linked lists through the tasks of a group.
//!
//! A task must leave its group and the group's ready tasks in constant time, from any
//! position, without allocating. A pair of `VecDeque`s would keep stale entries behind after
//! every abort and every round.

use slab::Slab;

/// No task.
pub(crate) const NIL: u32 = u32::MAX;

/// The neighbours of a task in one list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    prev: u32,
    next: u32,
}

impl Links {
    pub(crate) fn next(self) -> u32 {
        self.next
    }

    pub(crate) const UNLINKED: Self = Self {
        prev: NIL,
        next: NIL,
    };
}

/// Which of a task's links a list runs through.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Chain {
    /// The ready tasks of one group, in the order of their wakes.
    Ready = 0,
    /// The live tasks of one group, in the order of their spawning.
    Members = 1,
}

/// What an entry needs to be in a list.
pub(crate) trait Linked {
    fn links(&mut self, chain: Chain) -> &mut Links;
    fn next(&self, chain: Chain) -> u32;
}

/// One list; the chain it runs through is the same at every call.
#[derive(Debug)]
pub(crate) struct List {
    chain: Chain,
    head: u32,
    tail: u32,
    len: usize,
}

impl List {
    pub(crate) const fn new(chain: Chain) -> Self {
        Self {
            chain,
            head: NIL,
            tail: NIL,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn head(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }

    pub(crate) fn after<T: Linked>(&self, slots: &Slab<T>, index: u32) -> Option<u32> {
        let next = slots[index as usize].next(self.chain);
        (next != NIL).then_some(next)
    }

    pub(crate) fn push_back<T: Linked>(&mut self, slots: &mut Slab<T>, index: u32) {
        *slots[index as usize].links(self.chain) = Links {
            prev: self.tail,
            next: NIL,
        };
        match self.tail {
            NIL => self.head = index,
            tail => slots[tail as usize].links(self.chain).next = index,
        }
        self.tail = index;
        self.len += 1;
    }

    /// Takes out an entry that is in this list.
    pub(crate) fn unlink<T: Linked>(&mut self, slots: &mut Slab<T>, index: u32) {
        let links = slots[index as usize].links(self.chain);
        let Links { prev, next } = std::mem::replace(links, Links::UNLINKED);
        match prev {
            NIL => self.head = next,
            prev => slots[prev as usize].links(self.chain).next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => slots[next as usize].links(self.chain).prev = prev,
        }
        self.len -= 1;
    }
}
