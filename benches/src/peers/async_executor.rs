//! `async_executor::LocalExecutor`, driven by `futures_lite`.

use std::future::Future;

use async_executor::{LocalExecutor, Task};

use crate::case::{Case, Offer};
use crate::peer::Peer;
use crate::workload;

/// The executor, kept for ever: its tasks spawn through a reference.
pub(crate) struct Local(&'static LocalExecutor<'static>);

impl Peer for Local {
    const NAME: &'static str = "async-executor";
    type Spawner = &'static LocalExecutor<'static>;
    type Join<T: 'static> = Task<T>;

    fn start() -> Result<Self, String> {
        Ok(Self(Box::leak(Box::new(LocalExecutor::new()))))
    }

    fn spawner(&self) -> Self::Spawner {
        self.0
    }

    fn block_on<F: Future>(&self, main: F) -> F::Output {
        futures_lite::future::block_on(self.0.run(main))
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
    let mut cases = workload::cases::<Local>(Offer::Handles);
    cases.push(workload::join_set::completed_case::<Local>());
    cases.push(workload::join_set::ordered_case::<Local>());
    cases
}
