//! Awaits many tasks, whichever ends first.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::Rc;
use std::task::{Context, Poll};

use slab::Slab;

use crate::extra::Waiter;
use crate::handle::Handle;
use crate::ids::TaskId;
use crate::join::{JoinError, JoinHandle};
use crate::spawn::{self, SpawnError};
use crate::task::Key;

/// Tasks of one executor, whose outcomes are taken in the order in which they end.
///
/// A task costs its set a few words and no allocation once the set has grown; what ends is
/// queued, so taking an outcome does not depend on how many others are pending. Dropping the
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
    tasks: Slab<JoinHandle<T>>,
    ends: Rc<Ends>,
}

/// Who of a set has ended, and who wants to know; its tasks have it.
#[derive(Default)]
pub(crate) struct Ends {
    ended: RefCell<VecDeque<usize>>,
    waiter: Cell<Waiter>,
}

impl Ends {
    /// Notes the end of a task; returns whom to wake.
    #[must_use]
    pub(crate) fn note(&self, member: usize) -> Waiter {
        self.ended.borrow_mut().push_back(member);
        self.waiter.take()
    }

    /// The task that waits, if it is one of this executor.
    pub(crate) fn awaited_by(&self) -> Option<Key> {
        let waiter = self.waiter.take();
        let key = match &waiter {
            Waiter::Ours(key) => Some(*key),
            _ => None,
        };
        self.waiter.set(waiter);
        key
    }
}

impl<T: 'static> JoinSet<T> {
    /// An empty set for tasks of this executor.
    pub fn new(executor: &Handle) -> Self {
        Self {
            executor: executor.clone(),
            tasks: Slab::new(),
            ends: Rc::default(),
        }
    }

    /// How many tasks are in the set, those included that have ended and were not taken.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether no task is in the set.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Spawns a task into the set: see [`Handle::spawn`].
    ///
    /// # Errors
    ///
    /// If the executor has shut down; the error gives the future back.
    #[track_caller]
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

    fn add(&mut self, task: JoinHandle<T>) -> TaskId {
        let id = task.id();
        let entry = self.tasks.vacant_entry();
        let member = entry.key();
        let waiter = Waiter::Set(Rc::clone(&self.ends), member);
        let old = task.set_waiter(waiter);
        let ended = task.is_finished();
        entry.insert(task);
        if ended {
            self.ends.ended.borrow_mut().push_back(member);
        }
        drop(old);
        id
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
        let core = self.executor.weak().upgrade();
        let ours = core.and_then(|core| core.running_under(cx.waker()));
        let waiter = Waiter::polling(ours, cx.waker());
        drop(self.ends.waiter.replace(waiter));
        // Cloning and dropping wakers is foreign code: a task may have ended meanwhile.
        match self.try_join_next() {
            Some(next) => Poll::Ready(Some(next)),
            None => Poll::Pending,
        }
    }

    /// Takes a task that has ended out of the set, with its outcome; `None` if none has.
    pub fn try_join_next(&mut self) -> Option<(TaskId, Result<T, JoinError>)> {
        loop {
            let member = self.ends.ended.borrow_mut().pop_front()?;
            let task = self.tasks.remove(member);
            if let Some(outcome) = task.take_outcome() {
                return Some((task.id(), outcome));
            }
        }
    }

    /// Aborts every task of the set; they stay in it until they are taken.
    pub fn abort_all(&self) {
        for (_, task) in &self.tasks {
            task.abort();
        }
    }

    /// Takes all tasks out of the set without waiting for them; they go on.
    pub fn detach_all(&mut self) {
        let tasks = std::mem::take(&mut self.tasks);
        // What outcomes do when they are dropped must not end up in this set.
        self.ends = Rc::default();
        drop(tasks);
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        for (_, task) in &self.tasks {
            task.abort();
        }
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet")
            .field("tasks", &self.tasks.len())
            .field("ended", &self.ends.ended.borrow().len())
            .finish()
    }
}
