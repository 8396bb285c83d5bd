//! `compio_executor::Executor` by itself, driven by a loop that parks the thread.
//!
//! Its queue for wakes from other threads has a bound, 64 by default, beyond which a wake is lost
//! or waits. A burst of a thousand needs more, so it has 4,096 here.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use compio_executor::{Executor, ExecutorConfig, JoinHandle};

use crate::case::{Case, Offer};
use crate::peer::Peer;
use crate::workload;

/// The thread that drives, and whether it was woken.
struct Parker {
    woken: AtomicBool,
    thread: Thread,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, AcqRel) {
            self.thread.unpark();
        }
    }
}

/// The executor, kept for ever: its tasks spawn through a reference.
pub(crate) struct Bare {
    executor: &'static Executor,
    parker: Arc<Parker>,
    waker: Waker,
}

impl Peer for Bare {
    const NAME: &'static str = "compio-executor";
    const BLOCKS: bool = false;
    type Spawner = &'static Executor;
    type Join<T: 'static> = JoinHandle<T>;

    fn start() -> Result<Self, String> {
        let parker = Arc::new(Parker {
            woken: AtomicBool::new(false),
            thread: thread::current(),
        });
        let waker = Waker::from(parker.clone());
        let config = ExecutorConfig {
            sync_queue_size: 4096,
            waker: Some(waker.clone()),
            ..ExecutorConfig::default()
        };
        Ok(Self {
            executor: Box::leak(Box::new(Executor::with_config(config))),
            parker,
            waker,
        })
    }

    fn spawner(&self) -> Self::Spawner {
        self.executor
    }

    /// As `compio_runtime::Runtime::block_on` does it, with a park in place of its driver.
    fn block_on<F: Future>(&self, main: F) -> F::Output {
        let mut context = Context::from_waker(&self.waker);
        let mut main = pin!(main);
        loop {
            if let Poll::Ready(output) = main.as_mut().poll(&mut context) {
                return output;
            }
            if !self.executor.tick() {
                while !self.parker.woken.swap(false, AcqRel) {
                    thread::park();
                }
            } else if self.parker.woken.load(Acquire) {
                self.parker.woken.swap(false, AcqRel);
            }
        }
    }

    fn spawn<F>(spawner: &Self::Spawner, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        spawner.spawn(future)
    }

    fn value<T: 'static>(joined: <JoinHandle<T> as Future>::Output) -> T {
        joined.expect("the task returns")
    }

    fn detach<T: 'static>(join: JoinHandle<T>) {
        join.detach();
    }

    fn cancel<T: 'static>(join: JoinHandle<T>) {
        drop(join);
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = workload::cases::<Bare>(Offer::Handles);
    cases.push(workload::join_set::completed_case::<Bare>());
    cases.push(workload::join_set::ordered_case::<Bare>());
    cases
}
