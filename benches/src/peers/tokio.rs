//! `tokio`, current-thread: with a `LocalSet`, and as a `LocalRuntime`.

use std::future::Future;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime, Runtime};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use crate::case::{Case, Offer};
use crate::peer::Peer;
use crate::workload;

/// A runtime of the current thread, and a set of tasks that need not be `Send`.
pub(crate) struct WithLocalSet(Runtime, LocalSet);

/// A runtime whose tasks need not be `Send`.
pub(crate) struct Local(LocalRuntime);

macro_rules! spawning {
    () => {
        type Spawner = ();
        type Join<T: 'static> = JoinHandle<T>;

        fn spawner(&self) {}

        fn spawn<F>((): &(), future: F) -> JoinHandle<F::Output>
        where
            F: Future + 'static,
            F::Output: 'static,
        {
            spawn_local(future)
        }

        fn value<T: 'static>(joined: <JoinHandle<T> as Future>::Output) -> T {
            joined.expect("the task returns")
        }

        fn detach<T: 'static>(join: JoinHandle<T>) {
            drop(join);
        }

        fn cancel<T: 'static>(join: JoinHandle<T>) {
            join.abort();
        }
    };
}

impl Peer for WithLocalSet {
    const NAME: &'static str = "tokio-local-set";
    spawning!();

    fn start() -> Result<Self, String> {
        let runtime = Builder::new_current_thread().build();
        Ok(Self(runtime.map_err(|e| e.to_string())?, LocalSet::new()))
    }

    fn block_on<F: Future>(&self, main: F) -> F::Output {
        self.1.block_on(&self.0, main)
    }
}

impl Peer for Local {
    const NAME: &'static str = "tokio-local-runtime";
    spawning!();

    fn start() -> Result<Self, String> {
        let runtime = Builder::new_current_thread().build_local(LocalOptions::default());
        Ok(Self(runtime.map_err(|e| e.to_string())?))
    }

    fn block_on<F: Future>(&self, main: F) -> F::Output {
        self.0.block_on(main)
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = workload::cases::<WithLocalSet>(Offer::Handles);
    cases.extend(workload::cases::<Local>(Offer::Handles));
    cases
}
