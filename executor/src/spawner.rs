//! Spawns tasks from other threads, and tells other threads how they ended.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_task::{FutureObj, Spawn};

use crate::core::Core;
use crate::extra::{End, Waiter};
use crate::join::{JoinError, JoinHandle};
use crate::refusal::{Op, Refused};
use crate::remote::{Message, Remote};
use crate::spawn::SpawnError;
use crate::sync::{Arc, Mutex, catch, lock, planted};
use crate::table::{Doom, NewTask};
use crate::task::Key;

/// Spawns tasks from any thread; a weak handle.
///
/// Tasks are spawned in the order in which they were sent, whoever sent them; wakes from other
/// threads are taken in before them.
///
/// While one is alive, or the handle of a task that one has spawned, `try_block_on` does not
/// claim a deadlock: something may still come.
///
/// ```
/// use vestibule_executor::Executor;
///
/// let executor = Executor::new();
/// let spawner = executor.send_spawner();
/// let thread = std::thread::spawn(move || {
///     // The closure is sent; the future is made, polled and dropped on the owner's thread
///     // and need not be `Send`.
///     spawner.spawn_with(|| async { *std::rc::Rc::new(42) }).unwrap()
/// });
/// let answer = executor.try_block_on(thread.join().unwrap())??;
/// assert_eq!(answer, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Spawner {
    remote: Arc<Remote>,
}

impl Spawner {
    pub(crate) fn new(remote: Arc<Remote>) -> Self {
        remote.add_spawner();
        Self { remote }
    }

    /// Spawns a future.
    ///
    /// # Errors
    ///
    /// If the executor has shut down; the error gives the future back. A future that was
    /// accepted is dropped on the owner's thread, whatever happens.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Result<RemoteJoinHandle<F::Output>, SpawnError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        self.send(future, |future| future, Location::caller())
    }

    /// Spawns the future that `make` returns on the owner's thread.
    ///
    /// # Errors
    ///
    /// If the executor has shut down; the error gives `make` back. A panic of `make` is the
    /// task's panic.
    #[track_caller]
    pub fn spawn_with<M, F>(&self, make: M) -> Result<RemoteJoinHandle<F::Output>, SpawnError<M>>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send,
    {
        self.send(make, |make| make(), Location::caller())
    }

    fn send<S, F>(
        &self,
        seed: S,
        grow: fn(S) -> F,
        location: &'static Location<'static>,
    ) -> Result<RemoteJoinHandle<F::Output>, SpawnError<S>>
    where
        S: Send + 'static,
        F: Future + 'static,
        F::Output: Send,
    {
        let cell = Arc::new(RemoteCell::new());
        let mut seed = Some(seed);
        self.remote.send_task(|| {
            let (seed, cell) = (seed.take(), Arc::clone(&cell));
            move |core: Option<&Rc<Core>>| {
                if let Some(seed) = seed {
                    start(core, seed, grow, cell, location);
                }
            }
        });
        match seed {
            // It was not taken.
            Some(seed) => Err(SpawnError::new(seed, Refused::gone(Op::Spawn, location))),
            None => {
                // It can end its task, and so counts among those who can bring something about.
                self.remote.add_spawner();
                Ok(RemoteJoinHandle {
                    cell,
                    remote: Arc::clone(&self.remote),
                })
            }
        }
    }
}

/// Runs on the owner's thread: spawns the task, or answers that it will not run.
fn start<S, F>(
    core: Option<&Rc<Core>>,
    seed: S,
    grow: fn(S) -> F,
    cell: Arc<RemoteCell<F::Output>>,
    spawned_at: &'static Location<'static>,
) where
    F: Future + 'static,
    F::Output: Send,
{
    let aborted = core.is_some() && lock(&cell.inner).aborted;
    let Some(core) = core.filter(|_| !aborted) else {
        // As for a task in the table: dropped first, then answered, with the panic if it panicked.
        let error = match catch(|| drop(seed)) {
            Err(payload) => JoinError::Panicked(payload),
            Ok(()) if aborted => JoinError::Aborted,
            Ok(()) => JoinError::ExecutorGone,
        };
        return cell.end(Err(error));
    };
    let future = match catch(|| grow(seed)) {
        Ok(future) => future,
        Err(payload) => return cell.end(Err(JoinError::Panicked(payload))),
    };
    if !core.is_open() {
        // `grow` shut it down.
        let panic = catch(|| drop(future)).err();
        return cell.end(Err(
            panic.map_or(JoinError::ExecutorGone, JoinError::Panicked)
        ));
    }
    let new = NewTask {
        name: None,
        group: None,
        deferred: false,
        spawned_at,
    };
    let task = core.insert(future, new);
    let key = task.key();
    // Hooks ran: they may have shut the executor down.
    if let Some(outcome) = task.take_outcome() {
        return cell.end(outcome);
    }
    let aborted = {
        let mut inner = lock(&cell.inner);
        inner.key = Some(key);
        inner.aborted
    };
    if let Some(slot) = core.table.arena.resolve(key) {
        let end = Box::new(RemoteEnd { cell, task });
        drop(core.table.set_waiter(slot, Waiter::End(end)));
    }
    if aborted {
        // Asked for between the two locks, when there was no key to send.
        core.end_task(key, Doom::Aborted);
    }
}

