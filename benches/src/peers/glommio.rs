//! `glommio::LocalExecutor`, which needs io_uring.

use std::future::Future;

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, Task, spawn_local};

use crate::case::{Case, Offer};
use crate::peer::Peer;
use crate::workload;

/// The executor.
pub(crate) struct Glommio(LocalExecutor);

impl Peer for Glommio {
    const NAME: &'static str = "glommio";
    type Spawner = ();
    type Join<T: 'static> = Task<T>;

    fn start() -> Result<Self, String> {
        let executor = LocalExecutorBuilder::new(Placement::Unbound).make();
        Ok(Self(executor.map_err(|e| e.to_string())?))
    }

    fn spawner(&self) {}

    fn block_on<F: Future>(&self, main: F) -> F::Output {
        self.0.run(main)
    }

    fn spawn<F>((): &(), future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        spawn_local(future)
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
    let mut cases = workload::cases::<Glommio>(Offer::Handles);
    cases.push(workload::join_set::completed_case::<Glommio>());
    cases.push(workload::join_set::ordered_case::<Glommio>());
    cases
}
