//! Awaits many tasks, whichever ends first.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::chain::Chain;
use crate::core::Core;
use crate::extra::{Extra, Waiter};
use crate::handle::Handle;
use crate::ids::TaskId;
use crate::join::{JoinError, JoinHandle};
use crate::spawn::{self, SpawnError};
use crate::state::State;
use crate::table::Doom;
use crate::task::{Key, Slot, with_weak};

/// Tasks of one executor, whose outcomes are taken as they end, or in the order in which the
/// tasks were added.
///
/// A task costs its set two words and no allocation once the set has grown. What has ended is
/// in a list, so taking an outcome does not depend on how many others are pending. Dropping the
/// set aborts what is left in it.
///
/// ```
/// use vestibule_executor::{Executor, JoinSet, yield_now};
///
/// let executor = Executor::new();
/// let mut set = JoinSet::new(&executor);
/// for n in [2, 0, 1] {
///     set.spawn(async move {
///         for _ in 0..n {
///             yield_now().await;
///         }
///         n
///     })?;
/// }
/// let order = executor.try_block_on(async {
///     let mut order = Vec::new();
///     while let Some((_, outcome)) = set.join_next().await {
///         order.push(outcome?);
///     }
///     Ok::<_, vestibule_executor::JoinError>(order)
/// })??;
/// assert_eq!(order, [0, 1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JoinSet<T> {
    executor: Handle,
    /// In the order in which they were added; those that were taken since are among them.
    members: VecDeque<Key>,
    /// How many are in the set.
    len: usize,
    ends: Rc<Ends>,
    /// What members without an entry of their own have in the table of extras.
    entry: Option<u32>,
    /// The members by number, once the executor is gone and somebody asks for the oldest.
    orphans: BTreeMap<u64, Slot>,
    tasks: PhantomData<JoinHandle<T>>,
}

/// Who of a set has ended, and who wants to know.
#[derive(Default)]
pub(crate) struct Ends {
    pub(crate) list: Chain,
    /// Somebody waits for the end of this one.
    awaited: Cell<Awaited>,
    waiter: Cell<Waiter>,
}

/// Which member's end is waited for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Awaited {
    #[default]
    None,
    Any,
    One(Slot),
}

impl Ends {
    /// Whether somebody waits for the end of this member.
    #[inline]
    pub(crate) fn is_awaited(&self, member: Slot) -> bool {
        match self.awaited.get() {
            Awaited::None => false,
            Awaited::Any => true,
            Awaited::One(slot) => slot == member,
        }
    }

    /// Notes the end of a member; returns whom to wake.
    #[must_use]
    pub(crate) fn note(&self, member: Slot) -> Waiter {
        self.list.push(member);
        if !self.is_awaited(member) {
            return Waiter::Nobody;
        }
        self.awaited.set(Awaited::None);
        self.waiter.take()
    }

    /// Takes the member off that ended first.
    #[inline]
    fn pop(&self) -> Option<Slot> {
        let member = self.list.first()?;
        self.list.unlink_first(member);
        Some(member)
    }

    /// The task that waits for the end of this member, if it is one of this executor.
    pub(crate) fn awaited_by(&self, member: Slot) -> Option<Key> {
        if !self.is_awaited(member) {
            return None;
        }
        let waiter = self.waiter.take();
        let key = match &waiter {
            Waiter::Ours(key) => Some(*key),
            _ => None,
        };
        self.waiter.set(waiter);
        key
    }
}

impl Core {
    /// Follows the key of a member of a set; `None` if that was taken out.
    fn member(&self, key: Key) -> Option<Slot> {
        let slot = self.table.arena.resolve(key)?;
        slot.state().has(State::MEMBER).then_some(slot)
    }
}

