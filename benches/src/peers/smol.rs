//! `smol`: the executor of `async-executor`, driven by a `block_on` that has a reactor.

use std::future::Future;

use smol::{LocalExecutor, Task};

use crate::case::{Case, Offer};
use crate::peer::Peer;
use crate::workload;

/// The executor, kept for ever: its tasks spawn through a reference.
pub(crate) struct Smol(&'static LocalExecutor<'static>);

impl Peer for Smol {
    const NAME: &'static str = "smol";
    type Spawner = &'static LocalExecutor<'static>;
    type Join<T: 'static> = Task<T>;

    fn start() -> Result<Self, String> {
        Ok(Self(Box::leak(Box::new(LocalExecutor::new()))))
    }

    fn spawner(&self) -> Self::Spawner {
        self.0
    }

    fn block_on<F: Future>(&self, main: F) -> F::Output {
        smol::block_on(self.0.run(main))
    }

    fn spawn<F>(spawner: &Self::Spawner, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        spawner.spawn(future)
    }

    fn value<T: 'static>(joined: T) -> T {
        joined
    }

    fn detach<T: 'static>(join: Task<T>) {
        join.detach();
    }

    fn cancel<T: 'static>(join: Task<T>) {
        drop(join);
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = workload::cases::<Smol>(Offer::Handles);
    cases.push(workload::join_set::completed_case::<Smol>());
    cases.push(workload::join_set::ordered_case::<Smol>());
    cases
}
