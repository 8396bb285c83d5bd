//! Groups tasks, so that a phase can drive, count or abort some of them and no others.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::rc::{Rc, Weak};

use slab::Slab;

use crate::core::Core;
use crate::ids::GroupId;
use crate::list::{Chain, List};
use crate::refusal::{Op, Refused};
use crate::table::Doom;

/// A set of tasks of one executor; a cheap, weak, cloneable handle.
///
/// Groups form trees. A [`Phase`](crate::Phase) drives the tasks of exactly its group, not
/// of subgroups; the *root* of the tree is the phase's scope, within which deferred work is
/// handed from an inner phase to an outer one. A component store is a root, its instances
/// are subgroups.
///
/// A group lives as long as it has a handle, a live task or a subgroup, and no longer.
/// Dropping handles aborts nothing.
///
/// ```
/// use vestibule_executor::Executor;
///
/// let executor = Executor::new();
/// let store = executor.group("store");
/// let instance = store.subgroup("instance 1");
/// executor.task().group(&instance).spawn(async {})?;
/// assert_eq!((store.live(), instance.live()), (0, 1));
/// instance.abort_all();
/// assert_eq!(instance.live(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Group {
    core: Weak<Core>,
    id: GroupId,
}

impl Group {
    /// Makes a group below `parent`, or a root.
    pub(crate) fn create(
        core: Weak<Core>,
        name: Cow<'static, str>,
        parent: Option<GroupId>,
    ) -> Self {
        let id = match core.upgrade() {
            Some(core) => core.table.extras.borrow_mut().groups.insert(name, parent),
            // The executor is gone; the handle stands for an empty group.
            None => GroupId {
                index: u32::MAX,
                generation: 0,
            },
        };
        Self { core, id }
    }

    /// The name it was given; empty once the executor is gone.
    pub fn name(&self) -> Cow<'static, str> {
        self.read(|core| core.table.extras.borrow().groups.name(self.id))
            .flatten()
            .unwrap_or_default()
    }

    /// Makes a group below this one.
    pub fn subgroup(&self, name: impl Into<Cow<'static, str>>) -> Group {
        Group::create(self.core.clone(), name.into(), Some(self.id))
    }

    /// How many tasks of exactly this group are not finished, deferred ones included.
    pub fn live(&self) -> usize {
        let live = |core: &Rc<Core>| {
            Some(
                core.table
                    .extras
                    .borrow()
                    .groups
                    .get(self.id)?
                    .members
                    .len(),
            )
        };
        self.read(live).flatten().unwrap_or(0)
    }

    /// How many tasks of exactly this group are ready to be polled.
    ///
    /// Wakes by other threads count from the next tick or drive on.
    pub fn ready(&self) -> usize {
        let ready =
            |core: &Rc<Core>| Some(core.table.extras.borrow().groups.get(self.id)?.ready.len());
        self.read(ready).flatten().unwrap_or(0)
    }

    /// Polls one ready task of exactly this group; false if none is ready.
    ///
    /// For a host that gives every group a share of its own. Inside a phase
    /// [`block_in_phase`](crate::Handle::block_in_phase) does the same and asks a condition.
    ///
    /// # Errors
    ///
    /// As for [`tick`](crate::Handle::tick).
    #[track_caller]
    pub fn step(&self) -> Result<bool, Refused> {
        let location = Location::caller();
        match self.core.upgrade() {
            Some(core) => core.step(self.id, location),
            None => Err(Refused::gone(Op::Step, location)),
        }
    }

    /// Aborts every task of exactly this group, oldest first.
    ///
    /// Their futures are dropped before this returns, but for those on the stack, which
    /// are dropped when their polls end.
    pub fn abort_all(&self) {
        self.read(|core| {
            let members = core.table.extras.borrow().members(self.id);
            for key in members {
                core.end_task(key, Doom::Aborted);
            }
        });
    }

    /// Aborts every task of this group and of all groups below it.
    pub fn abort_tree(&self) {
        self.read(|core| {
            let groups = core.table.extras.borrow().groups.tree(self.id);
            for group in groups {
                let members = core.table.extras.borrow().members(group);
                for key in members {
                    core.end_task(key, Doom::Aborted);
                }
            }
        });
    }

    pub(crate) fn id(&self) -> GroupId {
        self.id
    }

    pub(crate) fn belongs_to(&self, core: &Rc<Core>) -> bool {
        std::ptr::eq(self.core.as_ptr(), Rc::as_ptr(core))
    }

    fn read<R>(&self, f: impl FnOnce(&Rc<Core>) -> R) -> Option<R> {
        self.core.upgrade().map(|core| f(&core))
    }
}

