//! A task's future on the real executor: it does its steps, and tells when it is polled and
//! dropped.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use vestibule_executor::{AbortOnDrop, JoinError, JoinHandle, RemoteJoinHandle};

use crate::script::{Step, Task};
use crate::world::{World, say, world};

/// What a task returns; counted, to see that every output is dropped.
pub(crate) struct Output(Arc<AtomicUsize>);

impl Output {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) enum Joinable {
    Local(JoinHandle<Output>),
    Armed(AbortOnDrop<Output>),
    Remote(RemoteJoinHandle<Output>),
}

impl Joinable {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Output, JoinError>> {
        match self {
            Self::Local(handle) => Pin::new(handle).poll(cx),
            Self::Armed(handle) => Pin::new(handle).poll(cx),
            Self::Remote(handle) => Pin::new(handle).poll(cx),
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        match self {
            Self::Local(handle) => handle.is_finished(),
            Self::Armed(handle) => handle.handle().is_finished(),
            Self::Remote(handle) => handle.is_finished(),
        }
    }

    pub(crate) fn armed(self) -> Self {
        match self {
            Self::Local(handle) => Self::Armed(handle.abort_on_drop()),
            other => other,
        }
    }

    pub(crate) fn disarmed(self) -> Self {
        match self {
            Self::Armed(handle) => Self::Local(handle.detach()),
            other => other,
        }
    }
}

/// How a task ended, in one word.
pub(crate) fn word<T>(result: &Result<T, JoinError>) -> &'static str {
    match result {
        Ok(_) => "value",
        Err(JoinError::Aborted) => "aborted",
        Err(JoinError::Discarded) => "discarded",
        Err(JoinError::Panicked(_)) => "panicked",
        Err(JoinError::ExecutorGone) => "gone",
        Err(_) => "another error",
    }
}

/// A task's future.
pub(crate) struct Script {
    name: usize,
    task: Arc<Task>,
    at: usize,
    /// In the middle of a step.
    half: bool,
    joining: Option<(usize, Joinable)>,
}

impl Script {
    pub(crate) fn new(world: &World, name: usize, task: Arc<Task>) -> Self {
        world.futures.set(world.futures.get() + 1);
        Self {
            name,
            task,
            at: 0,
            half: false,
            joining: None,
        }
    }
}

impl Future for Script {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        let world = world().expect("polled after the end");
        say(format!("poll {}", self.name));
        let task = Arc::clone(&self.task);
        while let Some(step) = task.steps.get(self.at) {
            match step {
                Step::Do(op) => {
                    self.at += 1;
                    world.run(op);
                    continue;
                }
                Step::Yield | Step::Wait if !self.half => {
                    self.half = true;
                    if matches!(step, Step::Yield) {
                        cx.waker().wake_by_ref();
                    } else {
                        let waker = Some(cx.waker().clone());
                        let old =
                            std::mem::replace(&mut world.wakers.borrow_mut()[self.name], waker);
                        drop(old);
                    }
                    return Poll::Pending;
                }
                Step::Yield | Step::Wait => self.half = false,
                Step::Panic => resume_unwind(Box::new("planned")),
                Step::Join { task, armed } => {
                    if self.joining.is_none() {
                        let taken = world.take_handle(*task);
                        self.joining = taken.map(|(name, handle)| {
                            (name, if *armed { handle.armed() } else { handle })
                        });
                    }
                    if let Some((name, mut handle)) = self.joining.take() {
                        match handle.poll(cx) {
                            Poll::Pending => {
                                self.joining = Some((name, handle));
                                return Poll::Pending;
                            }
                            Poll::Ready(result) => {
                                say(format!("{} joined {name}: {}", self.name, word(&result)));
                            }
                        }
                    }
                }
            }
            self.at += 1;
        }
        Poll::Ready(Output::new(&world.outputs))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let Some(world) = world() else { return };
        world.futures.set(world.futures.get() - 1);
        world.over.borrow_mut()[self.name] = true;
        say(format!("drop {}", self.name));
        let joining = self.joining.take();
        if world.quiet.get() {
            drop(joining.map(|(_, handle)| handle.disarmed()));
        } else {
            for op in &self.task.on_drop {
                drop(catch_unwind(AssertUnwindSafe(|| world.run(op))));
            }
            drop(joining);
        }
        if self.task.drop_panics {
            resume_unwind(Box::new("planned, in a destructor"));
        }
    }
}
