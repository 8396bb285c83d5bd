//! `compio_runtime::Runtime`: the executor of `compio-executor` with its driver.
//!
//! Its queue for wakes from other threads has a bound, see [`super::compio_executor`].

use std::future::Future;

use compio_runtime::{JoinHandle, Runtime, RuntimeBuilder, spawn};

use crate::case::{Case, Offer};
use crate::peer::Peer;
use crate::workload;

/// The runtime.
pub(crate) struct Compio(Runtime);

impl Peer for Compio {
    const NAME: &'static str = "compio";
    type Spawner = ();
    type Join<T: 'static> = JoinHandle<T>;

    fn start() -> Result<Self, String> {
        let runtime = RuntimeBuilder::new().sync_queue_size(4096).build();
        Ok(Self(runtime.map_err(|e| e.to_string())?))
    }

    fn spawner(&self) {}

    fn block_on<F: Future>(&self, main: F) -> F::Output {
        self.0.block_on(main)
    }

    fn spawn<F>((): &(), future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        spawn(future)
    }

    fn value<T: 'static>(joined: <JoinHandle<T> as Future>::Output) -> T {
        joined.unwrap_or_else(|_| panic!("the task returns"))
    }

    fn detach<T: 'static>(join: JoinHandle<T>) {
        join.detach();
    }

    fn cancel<T: 'static>(join: JoinHandle<T>) {
        drop(join);
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = workload::cases::<Compio>(Offer::Handles);
    cases.push(workload::join_set::completed_case::<Compio>());
    cases.push(workload::join_set::ordered_case::<Compio>());
    cases
}