impl<T: 'static> JoinSet<T> {
    /// An empty set for tasks of this executor.
    pub fn new(executor: &Handle) -> Self {
        Self {
            executor: executor.clone(),
            members: VecDeque::new(),
            len: 0,
            ends: Rc::default(),
            entry: None,
            orphans: BTreeMap::new(),
            tasks: PhantomData,
        }
    }

    /// How many tasks are in the set, those included that have ended and were not taken.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no task is in the set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Spawns a task into the set: see [`Handle::spawn`].
    ///
    /// # Errors
    ///
    /// If the executor has shut down; the error gives the future back.
    #[track_caller]
    #[inline]
    pub fn spawn<F>(&mut self, future: F) -> Result<TaskId, SpawnError<F>>
    where
        F: Future<Output = T> + 'static,
    {
        let location = Location::caller();
        let core = self.executor.weak();
        let task = spawn::start_plain(core, future, location)?;
        Ok(self.add(task))
    }

    /// Takes a task in that was spawned otherwise, with a name or into a group.
    ///
    /// # Errors
    ///
    /// Gives the handle back if its task is another executor's.
    pub fn insert(&mut self, task: JoinHandle<T>) -> Result<TaskId, JoinHandle<T>> {
        if task.belongs_to(self.executor.weak()) {
            Ok(self.add(task))
        } else {
            Err(task)
        }
    }

    #[inline]
    fn add(&mut self, task: JoinHandle<T>) -> TaskId {
        const FEW: usize = 32;
        let (id, slot) = (task.id(), task.lend());
        if self.members.len() > 2 * self.len + FEW {
            self.forget_taken();
        }
        self.members.push_back(Key::of(slot));
        self.len += 1;
        match self.entry {
            Some(entry) if slot.state().has(State::LIVE) && !slot.has_extra() => slot.share(entry),
            _ => self.enlist(slot),
        }
        id
    }

    /// Has the end of a member noted, if it has not ended.
    #[inline(never)]
    fn enlist(&mut self, slot: Slot) {
        if !slot.state().has(State::LIVE) {
            return self.ends.list.push(slot);
        }
        let old = slot.with_core(|core| {
            if slot.has_extra() {
                let waiter = Waiter::Set(Rc::clone(&self.ends));
                return core.table.set_waiter(slot, waiter);
            }
            let entry = self.entry.get_or_insert_with(|| {
                let extra = Extra::of_set(Rc::clone(&self.ends));
                core.table.extras.borrow_mut().add(extra)
            });
            slot.share(*entry);
            Waiter::Nobody
        });
        // Foreign code, with nothing borrowed.
        drop(old);
    }

    /// Forgets the keys of members that were taken out.
    #[cold]
    fn forget_taken(&mut self) {
        if let Some(core) = self.executor.weak().upgrade() {
            self.members.retain(|&key| core.member(key).is_some());
        }
    }

    /// Waits for the next task to end, and takes it out of the set with its outcome; `None`
    /// when the set is empty.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses nothing: an outcome stays in the set until it is returned.
    pub async fn join_next(&mut self) -> Option<(TaskId, Result<T, JoinError>)> {
        std::future::poll_fn(|cx| self.poll_join_next(cx)).await
    }

    /// [`join_next`](Self::join_next) for code that polls.
    pub fn poll_join_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(TaskId, Result<T, JoinError>)>> {
        if let Some(next) = self.try_join_next() {
            return Poll::Ready(Some(next));
        }
        if self.is_empty() {
            return Poll::Ready(None);
        }
        self.register(Awaited::Any, cx);
        // Registering may have run foreign code: a task may have ended meanwhile.
        match self.try_join_next() {
            Some(next) => {
                self.unregister();
                Poll::Ready(Some(next))
            }
            None => Poll::Pending,
        }
    }

    /// Takes a task that has ended out of the set, with its outcome: the one that ended first;
    /// `None` if none has.
    pub fn try_join_next(&mut self) -> Option<(TaskId, Result<T, JoinError>)> {
        loop {
            let slot = self.ends.pop()?;
            if let Some(next) = self.take(slot) {
                return Some(next);
            }
        }
    }

    /// Waits for the end of the task that was added first of those in the set, and takes it out
    /// with its outcome; `None` when the set is empty.
    ///
    /// So the outcomes come in the order in which their tasks were added. The ends of other
    /// tasks wake nobody.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses nothing: an outcome stays in the set until it is returned.
    pub async fn join_oldest(&mut self) -> Option<(TaskId, Result<T, JoinError>)> {
        std::future::poll_fn(|cx| self.poll_join_oldest(cx)).await
    }

    /// [`join_oldest`](Self::join_oldest) for code that polls.
    pub fn poll_join_oldest(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(TaskId, Result<T, JoinError>)>> {
        while let Some(slot) = self.oldest() {
            if slot.state().has(State::LIVE) {
                self.register(Awaited::One(slot), cx);
                // Registering may have run foreign code: the task may have ended meanwhile.
                if slot.state().has(State::LIVE) {
                    return Poll::Pending;
                }
                self.unregister();
            }
            self.ends.list.unlink(slot);
            self.members.pop_front();
            if let Some(next) = self.take(slot) {
                return Poll::Ready(Some(next));
            }
        }
        Poll::Ready(None)
    }

    /// The first of the members; they begin with it after this.
    fn oldest(&mut self) -> Option<Slot> {
        loop {
            let &key = self.members.front()?;
            let core = self.executor.weak();
            let slot = match with_weak(core, |core| core.member(key)) {
                Some(slot) => slot,
                None => self.orphan(key),
            };
            if slot.is_some() {
                return slot;
            }
            self.members.pop_front();
        }
    }

    /// The member with this key, without the executor: all have ended, and the keys of those that
    /// were taken lead nowhere.
    fn orphan(&mut self, key: Key) -> Option<Slot> {
        if self.orphans.len() != self.len {
            let ended = self.ends.list.iter();
            self.orphans = ended.map(|slot| (slot.number(), slot)).collect();
        }
        self.orphans.get(&key.number()).copied()
    }

    /// Takes a member out that has ended and is off the list; `None` if its outcome was taken
    /// before it came into the set.
    #[inline]
    fn take(&mut self, slot: Slot) -> Option<(TaskId, Result<T, JoinError>)> {
        self.len -= 1;
        if self.len == 0 {
            self.members.clear();
        }
        if !self.orphans.is_empty() {
            self.orphans.remove(&slot.number());
        }
        let task = JoinHandle::reclaim(slot);
        Some((task.id(), task.take_outcome()?))
    }

    /// Has whoever polls with this context woken when a member ends, or this one.
    #[inline(never)]
    fn register(&self, whom: Awaited, cx: &Context<'_>) {
        let core = self.executor.weak().upgrade();
        let ours = core.and_then(|core| core.running_under(cx.waker()));
        let waiter = Waiter::polling(ours, cx.waker());
        // Whoever waits for one member as well as for any is woken by any.
        if self.ends.awaited.get() != Awaited::Any {
            self.ends.awaited.set(whom);
        }
        drop(self.ends.waiter.replace(waiter));
    }

    /// Has nobody woken.
    fn unregister(&self) {
        self.ends.awaited.set(Awaited::None);
        drop(self.ends.waiter.take());
    }
}