impl Clone for Group {
    fn clone(&self) -> Self {
        self.read(|core| core.table.extras.borrow_mut().groups.retain(self.id));
        Self {
            core: self.core.clone(),
            id: self.id,
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.read(|core| core.table.extras.borrow_mut().groups.release(self.id));
    }
}

impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.core, &other.core) && self.id == other.id
    }
}

impl Eq for Group {}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({:?} #{})", self.name(), self.id.generation)
    }
}

/// What the table knows about a group.
pub(crate) struct GroupEntry {
    generation: u64,
    name: Cow<'static, str>,
    parent: Option<u32>,
    root: GroupId,
    handles: usize,
    children: usize,
    pub(crate) members: List,
    pub(crate) ready: List,
}

impl GroupEntry {
    fn is_unused(&self) -> bool {
        self.handles == 0 && self.children == 0 && self.members.len() == 0
    }
}

/// All groups of one executor.
pub(crate) struct GroupTable {
    entries: Slab<GroupEntry>,
    next_generation: u64,
}

impl Default for GroupTable {
    fn default() -> Self {
        Self {
            entries: Slab::new(),
            next_generation: 1,
        }
    }
}

impl GroupTable {
    pub(crate) fn get(&self, id: GroupId) -> Option<&GroupEntry> {
        let entry = self.entries.get(id.index as usize)?;
        (entry.generation == id.generation).then_some(entry)
    }

    /// The group of a live task, which therefore exists.
    pub(crate) fn entry(&mut self, index: u32) -> &mut GroupEntry {
        &mut self.entries[index as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn name(&self, id: GroupId) -> Option<Cow<'static, str>> {
        self.get(id).map(|entry| entry.name.clone())
    }

    /// The name of the group in this place, which exists.
    pub(crate) fn name_at(&self, index: u32) -> Option<Cow<'static, str>> {
        Some(self.entries.get(index as usize)?.name.clone())
    }

    /// The root of the tree a group is in: the scope of its phases.
    pub(crate) fn root(&self, id: GroupId) -> GroupId {
        self.get(id).map_or(id, |entry| entry.root)
    }

    fn insert(&mut self, name: Cow<'static, str>, parent: Option<GroupId>) -> GroupId {
        let generation = self.next_generation;
        self.next_generation += 1;
        let vacant = self.entries.vacant_entry();
        let index = u32::try_from(vacant.key()).expect("fewer than 2^32 groups fit into memory");
        let id = GroupId { index, generation };
        vacant.insert(GroupEntry {
            generation,
            name,
            parent: parent.map(|parent| parent.index),
            root: id,
            handles: 1,
            children: 0,
            members: List::new(Chain::Members),
            ready: List::new(Chain::Ready),
        });
        if let Some(parent) = parent {
            let parent = self.entry(parent.index);
            parent.children += 1;
            let root = parent.root;
            self.entry(index).root = root;
        }
        id
    }

    fn retain(&mut self, id: GroupId) {
        if self.get(id).is_some() {
            self.entry(id.index).handles += 1;
        }
    }

    fn release(&mut self, id: GroupId) {
        if self.get(id).is_some() {
            self.entry(id.index).handles -= 1;
            self.free_unused(id.index);
        }
    }

    /// Frees a group that nothing needs any more, and then perhaps its ancestors.
    pub(crate) fn free_unused(&mut self, index: u32) {
        let mut next = Some(index);
        while let Some(index) = next {
            if !self.entries[index as usize].is_unused() {
                return;
            }
            next = self.entries.remove(index as usize).parent;
            if let Some(parent) = next {
                self.entry(parent).children -= 1;
            }
        }
    }

    /// A group and all groups below it.
    fn tree(&self, top: GroupId) -> Vec<GroupId> {
        let below = |mut index: u32| loop {
            if index == top.index {
                return true;
            }
            match self.entries[index as usize].parent {
                Some(parent) => index = parent,
                None => return false,
            }
        };
        if self.get(top).is_none() {
            return Vec::new();
        }
        self.entries
            .iter()
            .filter(|&(index, _)| below(index as u32))
            .map(|(index, entry)| GroupId {
                index: index as u32,
                generation: entry.generation,
            })
            .collect()
    }
}
