//! What a task takes that waits and does nothing.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::parts::{Slot, opaque};
use crate::peer::Peer;

/// Bytes and allocations so far, by the allocator's own count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heap {
    /// Bytes that are allocated now.
    pub live: i64,
    /// Allocations and growths there have been.
    pub allocations: i64,
}

/// What one task took, on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerTask {
    /// Bytes, the future's own included.
    pub bytes: f64,
    /// Allocations.
    pub allocations: f64,
}

/// What a task takes on one executor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Idle {
    /// Tasks that nobody can wake.
    pub unwakeable: PerTask,
    /// Tasks whose wakers somebody holds.
    pub wakeable: PerTask,
    /// The same again, after as many have ended.
    pub again: PerTask,
}

/// Measures idle tasks on one executor.
pub struct IdleCase {
    /// The executor.
    pub executor: &'static str,
    measure: Measure,
}

type Measure = fn(usize, fn() -> Heap) -> Result<Idle, String>;

impl IdleCase {
    /// On an executor.
    pub fn of<P: Peer>() -> Self {
        Self {
            executor: P::NAME,
            measure: idle::<P>,
        }
    }

    /// On a set.
    #[cfg(feature = "peers-executor")]
    pub(crate) fn of_set<S: super::sets::Sets>() -> Self {
        Self {
            executor: S::NAME,
            measure: super::sets::idle::<S>,
        }
    }

    /// Measures `tasks` tasks; `heap` asks the allocator.
    ///
    /// # Errors
    ///
    /// Why the executor can't run here.
    pub fn measure(&self, tasks: usize, heap: fn() -> Heap) -> Result<Idle, String> {
        (self.measure)(tasks, heap)
    }
}

impl fmt::Debug for IdleCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdleCase({})", self.executor)
    }
}

/// What the tasks share, allocated before anything is counted.
pub(super) struct Crowd {
    tasks: usize,
    polled: Cell<usize>,
    ended: Cell<usize>,
    over: Cell<bool>,
    /// The wakers, if they are kept.
    wakers: Option<RefCell<Vec<Waker>>>,
    /// Told when all have been polled, and when all have ended.
    done: Slot,
}

impl Crowd {
    pub(super) fn new(tasks: usize, wakeable: bool) -> Rc<Self> {
        Rc::new(Self {
            tasks,
            polled: Cell::new(0),
            ended: Cell::new(0),
            over: Cell::new(false),
            wakers: wakeable.then(|| RefCell::new(Vec::with_capacity(tasks))),
            done: Slot::default(),
        })
    }

    #[cfg(feature = "peers-executor")]
    pub(super) fn tasks(&self) -> usize {
        self.tasks
    }

    #[cfg(feature = "peers-executor")]
    pub(super) fn is_wakeable(&self) -> bool {
        self.wakers.is_some()
    }

    #[cfg(feature = "peers-executor")]
    pub(super) fn all_polled(&self) -> bool {
        self.polled.get() == self.tasks
    }

    /// Lets every task end.
    pub(super) fn end(&self) {
        self.over.set(true);
        let wakers = self.wakers.as_ref().expect("they are wakeable");
        wakers.borrow_mut().drain(..).for_each(Waker::wake);
    }

    pub(super) fn check(&self) {
        assert_eq!(self.polled.get(), self.tasks, "tasks polled");
        let must_end = if self.over.get() { self.tasks } else { 0 };
        assert_eq!(self.ended.get(), must_end, "tasks ended");
    }
}

/// The future of an idle task: 40 bytes.
pub(super) struct Idler {
    crowd: Rc<Crowd>,
    state: [u64; 4],
}

/// The size of the futures that are measured.
pub const FUTURE: usize = size_of::<Idler>();

impl Idler {
    pub(super) fn new(crowd: &Rc<Crowd>) -> Self {
        Self {
            crowd: crowd.clone(),
            state: [0; 4],
        }
    }
}

impl Future for Idler {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.crowd.over.get() {
            let ended = self.crowd.ended.get() + 1;
            self.crowd.ended.set(ended);
            if ended == self.crowd.tasks {
                self.crowd.done.send(0);
            }
            return Poll::Ready(());
        }
        self.state[0] += 1;
        if self.state[0] == 1 {
            if let Some(wakers) = &self.crowd.wakers {
                wakers.borrow_mut().push(opaque(cx).clone());
            }
            let polled = self.crowd.polled.get() + 1;
            self.crowd.polled.set(polled);
            if polled == self.crowd.tasks {
                self.crowd.done.send(0);
            }
        }
        Poll::Pending
    }
}

/// The difference between two counts, for each of `tasks`.
pub(super) fn per_task(before: Heap, after: Heap, tasks: usize) -> PerTask {
    PerTask {
        bytes: (after.live - before.live) as f64 / tasks as f64,
        allocations: (after.allocations - before.allocations) as f64 / tasks as f64,
    }
}

fn idle<P: Peer>(tasks: usize, heap: fn() -> Heap) -> Result<Idle, String> {
    Ok(Idle {
        unwakeable: {
            let executor = P::start()?;
            let crowd = Crowd::new(tasks, false);
            spawn_crowd(&executor, &crowd, heap)
        },
        wakeable: {
            let executor = P::start()?;
            let crowd = Crowd::new(tasks, true);
            spawn_crowd(&executor, &crowd, heap)
        },
        again: {
            let executor = P::start()?;
            for _ in 0..2 {
                let crowd = Crowd::new(tasks, true);
                spawn_crowd(&executor, &crowd, heap);
            }
            let crowd = Crowd::new(tasks, true);
            spawn_crowd(&executor, &crowd, heap)
        },
    })
}

/// Spawns the tasks, has each polled once, counts, and lets them end if they can.
fn spawn_crowd<P: Peer>(executor: &P, crowd: &Rc<Crowd>, heap: fn() -> Heap) -> PerTask {
    let spawner = executor.spawner();
    let taken = executor.block_on(async {
        let before = heap();
        for _ in 0..crowd.tasks {
            P::detach(P::spawn(&spawner, Idler::new(crowd)));
        }
        crowd.done.receive().await;
        let taken = per_task(before, heap(), crowd.tasks);
        if crowd.wakers.is_some() {
            crowd.end();
            crowd.done.receive().await;
        }
        taken
    });
    crowd.check();
    taken
}
