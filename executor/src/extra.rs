//! Holds what only some tasks have: a name, a group, somebody who awaits them.
//!
//! Most tasks have none of it and pay for none of it: their slot says `NO_EXTRA`.

use std::rc::Rc;
use std::task::Waker;

use slab::Slab;

use crate::group::GroupTable;
use crate::ids::GroupId;
use crate::join_set::Ends;
use crate::list::{Chain, Linked, Links, List};
use crate::name::TaskName;
use crate::schedule::Shuffler;
use crate::task::{Key, Slot};

/// Whom the end of a task wakes.
#[derive(Default)]
pub(crate) enum Waiter {
    #[default]
    Nobody,
    /// A task or a main future of the same executor: its waker does not leave it, so a task
    /// that awaits another one counts as having no escaped waker.
    Ours(Key),
    /// Anybody else.
    Foreign(Waker),
    /// The set that this one is a member of.
    Set(Rc<Ends>),
    /// The way to another thread.
    End(Box<dyn End>),
}

impl Waiter {
    /// Whoever polls with this waker: a task or main future of ours, if it is the one that runs.
    /// Cloning a waker is foreign code.
    pub(crate) fn polling(ours: Option<Slot>, waker: &Waker) -> Self {
        match ours {
            Some(running) => Self::Ours(Key::of(running)),
            None => Self::Foreign(waker.clone()),
        }
    }
}

/// Something else to do with the outcome than to wake somebody.
pub(crate) trait End {
    /// The task has ended; the outcome is with its handle.
    fn end(self: Box<Self>);
    /// Whether nobody will ever see the outcome.
    fn is_detached(&self) -> bool;
}

/// What one task has besides its slot, or what the plain members of a set have in common.
pub(crate) struct Extra {
    /// The task, if it is of one.
    slot: Option<Slot>,
    pub(crate) name: Option<TaskName>,
    pub(crate) group: Option<u32>,
    links: [Links; 2],
    pub(crate) waiter: Waiter,
}

impl Extra {
    pub(crate) fn new(slot: Slot, name: Option<TaskName>, group: Option<u32>) -> Self {
        Self {
            slot: Some(slot),
            name,
            group,
            links: [Links::UNLINKED; 2],
            waiter: Waiter::Nobody,
        }
    }

    /// For the members of a set that need none of their own.
    pub(crate) fn of_set(ends: Rc<Ends>) -> Self {
        Self {
            slot: None,
            name: None,
            group: None,
            links: [Links::UNLINKED; 2],
            waiter: Waiter::Set(ends),
        }
    }
}

impl Linked for Extra {
    fn links(&mut self, chain: Chain) -> &mut Links {
        &mut self.links[chain as usize]
    }

    fn next(&self, chain: Chain) -> u32 {
        self.links[chain as usize].next()
    }
}

/// The extras of all tasks, and the groups that run through them.
#[derive(Default)]
pub(crate) struct Extras {
    entries: Slab<Extra>,
    pub(crate) groups: GroupTable,
}

impl Extras {
    pub(crate) fn get(&self, index: u32) -> &Extra {
        &self.entries[index as usize]
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Extra {
        &mut self.entries[index as usize]
    }

    /// Takes one in, and its task into its group.
    pub(crate) fn add(&mut self, extra: Extra) -> u32 {
        let group = extra.group;
        let index = self.entries.insert(extra);
        let index = u32::try_from(index).expect("fewer than 2^32 tasks fit into memory");
        if let Some(group) = group {
            let members = &mut self.groups.entry(group).members;
            members.push_back(&mut self.entries, index);
        }
        index
    }

    /// The task is ready.
    pub(crate) fn queue(&mut self, index: u32) {
        if let Some(group) = self.get(index).group {
            let ready = &mut self.groups.entry(group).ready;
            ready.push_back(&mut self.entries, index);
        }
    }

    /// The task is not ready any more.
    pub(crate) fn unqueue(&mut self, index: u32) {
        if let Some(group) = self.get(index).group {
            let ready = &mut self.groups.entry(group).ready;
            ready.unlink(&mut self.entries, index);
        }
    }

    /// Takes the task, which is not ready, out of its group.
    pub(crate) fn leave(&mut self, index: u32) {
        if let Some(group) = self.get_mut(index).group.take() {
            let members = &mut self.groups.entry(group).members;
            members.unlink(&mut self.entries, index);
            self.groups.free_unused(group);
        }
    }

    pub(crate) fn remove(&mut self, index: u32) -> Extra {
        self.entries.remove(index as usize)
    }

    /// The task of this group to poll next.
    pub(crate) fn next_ready_in(
        &self,
        group: GroupId,
        shuffler: Option<&mut Shuffler>,
    ) -> Option<Slot> {
        let ready = &self.groups.get(group)?.ready;
        let mut index = ready.head()?;
        if let Some(shuffler) = shuffler {
            let chosen = shuffler.below(ready.len());
            index = self.walk(ready).nth(chosen)?;
        }
        self.get(index).slot
    }

    /// The live tasks of a group, oldest first.
    pub(crate) fn members(&self, group: GroupId) -> Vec<Key> {
        let Some(entry) = self.groups.get(group) else {
            return Vec::new();
        };
        self.walk(&entry.members)
            .filter_map(|index| self.get(index).slot.map(Key::of))
            .collect()
    }

    fn walk<'a>(&'a self, list: &'a List) -> impl Iterator<Item = u32> + 'a {
        std::iter::successors(list.head(), |&index| list.after(&self.entries, index))
    }
}
