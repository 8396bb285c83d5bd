//! Spawns tasks on the owner's thread.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::Weak;

use futures_task::{FutureObj, LocalFutureObj, LocalSpawn, Spawn};

use crate::core::Core;
use crate::group::Group;
use crate::join::JoinHandle;
use crate::name::TaskName;
use crate::refusal::{Op, Reason, Refused};
use crate::table::NewTask;
use crate::task::with_weak;

/// A task that was not spawned, with what was to become of it.
///
/// Spawning is refused by an executor that has shut down, and for a group of another
/// executor.
pub struct SpawnError<F> {
    future: F,
    refused: Refused,
}

impl<F> SpawnError<F> {
    pub(crate) fn new(future: F, refused: Refused) -> Self {
        Self { future, refused }
    }

    /// Gives back what was to be spawned.
    pub fn into_inner(self) -> F {
        self.future
    }

    /// Why it was refused.
    pub fn refused(&self) -> &Refused {
        &self.refused
    }

    /// Why it was refused; drops what was to be spawned.
    pub fn into_refused(self) -> Refused {
        self.refused
    }
}

impl<F> fmt::Debug for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpawnError").field(&self.refused).finish()
    }
}

impl<F> fmt::Display for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refused.fmt(f)
    }
}

impl<F> Error for SpawnError<F> {}

impl<F> From<SpawnError<F>> for Refused {
    fn from(error: SpawnError<F>) -> Self {
        error.refused
    }
}

/// Names a task and puts it into a group before spawning it.
#[must_use = "a task builder does nothing until `spawn` or `defer`"]
#[derive(Clone, Debug)]
pub struct TaskBuilder {
    pub(crate) core: CoreRef,
    whom: Whom,
}

/// What a task is called, and where it belongs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whom {
    name: Option<TaskName>,
    group: Option<Group>,
}

/// A weak reference to a core, with a `Debug` that says no more.
#[derive(Clone)]
pub(crate) struct CoreRef(pub(crate) Weak<Core>);

impl fmt::Debug for CoreRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.upgrade() {
            Some(core) => write!(f, "{:?}", core.activity()),
            None => f.write_str("Closed"),
        }
    }
}

impl TaskBuilder {
    pub(crate) fn new(core: Weak<Core>) -> Self {
        Self {
            core: CoreRef(core),
            whom: Whom::default(),
        }
    }

    /// Sets the name that refusals and hooks quote.
    pub fn name(mut self, name: impl Into<TaskName>) -> Self {
        self.whom.name = Some(name.into());
        self
    }

    /// Puts the task into a group; without this it is in none.
    pub fn group(mut self, group: &Group) -> Self {
        self.whom.group = Some(group.clone());
        self
    }

    /// Spawns the task: see [`Handle::spawn`](crate::Handle::spawn).
    ///
    /// # Errors
    ///
    /// If the executor has shut down or the group is another executor's; the error gives
    /// the future back.
    #[track_caller]
    pub fn spawn<F: Future + 'static>(
        self,
        future: F,
    ) -> Result<JoinHandle<F::Output>, SpawnError<F>> {
        start(
            &self.core.0,
            self.whom,
            future,
            Op::Spawn,
            Location::caller(),
        )
    }

    /// Defers the task: see [`Handle::defer`](crate::Handle::defer).
    ///
    /// # Errors
    ///
    /// As for [`spawn`](Self::spawn).
    #[track_caller]
    pub fn defer<F: Future + 'static>(
        self,
        future: F,
    ) -> Result<JoinHandle<F::Output>, SpawnError<F>> {
        start(
            &self.core.0,
            self.whom,
            future,
            Op::Defer,
            Location::caller(),
        )
    }
}

/// Spawns a task without a name or a group.
#[inline]
pub(crate) fn start_plain<F: Future + 'static>(
    core: &Weak<Core>,
    future: F,
    location: &'static Location<'static>,
) -> Result<JoinHandle<F::Output>, SpawnError<F>> {
    // By value into the closure or back out of it: no copy is left when this is inlined.
    let mut future = Some(future);
    let spawned = with_weak(core, |core| {
        if !core.is_open() {
            return None;
        }
        let task = core.insert_plain(future.take()?, location);
        Some((task, core.is_curious()))
    });
    match (spawned.flatten(), future) {
        (Some((task, curious)), _) => {
            if curious && let Some(core) = core.upgrade() {
                core.tell_of(task.key(), true);
            }
            Ok(task)
        }
        (None, Some(future)) => start(core, Whom::default(), future, Op::Spawn, location),
        (None, None) => unreachable!("what was spawned is returned"),
    }
}

/// Spawns or defers a task.
pub(crate) fn start<F: Future + 'static>(
    core: &Weak<Core>,
    whom: Whom,
    future: F,
    op: Op,
    location: &'static Location<'static>,
) -> Result<JoinHandle<F::Output>, SpawnError<F>> {
    let Some(core) = core.upgrade() else {
        return Err(SpawnError::new(future, Refused::gone(op, location)));
    };
    if let Err(refused) = core.check(op, location) {
        return Err(SpawnError::new(future, refused));
    }
    if let Some(group) = &whom.group
        && !group.belongs_to(&core)
    {
        let refused = core.refuse(op, Reason::ForeignGroup, location);
        return Err(SpawnError::new(future, refused));
    }
    let new = NewTask {
        name: whom.name,
        group: whom.group.as_ref().map(Group::id),
        deferred: op == Op::Defer,
        spawned_at: location,
    };
    Ok(core.insert(future, new))
}

/// Spawns tasks from the owner's thread; a weak handle, for code that knows the
/// `futures-task` traits.
#[derive(Clone, Debug)]
pub struct LocalSpawner {
    core: CoreRef,
}

impl LocalSpawner {
    pub(crate) fn new(core: Weak<Core>) -> Self {
        Self {
            core: CoreRef(core),
        }
    }

    /// Spawns a task: see [`Handle::spawn`](crate::Handle::spawn).
    ///
    /// # Errors
    ///
    /// If the executor has shut down; the error gives the future back.
    #[track_caller]
    pub fn spawn<F: Future + 'static>(
        &self,
        future: F,
    ) -> Result<JoinHandle<F::Output>, SpawnError<F>> {
        start_plain(&self.core.0, future, Location::caller())
    }

    fn is_open(&self) -> Result<(), futures_task::SpawnError> {
        match self.core.0.upgrade() {
            Some(core) if core.is_open() => Ok(()),
            _ => Err(futures_task::SpawnError::shutdown()),
        }
    }
}

impl LocalSpawn for LocalSpawner {
    fn spawn_local_obj(
        &self,
        future: LocalFutureObj<'static, ()>,
    ) -> Result<(), futures_task::SpawnError> {
        // The trait has no handle to return: its tasks are detached.
        self.spawn(future)
            .map(drop)
            .map_err(|_| futures_task::SpawnError::shutdown())
    }

    fn status_local(&self) -> Result<(), futures_task::SpawnError> {
        self.is_open()
    }
}

impl Spawn for LocalSpawner {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), futures_task::SpawnError> {
        self.spawn_local_obj(future.into())
    }

    fn status(&self) -> Result<(), futures_task::SpawnError> {
        self.is_open()
    }
}