impl<T> JoinSet<T> {
    /// Aborts every task of the set; they stay in it until they are taken.
    pub fn abort_all(&self) {
        let Some(core) = self.executor.weak().upgrade() else {
            return;
        };
        for &key in &self.members {
            if core.member(key).is_some() {
                core.end_task(key, Doom::Aborted);
            }
        }
    }

    /// Takes all tasks out of the set without waiting for them; they go on. Who waits for one of them
    /// through the set is not woken.
    pub fn detach_all(&mut self) {
        self.len = 0;
        self.orphans.clear();
        let members = std::mem::take(&mut self.members);
        let core = self.executor.weak().upgrade();
        if let Some(core) = core {
            for slot in members.into_iter().filter_map(|key| core.member(key)) {
                if slot.state().has(State::LIVE) {
                    self.detach(&core, slot);
                }
            }
            if let Some(entry) = self.entry.take() {
                drop(core.table.extras.borrow_mut().remove(entry));
            }
        }
        // What outcomes do when they are dropped does not end up in this set any more.
        let ends = Untaken {
            ends: std::mem::take(&mut self.ends),
            tasks: PhantomData::<JoinHandle<T>>,
        };
        ends.drop_all();
    }

    /// Lets a member go that has not ended.
    fn detach(&self, core: &Core, slot: Slot) {
        if slot.state().has(State::SHARED) {
            drop(core.table.take_extra(slot));
        }
        drop(JoinHandle::<T>::reclaim(slot));
    }
}

/// The outcomes of a set that nobody took.
struct Untaken<T> {
    ends: Rc<Ends>,
    tasks: PhantomData<JoinHandle<T>>,
}

impl<T> Untaken<T> {
    fn drop_all(&self) {
        while let Some(slot) = self.ends.pop() {
            drop(JoinHandle::<T>::reclaim(slot));
        }
    }
}

impl<T> Drop for Untaken<T> {
    /// Drops the others when the destructor of one has panicked.
    fn drop(&mut self) {
        self.drop_all();
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.abort_all();
        self.detach_all();
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet")
            .field("tasks", &self.len)
            .field("ended", &self.ends.list.iter().count())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::JoinSet;
    use crate::Executor;

    #[test]
    fn keys_of_members_that_were_taken_do_not_pile_up() {
        let executor = Executor::new();
        let mut set = JoinSet::new(&executor);
        set.spawn(std::future::pending()).unwrap();
        for members in [200, 1] {
            for _ in 0..1000 {
                for _ in 0..members {
                    set.spawn(async {}).unwrap();
                }
                let _ = executor.tick().unwrap();
                while set.try_join_next().is_some() {}
                assert!(set.members.len() < 500);
            }
        }
        assert!(set.members.len() < 100);
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn a_set_that_is_gone_leaves_no_entry_behind() {
        let executor = Executor::new();
        for _ in 0..3 {
            let mut set = JoinSet::new(&executor);
            set.spawn(async {}).unwrap();
            assert_eq!(set.entry, Some(0));
        }
    }
}
