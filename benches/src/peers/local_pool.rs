//! `futures::executor::LocalPool`, its tasks spawned with handles.

use std::cell::RefCell;
use std::future::Future;

use futures::executor::{LocalPool, LocalSpawner};
use futures::future::RemoteHandle;
use futures::task::LocalSpawnExt;

use crate::case::{Case, Offer};
use crate::peer::Peer;
use crate::workload;

/// The pool.
pub(crate) struct Pool(RefCell<LocalPool>);

impl Peer for Pool {
    const NAME: &'static str = "futures-local-pool";
    type Spawner = LocalSpawner;
    type Join<T: 'static> = RemoteHandle<T>;

    fn start() -> Result<Self, String> {
        Ok(Self(RefCell::new(LocalPool::new())))
    }

    fn spawner(&self) -> LocalSpawner {
        self.0.borrow().spawner()
    }

    fn block_on<F: Future>(&self, main: F) -> F::Output {
        self.0.borrow_mut().run_until(main)
    }

    fn spawn<F>(spawner: &LocalSpawner, future: F) -> RemoteHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let handle = spawner.spawn_local_with_handle(future);
        handle.expect("the pool runs")
    }

    fn value<T: 'static>(joined: T) -> T {
        joined
    }

    fn detach<T: 'static>(join: RemoteHandle<T>) {
        join.forget();
    }

    fn cancel<T: 'static>(join: RemoteHandle<T>) {
        drop(join);
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = workload::cases::<Pool>(Offer::Handles);
    cases.push(workload::join_set::completed_case::<Pool>());
    cases.push(workload::join_set::ordered_case::<Pool>());
    cases.push(Case::new(
        "refuse/block_on",
        Pool::NAME,
        "refusal",
        Offer::Handles,
        |label| {
            workload::refusals_by_panic::<Pool>(label, || {
                futures::executor::block_on(async {});
            })
        },
    ));
    cases
}
