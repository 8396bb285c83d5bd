//! `vestibule_executor::Executor`.

use std::future::Future;

use vestibule_executor::{Executor, Handle, JoinHandle};

use crate::case::{Case, Offer};
use crate::peer::Peer;
use crate::workload::{self, our_set, phases};

/// The executor of this project.
pub(crate) struct Ours(Executor);

impl Peer for Ours {
    const NAME: &'static str = "ours";
    type Spawner = Handle;
    type Join<T: 'static> = JoinHandle<T>;

    fn start() -> Result<Self, String> {
        Ok(Self(Executor::new()))
    }

    fn spawner(&self) -> Handle {
        self.0.handle()
    }

    fn block_on<F: Future>(&self, main: F) -> F::Output {
        self.0.try_block_on(main).expect("nothing blocks twice")
    }

    fn spawn<F>(spawner: &Handle, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        spawner.spawn(future).expect("the executor runs")
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
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = workload::cases::<Ours>(Offer::Handles);
    cases.extend(phases::cases(Ours::NAME));
    cases.extend(our_set::cases(Ours::NAME));
    cases
}
