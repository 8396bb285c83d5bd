//! `monoio`, with io_uring where the kernel permits it and epoll where not; with its feature
//! `sync`, without which a wake from another thread is lost.

use std::cell::RefCell;
use std::future::Future;

use monoio::task::JoinHandle;
use monoio::{FusionDriver, FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder, spawn};

use crate::case::{Case, Offer};
use crate::peer::Peer;
use crate::workload;

/// The runtime.
pub(crate) struct Monoio(RefCell<FusionRuntime<IoUringDriver, LegacyDriver>>);

impl Peer for Monoio {
    const NAME: &'static str = "monoio";
    const CANCELS: bool = false;
    type Spawner = ();
    type Join<T: 'static> = JoinHandle<T>;

    fn start() -> Result<Self, String> {
        let runtime = RuntimeBuilder::<FusionDriver>::new().build();
        Ok(Self(RefCell::new(runtime.map_err(|e| e.to_string())?)))
    }

    fn spawner(&self) {}

    fn block_on<F: Future>(&self, main: F) -> F::Output {
        self.0.borrow_mut().block_on(main)
    }

    fn spawn<F>((): &(), future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        spawn(future)
    }

    fn value<T: 'static>(joined: T) -> T {
        joined
    }

    fn detach<T: 'static>(join: JoinHandle<T>) {
        drop(join);
    }

    fn cancel<T: 'static>(_: JoinHandle<T>) {
        unreachable!("a handle of monoio can't cancel its task");
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = workload::cases::<Monoio>(Offer::Handles);
    cases.push(workload::join_set::completed_case::<Monoio>());
    cases.push(workload::join_set::ordered_case::<Monoio>());
    cases
}