impl Spawn for Spawner {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), futures_task::SpawnError> {
        // The trait has no handle to return: its tasks are detached.
        self.spawn(future)
            .map(drop)
            .map_err(|_| futures_task::SpawnError::shutdown())
    }

    fn status(&self) -> Result<(), futures_task::SpawnError> {
        if self.remote.is_closed() {
            return Err(futures_task::SpawnError::shutdown());
        }
        Ok(())
    }
}

impl Clone for Spawner {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.remote))
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.remote.remove_spawner();
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner")
            .field("remote", &self.remote)
            .finish()
    }
}

/// What a remote task and its handle share.
struct RemoteCell<T> {
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    outcome: Outcome<T>,
    waiter: Option<Waker>,
    /// Known once the owner has spawned the task.
    key: Option<Key>,
    aborted: bool,
    /// The handle is gone.
    detached: bool,
}

enum Outcome<T> {
    Pending,
    Ended(Result<T, JoinError>),
    Taken,
}

impl<T> RemoteCell<T> {
    fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                outcome: Outcome::Pending,
                waiter: None,
                key: None,
                aborted: false,
                detached: false,
            }),
        }
    }

    /// Stores the outcome and wakes who awaits it; both with nothing locked.
    fn end(&self, outcome: Result<T, JoinError>) {
        let (old, waiter) = {
            let mut inner = lock(&self.inner);
            let old = std::mem::replace(&mut inner.outcome, Outcome::Ended(outcome));
            (old, inner.waiter.take())
        };
        drop(old);
        if let Some(waiter) = waiter.filter(|_| !planted("join.tell")) {
            waiter.wake();
        }
    }
}

/// The way of a task's outcome to its remote handle.
struct RemoteEnd<T> {
    cell: Arc<RemoteCell<T>>,
    task: JoinHandle<T>,
}

impl<T: Send + 'static> End for RemoteEnd<T> {
    fn end(self: Box<Self>) {
        if let Some(outcome) = self.task.take_outcome() {
            self.cell.end(outcome);
        }
    }

    fn is_detached(&self) -> bool {
        lock(&self.cell.inner).detached
    }
}

/// Awaits a task from any thread, and can abort it.
///
/// Dropping the handle detaches the task.
///
/// # Cancellation
///
/// Awaiting can be given up and taken up again.
///
/// # Panics
///
/// Polling it again after it returned `Ready` panics.
#[must_use = "dropping a RemoteJoinHandle detaches its task; `drop` it to say so"]
pub struct RemoteJoinHandle<T> {
    cell: Arc<RemoteCell<T>>,
    remote: Arc<Remote>,
}

impl<T> RemoteJoinHandle<T> {
    /// Whether the task has ended, however it did.
    pub fn is_finished(&self) -> bool {
        !matches!(lock(&self.cell.inner).outcome, Outcome::Pending)
    }

    /// Asks the owner's thread to end the task with [`JoinError::Aborted`].
    ///
    /// The future is dropped there, when the executor is driven next.
    pub fn abort(&self) {
        let key = {
            let mut inner = lock(&self.cell.inner);
            if inner.aborted || !matches!(inner.outcome, Outcome::Pending) {
                return;
            }
            inner.aborted = true;
            inner.key
        };
        if let Some(key) = key {
            self.remote.send(Message::Abort(key));
        }
    }
}

impl<T> Future for RemoteJoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Cloned and dropped without the lock: both are foreign code.
        let mut waker = Some(cx.waker().clone());
        let mut inner = lock(&self.cell.inner);
        if let Outcome::Pending = inner.outcome {
            std::mem::swap(&mut inner.waiter, &mut waker);
            drop(inner);
            return Poll::Pending;
        }
        let outcome = std::mem::replace(&mut inner.outcome, Outcome::Taken);
        drop(inner);
        match outcome {
            Outcome::Ended(result) => Poll::Ready(result),
            Outcome::Pending | Outcome::Taken => {
                panic!("a RemoteJoinHandle was polled after it had returned its outcome")
            }
        }
    }
}

impl<T> Drop for RemoteJoinHandle<T> {
    fn drop(&mut self) {
        let waiter = {
            let mut inner = lock(&self.cell.inner);
            inner.detached = true;
            inner.waiter.take()
        };
        drop(waiter);
        self.remote.remove_spawner();
    }
}

impl<T> fmt::Debug for RemoteJoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteJoinHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
