//! `async_executor::LocalExecutor`, driven by `futures_lite`, and by `smol`, which has no other
//! executor.

use std::future::Future;
use std::marker::PhantomData;

use async_executor::{LocalExecutor, Task};

use crate::case::{Case, Offer};
use crate::peer::Peer;
use crate::workload;

/// A `block_on` for the executor.
pub(crate) trait Driver: 'static {
    const NAME: &'static str;

    fn block_on<T>(main: impl Future<Output = T>) -> T;
}

/// Parks the thread, and no more.
pub(crate) struct FuturesLite;

impl Driver for FuturesLite {
    const NAME: &'static str = "async-executor";

    fn block_on<T>(main: impl Future<Output = T>) -> T {
        futures_lite::future::block_on(main)
    }
}

/// Has a reactor.
pub(crate) struct Smol;

impl Driver for Smol {
    const NAME: &'static str = "smol";

    fn block_on<T>(main: impl Future<Output = T>) -> T {
        smol::block_on(main)
    }
}

/// The executor, kept for ever: its tasks spawn through a reference.
pub(crate) struct Local<D>(&'static LocalExecutor<'static>, PhantomData<D>);

impl<D: Driver> Peer for Local<D> {
    const NAME: &'static str = D::NAME;
    type Spawner = &'static LocalExecutor<'static>;
    type Join<T: 'static> = Task<T>;

    fn start() -> Result<Self, String> {
        let executor = Box::leak(Box::new(LocalExecutor::new()));
        Ok(Self(executor, PhantomData))
    }

    fn spawner(&self) -> Self::Spawner {
        self.0
    }

    fn block_on<F: Future>(&self, main: F) -> F::Output {
        D::block_on(self.0.run(main))
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

pub(crate) fn cases<D: Driver>() -> Vec<Case> {
    let mut cases = workload::cases::<Local<D>>(Offer::Handles);
    cases.push(workload::join_set::completed_case::<Local<D>>());
    cases.push(workload::join_set::ordered_case::<Local<D>>());
    cases
}
